//! How far latencies reach, one line a case on a shared logarithmic axis.

use std::fmt::Write;

use crate::figures::time_us;
use crate::view::series::Span;

use super::{LONGEST_NAME, clean, fitted};

/// The symbol of each point, and its name in the legend.
const SYMBOLS: [(&str, char); 5] = [("p50", '●'), ("p90", '┼'), ("p99", '◆'), ("p99.9", '▲'), ("max", '│')];
/// With fewer columns the points would lie on each other.
const NARROWEST_AXIS: usize = 24;
/// Wider than this the eye loses the line.
const WIDEST_AXIS: usize = 72;

/// Draws the spans; empty where there is nothing to draw or no room.
pub fn render(spans: &[Span], width: usize) -> String {
    let name_width = spans.iter().map(|span| clean(&span.name).chars().count()).max().unwrap_or(0);
    let name_width = name_width.min(LONGEST_NAME.max(width * 2 / 3));
    let room = width.saturating_sub(name_width + 2).min(WIDEST_AXIS);
    let values = || spans.iter().flat_map(|span| span.points_us.iter().map(|(_, value_us)| *value_us));
    let (low, high) =
        values().fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if spans.is_empty() || room < NARROWEST_AXIS || low >= high {
        return String::new();
    }
    let place =
        |value_us: f64| ((value_us / low).ln() / (high / low).ln() * (room - 1) as f64).round() as usize;
    let mut text = String::new();
    for span in spans {
        let name = fitted(clean(&span.name), name_width);
        let space = " ".repeat(name_width - name.chars().count() + 2);
        // Writing to a string can't fail.
        let _ = writeln!(text, "{name}{space}{}", line(span, room, place));
    }
    text + &scale(name_width + 2, room, low, high) + &legend(spans, name_width + 2, width)
}

/// One span: a rule from its first point to its last, with a symbol at each. A later point hides an earlier one.
fn line(span: &Span, room: usize, place: impl Fn(f64) -> usize) -> String {
    let mut cells = vec![' '; room];
    let places: Vec<usize> = span.points_us.iter().map(|(_, value_us)| place(*value_us)).collect();
    if let (Some(first), Some(last)) = (places.first(), places.last()) {
        cells[*first..=*last].fill('─');
    }
    for ((name, _), place) in span.points_us.iter().zip(places) {
        let symbol = SYMBOLS.iter().find(|(other, _)| other == name);
        cells[place] = symbol.map_or('?', |(_, symbol)| *symbol);
    }
    cells.into_iter().collect::<String>().trim_end().to_owned()
}

/// The ends of the axis and its geometric middle.
fn scale(indent: usize, room: usize, low: f64, high: f64) -> String {
    let (left, middle, right) = (time_us(low), time_us((low * high).sqrt()), time_us(high));
    let length = |text: &str| text.chars().count();
    let before = (room / 2).saturating_sub(length(&left) + length(&middle) / 2);
    let after = room.saturating_sub(length(&left) + before + length(&middle) + length(&right));
    format!("{}{left}{}{middle}{}{right}\n", " ".repeat(indent), " ".repeat(before), " ".repeat(after))
}

/// What the symbols are, as far as they occur.
fn legend(spans: &[Span], indent: usize, width: usize) -> String {
    let occurs = |name: &str| spans.iter().flat_map(|span| &span.points_us).any(|(other, _)| *other == name);
    let symbols: Vec<String> = SYMBOLS
        .iter()
        .filter(|(name, _)| occurs(name))
        .map(|(name, symbol)| format!("{symbol} {name}"))
        .collect();
    let text = format!("{}, logarithmic", symbols.join("  "));
    let text = if indent + text.chars().count() > width { symbols.join(" ") } else { text };
    let space = " ".repeat(indent.min(width.saturating_sub(text.chars().count())));
    format!("{space}{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(name: &str, points_us: &[(&'static str, f64)]) -> Span {
        Span { name: name.to_owned(), slot: 0, points_us: points_us.to_vec() }
    }

    #[test]
    fn points_stand_where_their_logarithm_is() {
        let spans = [
            span("ws", &[("p50", 100.0), ("p99", 1_000.0), ("max", 10_000.0)]),
            span("sse", &[("p50", 1_000.0)]),
        ];
        let text = render(&spans, 5 + 41);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("ws   ●{0}◆{0}│", "─".repeat(19)));
        assert_eq!(lines[1], format!("sse  {}●", " ".repeat(20)));
        assert!(lines[2].trim_start().starts_with("100 µs") && lines[2].ends_with("10.0 ms"), "{text}");
        assert!(lines[3].contains("● p50") && !lines[3].contains("p99.9"), "{text}");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert_eq!(render(&[], 80), "");
        assert_eq!(render(&[span("ws", &[("max", 5.0)])], 80), "", "one value has no span");
        assert_eq!(render(&[span("ws", &[("p50", 1.0), ("max", 5.0)])], 20), "");
    }
}
