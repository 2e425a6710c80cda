//! Ratios with their intervals around a line of no change.
//!
//! For any comparison: fill a [`Forest`], draw it with [`render`] inside a [`super::figure::figure`].

use std::fmt::Write;

use crate::figures::fixed;
use crate::view::forest::{Forest, ForestRow};

use super::escape::Text;
use super::label;
use super::plot::{Axis, Margins, Plot, Tick, coordinate, marker_shape};

/// The plot for a wide and for a narrow page; empty where no row can be drawn.
pub fn render(forest: &Forest) -> String {
    let rows: Vec<&ForestRow> = forest.rows.iter().filter(|row| row.is_drawable()).collect();
    if rows.is_empty() {
        return "<p class=\"none\">No difference has an interval, so there is nothing to draw.</p>"
            .to_owned();
    }
    plot(forest, &rows, true) + &plot(forest, &rows, false)
}

fn plot(forest: &Forest, rows: &[&ForestRow], is_wide: bool) -> String {
    let (low, high) = domain(forest, rows);
    // A narrow page has the names above their rows.
    let (width, row_height, offset) = if is_wide { (960.0, 26.0, 0.0) } else { (380.0, 44.0, 9.0) };
    let widest =
        |text: fn(&ForestRow) -> &str| rows.iter().map(|row| label::width(text(row))).fold(0.0, f64::max);
    let (name, remark) = (widest(|row| &row.name), widest(|row| &row.remark));
    let left = if is_wide { (name + 22.0).min(380.0) } else { 14.0 };
    let right = if is_wide { (remark + 20.0).clamp(30.0, 240.0) } else { 14.0 };
    let margins = Margins { top: 22.0, right, bottom: 42.0, left };
    let height = margins.top + margins.bottom + row_height * rows.len() as f64;
    let mut plot = Plot::new(width, height, margins, Axis::Logarithmic(low, high), Axis::Linear(0.0, 1.0));
    if let Some(threshold) = forest.threshold.filter(|threshold| *threshold > 0.0) {
        plot.zone((1.0 / (1.0 + threshold)).max(low), (1.0 + threshold).min(high));
    }
    plot.horizontal_axis(
        &change_ticks(low, high, if is_wide { 9 } else { 5 }),
        "change in percent, logarithmic",
    );
    let (bottom, top) = plot.y.range();
    let middle = plot.x.place(1.0);
    plot.raw(&format!(
        "<path class=\"none-line\" d=\"M{} {}V{}\"/>",
        coordinate(middle),
        coordinate(top),
        coordinate(bottom)
    ));
    plot.note(middle - 10.0, 13.0, "end", &format!("← {}", forest.sides.0));
    plot.note(middle + 10.0, 13.0, "start", &format!("{} →", forest.sides.1));
    for (index, row) in rows.iter().enumerate() {
        let y = margins.top + row_height * (index as f64 + 0.5) + offset;
        draw_row(&mut plot, row, y);
        if is_wide {
            plot.fitted_note(left - 10.0, y + 4.0, "end", &row.name, left - 14.0);
            plot.fitted_note(width - right + 8.0, y + 4.0, "start", &row.remark, right - 10.0);
        } else {
            let words = format!("{}  {}", row.name, row.remark);
            plot.fitted_note(left, y - 13.0, "start", &words, width - 2.0 * left);
        }
    }
    let class = if is_wide { "wide forest" } else { "narrow forest" };
    plot.finish_still(
        class,
        &format!("{}: ratios with their 95 % intervals; the values are in the table", forest.title),
    )
}

