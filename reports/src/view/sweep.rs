//! What happens as the load grows: figures over the one part of the load that differs between cases.

use crate::schema::{CaseResult, RunResult};

use super::style;

/// Fewer loads than this make no line worth drawing.
const FEWEST_LOADS: usize = 3;

/// A result seen along one part of its loads.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// What grows: `subscribers`.
    pub name: &'static str,
    /// One plot for each figure.
    pub panels: Vec<SweepPanel>,
}

/// One figure over the load.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPanel {
    /// What it shows.
    pub title: &'static str,
    /// What its values are.
    pub quantity: Quantity,
    /// A line for each protocol.
    pub lines: Vec<SweepLine>,
}

/// One protocol over the load.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepLine {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// Load and figure, from low to high load; a load without the figure is missing.
    pub points: Vec<(f64, f64)>,
}

/// What a value is, which decides its scale and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Microseconds over orders of magnitude: a logarithmic scale, the same for all such panels.
    Latency,
    /// Microseconds to be added up: a scale from zero.
    Cost,
    /// Bytes.
    Bytes,
    /// Percent.
    Percent,
    /// Deliveries a second.
    PerSecond,
}

/// One part of a case's load.
type Part = fn(&CaseResult) -> f64;

/// One figure of a case.
type Figure = fn(&CaseResult) -> Option<f64>;

const PANELS: [(&str, Quantity, Figure); 6] = [
    ("Latency, p50", Quantity::Latency, |case| case.latency_us.p50),
    ("Latency, p99", Quantity::Latency, |case| case.latency_us.p99),
    ("Deliveries lost", Quantity::Percent, |case| {
        (case.accounting.expected > 0)
            .then(|| case.accounting.lost as f64 / case.accounting.expected as f64 * 100.0)
    }),
    ("Server CPU per delivery", Quantity::Cost, |case| case.server.cpu_us_per_delivery),
    ("Server memory per connection", Quantity::Bytes, |case| {
        case.server.rss_bytes_per_connection.map(|bytes| bytes.max(0.0))
    }),
    ("Deliveries a second", Quantity::PerSecond, |case| Some(case.deliveries_per_s)),
];

impl Sweep {
    /// The sweep in a result, where exactly one part of its loads varies and takes at least three values.
    pub fn of(result: &RunResult) -> Option<Self> {
        let first = result.cases.first()?;
        if result.cases.iter().any(|case| case.topic != first.topic) {
            return None;
        }
        let parts: [(&str, Part); 3] = [
            ("subscribers", |case| f64::from(case.connections)),
            ("planned messages a second", |case| case.rate),
            ("bytes of a round", |case| f64::from(case.payload_bytes)),
        ];
        let mut varying = parts
            .into_iter()
            .filter(|(_, part)| result.cases.iter().any(|case| part(case).total_cmp(&part(first)).is_ne()));
        let (Some((name, part)), None) = (varying.next(), varying.next()) else { return None };
        let mut values: Vec<f64> = result.cases.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        let panels = PANELS
            .into_iter()
            .filter_map(|(title, quantity, figure)| panel(result, title, quantity, part, figure));
        (values.len() >= FEWEST_LOADS && values[0] > 0.0).then(|| Self { name, panels: panels.collect() })
    }
}

/// One panel, `None` where it would show nothing or nothing but zeros.
fn panel(
    result: &RunResult,
    title: &'static str,
    quantity: Quantity,
    part: Part,
    figure: Figure,
) -> Option<SweepPanel> {
    let mut lines: Vec<SweepLine> = Vec::new();
    for case in &result.cases {
        let Some(value) = figure(case) else { continue };
        let point = (part(case), value);
        match lines.iter_mut().find(|line| line.name == case.protocol) {
            Some(line) => line.points.push(point),
            None => lines.push(SweepLine {
                name: case.protocol.clone(),
                slot: style::slot(&case.protocol),
                points: vec![point],
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|left, right| left.0.total_cmp(&right.0));
    }
    let shows_something = lines.iter().flat_map(|line| &line.points).any(|(_, value)| *value > 0.0);
    shows_something.then_some(SweepPanel { title, quantity, lines })
}
