//! The lines of the plots: what is drawn, still without a size or a colour.

use crate::histogram;
use crate::schema::{CaseResult, TimelinePoint};
use crate::statistics::{Distribution, Interval, highest_resolved, resolves};

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
    /// What the machine takes without a protocol: a line to read the others against.
    pub is_floor: bool,
    /// Its intervals are of a bootstrap over the publishes, not of a formula.
    pub is_bootstrap: bool,
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
    /// What the machine takes without a protocol.
    pub is_floor: bool,
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

/// The interval that the run's bootstrap found for a quantile, where it has one of it.
fn bootstrap_us(case: &CaseResult, quantile: f64) -> Option<Interval> {
    let of = case.latency_intervals?;
    let is = |other: f64| (quantile - other).abs() < 1e-9;
    let bounds = match quantile {
        _ if is(0.5) => of.p50,
        _ if is(0.9) => of.p90,
        _ if is(0.99) => of.p99,
        _ if is(0.999) => of.p99_9,
        _ => None,
    };
    let (low_us, high_us) = bounds?;
    (low_us > 0.0 && high_us >= low_us && high_us.is_finite()).then_some(Interval { low_us, high_us })
}

/// The 95 % interval of a quantile: of the run's bootstrap where there is one, else from the number of publishes.
pub fn interval_us(case: &CaseResult, distribution: &Distribution, quantile: f64) -> Option<Interval> {
    bootstrap_us(case, quantile).or_else(|| distribution.interval_us(quantile, samples(case)))
}

/// A bootstrap tells intervals of a few quantiles; between them the ratio of bound to value is carried over, along
/// the nines.
struct Band {
    /// Nines, and the ratios of both bounds to the value there.
    knots: Vec<(f64, f64, f64)>,
}

impl Band {
    fn of(case: &CaseResult, distribution: &Distribution) -> Option<Self> {
        let knot = |quantile: f64| {
            let (interval, value_us) = (bootstrap_us(case, quantile)?, distribution.quantile_us(quantile)?);
            // A value outside its own interval would turn the band inside out.
            let (low, high) = (interval.low_us.min(value_us), interval.high_us.max(value_us));
            (value_us > 0.0).then(|| (nines(quantile), low / value_us, high / value_us))
        };
        let knots: Vec<(f64, f64, f64)> = [0.5, 0.9, 0.99, 0.999].into_iter().filter_map(knot).collect();
        (knots.len() >= 2).then_some(Self { knots })
    }

    fn at(&self, nines: f64, value_us: f64) -> Option<(f64, f64)> {
        let after = self.knots.iter().position(|(at, ..)| *at >= nines - 1e-9)?;
        let ((from, low_a, high_a), (to, low_b, high_b)) =
            (self.knots[after.saturating_sub(1)], self.knots[after]);
        let share = if to > from { ((nines - from) / (to - from)).clamp(0.0, 1.0) } else { 1.0 };
        let between = |a: f64, b: f64| (a.ln() + (b.ln() - a.ln()) * share).exp();
        Some((value_us * between(low_a, low_b), value_us * between(high_a, high_b)))
    }
}

/// The percentile curve of a case, `None` where nothing is resolved.
pub fn curve(case: &CaseResult, distribution: &Distribution) -> Option<Curve> {
    let samples = samples(case);
    let end = nines(highest_resolved(samples));
    let band = Band::of(case, distribution);
    let point = |quantile: f64| {
        let latency_us = distribution.quantile_us(quantile)?;
        let interval_us = match &band {
            Some(band) => band.at(nines(quantile), latency_us),
            None => {
                let interval = distribution.interval_us(quantile, samples);
                interval.map(|interval| (interval.low_us, interval.high_us))
            }
        };
        Some(CurvePoint { nines: nines(quantile), latency_us, interval_us })
    };
    let points: Vec<CurvePoint> = (0..=CURVE_STEPS)
        .filter_map(|step| point(quantile_of_nines(end * f64::from(step) / f64::from(CURVE_STEPS))))
        .collect();
    let marks = MARKS
        .into_iter()
        .filter(|mark| resolves(mark.quantile, samples))
        .filter_map(|mark| Some((mark, point(mark.quantile)?)))
        .collect();
    let (slot, is_floor, is_bootstrap) = (style::slot(&case.protocol), case.floor, band.is_some());
    let name = case.protocol.clone();
    (end > 0.0 && !points.is_empty()).then_some(Curve { name, slot, points, marks, is_floor, is_bootstrap })
}

/// One figure of a case's timeline as a series; `None` where no second has it.
pub fn over_time(case: &CaseResult, figure: fn(&TimelinePoint) -> Option<f64>) -> Option<TimeSeries> {
    let points: Vec<(u32, f64)> =
        case.timeline.iter().filter_map(|point| Some((point.second, figure(point)?))).collect();
    time_series(case, points)
}

/// Points under a case's name; `None` for none.
pub fn time_series(case: &CaseResult, points: Vec<(u32, f64)>) -> Option<TimeSeries> {
    let (name, slot, is_floor) = (case.protocol.clone(), style::slot(&case.protocol), case.floor);
    (!points.is_empty()).then_some(TimeSeries { name, slot, points, is_floor })
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