fn draw_row(plot: &mut Plot, row: &ForestRow, y: f64) {
    let at = |value: f64| coordinate(plot.x.place(value));
    let mut svg = format!(
        "<g class=\"fr s{}{}\"><title>{} {}</title>",
        row.slot,
        if row.differs() { " differs" } else { "" },
        Text(&row.name),
        Text(&row.remark)
    );
    for dot in row.dots.iter().filter(|dot| dot.is_finite() && **dot > 0.0) {
        let _ = write!(svg, "<circle class=\"dot\" cx=\"{}\" cy=\"{}\" r=\"2\"/>", at(*dot), coordinate(y));
    }
    let _ = write!(
        svg,
        "<path class=\"whisker\" d=\"M{0} {1}v8M{0} {2}H{3}M{3} {1}v8\"/><g class=\"point\" transform=\"translate({4} {2})\">{5}</g></g>",
        at(row.low),
        coordinate(y - 4.0),
        coordinate(y),
        at(row.high),
        at(row.ratio),
        marker_shape(row.slot)
    );
    plot.raw(&svg);
}

/// From the lowest bound to the highest, with no change always inside and never less than 5 % to either side.
fn domain(forest: &Forest, rows: &[&ForestRow]) -> (f64, f64) {
    let least = 1.05_f64.max(1.0 + forest.threshold.unwrap_or(0.0) * 1.5);
    let all = || {
        rows.iter().flat_map(|row| [row.low, row.high, row.ratio].into_iter().chain(row.dots.iter().copied()))
    };
    let usable = || all().filter(|value| value.is_finite() && *value > 0.0);
    let low = usable().fold(1.0 / least, f64::min);
    let high = usable().fold(least, f64::max);
    (low / 1.02, high * 1.02)
}

/// Changes in percent, and their reverse to the other side, that ticks of a wide axis are chosen from.
const CHANGES: [f64; 9] = [25.0, 50.0, 100.0, 200.0, 400.0, 900.0, 1_900.0, 4_900.0, 9_900.0];

/// Round changes in percent: equal steps where the axis spans little.
fn change_ticks(low: f64, high: f64, most: usize) -> Vec<Tick> {
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    let label = |change: f64| match change {
        none if none.abs() < 1e-9 => "0".to_owned(),
        up if up > 0.0 => format!("+{}", fixed(up, 0)),
        down => fixed(down, 0),
    };
    for step in [1.0, 2.0, 5.0, 10.0, 20.0, 25.0, 50.0, 100.0] {
        let (first, last) = ((percent(low) / step).ceil() as i64, (percent(high) / step).floor() as i64);
        if high / low < 2.5 && last - first < most as i64 {
            return (first..=last)
                .map(|index| index as f64 * step)
                .map(|change| (1.0 + change / 100.0, label(change)))
                .filter(|(ratio, _)| *ratio > 0.0)
                .collect();
        }
    }
    // From no change outwards, as long as they don't come too close.
    let apart = (high / low).ln() / (most + 1) as f64;
    let mut ratios = vec![1.0];
    for side in [1.0, -1.0_f64] {
        let mut last = 0.0_f64;
        for place in CHANGES.iter().map(|change| (1.0 + change / 100.0).ln()) {
            let ratio = (side * place).exp();
            if place - last >= apart && ratio > low && ratio < high {
                ratios.push(ratio);
                last = place;
            }
        }
    }
    ratios.sort_by(f64::total_cmp);
    ratios.into_iter().map(|ratio| (ratio, label(percent(ratio)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_no_change() {
        let labels = |low, high| -> Vec<String> {
            change_ticks(low, high, 9).into_iter().map(|(_, label)| label).collect()
        };
        assert_eq!(labels(0.93, 1.08), ["−6", "−4", "−2", "0", "+2", "+4", "+6", "+8"]);
        assert!(labels(0.1, 20.0).contains(&"0".to_owned()));
        assert!(labels(1e-6, 1e6).len() <= 12);
    }

    #[test]
    fn rows_that_cannot_be_drawn_are_left_out() {
        let row =
            ForestRow { name: "x".to_owned(), ratio: f64::NAN, low: 0.0, high: 2.0, ..ForestRow::default() };
        let forest = Forest { rows: vec![row], ..Forest::default() };
        assert!(render(&forest).contains("nothing to draw"));
    }
}
