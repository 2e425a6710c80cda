//! Ticks with their labels, and values as words, by what they are.

use crate::figures::{TimeUnit, bytes, fixed, plain, short, time_us};
use crate::view::sweep::Quantity;

use super::plot::{Axis, Tick};
use super::scale::{labelled, linear_ticks, logarithmic_ticks};

/// Ticks of a logarithmic axis of microseconds that holds all values, labelled, and the domain they span.
pub fn time_ticks(values_us: impl Iterator<Item = f64>, most_labels: usize) -> (Vec<Tick>, (f64, f64)) {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values_us.filter(|value| value.is_finite() && *value > 0.0) {
        low = low.min(value);
        high = high.max(value);
    }
    let low = if low.is_finite() { low } else { 1.0 };
    let ticks = logarithmic_ticks(low, high.max(low));
    let labels = labelled(&ticks, most_labels);
    let domain = (ticks[0], ticks[ticks.len() - 1]);
    let with_label =
        |tick: f64| (tick, if labels.contains(&tick) { round_time(tick) } else { String::new() });
    (ticks.into_iter().map(with_label).collect(), domain)
}

/// A tick's time: 1, 2 or 5 times a power of ten.
pub fn round_time(tick_us: f64) -> String {
    let unit = TimeUnit::of_us(tick_us);
    format!("{} {}", plain_tick(unit.from_us(tick_us)), unit.symbol())
}

/// An axis from zero that holds the largest value, one step beyond it at most.
pub fn axis_from_zero(quantity: Quantity, largest: f64, most: usize) -> (Vec<Tick>, Axis) {
    let largest = if largest.is_finite() && largest > 0.0 { largest } else { 1.0 };
    let ticks = linear_ticks(largest, most);
    let step = ticks.get(1).copied().unwrap_or(largest);
    let top = (largest / step).ceil() * step;
    let label = |tick: f64| if tick > 0.0 { trimmed(&text(quantity, tick)) } else { "0".to_owned() };
    (
        linear_ticks(top, most + 1).into_iter().map(|tick| (tick, label(tick))).collect(),
        Axis::Linear(0.0, top),
    )
}

/// Whole seconds from 0 to the last.
pub fn second_ticks(last: f64, most: usize) -> Vec<Tick> {
    // Fewer seconds than ticks: one each.
    linear_ticks(last, most.min(last as usize).max(1)).into_iter().map(|tick| (tick, plain(tick))).collect()
}

/// Loads from the lowest to the highest, on whichever axis.
pub fn load_ticks(axis: Axis) -> Vec<Tick> {
    let ticks = match axis {
        Axis::Linear(_, high) => linear_ticks(high, 6),
        Axis::Logarithmic(low, high) => {
            let inside = |tick: &f64| *tick >= low * 0.999 && *tick <= high * 1.001;
            labelled(&logarithmic_ticks(low, high), 7).into_iter().filter(inside).collect()
        }
    };
    ticks.into_iter().map(|tick| (tick, brief(tick))).collect()
}

/// A value as people read it.
pub fn text(quantity: Quantity, value: f64) -> String {
    match quantity {
        Quantity::Latency | Quantity::Cost => time_us(value),
        Quantity::Bytes => bytes(value),
        Quantity::Percent => format!("{} %", short(value)),
        Quantity::PerSecond => brief(value),
        Quantity::Cores => short(value),
    }
}

/// What the script calls the unit of a quantity.
pub fn unit(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Latency | Quantity::Cost => "time",
        Quantity::Bytes => "bytes",
        Quantity::Percent => "percent",
        Quantity::PerSecond | Quantity::Cores => "count",
    }
}

/// A tick's number: 1, 2 and 5 times a power of ten need no digits beyond.
fn plain_tick(value: f64) -> String {
    if value >= 0.999 { plain(value.round()) } else { format!("{value:.3}").trim_end_matches('0').to_owned() }
}

/// A figure without the zeros that a tick does not need: `25 µs`, `0.05 %`.
fn trimmed(figure: &str) -> String {
    let (number, unit) = figure.split_once(' ').unwrap_or((figure, ""));
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    if unit.is_empty() { number.to_owned() } else { format!("{number} {unit}") }
}

/// A count in as few letters as an axis has room for: `500`, `20k`, `1.5M`.
fn brief(value: f64) -> String {
    let (scale, symbol) = match value {
        large if large >= 1e6 => (1e6, "M"),
        large if large >= 1e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = value / scale;
    let text = if scaled.fract().abs() < 1e-9 { fixed(scaled, 0) } else { short(scaled) };
    format!("{text}{symbol}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_told_in_units() {
        let (ticks, domain) = time_ticks([148.0, 6_402.0].into_iter(), 12);
        let labels: Vec<&str> = ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["100 µs", "200 µs", "500 µs", "1 ms", "2 ms", "5 ms", "10 ms"]);
        assert!((domain.0 - 100.0).abs() < 1e-9 && (domain.1 - 10_000.0).abs() < 1e-9);
        let (ticks, _) = time_ticks(std::iter::empty(), 12);
        assert!(ticks.len() >= 2);
    }

    #[test]
    fn an_axis_from_zero_holds_the_largest_value() {
        let (ticks, axis) = axis_from_zero(Quantity::Cost, 17.3, 5);
        assert_eq!(axis, Axis::Linear(0.0, 20.0));
        assert_eq!(ticks[0].1, "0");
        assert_eq!(ticks.last().map(|(_, label)| label.as_str()), Some("20 µs"));
        assert!(matches!(axis_from_zero(Quantity::Cores, 0.0, 5).1, Axis::Linear(_, high) if high > 0.0));
    }

    #[test]
    fn loads_are_told_briefly() {
        assert_eq!(brief(500.0), "500");
        assert_eq!(brief(5_000.0), "5,000");
        assert_eq!(brief(20_000.0), "20k");
        assert_eq!(brief(1_500_000.0), "1.50M");
        assert_eq!(trimmed("25.0 µs"), "25 µs");
        assert_eq!(trimmed("0.0500 %"), "0.05 %");
        assert_eq!(trimmed("250"), "250");
    }
}
