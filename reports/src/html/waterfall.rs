//! The legs of a message's way as stacked bars.

use std::fmt::Write;

use crate::figures::time_us;
use crate::schema::LatencySummary;
use crate::view::sweep::Quantity;
use crate::view::table::{Cell, Column, Row, Table};
use crate::view::waterfall::{Leg, Waterfall, WaterfallRow};

use super::escape::Text;
use super::figure::{figure, grid, key};
use super::label::{self, RowNames};
use super::plot::{Axis, Margins, Plot, coordinate};
use super::ticks::axis_from_zero;

const WIDTH: f64 = 470.0;
const NARROW: f64 = 380.0;
const ROW: f64 = 30.0;

type Pick = fn(&LatencySummary) -> Option<f64>;

/// Medians beside p99s, and the table behind them.
pub fn render(waterfall: &Waterfall) -> String {
    let plots: Vec<(String, String)> =
        [("Medians", (|latency| latency.p50) as Pick), ("p99 of each leg", |latency| latency.p99)]
            .into_iter()
            .map(|(title, pick)| {
                let plots = [("half wide", WIDTH), ("narrow", NARROW)]
                    .map(|(class, width)| plot(waterfall, title, pick, class, width));
                (title.to_owned(), plots.concat())
            })
            .collect();
    // In the key the legs that all others tell come first.
    let mut in_key: Vec<&Leg> = waterfall.legs.iter().collect();
    in_key.sort_by_key(|leg| leg.to - leg.from > 1);
    let legs: Vec<(String, String)> = in_key
        .into_iter()
        .map(|leg| {
            let drawing = format!(
                "<rect class=\"g{}\" x=\"-9\" y=\"-6\" width=\"18\" height=\"12\"/><text class=\"on-g{0}{2}\" y=\"4\" text-anchor=\"middle\">{}</text>",
                colour(leg),
                leg.number(),
                if leg.from + 1 == leg.to { "" } else { " several" }
            );
            (drawing, leg.name.clone())
        })
        .collect();
    let beside = match waterfall.beside.as_slice() {
        [] => String::new(),
        names => {
            format!(" Not stacked, for no leg waits for it as a whole: {} (in the table).", names.join(", "))
        }
    };
    let caption = format!(
        "Each bar stacks a figure of every leg, in the order a message passes them; the line across it is the same \
         figure of the whole way. Quantiles of legs don't add up exactly: the slow messages of one leg need not be \
         those of another. A leg with two numbers was not timed in between. Both plots start at zero, each on its own \
         scale.{beside}"
    );
    key(&legs) + &figure(&grid("pair", &plots), &caption, Some(&table(waterfall)))
}

/// The colour of a leg: those between neighbouring stations have one each, in their order, those over several another.
fn colour(leg: &Leg) -> usize {
    match (leg.from, leg.to) {
        (from, to) if from + 1 == to => from,
        (3, 5) => 5,
        (1, 5) => 6,
        _ => 7,
    }
}

fn plot(waterfall: &Waterfall, title: &str, pick: Pick, class: &str, width: f64) -> String {
    let stacked = |row: &WaterfallRow| row.legs.iter().flatten().filter_map(pick).sum::<f64>();
    let longest = waterfall
        .rows
        .iter()
        .flat_map(|row| [stacked(row), pick(&row.whole).unwrap_or(0.0)])
        .fold(0.0, f64::max);
    let (ticks, x) = axis_from_zero(Quantity::Latency, longest, 5);
    let names = RowNames::of(waterfall.rows.iter().map(|row| row.name.as_str()), width);
    let margins = Margins { top: 4.0, right: 54.0, bottom: 40.0, left: names.left };
    let (count, row_px) = (waterfall.rows.len(), ROW + names.above);
    let height = margins.top + margins.bottom + row_px * count as f64;
    let mut plot = Plot::new(width, height, margins, x, Axis::Linear(0.0, count as f64));
    plot.horizontal_axis(&ticks, "from planned time");
    for (index, row) in waterfall.rows.iter().enumerate() {
        let y = margins.top + row_px * index as f64 + names.above + ROW / 2.0;
        plot.open_series(row.slot, &row.name);
        plot.raw(&names.draw(y, 24.0, &row.name));
        bar(&mut plot, waterfall, row, y, pick);
        plot.close_series();
    }
    plot.finish_still(class, &format!("{title} of the legs of a message's way, stacked for each protocol"))
}

fn bar(plot: &mut Plot, waterfall: &Waterfall, row: &WaterfallRow, y: f64, pick: Pick) {
    let mut at_us = 0.0;
    let mut svg = String::new();
    for (leg, own) in waterfall.legs.iter().zip(&row.legs) {
        let Some(leg_us) = own.as_ref().and_then(pick).filter(|us| us.is_finite() && *us >= 0.0) else {
            continue;
        };
        let (from, to) = (plot.x.place(at_us), plot.x.place(at_us + leg_us));
        let _ = write!(
            svg,
            "<g class=\"leg\"><title>{}, {}: {}</title><rect class=\"g{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"18\"/>",
            Text(&row.name),
            Text(&leg.name),
            time_us(leg_us),
            colour(leg),
            coordinate(from),
            coordinate(y - 9.0),
            coordinate((to - from).max(0.5))
        );
        if to - from > label::width(&leg.number()) + 4.0 {
            let _ = write!(
                svg,
                "<text class=\"on-g{}\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                colour(leg),
                coordinate(f64::midpoint(from, to)),
                coordinate(y + 4.0),
                leg.number()
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
    let picks: [(&str, Pick); 2] = [("p50", |latency| latency.p50), ("p99", |latency| latency.p99)];
    let mut columns = vec![Column::words("protocol", "How the client is connected")];
    let legs = waterfall.legs.iter().map(|leg| (&leg.name, "Time this leg took"));
    let beside = waterfall.beside.iter().map(|name| (name, "Timed beside the legs, and no part of the way"));
    for (name, meaning) in legs.chain(beside) {
        columns.extend(picks.iter().map(|(quantile, _)| Column::figures(name, quantile, "", meaning)));
    }
    let rows = waterfall.rows.iter().map(|row| {
        let cells = row.legs.iter().chain(&row.beside).flat_map(|timed| {
            picks.map(|(_, pick)| match timed {
                None => Cell::absent("no such leg"),
                Some(latency) => {
                    pick(latency).map_or_else(|| Cell::absent("not resolved"), |us| Cell::plain(time_us(us)))
                }
            })
        });
        Row {
            slot: Some(row.slot),
            cells: std::iter::once(Cell::plain(row.name.clone())).chain(cells).collect(),
        }
    });
    Table { caption: "Time of each leg".to_owned(), rows: rows.collect(), columns }
}
