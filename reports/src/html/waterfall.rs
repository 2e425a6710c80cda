//! The legs of a message's way as stacked bars.

use std::fmt::Write;

use crate::figures::time_us;
use crate::schema::LatencySummary;
use crate::view::sweep::Quantity;
use crate::view::table::{Cell, Column, Row, Table};
use crate::view::waterfall::{Waterfall, WaterfallRow};

use super::escape::Text;
use super::figure::{figure, grid, key};
use super::plot::{Axis, Margins, Plot, coordinate, row_margin};
use super::ticks::axis_from_zero;

const ROW: f64 = 30.0;
/// Colours there are for legs; further ones begin anew.
const COLOURS: usize = 6;

type Pick = fn(&LatencySummary) -> Option<f64>;

/// Medians beside p99s, and the table behind them.
pub fn render(waterfall: &Waterfall) -> String {
    let plots: Vec<(String, String)> =
        [("Medians", (|latency| latency.p50) as Pick), ("p99 of each leg", |latency| latency.p99)]
            .into_iter()
            .map(|(title, pick)| (title.to_owned(), plot(waterfall, title, pick)))
            .collect();
    let legs: Vec<(String, String)> = waterfall
        .legs
        .iter()
        .enumerate()
        .map(|(index, leg)| {
            let drawing = format!(
                "<rect class=\"g{}\" x=\"-9\" y=\"-6\" width=\"18\" height=\"12\"/><text class=\"on-g{0}\" y=\"4\" text-anchor=\"middle\">{}</text>",
                index % COLOURS,
                index + 1
            );
            (drawing, leg.clone())
        })
        .collect();
    key(&legs)
        + &figure(
            &grid("pair", &plots),
            "Each bar stacks a figure of every leg, in the order a message passes them; the line across it is the same \
             figure of the whole way. Quantiles of legs don't add up exactly: the slow messages of one leg need not be \
             those of another. Both plots start at zero, each on its own scale.",
            Some(&table(waterfall)),
        )
}

fn plot(waterfall: &Waterfall, title: &str, pick: Pick) -> String {
    let stacked = |row: &WaterfallRow| row.legs.iter().flatten().filter_map(pick).sum::<f64>();
    let longest = waterfall
        .rows
        .iter()
        .flat_map(|row| [stacked(row), pick(&row.whole).unwrap_or(0.0)])
        .fold(0.0, f64::max);
    let (ticks, x) = axis_from_zero(Quantity::Latency, longest, 5);
    let names = waterfall.rows.iter().map(|row| row.name.as_str());
    let margins = Margins { top: 4.0, right: 54.0, bottom: 40.0, left: row_margin(names) };
    let count = waterfall.rows.len();
    let height = margins.top + margins.bottom + ROW * count as f64;
    let mut plot = Plot::new(470.0, height, margins, x, Axis::Linear(0.0, count as f64));
    plot.horizontal_axis(&ticks, "from planned time");
    for (index, row) in waterfall.rows.iter().enumerate() {
        let y = margins.top + ROW * (index as f64 + 0.5);
        plot.open_series(row.slot, &row.name);
        plot.row_label(y, &row.name);
        bar(&mut plot, waterfall, row, y, pick);
        plot.close_series();
    }
    plot.finish_still("half", &format!("{title} of the legs of a message's way, stacked for each protocol"))
}

fn bar(plot: &mut Plot, waterfall: &Waterfall, row: &WaterfallRow, y: f64, pick: Pick) {
    let mut at_us = 0.0;
    let mut svg = String::new();
    for (index, (name, leg)) in waterfall.legs.iter().zip(&row.legs).enumerate() {
        let Some(leg_us) = leg.as_ref().and_then(pick).filter(|us| us.is_finite() && *us >= 0.0) else {
            continue;
        };
        let (from, to) = (plot.x.place(at_us), plot.x.place(at_us + leg_us));
        let _ = write!(
            svg,
            "<g class=\"leg\"><title>{}, {}: {}</title><rect class=\"g{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"18\"/>",
            Text(&row.name),
            Text(name),
            time_us(leg_us),
            index % COLOURS,
            coordinate(from),
            coordinate(y - 9.0),
            coordinate((to - from).max(0.5))
        );
        if to - from > 13.0 {
            let _ = write!(
                svg,
                "<text class=\"on-g{}\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                index % COLOURS,
                coordinate(f64::midpoint(from, to)),
                coordinate(y + 4.0),
                index + 1
            );
        }
        svg.push_str("</g>");
        at_us += leg_us;
    }
    match pick(&row.whole) {
        Some(whole_us) if whole_us.is_finite() => {
            let x = plot.x.place(whole_us);
            let _ = write!(
                svg,
                "<path class=\"whole\" d=\"M{} {}v24\"><title>{}, the whole way: {}</title></path>",
                coordinate(x),
                coordinate(y - 12.0),
                Text(&row.name),
                time_us(whole_us)
            );
            plot.raw(&svg);
            let end = x.max(plot.x.place(at_us));
            plot.note(end + 5.0, y + 4.0, "start", &time_us(whole_us));
        }
        _ => {
            plot.raw(&svg);
            plot.note(plot.x.place(at_us) + 5.0, y + 4.0, "start", "not resolved");
        }
    }
}

fn table(waterfall: &Waterfall) -> Table {
    let mut columns = vec![Column::words("protocol", "How the client is connected")];
    let mut picks: Vec<(usize, Pick)> = Vec::new();
    for (index, leg) in waterfall.legs.iter().enumerate() {
        for (name, pick) in [("p50", (|latency| latency.p50) as Pick), ("p99", |latency| latency.p99)] {
            columns.push(Column::figures(leg, name, "", "Time this leg took"));
            picks.push((index, pick));
        }
    }
    let rows = waterfall.rows.iter().map(|row| Row {
        slot: Some(row.slot),
        cells: std::iter::once(Cell::plain(row.name.clone()))
            .chain(picks.iter().map(|(leg, pick)| match row.legs[*leg].as_ref() {
                None => Cell::absent("no such leg"),
                Some(latency) => {
                    pick(latency).map_or_else(|| Cell::absent("not resolved"), |us| Cell::plain(time_us(us)))
                }
            }))
            .collect(),
    });
    Table { caption: "Time of each leg".to_owned(), rows: rows.collect(), columns }
}
