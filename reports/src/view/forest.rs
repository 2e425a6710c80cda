//! Ratios with their intervals, a row each: what a comparison rests on.

/// Rows of ratios on one axis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forest {
    /// What is compared: `candidate against base`.
    pub title: String,
    /// What lies to the left of no change, and what to the right: `faster`, `slower`.
    pub sides: (&'static str, &'static str),
    /// A change smaller than this share does not matter; drawn as a band around no change. `None` for no band.
    pub threshold: Option<f64>,
    /// The rows from top to bottom.
    pub rows: Vec<ForestRow>,
}

/// One ratio.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ForestRow {
    /// What it is about, a few words: `ws, p50`.
    pub name: String,
    /// Style slot of its colour and marker.
    pub slot: usize,
    /// The ratio, 1 for no change. Must be above 0.
    pub ratio: f64,
    /// Bounds of its 95 % interval.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// The ratios it was estimated from, one a pair; drawn as quiet dots. May be empty.
    pub dots: Vec<f64>,
    /// A word behind the row: `regression`, `+12 % (+8.1 … +16)`.
    pub remark: String,
}

impl ForestRow {
    /// Whether the interval leaves no room for equality.
    pub fn differs(&self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }

    /// Whether it can be drawn: positive and finite throughout.
    pub fn is_drawable(&self) -> bool {
        [self.ratio, self.low, self.high].iter().all(|value| value.is_finite() && *value > 0.0)
    }
}
