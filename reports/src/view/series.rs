//! The lines of the plots: what is drawn, still without a size or a colour.

use crate::histogram;
use crate::schema::{CaseResult, TimelinePoint};
use crate::statistics::{Distribution, highest_resolved, resolves};

use super::style;

/// Steps of a curve; two a pixel would be seen by nobody.
const CURVE_STEPS: u32 = 160;

/// A percentile curve: latency over the share of deliveries that is faster.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// The points from left to right. They end at the highest quantile that the publishes resolve.
    pub points: Vec<CurvePoint>,
    /// The points with a name, as far as they are resolved.
    pub marks: Vec<(Mark, CurvePoint)>,
}

/// A quantile with a name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    /// `p99.9`.
    pub name: &'static str,
    /// 0.999.
    pub quantile: f64,
    /// Whether it has a tick and a marker of its own, besides its place in the table behind the plot.
    pub is_tick: bool,
}

/// The quantiles with names, from low to high.
pub const MARKS: [Mark; 10] = [
    Mark { name: "p50", quantile: 0.5, is_tick: true },
    Mark { name: "p75", quantile: 0.75, is_tick: false },
    Mark { name: "p90", quantile: 0.9, is_tick: true },
    Mark { name: "p95", quantile: 0.95, is_tick: false },
    Mark { name: "p99", quantile: 0.99, is_tick: true },
    Mark { name: "p99.5", quantile: 0.995, is_tick: false },
    Mark { name: "p99.9", quantile: 0.999, is_tick: true },
    Mark { name: "p99.95", quantile: 0.999_5, is_tick: false },
    Mark { name: "p99.99", quantile: 0.999_9, is_tick: true },
    Mark { name: "p99.999", quantile: 0.999_99, is_tick: true },
];

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Nines: 0 is the minimum, 1 is p90, 2 is p99, 3 is p99.9.
    pub nines: f64,
    /// Latency in microseconds.
    pub latency_us: f64,
    /// The 95 % interval around it, where it has one.
    pub interval_us: Option<(f64, f64)>,
}

/// How far the latencies of a case reach, in a few points.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The case's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// Name and value of what is resolved, from low to high.
    pub points_us: Vec<(&'static str, f64)>,
}

/// The span of a case under a name; `None` where nothing was recorded.
pub fn span(name: String, case: &CaseResult) -> Option<Span> {
    let latency = &case.latency_us;
    let points_us: Vec<(&str, f64)> = [
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99.9", latency.p99_9),
        ("max", latency.max),
    ]
    .into_iter()
    .filter_map(|(name, value)| {
        Some((name, value.filter(|value_us| value_us.is_finite() && *value_us > 0.0)?))
    })
    .collect();
    (!points_us.is_empty()).then(|| Span { name, slot: style::slot(&case.protocol), points_us })
}

/// Something over the seconds of the measured window.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSeries {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// Second and value; a second without a value is missing, and the line is broken there.
    pub points: Vec<(u32, f64)>,
}

/// How many nines a quantile has: `-log10(1 - q)`.
pub fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The quantile with this many nines.
pub fn quantile_of_nines(nines: f64) -> f64 {
    1.0 - 10_f64.powf(-nines)
}

/// The distribution of a case's latencies; empty where the result has no readable histogram.
pub fn distribution(case: &CaseResult) -> Distribution {
    histogram::decode(&case.histogram).map(|histogram| Distribution::of(&histogram)).unwrap_or_default()
}

/// Independent samples behind a case's latencies: its publishes.
pub fn samples(case: &CaseResult) -> u64 {
    if case.published > 0 {
        return case.published;
    }
    // Results may lack the count; every subscriber then stands for one delivery of each message.
    case.accounting.expected / u64::from(case.connections.max(1))
}

/// The percentile curve of a case, `None` where nothing is resolved.
pub fn curve(case: &CaseResult, distribution: &Distribution) -> Option<Curve> {
    let samples = samples(case);
    let end = nines(highest_resolved(samples));
    let point = |quantile: f64| {
        let interval_us = distribution.interval_us(quantile, samples);
        Some(CurvePoint {
            nines: nines(quantile),
            latency_us: distribution.quantile_us(quantile)?,
            interval_us: interval_us.map(|interval| (interval.low_us, interval.high_us)),
        })
    };
    let points: Vec<CurvePoint> = (0..=CURVE_STEPS)
        .filter_map(|step| point(quantile_of_nines(end * f64::from(step) / f64::from(CURVE_STEPS))))
        .collect();
    let marks = MARKS
        .into_iter()
        .filter(|mark| resolves(mark.quantile, samples))
        .filter_map(|mark| Some((mark, point(mark.quantile)?)))
        .collect();
    let slot = style::slot(&case.protocol);
    (end > 0.0 && !points.is_empty()).then(|| Curve { name: case.protocol.clone(), slot, points, marks })
}

/// One figure of a case's timeline as a series; `None` where no second has it.
pub fn over_time(case: &CaseResult, figure: fn(&TimelinePoint) -> Option<f64>) -> Option<TimeSeries> {
    let points: Vec<(u32, f64)> =
        case.timeline.iter().filter_map(|point| Some((point.second, figure(point)?))).collect();
    let slot = style::slot(&case.protocol);
    (!points.is_empty()).then(|| TimeSeries { name: case.protocol.clone(), slot, points })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_and_quantiles_are_each_others_inverse() {
        for quantile in [0.0, 0.5, 0.9, 0.99, 0.999] {
            assert!((quantile_of_nines(nines(quantile)) - quantile).abs() < 1e-12);
        }
        assert!((nines(0.99) - 2.0).abs() < 1e-9);
    }
}
