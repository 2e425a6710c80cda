//! Quantiles and how far a run resolves them. Knows nothing of protocols.

pub mod bootstrap;
mod change_points;
pub mod compact;
mod distribution;
mod multiple;
mod ratio;
mod signed_rank;
pub mod spread;
mod student;
mod trend;

use hdrhistogram::Histogram;

pub use change_points::{ChangePoint, Sensitivity, change_points};
pub use distribution::{Distribution, Interval};
pub use multiple::{Look, Looks, holm};
pub use ratio::{RatioInterval, mean_interval, paired_ratio};
pub use signed_rank::{Shift, shift, signed_rank_p, smallest_p};
pub use student::{t_test_p, two_sided_p};
pub use trend::{halves, mann_kendall_p, median};

use crate::schema::LatencySummary;

/// How sure a run must be that its samples reach beyond a quantile before the quantile is told.
const RESOLUTION_CONFIDENCE: f64 = 0.95;

/// The fewest independent samples that resolve a quantile.
///
/// All of `n` samples lie below the quantile `q` with probability qⁿ; then the run has not seen the tail it would
/// speak of. The rule asks for `1 − qⁿ ≥ 95 %`, that is `n ≥ ln 0.05 / ln q`: 5 for the median, 299 for p99,
/// 2,995 for p99.9. A quantile of 1 is never resolved, one of 0 always.
pub fn samples_to_resolve(quantile: f64) -> u64 {
    if quantile >= 1.0 {
        return u64::MAX;
    }
    if quantile <= 0.0 {
        return 0;
    }
    ((1.0 - RESOLUTION_CONFIDENCE).ln() / quantile.ln()).ceil() as u64
}

/// Whether this many independent samples resolve the quantile.
pub fn resolves(quantile: f64, samples: u64) -> bool {
    samples >= samples_to_resolve(quantile)
}

/// The highest quantile that this many independent samples resolve: where a curve ends.
pub fn highest_resolved(samples: u64) -> f64 {
    match samples {
        0 => 0.0,
        _ => (1.0 - RESOLUTION_CONFIDENCE).powf(1.0 / samples as f64),
    }
}

/// The value at a quantile in microseconds, `None` where the samples don't resolve it or nothing was recorded.
pub fn quantile_us(histogram: &Histogram<u64>, quantile: f64, samples: u64) -> Option<f64> {
    (!histogram.is_empty() && resolves(quantile, samples)).then(|| us(histogram.value_at_quantile(quantile)))
}

impl LatencySummary {
    /// The quantiles of a histogram of nanoseconds.
    ///
    /// `samples` is the number of *independent* samples, which is not the number of values: all receivers of one
    /// publish share its stall, so for latencies it is the publishes (for connect times, the connections). What
    /// they don't resolve is `None`; largest value and mean are there as soon as anything was recorded.
    pub fn from_histogram(histogram: &Histogram<u64>, samples: u64) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            p50: quantile_us(histogram, 0.5, samples),
            p90: quantile_us(histogram, 0.9, samples),
            p99: quantile_us(histogram, 0.99, samples),
            p99_9: quantile_us(histogram, 0.999, samples),
            max: Some(us(histogram.max())),
            mean: Some(histogram.mean() / 1_000.0),
        }
    }
}

/// Nanoseconds as microseconds.
fn us(ns: u64) -> f64 {
    ns as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::new_latency_histogram;

    fn uniform(values: u64) -> Histogram<u64> {
        let mut histogram = new_latency_histogram();
        for value in 1..=values {
            histogram.record(value * 1_000).expect("inside the range");
        }
        histogram
    }

    #[test]
    fn the_rule_gives_the_documented_sample_counts() {
        assert_eq!(samples_to_resolve(0.5), 5);
        assert_eq!(samples_to_resolve(0.9), 29);
        assert_eq!(samples_to_resolve(0.99), 299);
        assert_eq!(samples_to_resolve(0.999), 2_995);
        assert_eq!(samples_to_resolve(0.9999), 29_956);
        assert_eq!(samples_to_resolve(0.0), 0);
        assert_eq!(samples_to_resolve(1.0), u64::MAX);
    }

    #[test]
    fn the_rule_is_the_smallest_count_that_keeps_its_promise() {
        for quantile in [0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999] {
            let n = samples_to_resolve(quantile) as i32;
            assert!(1.0 - f64::powi(quantile, n) >= RESOLUTION_CONFIDENCE, "{quantile}");
            assert!(1.0 - f64::powi(quantile, n - 1) < RESOLUTION_CONFIDENCE, "{quantile}");
        }
    }

    #[test]
    fn the_highest_resolved_quantile_is_where_the_rule_turns() {
        for samples in [1, 5, 29, 299, 1_000, 2_995, 1_000_000] {
            let highest = highest_resolved(samples);
            assert!(resolves(highest - 1e-9, samples), "{samples}");
            assert!(!resolves(highest + 1e-7, samples), "{samples}");
        }
        assert!(highest_resolved(0) <= 0.0);
    }

    #[test]
    fn publishes_decide_what_is_told_not_values() {
        let histogram = uniform(10_000);
        let quantiles = |samples| {
            let summary = LatencySummary::from_histogram(&histogram, samples);
            [summary.p50, summary.p90, summary.p99, summary.p99_9].map(|value| value.is_some())
        };
        assert_eq!(quantiles(4), [false, false, false, false]);
        assert_eq!(quantiles(5), [true, false, false, false]);
        assert_eq!(quantiles(29), [true, true, false, false]);
        assert_eq!(quantiles(298), [true, true, false, false]);
        assert_eq!(quantiles(299), [true, true, true, false]);
        assert_eq!(quantiles(2_994), [true, true, true, false]);
        assert_eq!(quantiles(2_995), [true, true, true, true]);
    }

    #[test]
    fn quantiles_are_microseconds_within_three_digits() {
        let summary = LatencySummary::from_histogram(&uniform(10_000), 10_000);
        let near = |value: Option<f64>, expected: f64| {
            let value = value.expect("resolved");
            assert!((value - expected).abs() <= expected * 0.002, "{value} for {expected}");
        };
        near(summary.p50, 5_000.0);
        near(summary.p90, 9_000.0);
        near(summary.p99, 9_900.0);
        near(summary.p99_9, 9_990.0);
        near(summary.max, 10_000.0);
        near(summary.mean, 5_000.5);
    }

    #[test]
    fn largest_and_mean_need_one_value_and_nothing_needs_no_answer() {
        let one = LatencySummary::from_histogram(&uniform(1), 0);
        assert_eq!(one.p50, None);
        assert!(one.max.is_some() && one.mean.is_some());
        assert_eq!(
            LatencySummary::from_histogram(&new_latency_histogram(), 1_000_000),
            LatencySummary::default()
        );
    }
}
