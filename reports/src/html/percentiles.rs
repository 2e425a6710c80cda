//! Percentile curves: latency over the nines.

use crate::figures::{TimeUnit, short, time_us, whole};
use crate::view::Group;
use crate::view::series::{Curve, CurvePoint, MARKS, nines};
use crate::view::table::{Cell, Column, Row, Table};

use super::figure::figure;
use super::label;
use super::plot::{Axis, END_LABEL_GAP, Margins, Plot, Tick};
use super::ticks::time_ticks;

/// Width that the names beside the lines take at most.
const MOST_FOR_NAMES: f64 = 260.0;

/// The percentile curves, drawn for a wide and for a narrow page.
pub fn percentiles(group: &Group) -> String {
    if group.curves.is_empty() {
        return "<p class=\"none\">No latency is resolved, so there is no curve.</p>".to_owned();
    }
    let wide = Margins { top: 14.0, right: 14.0, bottom: 44.0, left: 62.0 };
    let narrow = Margins { top: 12.0, right: 14.0, bottom: 44.0, left: 54.0 };
    let bands = if group.curves.iter().any(|curve| curve.is_bootstrap) {
        "Whiskers are 95 % intervals by block bootstrap over the publishes, the bands carry them on between"
    } else {
        "Bands are 95 % intervals with the publish as the sample"
    };
    let floors = if group.curves.iter().any(|curve| curve.is_floor) {
        " Thin lines are floors: what the machine takes without the protocol."
    } else {
        ""
    };
    let caption = format!(
        "Latency from planned time over the share of deliveries that is at most this late: each step to the right \
         leaves a tenth. {bands}; each line ends at the last quantile that its publishes resolve.{floors}"
    );
    let plots = percentile_plot(group, "wide", (960.0, 400.0), wide)
        + &percentile_plot(group, "narrow", (380.0, 340.0), narrow);
    figure(&plots, &caption, Some(&quantile_table(group)))
}

fn percentile_plot(group: &Group, class: &str, (width, height): (f64, f64), margins: Margins) -> String {
    let all = || group.curves.iter().flat_map(|curve| &curve.points);
    let end = all().map(|point| point.nines).fold(0.0, f64::max);
    let bounds = all().flat_map(|point| {
        let (low, high) = point.interval_us.unwrap_or((point.latency_us, point.latency_us));
        [low, high, point.latency_us]
    });
    let (ticks, domain) = time_ticks(bounds, if class == "wide" { 12 } else { 8 });
    let domain_end = end.ceil().max(1.0);
    // The names stand behind the ends of the lines: in the unresolved stretch where that is wide enough.
    let unresolved = (domain_end - end) / domain_end * (width - margins.left - 14.0);
    let names = group.curves.iter().map(|curve| label::width(&curve.name)).fold(0.0, f64::max);
    let for_names = (names + END_LABEL_GAP + 4.0).min(MOST_FOR_NAMES);
    let margins = match class {
        "wide" if unresolved < for_names + 14.0 => Margins { right: for_names, ..margins },
        _ => margins,
    };
    let mut plot = Plot::new(
        width,
        height,
        margins,
        Axis::Linear(0.0, domain_end),
        Axis::Logarithmic(domain.0, domain.1),
    );
    if end < domain_end - 0.02 {
        plot.zone(end, domain_end);
    }
    plot.vertical_axis(&ticks);
    let shown = MARKS.iter().filter(|mark| mark.is_tick && nines(mark.quantile) <= domain_end + 1e-9);
    let marks: Vec<Tick> = shown.map(|mark| (nines(mark.quantile), mark.name.to_owned())).collect();
    plot.horizontal_axis(&marks, "percentile of the deliveries");
    if unresolved > 96.0 {
        let (bottom, _) = plot.y.range();
        let x = plot.x.place(domain_end) - 6.0;
        plot.note(x, bottom - 24.0, "end", "not resolved by");
        plot.note(x, bottom - 9.0, "end", &format!("{} publishes", whole(group.publishes)));
    }
    for curve in &group.curves {
        draw_curve(&mut plot, curve);
    }
    if class == "wide" {
        let ends: Vec<(usize, f64, f64, String)> = group
            .curves
            .iter()
            .filter_map(|curve| {
                let last = curve.points.last()?;
                Some((curve.slot, last.nines, last.latency_us, curve.name.clone()))
            })
            .collect();
        plot.end_labels(&ends);
    }
    plot.finish(
        class,
        "nines",
        "time",
        "Percentile curves, one line for each protocol; the values are in the table below",
    )
}

fn draw_curve(plot: &mut Plot, curve: &Curve) {
    if curve.is_floor {
        plot.open_reference(Some(curve.slot), &curve.name);
        plot.line(&[curve.points.iter().map(|point| (point.nines, point.latency_us)).collect()]);
        plot.close_series();
        return;
    }
    plot.open_series(curve.slot, &curve.name);
    let band: Vec<(f64, f64, f64)> = curve
        .points
        .iter()
        .filter_map(|point| point.interval_us.map(|(low, high)| (point.nines, low, high)))
        .collect();
    plot.band(&band);
    plot.line(&[curve.points.iter().map(|point| (point.nines, point.latency_us)).collect()]);
    for (mark, point) in curve.marks.iter().filter(|(mark, _)| mark.is_tick) {
        if let (true, Some((low, high))) = (curve.is_bootstrap, point.interval_us) {
            plot.whisker(point.nines, low, high);
        }
        let words = format!("{} {} {}", curve.name, mark.name, with_interval(point));
        plot.marker(curve.slot, point.nines, point.latency_us, &words);
    }
    plot.close_series();
}

/// A latency with its interval, where it has one.
fn with_interval(point: &CurvePoint) -> String {
    let Some((low, high)) = point.interval_us else { return time_us(point.latency_us) };
    // One unit for all three, that of the value.
    let unit = TimeUnit::of_us(point.latency_us);
    let in_unit = |value_us: f64| short(unit.from_us(value_us));
    format!("{} ({}–{}) {}", in_unit(point.latency_us), in_unit(low), in_unit(high), unit.symbol())
}

fn quantile_table(group: &Group) -> Table {
    let mut columns = vec![Column::words("protocol", "How the client is connected")];
    let shown: Vec<_> = MARKS
        .iter()
        .filter(|mark| group.curves.iter().any(|curve| curve.marks.iter().any(|(other, _)| other == *mark)))
        .collect();
    columns
        .extend(shown.iter().map(|mark| Column::figures("", mark.name, "", "Latency and its 95 % interval")));
    let rows = group.curves.iter().map(|curve| Row {
        slot: Some(curve.slot),
        cells: std::iter::once(Cell::plain(curve.name.clone()))
            .chain(shown.iter().map(|mark| {
                let point = curve.marks.iter().find(|(other, _)| other == *mark);
                point.map_or_else(
                    || Cell::absent("not resolved"),
                    |(_, point)| Cell::plain(with_interval(point)),
                )
            }))
            .collect(),
    });
    Table { caption: "Latency by percentile (95 % interval)".to_owned(), rows: rows.collect(), columns }
}
