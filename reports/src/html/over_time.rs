//! Plots over the seconds of the measured window: latency, messages planned and published, resources.

use crate::figures::{fixed, short, time_us};
use crate::view::Group;
use crate::view::over_time::{Rates, TimePanel};
use crate::view::series::TimeSeries;
use crate::view::sweep::Quantity;
use crate::view::table::{Cell, Column, Row, Table};

use super::figure::{figure, grid};
use super::plot::{Axis, Margins, Plot, Tick};
use super::ticks::{axis_from_zero, second_ticks, text, time_ticks, unit};

/// Seconds that the table behind a plot over time lists at most.
const MOST_SECONDS_LISTED: usize = 60;
/// Points up to which a line over time shows each with a marker.
const MOST_MARKERS: usize = 30;

/// An empty plot over time and its axes, for lines to be drawn into.
fn frame(size: (f64, f64), end: f64, (ticks, y): (&[Tick], Axis)) -> Plot {
    let margins = Margins { top: 10.0, right: 14.0, bottom: 42.0, left: 58.0 };
    let mut plot = Plot::new(size.0, size.1, margins, Axis::Linear(0.0, end.max(1.0)), y);
    plot.vertical_axis(ticks);
    plot.horizontal_axis(&second_ticks(end.max(1.0), 6), "second of the measured window");
    plot
}

fn last_second<'a>(points: impl Iterator<Item = &'a (u32, f64)>) -> f64 {
    f64::from(points.map(|(second, _)| *second).max().unwrap_or(0))
}

/// The median and the p99 of every second, side by side on the same scales.
pub fn latency(group: &Group) -> String {
    let both = || group.p50_over_time.iter().chain(&group.p99_over_time);
    if both().next().is_none() {
        return "<p class=\"none\">The result has no timeline.</p>".to_owned();
    }
    let values_us = both().flat_map(|series| series.points.iter().map(|(_, value_us)| *value_us));
    let (ticks, domain) = time_ticks(values_us, 8);
    let end = last_second(both().flat_map(|series| &series.points));
    let draw = |series: &[TimeSeries], title: &str| {
        let mut plot = frame((470.0, 290.0), end, (&ticks, Axis::Logarithmic(domain.0, domain.1)));
        for series in series {
            draw_time_series(&mut plot, series, Quantity::Latency);
        }
        (title.to_owned(), plot.finish("half", "seconds", "time", title))
    };
    let plots = [
        draw(&group.p50_over_time, "Median of each second"),
        draw(&group.p99_over_time, "p99 of each second"),
    ];
    figure(
        &grid("pair", &plots),
        "Both on one logarithmic scale. A message belongs to the second it was planned in. One second has too few \
         publishes to resolve its p99: it shows where something happened, no claim rests on it.",
        Some(&time_table(group)),
    )
}

/// How much of the plan was published, and how much of that arrived.
pub fn rates(rates: &[Rates]) -> Option<String> {
    let lines: [(&str, Vec<&TimeSeries>); 2] = [
        ("Published, of what was planned", rates.iter().filter_map(|of| of.published.as_ref()).collect()),
        ("Arrived intact, of what was expected", rates.iter().filter_map(|of| of.arrived.as_ref()).collect()),
    ];
    let all = || lines.iter().flat_map(|(_, lines)| lines).flat_map(|line| &line.points);
    let largest = all().map(|(_, value)| *value).fold(0.0, f64::max);
    if largest <= 0.0 {
        return None;
    }
    let (ticks, y) = axis_from_zero(Quantity::Percent, largest.max(100.0), 5);
    let end = last_second(all());
    let plots: Vec<(String, String)> = lines
        .iter()
        .filter(|(_, lines)| !lines.is_empty())
        .map(|(title, lines)| {
            let mut plot = frame((470.0, 220.0), end, (&ticks, y));
            for line in lines {
                draw_time_series(&mut plot, line, Quantity::Percent);
            }
            ((*title).to_owned(), plot.finish("half", "seconds", "percent", title))
        })
        .collect();
    Some(figure(
        &grid("pair", &plots),
        "Of each second, from zero. A dip on the left is a publisher that stopped or was stopped; one on the right is \
         deliveries lost or never made. How late messages were published is the slip, which is part of latency.",
        Some(&rate_table(rates)),
    ))
}

fn rate_table(rates: &[Rates]) -> Table {
    let columns = vec![
        Column::words("protocol", "How the client is connected"),
        Column::figures("messages a second", "planned", "", "By the schedule"),
        Column::figures("messages a second", "published", "", "Over the measured window"),
        Column::figures("of the plan", "published", "%", "Share of the planned rate"),
        Column::figures("behind the plan", "p50", "", "How late messages were published"),
        Column::figures("behind the plan", "p99", "", "How late messages were published"),
    ];
    let rows = rates.iter().map(|of| {
        let share = of.rate.zip(of.achieved).map(|(rate, achieved)| achieved / rate);
        let number = |value: Option<f64>| {
            value.map_or_else(|| Cell::absent("no plan"), |value| Cell::plain(short(value)))
        };
        let late = |value: Option<f64>| {
            value.map_or_else(|| Cell::absent("not resolved"), |us| Cell::plain(time_us(us)))
        };
        Row {
            slot: Some(of.slot),
            cells: vec![
                Cell::plain(of.name.clone()),
                number(of.rate),
                number(of.achieved),
                share.map_or_else(|| Cell::absent("no plan"), |share| Cell::plain(fixed(share * 100.0, 2))),
                late(of.slip.p50),
                late(of.slip.p99),
            ],
        }
    });
    Table { caption: "Planned and achieved rate".to_owned(), rows: rows.collect(), columns }
}

