//! Tables as HTML.

use std::fmt::Write;

use crate::view::table::{Cell, Column, Table, Tone};

use super::escape::Text;
use super::plot::swatch;

/// Columns of a table that is as wide as it needs, and not as the page.
const MOST_SMALL: usize = 9;

/// Characters of a row's name up to which the page shows it whole for sure.
const LONGEST_NAME: usize = 20;

/// A table that scrolls sideways within itself where the page is narrow.
pub fn table(table: &Table) -> String {
    debug_assert!(table.is_rectangular(), "{}", table.caption);
    let mut html = String::new();
    // A region that scrolls must be reachable by keyboard and have a name.
    let _ = write!(
        html,
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{caption}\"><table{small}><caption>{caption}</caption><thead>",
        caption = Text(&table.caption),
        // Few columns spread over the whole page would be far from each other.
        small = if table.columns.len() <= MOST_SMALL { " class=\"small\"" } else { "" }
    );
    if table.has_groups() {
        html.push_str("<tr class=\"groups\">");
        for run in table.columns.chunk_by(|left, right| left.group == right.group) {
            let scope = if run[0].group.is_empty() { "" } else { " scope=\"colgroup\"" };
            let tag = if run[0].group.is_empty() { "td" } else { "th" };
            let _ = write!(html, "<{tag} colspan=\"{}\"{scope}>{}</{tag}>", run.len(), Text(&run[0].group));
        }
        html.push_str("</tr>");
    }
    html.push_str("<tr>");
    for (index, column) in table.columns.iter().enumerate() {
        head(&mut html, column, starts_group(&table.columns, index));
    }
    html.push_str("</tr></thead><tbody>");
    for row in &table.rows {
        let class = row.slot.map_or_else(String::new, |slot| format!(" class=\"s{slot}\""));
        let _ = write!(html, "<tr{class}>");
        for (index, value) in row.cells.iter().enumerate() {
            let swatch = row.slot.filter(|_| index == 0).map(swatch).unwrap_or_default();
            cell(
                &mut html,
                index,
                value,
                &table.columns[index],
                starts_group(&table.columns, index),
                &swatch,
            );
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// Whether a rule belongs to the left of a column.
fn starts_group(columns: &[Column], index: usize) -> bool {
    index > 0 && columns[index].group != columns[index - 1].group
}

fn head(html: &mut String, column: &Column, starts_group: bool) {
    let _ = write!(
        html,
        "<th scope=\"col\" class=\"{}{}\" title=\"{}\">{}",
        if column.numeric { "n" } else { "w" },
        if starts_group { " g" } else { "" },
        Text(&column.meaning),
        Text(&column.name)
    );
    if !column.unit.is_empty() {
        let _ = write!(html, " <small>{}</small>", Text(&column.unit));
    }
    html.push_str("</th>");
}

fn cell(html: &mut String, index: usize, cell: &Cell, column: &Column, starts_group: bool, swatch: &str) {
    let tone = match cell.tone {
        Tone::Plain => "",
        Tone::Quiet => " quiet",
        Tone::Absent => " absent",
        Tone::Bad => " bad",
        Tone::Best => " best",
    };
    // A name that the page cuts stands whole in its title.
    let whole = Some(&cell.text).filter(|text| index == 0 && text.chars().count() > LONGEST_NAME);
    let long = if whole.is_some() { " long" } else { "" };
    let remark = cell
        .remark
        .as_ref()
        .or(whole)
        .map_or_else(String::new, |remark| format!(" title=\"{}\"", Text(remark)));
    let (tag, scope) = if index == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
    let _ = write!(
        html,
        "<{tag}{scope} class=\"{}{}{tone}{long}\"{remark}>{swatch}{}",
        if column.numeric { "n" } else { "w" },
        if starts_group { " g" } else { "" },
        Text(&cell.text)
    );
    if let Some(share) = cell.bar {
        let _ = write!(
            html,
            "<svg class=\"bar\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect width=\"{:.1}\" height=\"4\"/></svg>",
            share * 100.0
        );
    }
    let _ = write!(html, "</{tag}>");
}

/// Names and values side by side.
pub fn facts(facts: &[(String, String)]) -> String {
    let mut html = "<dl class=\"facts\">".to_owned();
    for (name, value) in facts {
        let _ = write!(html, "<div><dt>{}</dt><dd>{}</dd></div>", Text(name), Text(value));
    }
    html.push_str("</dl>");
    html
}
