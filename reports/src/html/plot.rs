//! A plot as SVG: frame, axes, lines. Coordinates are pixels of the plot's own size; colours, dashes and fonts come
//! from the page's style by class, so that dark mode and print change them.
//!
//! Every line keeps its values in its coordinates, to a hundredth of a pixel: what the script shows on hovering is
//! read back from there through the scales told in `data-` attributes.
//!
//! To draw a plot: [`Plot::new`] with its size, [`Margins`] and an [`Axis`] each way; axes from [`super::ticks`]; then
//! for each series [`Plot::open_series`], its lines, bands and markers, [`Plot::close_series`]; at last
//! [`Plot::finish`] for a plot whose values the script shall show, or [`Plot::finish_still`] for one whose parts tell
//! their values in a `<title>`. What belongs to a series is shown and hidden by its name all over the page.

use std::fmt::Write;

use super::escape::Text;
use super::label;
use super::scale::Scale;

/// From the end of a line to its name.
pub const END_LABEL_GAP: f64 = 19.0;

/// Space around the drawing area, in pixels.
#[derive(Debug, Clone, Copy)]
pub struct Margins {
    /// Above.
    pub top: f64,
    /// To the right.
    pub right: f64,
    /// Below, for the axis.
    pub bottom: f64,
    /// To the left, for the axis.
    pub left: f64,
}

/// The values at both ends of an axis, and how they are spread in between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Axis {
    /// Equal steps for equal differences.
    Linear(f64, f64),
    /// Equal steps for equal ratios.
    Logarithmic(f64, f64),
}

impl Axis {
    fn scale(self, range: (f64, f64)) -> Scale {
        match self {
            Self::Linear(low, high) => Scale::linear((low, high), range),
            Self::Logarithmic(low, high) => Scale::logarithmic((low, high), range),
        }
    }
}

/// A plot being drawn.
#[derive(Debug)]
pub struct Plot {
    width: f64,
    height: f64,
    /// Horizontal scale.
    pub x: Scale,
    /// Vertical scale.
    pub y: Scale,
    body: String,
}

/// A tick: its value and its label, empty for a line without one.
pub type Tick = (f64, String);

impl Plot {
    /// An empty plot; the scales' ranges are set to its drawing area.
    pub fn new(width: f64, height: f64, margins: Margins, x: Axis, y: Axis) -> Self {
        Self {
            width,
            height,
            x: x.scale((margins.left, width - margins.right)),
            y: y.scale((height - margins.bottom, margins.top)),
            body: String::new(),
        }
    }

    /// Lines across at the ticks of the vertical axis, labels to their left.
    pub fn vertical_axis(&mut self, ticks: &[Tick]) {
        let (left, right) = self.x.range();
        self.body.push_str("<g class=\"axis y\">");
        for (value, label) in ticks {
            let y = self.y.place(*value);
            let _ = write!(
                self.body,
                "<path d=\"M{} {}H{}\"/>",
                coordinate(left),
                coordinate(y),
                coordinate(right)
            );
            self.label(left - 8.0, y + 4.0, "end", label);
        }
        self.body.push_str("</g>");
    }

    /// Lines up at the ticks of the horizontal axis, labels below, and the axis' name.
    pub fn horizontal_axis(&mut self, ticks: &[Tick], name: &str) {
        let (bottom, top) = self.y.range();
        let (left, right) = self.x.range();
        self.body.push_str("<g class=\"axis x\">");
        for (value, words) in ticks {
            let x = self.x.place(*value);
            let _ = write!(
                self.body,
                "<path d=\"M{} {}V{}\"/>",
                coordinate(x),
                coordinate(top),
                coordinate(bottom)
            );
            // A centred label at an end would stick out of the plot.
            let half = label::width(words) / 2.0;
            let x = x.min(self.width - half - 1.0).max(half + 1.0);
            self.label(x, bottom + 17.0, "middle", words);
        }
        let _ = write!(
            self.body,
            "</g><path class=\"base\" d=\"M{} {}H{}\"/>",
            coordinate(left),
            coordinate(bottom),
            coordinate(right)
        );
        if !name.is_empty() {
            self.note(f64::midpoint(left, right), self.height - 5.0, "middle", name);
        }
    }

    /// SVG as it is; whoever calls has escaped all text in it.
    pub fn raw(&mut self, svg: &str) {
        self.body.push_str(svg);
    }

    fn label(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        if !text.is_empty() {
            let _ = write!(
                self.body,
                "<text x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
                coordinate(x),
                coordinate(y),
                Text(text)
            );
        }
    }

