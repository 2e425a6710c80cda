//! A histogram prepared for many questions: a curve asks for hundreds of quantiles, and the histogram walks through
//! all its buckets for each.

use hdrhistogram::Histogram;

use super::{RESOLUTION_CONFIDENCE, resolves};

/// The two-sided 95 % point of the normal distribution.
const Z_95: f64 = 1.959_964;

/// The cumulative counts of a histogram of nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Distribution {
    /// For each bucket that holds something: values up to and with it, and its largest value.
    cumulative: Vec<(u64, u64)>,
}

impl Distribution {
    /// Walks the histogram once.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let mut seen = 0;
        let cumulative = histogram
            .iter_recorded()
            .map(|step| {
                seen += step.count_since_last_iteration();
                (seen, histogram.highest_equivalent(step.value_iterated_to()))
            })
            .collect();
        Self { cumulative }
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.cumulative.last().map_or(0, |(seen, _)| *seen)
    }

    /// The smallest value in microseconds that at least this share of all values does not exceed.
    pub fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let rank = ((quantile.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        // Rounding may lift the rank one beyond the count; the largest value is meant.
        self.at_rank_us(rank.min(self.count()))
    }

    /// The value in microseconds that is in this place of all values in ascending order, from 1 on; `None` beyond.
    pub fn at_rank_us(&self, rank: u64) -> Option<f64> {
        let index = self.cumulative.partition_point(|(seen, _)| *seen < rank);
        let (_, value_ns) = self.cumulative.get(index)?;
        Some(*value_ns as f64 / 1_000.0)
    }

    /// A 95 % interval of a quantile in microseconds, from so many independent samples.
    ///
    /// Distribution-free: the share of samples below the true quantile is binomial, its Wilson interval gives two
    /// shares, and the values there bound the quantile. Taking the publish for the sample is cautious, for the
    /// receivers of one publish are not one value many times; that publishes follow each other in time, and that
    /// another run differs, is not in it. `None` where the samples don't reach beyond the upper bound.
    pub fn interval_us(&self, quantile: f64, samples: u64) -> Option<Interval> {
        if !resolves(quantile, samples) {
            return None;
        }
        let (low, high) = wilson(quantile, samples);
        // All samples lie below the upper bound with this probability; then it was not seen.
        if high.powf(samples as f64) > (1.0 - RESOLUTION_CONFIDENCE) {
            return None;
        }
        Some(Interval { low_us: self.quantile_us(low)?, high_us: self.quantile_us(high)? })
    }
}

/// A 95 % interval of a latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its lower bound in microseconds.
    pub low_us: f64,
    /// Its upper bound in microseconds.
    pub high_us: f64,
}

impl Interval {
    /// Whether two intervals share a value; then neither quantity may be called the larger one.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.low_us <= other.high_us && other.low_us <= self.high_us
    }
}

/// The 95 % Wilson score interval of a share seen in so many samples.
fn wilson(share: f64, samples: u64) -> (f64, f64) {
    let n = samples as f64;
    let z2 = Z_95 * Z_95;
    let centre = share + z2 / (2.0 * n);
    let half = Z_95 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::new_latency_histogram;
    use proptest::prelude::*;

    #[test]
    fn wilson_agrees_with_published_values() {
        // 0.9 of 100, worked by hand from Wilson (1927): 0.8256 to 0.9448.
        let (low, high) = wilson(0.9, 100);
        assert!((low - 0.8256).abs() < 1e-4, "{low}");
        assert!((high - 0.9448).abs() < 1e-4, "{high}");
    }

    #[test]
    fn nothing_recorded_has_no_quantiles() {
        let nothing = Distribution::of(&new_latency_histogram());
        assert_eq!(nothing.count(), 0);
        assert_eq!(nothing.quantile_us(0.5), None);
        assert_eq!(nothing.interval_us(0.5, 1_000), None);
    }

    #[test]
    fn intervals_narrow_with_samples_and_end_where_the_samples_do() {
        let mut histogram = new_latency_histogram();
        for value in 1..=10_000_u64 {
            histogram.record(value * 1_000).expect("inside the range");
        }
        let distribution = Distribution::of(&histogram);
        let width = |samples| {
            let interval = distribution.interval_us(0.5, samples).expect("resolved");
            assert!(interval.low_us < 5_000.0 && interval.high_us > 5_000.0);
            interval.high_us - interval.low_us
        };
        assert!(width(100) > 2.0 * width(1_000));
        // p99 is resolved from 299 publishes on, its upper bound needs more of them.
        assert!(distribution.interval_us(0.99, 299).is_none());
        assert!(distribution.interval_us(0.99, 1_000).is_some());
        assert!(distribution.interval_us(0.999, 1_000).is_none());
    }

    proptest! {
        #[test]
        fn quantiles_are_those_of_the_histogram(
            values in prop::collection::vec((1..1_000_000_000_u64, 1_u64..100), 1..100),
            // At 0 the histogram answers with the lower end of its bucket, everywhere else with the upper.
            quantile in 1e-6..=1.0_f64,
        ) {
            let mut histogram = new_latency_histogram();
            for (value, count) in values {
                histogram.record_n(value, count).expect("inside the range");
            }
            let distribution = Distribution::of(&histogram);
            prop_assert_eq!(distribution.count(), histogram.len());
            for quantile in [quantile, 0.5, 0.9, 0.99, 0.999, 1.0] {
                let expected = histogram.value_at_quantile(quantile) as f64 / 1_000.0;
                prop_assert_eq!(distribution.quantile_us(quantile), Some(expected), "at {}", quantile);
            }
        }
    }
}
