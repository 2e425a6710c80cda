//! A table as data: what stands in it and what each cell means, without a word on how it is drawn.

use crate::figures::ABSENT;

/// A table with the protocols side by side, or any other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// What the table shows, in one line.
    pub caption: String,
    /// The columns from left to right; the first names the row.
    pub columns: Vec<Column>,
    /// The rows from top to bottom, each with a cell for every column.
    pub rows: Vec<Row>,
}

/// One column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// Columns of one group stand together under its name; empty for none.
    pub group: String,
    /// Its name, a word or two.
    pub name: String,
    /// The unit of its figures; empty for none.
    pub unit: String,
    /// What its figures are, in one line.
    pub meaning: String,
    /// Figures stand to the right, words to the left.
    pub numeric: bool,
}

/// One row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// The style slot of the protocol the row is about, see [`super::style`].
    pub slot: Option<usize>,
    /// A cell for every column.
    pub cells: Vec<Cell>,
}

/// One cell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    /// What stands in it.
    pub text: String,
    /// What the reader should make of it.
    pub tone: Tone,
    /// Why it says what it says, where that needs a word ("too few publishes").
    pub remark: Option<String>,
    /// The figure's share of the column's largest, for a bar beside it.
    pub bar: Option<f64>,
}

/// What the reader should make of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tone {
    /// A figure or a word.
    #[default]
    Plain,
    /// A figure that is nothing to worry about and nothing to read: a zero among counts of faults.
    Quiet,
    /// No figure: it was not measured or is not resolved.
    Absent,
    /// A fault.
    Bad,
    /// The best of those it may be compared with, by more than the intervals.
    Best,
}

impl Column {
    /// A column of words.
    pub fn words(name: &str, meaning: &str) -> Self {
        Self { name: name.to_owned(), meaning: meaning.to_owned(), ..Self::default() }
    }

    /// A column of figures in a unit.
    pub fn figures(group: &str, name: &str, unit: &str, meaning: &str) -> Self {
        Self {
            group: group.to_owned(),
            name: name.to_owned(),
            unit: unit.to_owned(),
            meaning: meaning.to_owned(),
            numeric: true,
        }
    }
}

impl Cell {
    /// A figure or a word.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A figure that could not be had, and why.
    pub fn absent(why: impl Into<String>) -> Self {
        Self { text: ABSENT.to_owned(), tone: Tone::Absent, remark: Some(why.into()), bar: None }
    }

    /// A count of faults: a zero is quiet, anything else stands out.
    pub fn faults(count: u64, text: String) -> Self {
        Self { text, tone: if count == 0 { Tone::Quiet } else { Tone::Bad }, ..Self::default() }
    }
}

impl Table {
    /// Whether any column belongs to a group.
    pub fn has_groups(&self) -> bool {
        self.columns.iter().any(|column| !column.group.is_empty())
    }

    /// Whether every row has a cell for every column; renderers rely on it.
    pub fn is_rectangular(&self) -> bool {
        self.rows.iter().all(|row| row.cells.len() == self.columns.len())
    }
}