    /// A quiet word anywhere.
    pub fn note(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = write!(
            self.body,
            "<text class=\"note\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            coordinate(x),
            coordinate(y),
            Text(text)
        );
    }

    /// As [`Plot::note`], no wider than so many pixels; what is cut stands whole in its title.
    pub fn fitted_note(&mut self, x: f64, y: f64, anchor: &str, text: &str, most_px: f64) {
        let _ = write!(
            self.body,
            "<text class=\"note\" x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            coordinate(x),
            coordinate(y),
            label::content(text, most_px)
        );
    }

    /// A shaded stretch of the horizontal axis.
    pub fn zone(&mut self, from: f64, to: f64) {
        let (bottom, top) = self.y.range();
        let (left, right) = (self.x.place(from), self.x.place(to));
        let _ = write!(
            self.body,
            "<rect class=\"zone\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
            coordinate(left),
            coordinate(top),
            coordinate((right - left).max(0.0)),
            coordinate(bottom - top)
        );
    }

    /// Opens the group of all that belongs to one series; the script shows and hides it as a whole.
    pub fn open_series(&mut self, slot: usize, name: &str) {
        let _ = write!(self.body, "<g class=\"series s{slot}\" data-name=\"{}\">", Text(name));
    }

    /// As [`Plot::open_series`], for what the others are read against: a floor, a plan.
    pub fn open_reference(&mut self, slot: Option<usize>, name: &str) {
        let slot = slot.map_or_else(String::new, |slot| format!(" s{slot}"));
        let _ = write!(self.body, "<g class=\"series reference{slot}\" data-name=\"{}\">", Text(name));
    }

    /// An interval as a whisker.
    pub fn whisker(&mut self, x: f64, low: f64, high: f64) {
        let _ = write!(
            self.body,
            "<path class=\"whisker\" d=\"M{0} {1}h8m-4 0V{2}m-4 0h8\"/>",
            coordinate(self.x.place(x) - 4.0),
            coordinate(self.y.place(low)),
            coordinate(self.y.place(high))
        );
    }

    /// A line up at a value, of the series that is open, with words that show on resting the pointer there.
    pub fn flag(&mut self, x: f64, letter: &str, words: &str) {
        let (bottom, top) = self.y.range();
        let x = coordinate(self.x.place(x));
        let _ = write!(
            self.body,
            "<g class=\"flag\"><title>{}</title><path d=\"M{x} {}V{}\"/><text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text></g>",
            Text(words),
            coordinate(bottom),
            coordinate(top),
            coordinate(top - 2.0),
            Text(letter)
        );
    }

    /// Closes the group.
    pub fn close_series(&mut self) {
        self.body.push_str("</g>");
    }

    /// A line through points, broken between stretches.
    pub fn line(&mut self, stretches: &[Vec<(f64, f64)>]) {
        self.body.push_str("<path class=\"line\" d=\"");
        for stretch in stretches {
            self.points(stretch.iter().copied());
        }
        self.body.push_str("\"/>");
    }

    /// A band between a lower and an upper line: `(x, low, high)`.
    pub fn band(&mut self, points: &[(f64, f64, f64)]) {
        if points.len() < 2 {
            return;
        }
        self.body.push_str("<path class=\"band\" d=\"");
        let there = points.iter().map(|(x, _, high)| (*x, *high));
        let back = points.iter().rev().map(|(x, low, _)| (*x, *low));
        self.points(there.chain(back));
        self.body.push_str("Z\"/>");
    }

    fn points(&mut self, points: impl Iterator<Item = (f64, f64)>) {
        for (index, (x, y)) in points.enumerate() {
            let command = if index == 0 { 'M' } else { 'L' };
            let (x, y) = (coordinate(self.x.place(x)), coordinate(self.y.place(y)));
            let _ = write!(self.body, "{command}{x} {y}");
        }
    }

    /// A marker of the slot's shape, with words that show on resting the pointer there even without script.
    pub fn marker(&mut self, slot: usize, x: f64, y: f64, words: &str) {
        self.marker_of(slot, x, y, words, true);
    }

    /// As [`Plot::marker`], filled or hollow.
    pub fn marker_of(&mut self, slot: usize, x: f64, y: f64, words: &str, is_filled: bool) {
        let _ = write!(
            self.body,
            "<g class=\"marker{}\" transform=\"translate({} {})\"><title>{}</title>{}</g>",
            if is_filled { "" } else { " hollow" },
            coordinate(self.x.place(x)),
            coordinate(self.y.place(y)),
            Text(words),
            marker_shape(slot)
        );
    }

