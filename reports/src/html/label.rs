//! How wide words are, so that names of any length stay inside their plot.
//!
//! The page takes the reader's own fonts, so nobody knows the widths beforehand. These are those of the widest face that is
//! common (`DejaVu Sans`, bold): in any other the words end a little earlier.

use std::borrow::Cow;
use std::fmt::Write;

use super::escape::Text;

/// Size of a plot's words in pixels.
pub const WORDS_PX: f64 = 12.0;
/// Largest part of a plot's width that names beside its rows may take; longer ones stand above their rows.
const MOST_BESIDE: f64 = 0.42;
/// Space between a name and what it names.
const GAP: f64 = 10.0;
/// Height that a name above its row takes.
const LINE: f64 = 15.0;

/// Width of words in pixels at the size of a plot's words; none is wider.
pub fn width(words: &str) -> f64 {
    words.chars().map(em).sum::<f64>() * WORDS_PX
}

/// Width of a character as a part of its size.
fn em(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | 'I' | '\'' | '.' | ',' | ':' | ';' | '|' | '!' => 0.40,
        ' ' | 'f' | 'r' | 't' | '-' | '(' | ')' | '/' | '[' | ']' => 0.50,
        '+' | '=' | '<' | '>' | '±' | '×' | '−' => 0.84,
        'm' | 'w' | 'M' | 'W' | '@' | '%' | '…' => 1.10,
        'A'..='Z' | '&' => 0.82,
        other if other.is_ascii() => 0.72,
        'à'..='ÿ' | 'α'..='ω' | 'µ' | '–' => 0.72,
        _ => 1.10,
    }
}

/// Words that are no wider than so many pixels: cut at the end where they would be.
pub fn fitted(words: &str, most_px: f64) -> Cow<'_, str> {
    if width(words) <= most_px {
        return Cow::Borrowed(words);
    }
    let mut room = most_px - width("…");
    let kept = words.chars().take_while(|character| {
        room -= em(*character) * WORDS_PX;
        room >= 0.0
    });
    Cow::Owned(kept.chain(['…']).collect())
}

/// Words as the content of an SVG text: cut to a width, and then whole in its title.
pub fn content(words: &str, most_px: f64) -> String {
    let mut svg = String::new();
    match fitted(words, most_px) {
        Cow::Borrowed(words) => {
            let _ = write!(svg, "{}", Text(words));
        }
        Cow::Owned(cut) => {
            let _ = write!(svg, "{}<title>{}</title>", Text(&cut), Text(words));
        }
    }
    svg
}

/// Where the names of a plot's rows stand: beside them as long as that leaves room for the rows, else above.
#[derive(Debug, Clone, Copy)]
pub struct RowNames {
    /// Space to the left of the rows.
    pub left: f64,
    /// Space above each row.
    pub above: f64,
    most_px: f64,
}

impl RowNames {
    /// For rows with these names in a plot of this width.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>, plot_px: f64) -> Self {
        let widest = names.map(width).fold(0.0, f64::max);
        if widest + GAP + 4.0 <= plot_px * MOST_BESIDE {
            return Self { left: (widest + GAP + 4.0).max(50.0), above: 0.0, most_px: widest };
        }
        Self { left: 8.0, above: LINE, most_px: plot_px - 16.0 }
    }

    /// The name of the row whose middle is at `y`.
    pub fn draw(&self, y: f64, row_px: f64, name: &str) -> String {
        let (x, y, anchor) = if self.above > 0.0 {
            (self.left, y - row_px / 2.0 - 3.0, "start")
        } else {
            (self.left - GAP, y + 4.0, "end")
        };
        format!(
            "<text class=\"row\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            content(name, self.most_px)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_and_what_does_not_is_cut_to_fit() {
        assert_eq!(fitted("wt-datagram+msgpack", 200.0), "wt-datagram+msgpack");
        let cut = fitted("wt-datagram+msgpack+batch100+msgpack", 150.0);
        assert!(cut.starts_with("wt-datagram") && cut.ends_with('…') && width(&cut) <= 150.0, "{cut}");
        assert_eq!(content("a<b", 100.0), "a&lt;b");
        assert!(content("wt-datagram+<b>", 60.0).ends_with("…<title>wt-datagram+&lt;b&gt;</title>"));
    }

    #[test]
    fn long_names_stand_above_their_rows() {
        let short = RowNames::of(["ws", "sse"].into_iter(), 470.0);
        assert!(short.above < 1.0 && short.left >= 50.0);
        let long = RowNames::of(["ws", "wt-datagram+msgpack+batch100"].into_iter(), 380.0);
        assert!(long.above > 0.0 && long.left < 20.0);
        assert!(!long.draw(40.0, 18.0, "wt-datagram+msgpack+batch100").contains('…'), "a variant fits");
        assert!(long.draw(40.0, 18.0, &"w".repeat(200)).contains("…<title>"), "an absurd name is cut");
    }
}
