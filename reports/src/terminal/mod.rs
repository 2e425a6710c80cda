//! A result in the terminal: verdict, one aligned table with the protocols side by side, and what was found.

mod chart;

use std::fmt::Write;

use crate::checks::Verdict;
use crate::schema::RunResult;
use crate::view::Report;
use crate::view::comparison::{Comparison, Run};
use crate::view::table::{Cell, Table, Tone};

/// How the terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalOptions {
    /// Columns of the terminal; a table that is wider is broken into parts that fit.
    pub width: usize,
    /// Whether colour may be used; the caller knows about `NO_COLOR` and whether it is a terminal at all.
    pub color: bool,
}

impl Default for TerminalOptions {
    fn default() -> Self {
        Self { width: 100, color: false }
    }
}

/// Spaces between two columns.
const GAP: usize = 2;
/// No table is squeezed below this, however narrow the terminal.
const NARROWEST: usize = 40;

/// Cases told one by one behind an objection that many have.
const MOST_EXTENTS: usize = 16;
/// Columns that a name may take, however narrow the terminal: variants need no more.
const LONGEST_NAME: usize = 26;
/// More lines than this are a list and no picture.
const MOST_SPANS: usize = 20;

/// Draws a result.
pub fn render(result: &RunResult, options: &TerminalOptions) -> String {
    render_report(&Report::of(result), options)
}

/// Draws a view.
pub fn render_report(report: &Report, options: &TerminalOptions) -> String {
    let paint = Paint { color: options.color };
    let width = options.width.max(NARROWEST);
    let mut text = String::new();
    paragraph(&mut text, &paint.bold(&clean(&report.title)), &report.title, width, "");
    verdict(&mut text, report.verdict, &report.verdict_reason, width, paint);
    for group in &report.objections {
        let line = format!("- {}", group.line());
        paragraph(&mut text, &line, &line, width, "  ");
        let each = group.extents(MOST_EXTENTS);
        if !each.is_empty() {
            text.push_str("  ");
            paragraph(&mut text, &each, &each, width - 2, "  ");
        }
    }
    text.push('\n');
    text.push_str(&table(&report.matrix, width, paint));
    if report.spans.len() <= MOST_SPANS {
        let chart = chart::render(&report.spans, width);
        if !chart.is_empty() {
            text.push('\n');
            text.push_str(&chart);
        }
    }
    if !report.summary.is_empty() {
        text.push('\n');
    }
    for sentence in &report.summary {
        paragraph(&mut text, sentence, sentence, width, "  ");
    }
    text
}