    /// Names beside the ends of lines, moved apart where they would overlap: `(slot, x, y, name)`. They need
    /// [`END_LABEL_GAP`] and their own width to the right.
    pub fn end_labels(&mut self, ends: &[(usize, f64, f64, String)]) {
        const HEIGHT: f64 = 15.0;
        let mut placed: Vec<(usize, f64, f64, &str)> = ends
            .iter()
            .map(|(slot, x, y, name)| (*slot, self.x.place(*x), self.y.place(*y), name.as_str()))
            .collect();
        let width = self.width;
        placed.sort_by(|left, right| left.2.total_cmp(&right.2));
        let (bottom, _) = self.y.range();
        let mut next = f64::NEG_INFINITY;
        let mut rows: Vec<f64> = placed
            .iter()
            .map(|(_, _, y, _)| {
                next = y.max(next + HEIGHT);
                next
            })
            .collect();
        let mut limit = bottom - 2.0;
        for row in rows.iter_mut().rev() {
            *row = row.min(limit);
            limit = *row - HEIGHT;
        }
        for ((slot, x, y, name), row) in placed.into_iter().zip(rows) {
            let _ = write!(
                self.body,
                "<g class=\"series end s{slot}\" data-name=\"{name}\"><path class=\"lead\" d=\"M{} {}L{} {}\"/><text x=\"{}\" y=\"{}\">{}</text></g>",
                coordinate(x + 5.0),
                coordinate(y),
                coordinate(x + 16.0),
                coordinate(row),
                coordinate(x + END_LABEL_GAP),
                coordinate(row + 4.0),
                label::content(name, width - x - END_LABEL_GAP),
                name = Text(name),
            );
        }
    }

    /// The finished SVG of a plot that the script does not read values from: its parts have titles instead.
    pub fn finish_still(self, class: &str, title: &str) -> String {
        format!(
            "<svg class=\"plot still {class}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">{}</svg>",
            self.width,
            self.height,
            Text(title),
            self.body
        )
    }

    /// The finished SVG. The title is what a screen reader says; kind, unit and the scales tell the script how to
    /// read values back.
    pub fn finish(self, class: &str, kind: &str, unit: &str, title: &str) -> String {
        let scale = |scale: &Scale| {
            let ((low, high), (from, to)) = (scale.domain(), scale.range());
            format!("{low} {high} {from} {to} {}", if scale.is_logarithmic() { "log" } else { "lin" })
        };
        format!(
            "<svg class=\"plot {class}\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" data-kind=\"{kind}\" \
             data-unit=\"{unit}\" data-x=\"{}\" data-y=\"{}\">{}</svg>",
            self.width,
            self.height,
            Text(title),
            scale(&self.x),
            scale(&self.y),
            self.body
        )
    }
}

/// The shape of a named point, the first, the second, …: a second cue beside its place.
pub fn point_shape(index: usize) -> &'static str {
    match index {
        0 => "<circle class=\"hollow\" r=\"3.6\"/>",
        1 => "<circle r=\"4\"/>",
        2 => "<path d=\"M0 -5L4.6 0L0 5L-4.6 0Z\"/>",
        _ => "<path class=\"bar-point\" d=\"M0 -6V6\"/>",
    }
}

/// The shape of a slot's marker, around the origin.
pub fn marker_shape(slot: usize) -> &'static str {
    match slot % 5 {
        0 => "<circle r=\"3.6\"/>",
        1 => "<rect x=\"-3.3\" y=\"-3.3\" width=\"6.6\" height=\"6.6\"/>",
        2 => "<path d=\"M0 -4.4L4.2 3H-4.2Z\"/>",
        3 => "<path d=\"M0 -4.8L4.4 0L0 4.8L-4.4 0Z\"/>",
        _ => "<path d=\"M0 4.4L4.2 -3H-4.2Z\"/>",
    }
}

/// A line with its marker, as a legend shows it.
pub fn swatch(slot: usize) -> String {
    format!(
        "<svg class=\"swatch series s{slot}\" viewBox=\"0 0 30 12\" aria-hidden=\"true\"><path class=\"line\" d=\"M1 6H29\"/>\
         <g class=\"marker\" transform=\"translate(15 6)\">{}</g></svg>",
        marker_shape(slot)
    )
}

/// A coordinate to a hundredth of a pixel, without needless zeros.
pub fn coordinate(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
