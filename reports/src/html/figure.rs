//! A figure: one or several plots, what to know to read them, and the table of their values for those who can't see
//! them or want to copy them.

use std::fmt::Write;

use crate::view::table::Table;

use super::escape::Text;
use super::plot::swatch;
use super::tables;

/// Plots with their caption and the table behind them. `plots` is HTML, `caption` plain text.
pub fn figure(plots: &str, caption: &str, values: Option<&Table>) -> String {
    let table = values.map(|table| {
        format!("<details><summary>Values of this figure</summary>{}</details>", tables::table(table))
    });
    format!("<figure>{plots}<figcaption>{}</figcaption>{}</figure>", Text(caption), table.unwrap_or_default())
}

/// Plots beside each other in a grid (`pair`, `multiples`), each under its title.
pub fn grid(class: &str, plots: &[(String, String)]) -> String {
    let mut html = format!("<div class=\"{class}\">");
    for (title, plot) in plots {
        let _ = write!(html, "<div><h4>{}</h4>{plot}</div>", Text(title));
    }
    html.push_str("</div>");
    html
}

/// A legend of names and style slots, each name once; the script makes its entries switches for the whole page.
pub fn legend<'a>(names: impl Iterator<Item = (&'a str, usize)>) -> String {
    let mut html = "<ul class=\"legend\" aria-label=\"Lines\">".to_owned();
    let mut told: Vec<&str> = Vec::new();
    for (name, slot) in names {
        if !told.contains(&name) {
            told.push(name);
            let _ = write!(html, "<li data-name=\"{name}\">{}{name}</li>", swatch(slot), name = Text(name));
        }
    }
    html.push_str("</ul>");
    html
}

/// A legend of anything else: a small drawing (SVG content around the origin) and its word.
pub fn key(entries: &[(String, String)]) -> String {
    let mut html = "<ul class=\"key\">".to_owned();
    for (drawing, word) in entries {
        let _ = write!(
            html,
            "<li><svg viewBox=\"-9 -6 18 12\" aria-hidden=\"true\">{drawing}</svg>{}</li>",
            Text(word)
        );
    }
    html.push_str("</ul>");
    html
}
