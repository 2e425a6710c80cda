//! Named points of each case on one scale.

use std::fmt::Write;

use crate::view::ranges::{RangeRow, Ranges};
use crate::view::sweep::Quantity;
use crate::view::table::{Cell, Column, Row, Table};

use super::escape::Text;
use super::figure::{figure, grid, key};
use super::label::RowNames;
use super::plot::{Axis, Margins, Plot, Tick, coordinate, point_shape};
use super::ticks::{axis_from_zero, text, time_ticks};

const ROW: f64 = 25.0;
const WIDTH: f64 = 470.0;
const NARROW: f64 = 380.0;

/// Plots beside each other, with what their points are. Those of latencies share one scale.
pub fn render(all: &[&Ranges], caption: &str) -> String {
    let latencies = || {
        let of_rows = all.iter().filter(|ranges| ranges.quantity == Quantity::Latency);
        of_rows.flat_map(|ranges| values(ranges))
    };
    let class = if all.len() > 2 { "multiples" } else { "pair" };
    let width = if all.len() > 2 { NARROW } else { WIDTH };
    let plots: Vec<(String, String)> = all
        .iter()
        .map(|ranges| {
            let (ticks, x) = if ranges.quantity == Quantity::Latency {
                let (ticks, domain) = time_ticks(latencies(), 6);
                (ticks, Axis::Logarithmic(domain.0, domain.1))
            } else {
                axis_from_zero(ranges.quantity, values(ranges).fold(0.0, f64::max), 5)
            };
            // Those of a pair are too wide for a narrow page.
            let mut plots = plot(ranges, width, &ticks, x, if width > NARROW { "half wide" } else { "half" });
            if width > NARROW {
                plots.push_str(&plot(ranges, NARROW, &ticks, x, "narrow"));
            }
            (ranges.title.clone(), plots)
        })
        .collect();
    let tables: Vec<Table> = all.iter().map(|ranges| table(ranges)).collect();
    let names: Vec<(String, String)> = all.first().map_or_else(Vec::new, |ranges| {
        let named = ranges.points.iter().enumerate();
        named
            .map(|(index, name)| {
                (format!("<g class=\"point\">{}</g>", point_shape(index)), (*name).to_owned())
            })
            .collect()
    });
    let points = if names.is_empty() { String::new() } else { key(&names) };
    points + &figure(&grid(class, &plots), caption, joined(&tables).as_ref())
}

fn values(ranges: &Ranges) -> impl Iterator<Item = f64> + '_ {
    ranges.rows.iter().flat_map(|row| row.values.iter().copied().flatten().chain(row.whole))
}

fn plot(ranges: &Ranges, width: f64, ticks: &[Tick], x: Axis, class: &str) -> String {
    let names = RowNames::of(ranges.rows.iter().map(|row| row.name.as_str()), width);
    let margins = Margins { top: 4.0, right: 22.0, bottom: 26.0, left: names.left };
    let (count, row_px) = (ranges.rows.len(), ROW + names.above);
    let height = margins.top + margins.bottom + row_px * count as f64;
    let mut plot = Plot::new(width, height, margins, x, Axis::Linear(0.0, count as f64));
    plot.horizontal_axis(ticks, "");
    for (index, row) in ranges.rows.iter().enumerate() {
        let y = margins.top + row_px * index as f64 + names.above + ROW / 2.0;
        plot.open_series(row.slot, &row.name);
        plot.raw(&names.draw(y, 16.0, &row.name));
        points(&mut plot, ranges, row, y);
        plot.close_series();
    }
    plot.finish_still(class, &format!("{}, a row for each protocol", ranges.title))
}

fn points(plot: &mut Plot, ranges: &Ranges, row: &RangeRow, y: f64) {
    let found = || row.values.iter().copied().flatten();
    let (low, high) =
        found().fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    if !low.is_finite() {
        let (left, right) = plot.x.range();
        let (at, anchor, words) =
            match row.whole.map(|whole| (plot.x.place(whole), text(ranges.quantity, whole))) {
                None => (left + 6.0, "start", "not resolved".to_owned()),
                Some((x, words)) => {
                    plot.raw(&format!(
                        "<path class=\"whole\" d=\"M{} {}v16\"/>",
                        coordinate(x),
                        coordinate(y - 8.0)
                    ));
                    if x < right - 60.0 { (x + 6.0, "start", words) } else { (x - 6.0, "end", words) }
                }
            };
        plot.note(at, y + 4.0, anchor, &words);
        return;
    }
    let mut svg = format!(
        "<path class=\"reach\" d=\"M{} {}H{}\"/>",
        coordinate(plot.x.place(low)),
        coordinate(y),
        coordinate(plot.x.place(high))
    );
    if let Some(whole) = row.whole {
        let _ = write!(
            svg,
            "<path class=\"whole\" d=\"M{} {}v16\"><title>{}, the whole case: {}</title></path>",
            coordinate(plot.x.place(whole)),
            coordinate(y - 8.0),
            Text(&row.name),
            text(ranges.quantity, whole)
        );
    }
    for (index, value) in row.values.iter().enumerate() {
        let Some(value) = value else { continue };
        let name = ranges
            .points
            .get(index)
            .map_or_else(|| format!("slice {}", index + 1), |name| (*name).to_owned());
        let shape = if ranges.points.is_empty() { "<circle r=\"3.2\"/>" } else { point_shape(index) };
        let _ = write!(
            svg,
            "<g class=\"point\" transform=\"translate({} {})\"><title>{}, {name}: {}</title>{shape}</g>",
            coordinate(plot.x.place(*value)),
            coordinate(y),
            Text(&row.name),
            text(ranges.quantity, *value)
        );
    }
    plot.raw(&svg);
}

fn table(ranges: &Ranges) -> Table {
    let count = ranges.rows.iter().map(|row| row.values.len()).max().unwrap_or(0);
    let name = |index: usize| {
        ranges.points.get(index).map_or_else(|| format!("{}", index + 1), |name| (*name).to_owned())
    };
    let mut columns = vec![Column::words("protocol", "How the client is connected")];
    if count == 0 {
        columns.push(Column::figures(&ranges.title, "in all", "", &ranges.title));
    }
    columns.extend((0..count).map(|index| Column::figures(&ranges.title, &name(index), "", &ranges.title)));
    let rows = ranges.rows.iter().map(|row| Row {
        slot: Some(row.slot),
        cells: std::iter::once(Cell::plain(row.name.clone()))
            .chain((count == 0).then(|| {
                row.whole.map_or_else(
                    || Cell::absent("not measured"),
                    |value| Cell::plain(text(ranges.quantity, value)),
                )
            }))
            .chain((0..count).map(|index| {
                let value = row.values.get(index).copied().flatten();
                value.map_or_else(
                    || Cell::absent("not resolved"),
                    |value| Cell::plain(text(ranges.quantity, value)),
                )
            }))
            .collect(),
    });
    Table { caption: ranges.title.clone(), rows: rows.collect(), columns }
}

/// Tables with the same rows, beside each other.
fn joined(tables: &[Table]) -> Option<Table> {
    let (first, others) = tables.split_first()?;
    let mut all = first.clone();
    for other in others {
        for (row, more) in all.rows.iter_mut().zip(&other.rows) {
            row.cells.extend(more.cells.iter().skip(1).cloned());
        }
        all.columns.extend(other.columns.iter().skip(1).cloned());
        all.rows.truncate(other.rows.len());
    }
    "The points of these plots".clone_into(&mut all.caption);
    Some(all)
}
