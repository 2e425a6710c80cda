//! Load sweeps and searches for capacity: figures over the load, as small multiples.

use std::fmt::Write;

use crate::figures::plain;
use crate::view::capacity::{CapacityCurve, CapacityView, StepOutcome};
use crate::view::sweep::{Quantity, Sweep, SweepPanel};

use super::escape::Text;
use super::figure::{figure, grid, legend};
use super::plot::{Axis, Margins, Plot, Tick};
use super::tables;
use super::ticks::{axis_from_zero, load_ticks, text, time_ticks, unit};

/// Loads that lie further apart than this get a logarithmic axis.
const LOGARITHMIC_FROM: f64 = 10.0;

const MARGINS: Margins = Margins { top: 16.0, right: 14.0, bottom: 44.0, left: 58.0 };
const SIZE: (f64, f64) = (380.0, 240.0);

/// All panels of a sweep, with one legend.
pub fn render(sweep: &Sweep) -> String {
    let names =
        sweep.panels.iter().flat_map(|panel| &panel.lines).map(|line| (line.name.as_str(), line.slot));
    let plots: Vec<(String, String)> =
        sweep.panels.iter().map(|panel| (panel.title.to_owned(), plot(sweep, panel))).collect();
    let heading = if sweep.heading.is_empty() {
        String::new()
    } else {
        format!("<h3>Over {}, at {}</h3>", sweep.name, Text(&sweep.heading))
    };
    let caption = "Both latencies share one logarithmic scale; all other figures start at zero. A line marked K is the \
        knee of its protocol: the first load at which p99 is three times that of the lowest load and stays so, a reliable \
        protocol loses, or the planned rate is not reached. A load whose publishes don't resolve a quantile has no point \
        there. The values are in the results table.";
    heading + &legend(names) + &figure(&grid("multiples", &plots), caption, None) + &knees(sweep)
}

fn knees(sweep: &Sweep) -> String {
    if sweep.knees.is_empty() {
        return String::new();
    }
    let mut html = "<ul class=\"knees\">".to_owned();
    for knee in &sweep.knees {
        let _ = write!(
            html,
            "<li><b>{}</b> from {} on: {}</li>",
            Text(&knee.name),
            plain(knee.load),
            Text(&knee.why)
        );
    }
    html.push_str("</ul>");
    html
}

/// The axis of loads.
fn horizontal(loads: impl Iterator<Item = f64>) -> Axis {
    let (low, high) = bounds(loads);
    if high / low >= LOGARITHMIC_FROM { Axis::Logarithmic(low, high) } else { Axis::Linear(0.0, high) }
}

fn plot(sweep: &Sweep, panel: &SweepPanel) -> String {
    let x = horizontal(panel.lines.iter().flat_map(|line| line.points.iter().map(|(load, _)| *load)));
    let (ticks, y) = vertical(sweep, panel);
    let mut plot = Plot::new(SIZE.0, SIZE.1, MARGINS, x, y);
    plot.vertical_axis(&ticks);
    plot.horizontal_axis(&load_ticks(x), sweep.name);
    let is_p99 = panel.title.ends_with("p99");
    for line in &panel.lines {
        if line.is_floor {
            plot.open_reference(Some(line.slot), &line.name);
        } else {
            plot.open_series(line.slot, &line.name);
        }
        plot.line(std::slice::from_ref(&line.points));
        for (load, value) in line.points.iter().filter(|_| !line.is_floor) {
            let words = format!("{} at {}: {}", line.name, plain(*load), text(panel.quantity, *value));
            plot.marker(line.slot, *load, *value, &words);
        }
        for knee in sweep.knees.iter().filter(|knee| is_p99 && knee.name == line.name) {
            plot.flag(knee.load, "K", &format!("knee of {}: {}", knee.name, knee.why));
        }
        plot.close_series();
    }
    plot.finish("third", "load", unit(panel.quantity), panel.title)
}