/// Processor time and memory over time; like quantities share a scale.
pub fn resources(panels: &[TimePanel]) -> Option<String> {
    let end = last_second(panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points));
    let largest = |quantity: Quantity| {
        let alike = panels.iter().filter(|panel| panel.quantity == quantity);
        let values =
            alike.flat_map(|panel| &panel.lines).flat_map(|line| &line.points).map(|(_, value)| *value);
        values.fold(0.0, f64::max)
    };
    let plots: Vec<(String, String)> = panels
        .iter()
        .map(|panel| {
            let (ticks, y) = axis_from_zero(panel.quantity, largest(panel.quantity), 4);
            let mut plot = frame((380.0, 200.0), end, (&ticks, y));
            for line in &panel.lines {
                draw_time_series(&mut plot, line, panel.quantity);
            }
            (panel.title.to_owned(), plot.finish("third", "seconds", unit(panel.quantity), panel.title))
        })
        .collect();
    (!plots.is_empty()).then(|| {
        figure(
            &grid("multiples", &plots),
            "Averages of each second; all scales start at zero, cores share one scale and memory another. The slices of a \
             case stand behind each other.",
            Some(&resource_table(panels)),
        )
    })
}

/// Mean and largest value of every line.
fn resource_table(panels: &[TimePanel]) -> Table {
    let mut columns = vec![Column::words("protocol", "How the client is connected")];
    for panel in panels {
        columns.push(Column::figures(panel.title, "mean", "", "Mean over the window"));
        columns.push(Column::figures(panel.title, "largest", "", "Largest second"));
    }
    let mut names: Vec<(&str, usize)> = Vec::new();
    for line in panels.iter().flat_map(|panel| &panel.lines) {
        if !names.iter().any(|(name, _)| *name == line.name) {
            names.push((&line.name, line.slot));
        }
    }
    let rows = names.into_iter().map(|(name, slot)| {
        let cells = panels.iter().flat_map(|panel| {
            let line = panel.lines.iter().find(|line| line.name == name);
            let figures = line.map(|line| {
                let values = || line.points.iter().map(|(_, value)| *value);
                [values().sum::<f64>() / line.points.len() as f64, values().fold(0.0, f64::max)]
            });
            figures.map_or_else(
                || [Cell::absent("not observed"), Cell::absent("not observed")],
                |figures| figures.map(|value| Cell::plain(text(panel.quantity, value))),
            )
        });
        Row { slot: Some(slot), cells: std::iter::once(Cell::plain(name)).chain(cells).collect() }
    });
    Table { caption: "Processor time and memory over the window".to_owned(), rows: rows.collect(), columns }
}

fn draw_time_series(plot: &mut Plot, series: &TimeSeries, quantity: Quantity) {
    if series.is_floor {
        plot.open_reference(Some(series.slot), &series.name);
    } else {
        plot.open_series(series.slot, &series.name);
    }
    let (left, right) = plot.x.range();
    let stretches: Vec<Vec<(f64, f64)>> = series
        .points
        .chunk_by(|left, right| left.0.checked_add(1) == Some(right.0))
        .map(|stretch| thin_out(stretch, plot.x.domain(), (right - left) as usize / 3))
        .collect();
    plot.line(&stretches);
    if series.points.len() <= MOST_MARKERS && !series.is_floor {
        for (second, value_us) in &series.points {
            let words = format!("{} second {second} {}", series.name, text(quantity, *value_us));
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
        return without_level_middles(all().collect());
    }
    let column = |second: f64| ((second - domain.0) / (domain.1 - domain.0) * columns as f64) as usize;
    let points: Vec<(f64, f64)> = all().collect();
    let thin = points
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
        .collect();
    without_level_middles(thin)
}

/// Leaves out what lies between two points of its own height.
fn without_level_middles(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let is_level = |index: usize| {
        let at = |index: usize| points[index].1.to_bits();
        index > 0 && index + 1 < points.len() && at(index - 1) == at(index) && at(index) == at(index + 1)
    };
    let kept: Vec<bool> = (0..points.len()).map(|index| !is_level(index)).collect();
    points.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(point, _)| point).collect()
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
        let level: Vec<(u32, f64)> =
            (0..10).map(|second| (second, if second == 7 { 99.0 } else { 100.0 })).collect();
        let thin = thin_out(&level, (0.0, 9.0), 400);
        assert_eq!(thin, [(0.0, 100.0), (6.0, 100.0), (7.0, 99.0), (8.0, 100.0), (9.0, 100.0)]);
    }
}
