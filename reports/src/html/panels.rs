//! The plots of a report, each with the table of its values behind it.

use std::fmt::Write;

use crate::figures::{TimeUnit, plain, short, time_us, whole};
use crate::view::Group;
use crate::view::series::{Curve, CurvePoint, MARKS, TimeSeries, nines};
use crate::view::table::{Cell, Column, Row, Table};

use super::escape::Text;
use super::plot::{Axis, Margins, Plot, Tick, swatch};
use super::scale::{labelled, linear_ticks, logarithmic_ticks};
use super::tables;

/// Seconds that the table behind a plot over time lists at most.
const MOST_SECONDS_LISTED: usize = 60;
/// Points up to which a line over time shows each with a marker.
const MOST_MARKERS: usize = 30;

/// Which protocol has which line; the script makes the entries switches.
pub fn legend(group: &Group) -> String {
    let of_curves = group.curves.iter().map(|curve| (curve.name.as_str(), curve.slot));
    let of_seconds = group.p50_over_time.iter().map(|series| (series.name.as_str(), series.slot));
    legend_of(of_curves.chain(of_seconds))
}

/// A legend of names and slots, each name once.
pub fn legend_of<'a>(names: impl Iterator<Item = (&'a str, usize)>) -> String {
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

/// The percentile curves, drawn for a wide and for a narrow page.
pub fn percentiles(group: &Group) -> String {
    if group.curves.is_empty() {
        return "<p class=\"none\">No latency is resolved, so there is no curve.</p>".to_owned();
    }
    let wide = Margins { top: 14.0, right: 104.0, bottom: 44.0, left: 62.0 };
    let narrow = Margins { top: 12.0, right: 14.0, bottom: 44.0, left: 54.0 };
    format!(
        "<figure>{}{}<figcaption>Latency from planned time, logarithmic, over the share of deliveries that is at most \
         this late. Bands are 95 % intervals with the publish as the sample; each line ends at the last quantile that \
         its publishes resolve.</figcaption>{}</figure>",
        percentile_plot(group, "wide", (960.0, 400.0), wide),
        percentile_plot(group, "narrow", (380.0, 340.0), narrow),
        values("Values of this plot", &quantile_table(group))
    )
}

fn percentile_plot(group: &Group, class: &str, (width, height): (f64, f64), margins: Margins) -> String {
    let all = || group.curves.iter().flat_map(|curve| &curve.points);
    let end = all().map(|point| point.nines).fold(0.0, f64::max);
    let bounds = all().flat_map(|point| {
        let (low, high) = point.interval_us.unwrap_or((point.latency_us, point.latency_us));
        [low, high, point.latency_us]
    });
    let (ticks, domain) = vertical_ticks(bounds, if class == "wide" { 12 } else { 8 });
    let domain_end = end.ceil().max(1.0);
    // The names stand behind the ends of the lines: in the unresolved stretch where that is wide enough.
    let unresolved = (domain_end - end) / domain_end * (width - margins.left - 14.0);
    let margins = if unresolved > 110.0 { Margins { right: 14.0, ..margins } } else { margins };
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
    plot.open_series(curve.slot, &curve.name);
    let band: Vec<(f64, f64, f64)> = curve
        .points
        .iter()
        .filter_map(|point| point.interval_us.map(|(low, high)| (point.nines, low, high)))
        .collect();
    plot.band(&band);
    plot.line(&[curve.points.iter().map(|point| (point.nines, point.latency_us)).collect()]);
    for (mark, point) in curve.marks.iter().filter(|(mark, _)| mark.is_tick) {
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

/// The median and the p99 of every second, side by side on the same scales.
pub fn over_time(group: &Group) -> String {
    let both = || group.p50_over_time.iter().chain(&group.p99_over_time);
    if both().next().is_none() {
        return "<p class=\"none\">The result has no timeline.</p>".to_owned();
    }
    let values_us = both().flat_map(|series| series.points.iter().map(|(_, value_us)| *value_us));
    let (ticks, domain) = vertical_ticks(values_us, 8);
    let end =
        f64::from(both().flat_map(|series| &series.points).map(|(second, _)| *second).max().unwrap_or(0));
    let draw = |series: &[TimeSeries], title: &str| {
        let margins = Margins { top: 12.0, right: 14.0, bottom: 44.0, left: 54.0 };
        let mut plot = Plot::new(
            470.0,
            300.0,
            margins,
            Axis::Linear(0.0, end.max(1.0)),
            Axis::Logarithmic(domain.0, domain.1),
        );
        plot.vertical_axis(&ticks);
        let seconds: Vec<Tick> =
            linear_ticks(end.max(1.0), 6).into_iter().map(|tick| (tick, plain(tick))).collect();
        plot.horizontal_axis(&seconds, "second of the measured window");
        for series in series {
            draw_time_series(&mut plot, series);
        }
        format!("<div><h4>{title}</h4>{}</div>", plot.finish("half", "seconds", "time", title))
    };
    format!(
        "<figure><div class=\"pair\">{}{}</div><figcaption>Both on one logarithmic scale. A message belongs to the \
         second it was planned in. One second has too few publishes to resolve its p99: it shows where something \
         happened, no claim rests on it.</figcaption>{}</figure>",
        draw(&group.p50_over_time, "Median of each second"),
        draw(&group.p99_over_time, "p99 of each second"),
        values("Values of these plots", &time_table(group))
    )
}

fn draw_time_series(plot: &mut Plot, series: &TimeSeries) {
    plot.open_series(series.slot, &series.name);
    let (left, right) = plot.x.range();
    let stretches: Vec<Vec<(f64, f64)>> = series
        .points
        .chunk_by(|left, right| right.0 == left.0 + 1)
        .map(|stretch| thin_out(stretch, plot.x.domain(), (right - left) as usize))
        .collect();
    plot.line(&stretches);
    if series.points.len() <= MOST_MARKERS {
        for (second, value_us) in &series.points {
            let words = format!("{} second {second} {}", series.name, time_us(*value_us));
            plot.marker(series.slot, f64::from(*second), *value_us, &words);
        }
    }
    plot.close_series();
}

/// Leaves of each pixel column its lowest and its highest point, in their order: what is dropped could not be seen,
/// and no peak is lost, as it would be in a mean.
fn thin_out(points: &[(u32, f64)], domain: (f64, f64), columns: usize) -> Vec<(f64, f64)> {
    let all = || points.iter().map(|(second, value)| (f64::from(*second), *value));
    if points.len() <= columns {
        return all().collect();
    }
    let column = |second: f64| ((second - domain.0) / (domain.1 - domain.0) * columns as f64) as usize;
    let points: Vec<(f64, f64)> = all().collect();
    points
        .chunk_by(|left, right| column(left.0) == column(right.0))
        .flat_map(|run| {
            let by_value = |left: &&(f64, f64), right: &&(f64, f64)| left.1.total_cmp(&right.1);
            let low = run.iter().min_by(by_value).copied();
            let high = run.iter().max_by(by_value).copied();
            match (low, high) {
                (Some(low), Some(high)) if low.0 < high.0 => vec![low, high],
                (Some(low), Some(high)) if low.0 > high.0 => vec![high, low],
                (only, _) => only.into_iter().collect(),
            }
        })
        .collect()
}

fn time_table(group: &Group) -> Table {
    let mut seconds: Vec<u32> = group
        .p50_over_time
        .iter()
        .flat_map(|series| series.points.iter().map(|(second, _)| *second))
        .collect();
    seconds.sort_unstable();
    seconds.dedup();
    let every = seconds.len().div_ceil(MOST_SECONDS_LISTED).max(1);
    let mut columns = vec![Column::figures("", "second", "", "Second of the measured window")];
    for (group_name, series) in [("p50", &group.p50_over_time), ("p99", &group.p99_over_time)] {
        columns.extend(series.iter().map(|series| Column::figures(group_name, &series.name, "", "Latency")));
    }
    let rows = seconds.into_iter().step_by(every).map(|second| Row {
        slot: None,
        cells: std::iter::once(Cell::plain(second.to_string()))
            .chain(group.p50_over_time.iter().chain(&group.p99_over_time).map(|series| {
                let at = series.points.binary_search_by_key(&second, |(second, _)| *second);
                at.map_or_else(
                    |_| Cell::absent("nothing was delivered"),
                    |index| Cell::plain(time_us(series.points[index].1)),
                )
            }))
            .collect(),
    });
    let caption = match every {
        1 => "Latency of each second".to_owned(),
        every => format!("Latency over time, one second of every {every}; all are in the result"),
    };
    Table { caption, rows: rows.collect(), columns }
}

/// Ticks of a logarithmic axis of latencies, labelled, and the domain they span.
pub fn vertical_ticks(values_us: impl Iterator<Item = f64>, most_labels: usize) -> (Vec<Tick>, (f64, f64)) {
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values_us.filter(|value| value.is_finite() && *value > 0.0) {
        low = low.min(value);
        high = high.max(value);
    }
    let low = if low.is_finite() { low } else { 1.0 };
    let ticks = logarithmic_ticks(low, high.max(low));
    let labels = labelled(&ticks, most_labels);
    let domain = (ticks[0], ticks[ticks.len() - 1]);
    let with_label = |tick: f64| {
        let unit = TimeUnit::of_us(tick);
        let text = format!("{} {}", plain_tick(unit.from_us(tick)), unit.symbol());
        (tick, if labels.contains(&tick) { text } else { String::new() })
    };
    (ticks.into_iter().map(with_label).collect(), domain)
}

/// A tick's number: 1, 2 and 5 times a power of ten need no digits beyond.
fn plain_tick(value: f64) -> String {
    if value >= 0.999 { plain(value.round()) } else { format!("{value:.3}").trim_end_matches('0').to_owned() }
}

/// A table folded away behind a plot.
fn values(summary: &str, table: &Table) -> String {
    format!("<details><summary>{summary}</summary>{}</details>", tables::table(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_every_peak() {
        let points: Vec<(u32, f64)> = (0..6_000)
            .map(|second| (second, if second == 4_321 { 9_000.0 } else { 100.0 + f64::from(second % 7) }))
            .collect();
        let thin = thin_out(&points, (0.0, 5_999.0), 400);
        assert!(thin.len() <= 802, "{}", thin.len());
        assert!(thin.contains(&(4_321.0, 9_000.0)));
        assert!(thin.is_sorted_by(|left, right| left.0 < right.0), "time goes forward");
        assert_eq!(thin_out(&points[..10], (0.0, 9.0), 400).len(), 10);
    }

    #[test]
    fn ticks_are_told_in_units() {
        let (ticks, domain) = vertical_ticks([148.0, 6_402.0].into_iter(), 12);
        let labels: Vec<&str> = ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["100 µs", "200 µs", "500 µs", "1 ms", "2 ms", "5 ms", "10 ms"]);
        assert!((domain.0 - 100.0).abs() < 1e-9 && (domain.1 - 10_000.0).abs() < 1e-9);
        let (ticks, _) = vertical_ticks(std::iter::empty(), 12);
        assert!(ticks.len() >= 2);
    }
}