fn vertical(sweep: &Sweep, panel: &SweepPanel) -> (Vec<Tick>, Axis) {
    let values = |panel: &SweepPanel| -> Vec<f64> {
        panel.lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| *value)).collect()
    };
    if panel.quantity == Quantity::Latency {
        let alike = sweep.panels.iter().filter(|other| other.quantity == Quantity::Latency);
        let (ticks, (low, high)) = time_ticks(alike.flat_map(values), 7);
        return (ticks, Axis::Logarithmic(low, high));
    }
    axis_from_zero(panel.quantity, bounds(values(panel).into_iter()).1, 5)
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if high > 0.0 { (low, high) } else { (1.0, 1.0) }
}

/// Searches for capacity: what was found, and the latency over the rates tried.
pub fn capacity(view: &CapacityView) -> String {
    let points = || view.curves.iter().flat_map(|curve| &curve.points);
    let latencies = points().flat_map(|point| [point.p50_us, point.p99_us]).flatten();
    let (ticks, (low, high)) = time_ticks(latencies, 8);
    let x = horizontal(points().map(|point| point.rate));
    let draw = |title: &str, is_p99: bool| {
        let mut plot = Plot::new(470.0, 290.0, MARGINS, x, Axis::Logarithmic(low, high));
        plot.vertical_axis(&ticks);
        plot.horizontal_axis(&load_ticks(x), "planned messages a second");
        for curve in &view.curves {
            capacity_curve(&mut plot, curve, is_p99);
        }
        (title.to_owned(), plot.finish("half", "load", "time", title))
    };
    let plots = [draw("Latency, p50", false), draw("Latency, p99", true)];
    let names = view.curves.iter().map(|curve| (curve.name.as_str(), curve.slot));
    let caption = "Every rate that the search tried; hollow points broke the objective, those beside the line are \
        of runs that were INVALID for reasons that are not the server's, and the line marked C is the highest rate that kept \
        it and was confirmed. Where a rate was run several times, the line passes through the middle one. Both on one \
        logarithmic scale.";
    tables::table(&view.found) + &legend(names) + &figure(&grid("pair", &plots), caption, Some(&view.steps))
}

fn capacity_curve(plot: &mut Plot, curve: &CapacityCurve, is_p99: bool) {
    let points: Vec<(f64, f64, StepOutcome)> = curve
        .points
        .iter()
        .filter_map(|point| {
            Some((point.rate, if is_p99 { point.p99_us } else { point.p50_us }?, point.outcome))
        })
        .filter(|(_, value_us, _)| value_us.is_finite() && *value_us > 0.0)
        .collect();
    plot.open_series(curve.slot, &curve.name);
    // A rate that was run again has several points: the line passes through the middle one. A figure of a run that is refused
    // is no figure of the curve.
    let middle = |again: &[(f64, f64)]| {
        let mut values: Vec<f64> = again.iter().map(|(_, value_us)| *value_us).collect();
        values.sort_by(f64::total_cmp);
        (again[0].0, values[values.len() / 2])
    };
    let judged = points.iter().filter(|(_, _, outcome)| *outcome != StepOutcome::Refused);
    let judged: Vec<(f64, f64)> = judged.map(|(rate, value_us, _)| (*rate, *value_us)).collect();
    let by_rate = judged.chunk_by(|left, right| left.0.total_cmp(&right.0).is_eq());
    plot.line(&[by_rate.map(middle).collect()]);
    for (rate, value_us, outcome) in &points {
        let value = text(Quantity::Latency, *value_us);
        let words = match outcome {
            StepOutcome::Refused => "the run is INVALID and says nothing of the server".to_owned(),
            judged => format!("objective {}", judged.word()),
        };
        let words = format!("{} at {} msg/s: {value}, {words}", curve.name, plain(*rate));
        plot.marker_of(curve.slot, *rate, *value_us, &words, *outcome == StepOutcome::Kept);
    }
    if let Some(rate) = curve.rate.filter(|_| is_p99) {
        plot.flag(rate, "C", &format!("capacity of {}: {} msg/s", curve.name, plain(rate)));
    }
    plot.close_series();
}
