//! A few named points on one scale, a row for each case: fan-out, connecting, the slices.

use crate::schema::{CaseResult, FanOutSpread, LatencySummary, SliceSummary};

use super::style;
use super::sweep::Quantity;

/// Rows of points on a shared scale.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges {
    /// What it shows.
    pub title: String,
    /// What its values are.
    pub quantity: Quantity,
    /// The names of the points, in their order; empty where they are many of one kind.
    pub points: Vec<&'static str>,
    /// A row for each case.
    pub rows: Vec<RangeRow>,
}

/// The points of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeRow {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// The value of each point, `None` where it is not resolved.
    pub values: Vec<Option<f64>>,
    /// The figure of the whole case, where the points are parts of it.
    pub whole: Option<f64>,
}

/// One figure of a latency.
type Pick = fn(&LatencySummary) -> Option<f64>;

/// How a message spreads over its subscribers: in the median message, and in the 99th of a hundred.
pub fn spread(cases: &[&CaseResult]) -> Vec<Ranges> {
    let picks: [(&str, Pick); 2] =
        [("In the median message", |latency| latency.p50), ("At p99 of the messages", |latency| latency.p99)];
    let of_pick = |(title, pick): (&str, Pick)| {
        let values = |spread: &FanOutSpread| {
            [spread.first_us, spread.median_us, spread.ninety_nine_us, spread.last_us]
                .map(|latency| pick(&latency))
                .to_vec()
        };
        let row = |case: &&CaseResult| Some(row(case, case.spread.as_ref().map(values)?, None));
        ranges(
            title,
            Quantity::Latency,
            vec!["first subscriber", "half", "99 %", "last"],
            cases.iter().filter_map(row).collect(),
        )
    };
    picks.into_iter().filter_map(of_pick).collect()
}

/// How long connecting takes, each subscriber for itself and all of them together.
pub fn connecting(cases: &[&CaseResult]) -> Vec<Ranges> {
    let values = |latency: LatencySummary| vec![latency.p50, latency.p90, latency.p99, latency.max];
    let each = cases.iter().filter_map(|case| Some(row(case, case.connect_us.map(values)?, None)));
    let all = cases.iter().filter_map(|case| Some(row(case, Vec::new(), Some(case.attaching_s? * 1e6))));
    let points = vec!["p50", "p90", "p99", "max"];
    [
        ranges("From starting to connect until attached", Quantity::Latency, points, each.collect()),
        ranges(
            "From the first connection until all were attached",
            Quantity::Latency,
            Vec::new(),
            all.collect(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How much the slices of each case differ: the noise between repetitions.
pub fn slices(cases: &[&CaseResult]) -> Vec<Ranges> {
    type Figure = (&'static str, Quantity, fn(&SliceSummary) -> Option<f64>, fn(&CaseResult) -> Option<f64>);
    let figures: [Figure; 3] = [
        ("p50 of each slice", Quantity::Latency, |slice| slice.latency_us.p50, |case| case.latency_us.p50),
        ("p99 of each slice", Quantity::Latency, |slice| slice.latency_us.p99, |case| case.latency_us.p99),
        (
            "Server CPU per delivery of each slice",
            Quantity::Cost,
            |slice| slice.server_cpu_us_per_delivery,
            |case| case.server.cpu_us_per_delivery,
        ),
    ];
    let of_figure = |(title, quantity, of_slice, of_case): Figure| {
        let sliced = cases.iter().filter(|case| case.slices.len() > 1);
        let rows =
            sliced.map(|case| row(case, case.slices.iter().map(of_slice).collect(), of_case(case))).collect();
        ranges(title, quantity, Vec::new(), rows)
    };
    figures.into_iter().filter_map(of_figure).collect()
}

fn row(case: &CaseResult, values: Vec<Option<f64>>, whole: Option<f64>) -> RangeRow {
    let usable = |value: f64| value.is_finite() && value > 0.0;
    RangeRow {
        name: case.protocol.clone(),
        slot: style::slot(&case.protocol),
        values: values.into_iter().map(|value| value.filter(|value| usable(*value))).collect(),
        whole: whole.filter(|value| usable(*value)),
    }
}

/// `None` where no row has any value.
fn ranges(title: &str, quantity: Quantity, points: Vec<&'static str>, rows: Vec<RangeRow>) -> Option<Ranges> {
    let has_any = rows.iter().any(|row| row.whole.is_some() || row.values.iter().any(Option::is_some));
    has_any.then(|| Ranges { title: title.to_owned(), quantity, points, rows })
}
