//! The load sweep as small multiples.

use std::fmt::Write;

use crate::figures::{bytes, fixed, plain, short, time_us};
use crate::view::sweep::{Quantity, Sweep, SweepPanel};

use super::panels::{legend_of, vertical_ticks};
use super::plot::{Axis, Margins, Plot, Tick};
use super::scale::{labelled, linear_ticks, logarithmic_ticks};

/// Loads that lie further apart than this get a logarithmic axis.
const LOGARITHMIC_FROM: f64 = 10.0;

/// All panels, with one legend.
pub fn render(sweep: &Sweep) -> String {
    let names =
        sweep.panels.iter().flat_map(|panel| &panel.lines).map(|line| (line.name.as_str(), line.slot));
    let mut html = legend_of(names);
    html.push_str("<figure><div class=\"multiples\">");
    for panel in &sweep.panels {
        let _ = write!(html, "<div><h3>{}</h3>{}</div>", panel.title, plot(sweep, panel));
    }
    html.push_str(
        "</div><figcaption>Both latencies share one logarithmic scale; all other figures start at zero. A load whose \
         publishes don't resolve a quantile has no point there. The values are in the results table.</figcaption></figure>",
    );
    html
}

fn plot(sweep: &Sweep, panel: &SweepPanel) -> String {
    let loads = panel.lines.iter().flat_map(|line| line.points.iter().map(|(load, _)| *load));
    let (low, high) = bounds(loads);
    let x =
        if high / low >= LOGARITHMIC_FROM { Axis::Logarithmic(low, high) } else { Axis::Linear(0.0, high) };
    let (ticks, y) = vertical(sweep, panel);
    let margins = Margins { top: 10.0, right: 14.0, bottom: 44.0, left: 58.0 };
    let mut plot = Plot::new(380.0, 240.0, margins, x, y);
    plot.vertical_axis(&ticks);
    plot.horizontal_axis(&horizontal(x), sweep.name);
    for line in &panel.lines {
        plot.open_series(line.slot, &line.name);
        plot.line(std::slice::from_ref(&line.points));
        for (load, value) in &line.points {
            let words = format!("{} at {}: {}", line.name, plain(*load), text(panel.quantity, *value));
            plot.marker(line.slot, *load, *value, &words);
        }
        plot.close_series();
    }
    let unit = match panel.quantity {
        Quantity::Latency | Quantity::Cost => "time",
        Quantity::Bytes => "bytes",
        Quantity::Percent => "percent",
        Quantity::PerSecond => "count",
    };
    plot.finish("third", "load", unit, panel.title)
}

fn horizontal(axis: Axis) -> Vec<Tick> {
    let ticks = match axis {
        Axis::Linear(_, high) => linear_ticks(high, 6),
        Axis::Logarithmic(low, high) => {
            let inside = |tick: &f64| *tick >= low * 0.999 && *tick <= high * 1.001;
            labelled(&logarithmic_ticks(low, high), 7).into_iter().filter(inside).collect()
        }
    };
    ticks.into_iter().map(|tick| (tick, brief(tick))).collect()
}

fn vertical(sweep: &Sweep, panel: &SweepPanel) -> (Vec<Tick>, Axis) {
    let values = |panel: &SweepPanel| -> Vec<f64> {
        panel.lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value)).collect()
    };
    if panel.quantity == Quantity::Latency {
        let alike = sweep.panels.iter().filter(|other| other.quantity == Quantity::Latency);
        let (ticks, (low, high)) = vertical_ticks(alike.flat_map(values), 7);
        return (ticks, Axis::Logarithmic(low, high));
    }
    let (_, largest) = bounds(values(panel).into_iter());
    let ticks = linear_ticks(largest, 5);
    // One step beyond the largest value, so that no line runs along the upper edge.
    let step = ticks.get(1).copied().unwrap_or(largest);
    let top = (largest / step).ceil() * step;
    let labels = linear_ticks(top, 6)
        .into_iter()
        .map(|tick| (tick, if tick > 0.0 { trimmed(&text(panel.quantity, tick)) } else { "0".to_owned() }));
    (labels.collect(), Axis::Linear(0.0, top))
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if high > 0.0 { (low, high) } else { (1.0, 1.0) }
}

fn text(quantity: Quantity, value: f64) -> String {
    match quantity {
        Quantity::Latency | Quantity::Cost => time_us(value),
        Quantity::Bytes => bytes(value),
        Quantity::Percent => format!("{} %", short(value)),
        Quantity::PerSecond => brief(value),
    }
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