/// Draws runs side by side; the first is what the others are held against.
pub fn render_comparison(runs: &[Run<'_>], options: &TerminalOptions) -> String {
    let comparison = Comparison::of(runs);
    let paint = Paint { color: options.color };
    let width = options.width.max(NARROWEST);
    let mut text = String::new();
    paragraph(&mut text, &paint.bold(&clean(&comparison.title)), &comparison.title, width, "");
    verdict(&mut text, comparison.verdict, &comparison.verdict_reason, width, paint);
    for warning in &comparison.warnings {
        let line = format!("- {warning}");
        paragraph(&mut text, &line, &line, width, "  ");
    }
    for part in [&comparison.runs, &comparison.cases] {
        text.push('\n');
        text.push_str(&table(part, width, paint));
    }
    text.push('\n');
    for sentence in &comparison.sentences {
        paragraph(&mut text, sentence, sentence, width, "  ");
    }
    text
}

/// Whether to believe what follows.
fn verdict(text: &mut String, verdict: Verdict, reason: &str, width: usize, paint: Paint) {
    let plain = format!("{}: {reason}", verdict.word());
    let painted = format!("{}: {reason}", paint.verdict(verdict, verdict.word()));
    paragraph(text, &painted, &plain, width, "  ");
}

/// Draws a table alone.
pub fn render_table(of: &Table, options: &TerminalOptions) -> String {
    table(of, options.width.max(NARROWEST), Paint { color: options.color })
}

/// Draws a table within a width, in as many parts as it takes; each part repeats the first column.
pub(crate) fn table(table: &Table, width: usize, paint: Paint) -> String {
    let mut widths: Vec<usize> = (0..table.columns.len()).map(|index| column_width(table, index)).collect();
    // Names repeat in each part: absurd ones must leave room for figures.
    if let Some(names) = widths.first_mut() {
        *names = (*names).min(LONGEST_NAME.max(width * 2 / 3));
    }
    let mut text = String::new();
    for (number, part) in parts(&widths, width).into_iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        let columns: Vec<usize> = std::iter::once(0).chain(part).collect();
        let line = |of: &dyn Fn(usize) -> (String, Tone)| {
            let cells = columns.iter().map(|index| {
                let (cell, tone) = of(*index);
                let cell = fitted(clean(&cell), widths[*index]);
                let space = " ".repeat(widths[*index].saturating_sub(cell.chars().count()));
                let painted = paint.tone(tone, &cell);
                if table.columns[*index].numeric { space + &painted } else { painted + &space }
            });
            let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
            format!("{}\n", line.trim_end())
        };
        text.push_str(&line(&|index| (table.columns[index].name.clone(), Tone::Plain)));
        if columns.iter().any(|index| !table.columns[*index].unit.is_empty()) {
            text.push_str(&line(&|index| (table.columns[index].unit.clone(), Tone::Quiet)));
        }
        let total = columns.iter().map(|index| widths[*index]).sum::<usize>() + GAP * (columns.len() - 1);
        let _ = writeln!(text, "{}", "─".repeat(total));
        for row in &table.rows {
            text.push_str(&line(&|index| {
                row.cells
                    .get(index)
                    .map_or_else(Default::default, |Cell { text, tone, .. }| (text.clone(), *tone))
            }));
        }
    }
    text
}

/// The columns after the first, packed into parts that fit beside it.
fn parts(widths: &[usize], width: usize) -> Vec<Vec<usize>> {
    let Some((first, others)) = widths.split_first() else { return Vec::new() };
    let mut parts: Vec<Vec<usize>> = vec![Vec::new()];
    let mut used = *first;
    for (index, column) in others.iter().enumerate() {
        let current = parts.last_mut().expect("there is always a part");
        if used + GAP + column > width && !current.is_empty() {
            parts.push(vec![index + 1]);
            used = first + GAP + column;
        } else {
            current.push(index + 1);
            used += GAP + column;
        }
    }
    parts
}

fn column_width(table: &Table, index: usize) -> usize {
    let column = &table.columns[index];
    let cells = table.rows.iter().filter_map(|row| row.cells.get(index)).map(|cell| clean(&cell.text));
    cells
        .chain([clean(&column.name), clean(&column.unit)])
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
}

/// Appends text broken into lines; `measured` is the text without colour. Painted text must fit in words as it is.
pub(crate) fn paragraph(text: &mut String, painted: &str, measured: &str, width: usize, indent: &str) {
    let mut used = 0;
    for (painted, measured) in painted.split(' ').zip(measured.split(' ')) {
        let length = measured.chars().count();
        if used > 0 && used + 1 + length > width {
            text.push('\n');
            text.push_str(indent);
            used = indent.len();
        } else if used > 0 {
            text.push(' ');
            used += 1;
        }
        text.push_str(&if painted == measured { clean(painted) } else { painted.to_owned() });
        used += length;
    }
    text.push('\n');
}

/// Text of at most so many characters.
pub(crate) fn fitted(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Text without control characters: a name in a result must not move the cursor or ring the bell.
fn clean(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// Colours, or none.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    pub(crate) color: bool,
}

impl Paint {
    pub(crate) fn code(self, code: &str, text: &str) -> String {
        if self.color && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    fn tone(self, tone: Tone, text: &str) -> String {
        match tone {
            Tone::Plain => text.to_owned(),
            Tone::Quiet | Tone::Absent => self.code("2", text),
            Tone::Bad => self.code("1;31", text),
            Tone::Best => self.code("1", text),
        }
    }

    fn verdict(self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Valid => "1;32",
            Verdict::Suspect => "1;33",
            Verdict::Invalid => "1;31",
        };
        self.code(code, text)
    }
}
