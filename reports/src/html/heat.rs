//! Heat maps of latency over time, as small multiples on one scale.

use std::fmt::Write;

use crate::figures::{percent, time_us};
use crate::view::heat::{Doublings, HeatMap, bucket_begins_us};
use crate::view::table::{Cell, Column, Row, Table};

use super::figure::{figure, grid, key};
use super::plot::{Axis, Margins, Plot, coordinate};
use super::scale::{labelled, logarithmic_ticks};
use super::ticks::{round_time, second_ticks};

/// Shares of a second's deliveries from which on a cell has a stronger colour, and their words.
const LEVELS: [(f64, &str); 6] =
    [(0.0, "any"), (0.001, "0.1 %"), (0.01, "1 %"), (0.04, "4 %"), (0.1, "10 %"), (0.25, "25 %")];

/// The level of a share.
fn level(share: f64) -> usize {
    LEVELS.iter().rposition(|(from, _)| share >= *from).unwrap_or(0)
}

/// All maps; `None` where there is none.
pub fn render(maps: &[HeatMap], by_doubling: &[Doublings]) -> Option<String> {
    let bounds = maps.iter().filter_map(HeatMap::bounds);
    let (low, high) = bounds.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))?;
    let columns = maps.iter().flat_map(|map| map.columns.iter().map(|column| column.index)).max()? + 1;
    let plots: Vec<(String, String)> =
        maps.iter().map(|map| (map.name.clone(), plot(map, (low, high), columns))).collect();
    let levels: Vec<(String, String)> = LEVELS
        .iter()
        .enumerate()
        .map(|(level, (_, word))| {
            let drawing = format!("<rect class=\"h{level}\" x=\"-8\" y=\"-5\" width=\"16\" height=\"10\"/>");
            (drawing, if level == 0 { "any delivery".to_owned() } else { format!("from {word}") })
        })
        .collect();
    let seconds = maps[0].seconds_a_column;
    let cell = if seconds == 1 { "a second".to_owned() } else { format!("{seconds} seconds") };
    let caption = format!(
        "Each column is {cell} of the measured window, each cell a quarter of a doubling of latency (from planned \
         time); the stronger its colour, the larger its share of the column's deliveries. All maps share one logarithmic scale."
    );
    Some(key(&levels) + &figure(&grid("multiples", &plots), &caption, Some(&table(by_doubling))))
}

fn plot(map: &HeatMap, (low, high): (i16, i16), columns: u32) -> String {
    let (low_us, high_us) = (bucket_begins_us(low), bucket_begins_us(high + 1));
    let end = f64::from(columns) * f64::from(map.seconds_a_column);
    let margins = Margins { top: 6.0, right: 10.0, bottom: 40.0, left: 54.0 };
    let mut plot =
        Plot::new(380.0, 190.0, margins, Axis::Linear(0.0, end), Axis::Logarithmic(low_us, high_us));
    cells(&mut plot, map, (low, high), columns);
    let ticks = logarithmic_ticks(low_us, high_us);
    let labels = labelled(&ticks, 10);
    let inside = ticks.into_iter().filter(|tick| *tick >= low_us * 0.999 && *tick <= high_us * 1.001);
    let named = |tick: f64| (tick, if labels.contains(&tick) { round_time(tick) } else { String::new() });
    plot.vertical_axis(&inside.map(named).collect::<Vec<_>>());
    plot.horizontal_axis(&second_ticks(end, 6), "second");
    let title = format!("Heat map of the latency of {} over time", map.name);
    plot.finish("third heat", "heat", "time", &title)
}

/// A path for each level; a run of cells of one level is one stroke. The inner picture has a unit a cell, so that
/// coordinates stay small and the script zooms by its view box alone.
fn cells(plot: &mut Plot, map: &HeatMap, (low, high): (i16, i16), columns: u32) {
    let rows = i32::from(high - low) + 1;
    let mut strokes = vec![String::new(); LEVELS.len()];
    for bucket in low..=high {
        let row = i32::from(high - bucket);
        let of_row: Vec<(u32, usize)> = map
            .columns
            .iter()
            .filter_map(|column| {
                let (_, share) = column.cells.iter().find(|(other, _)| *other == bucket)?;
                Some((column.index, level(*share)))
            })
            .collect();
        for run in of_row.chunk_by(|left, right| left.1 == right.1 && right.0 == left.0 + 1) {
            let _ = write!(strokes[run[0].1], "M{} {row}.5h{}", run[0].0, run.len());
        }
    }
    let ((left, right), (bottom, top)) = (plot.x.range(), plot.y.range());
    let mut inner = format!(
        "<svg class=\"cells\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {columns} {rows}\" \
         preserveAspectRatio=\"none\" data-seconds=\"{}\">",
        coordinate(left),
        coordinate(top),
        coordinate(right - left),
        coordinate(bottom - top),
        map.seconds_a_column
    );
    for (level, stroke) in strokes.iter().enumerate().filter(|(_, stroke)| !stroke.is_empty()) {
        let _ = write!(inner, "<path class=\"h{level}\" d=\"{stroke}\"/>");
    }
    inner.push_str("</svg>");
    plot.open_series(map.slot, &map.name);
    plot.raw(&inner);
    plot.close_series();
}

/// The window as a whole, in doublings: what the maps add up to.
fn table(by_doubling: &[Doublings]) -> Table {
    let mut doublings: Vec<i16> =
        by_doubling.iter().flat_map(|of| of.shares.iter().map(|(doubling, _)| *doubling)).collect();
    doublings.sort_unstable();
    doublings.dedup();
    let mut columns = vec![Column::figures("", "latency from", "", "Lower end of the doubling")];
    columns.extend(
        by_doubling.iter().map(|of| Column::figures("", &of.name, "", "Share of all deliveries in it")),
    );
    let rows = doublings.into_iter().map(|doubling| {
        let begins = Cell::plain(time_us(2_f64.powi(i32::from(doubling))));
        let shares = by_doubling.iter().map(|of| {
            let share =
                of.shares.iter().find(|(other, _)| *other == doubling).map_or(0.0, |(_, share)| *share);
            Cell::faults(0, percent((share * 1e9) as u64, 1_000_000_000))
        });
        Row { slot: None, cells: std::iter::once(begins).chain(shares).collect() }
    });
    Table { caption: "Share of all deliveries by latency".to_owned(), rows: rows.collect(), columns }
}
