//! A result as Markdown that reads well in a pull request, and as plain text too.

use std::fmt::Write;

use crate::schema::RunResult;
use crate::view::Report;
use crate::view::comparison::{Comparison, Run};
use crate::view::table::{Table, Tone};

/// Draws a result.
pub fn render(result: &RunResult) -> String {
    render_report(&Report::of(result))
}

/// Draws a view.
pub fn render_report(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(text, "### {}\n", escape(&report.title));
    let _ = writeln!(text, "**{}**: {}\n", report.verdict.word(), escape(&report.verdict_reason));
    objections(&mut text, report);
    for sentence in &report.summary {
        let _ = writeln!(text, "- {}", escape(sentence));
    }
    text.push('\n');
    text.push_str(&table(&report.matrix));
    text.push('\n');
    if let Some(capacity) = &report.capacity {
        let _ = writeln!(text, "**{}**\n\n{}", escape(&capacity.found.caption), table(&capacity.found));
    }
    details(&mut text, report);
    text
}

/// A line for each kind of objection, and every single one folded behind them.
fn objections(text: &mut String, report: &Report) {
    for group in &report.objections {
        let line = group.line();
        // What stands before the colon is the case or the check: what the eye looks for.
        let (what, found) = line.split_once(": ").unwrap_or((&line, ""));
        let _ = writeln!(text, "- **{}**: {}", escape(what), escape(found));
    }
    let each = || report.objections.iter().flat_map(|group| &group.each);
    if each().count() > report.objections.len() {
        let _ = writeln!(text, "\n<details><summary>All {} objections</summary>\n", each().count());
        for objection in each() {
            let _ = writeln!(text, "- {}", escape(&objection.line()));
        }
        text.push_str("\n</details>\n");
    }
    if !report.objections.is_empty() {
        text.push('\n');
    }
}

/// Draws runs side by side; the first is what the others are held against.
pub fn render_comparison(runs: &[Run<'_>]) -> String {
    let comparison = Comparison::of(runs);
    let mut text = String::new();
    let _ = writeln!(text, "### {}\n", escape(&comparison.title));
    let _ = writeln!(text, "**{}**: {}\n", comparison.verdict.word(), escape(&comparison.verdict_reason));
    for warning in &comparison.warnings {
        let _ = writeln!(text, "- {}", escape(warning));
    }
    text.push('\n');
    for sentence in &comparison.sentences {
        let _ = writeln!(text, "- {}", escape(sentence));
    }
    let _ = writeln!(text, "\n{}\n{}", table(&comparison.cases), table(&comparison.runs));
    text
}

/// What not everyone needs, folded away.
fn details(text: &mut String, report: &Report) {
    text.push_str(
        "<details><summary>Stages, connecting, resources, checks, environment and command</summary>\n\n",
    );
    for part in [&report.stages, &report.connecting, &report.resources, &report.health] {
        let _ = writeln!(text, "**{}**\n\n{}", escape(&part.caption), table(part));
    }
    for (name, value) in report.conditions.iter().chain(&report.environment) {
        let _ = writeln!(text, "- {}: {}", escape(name), escape(value));
    }
    let _ = writeln!(text, "- started: {}", escape(&report.started_at));
    let _ = writeln!(text, "- seed: {}\n", escape(&report.seed));
    let _ = writeln!(text, "{}\n\n</details>", fenced(&report.command));
}

/// A command as code, on one line.
pub(crate) fn fenced(command: &str) -> String {
    // A fence longer than any run of backticks inside can't be closed from inside.
    let fence = "`".repeat(longest_run(command, '`').max(2) + 1);
    let command = command.replace(['\r', '\n'], " ");
    format!("{fence}sh\n{command}\n{fence}")
}

/// A table with padded cells, so that it reads without being drawn too.
pub(crate) fn table(table: &Table) -> String {
    let head = |index: usize| {
        let column = &table.columns[index];
        let group = if column.group.is_empty() || is_plain_group(&column.group) {
            String::new()
        } else {
            format!("{} ", column.group)
        };
        let unit = if column.unit.is_empty() { String::new() } else { format!(" ({})", column.unit) };
        escape(&format!("{group}{}{unit}", column.name))
    };
    let cell = |row: usize, index: usize| {
        let cell = &table.rows[row].cells[index];
        let text = escape(&cell.text);
        if matches!(cell.tone, Tone::Bad | Tone::Best) { format!("**{text}**") } else { text }
    };
    let mut lines: Vec<String> = vec!["|".to_owned(); table.rows.len() + 2];
    for index in 0..table.columns.len() {
        let texts: Vec<String> =
            std::iter::once(head(index)).chain((0..table.rows.len()).map(|row| cell(row, index))).collect();
        let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(3);
        let numeric = table.columns[index].numeric;
        let mut texts = texts.into_iter();
        for (number, line) in lines.iter_mut().enumerate() {
            if number == 1 {
                let _ = write!(line, " {}{} |", "-".repeat(width - 1), if numeric { ':' } else { '-' });
                continue;
            }
            let text = texts.next().unwrap_or_default();
            let space = " ".repeat(width - text.chars().count());
            let padded = if numeric { space + &text } else { text + &space };
            let _ = write!(line, " {padded} |");
        }
    }
    lines.join("\n") + "\n"
}

/// Groups whose columns are understood without them.
fn is_plain_group(group: &str) -> bool {
    matches!(group, "latency" | "deliveries" | "cost" | "load" | "of what arrived")
}

/// Text that stays text: no markup, no HTML, no end of a cell or a line.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(character);
            }
            // Otherwise a name in a result would call people on the forge.
            '@' => escaped.push_str("&#64;"),
            character if character.is_control() => escaped.push(' '),
            character => escaped.push(character),
        }
    }
    escaped
}

/// The longest run of a character.
fn longest_run(text: &str, character: char) -> usize {
    text.split(|other| other != character).map(str::len).max().unwrap_or(0)
}
