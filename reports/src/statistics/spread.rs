//! How a message spreads over its subscribers: when the first of them has it, half, 99 %, and all.

use hdrhistogram::Histogram;

use super::compact::{UNRECEIVED, latency_ns};
use super::{Distribution, resolves};
use crate::histogram::new_latency_histogram;
use crate::schema::{FanOutSpread, LatencySummary};

/// The spread of many messages; those of several slices add up.
///
/// Ranks count all subscribers a message was meant for. One that lost a delivery is never complete, and stands behind
/// every one that is: a protocol that drops does not look fast for it.
#[derive(Debug, Clone)]
pub struct Spread {
    ranks: [Reached; 4],
    messages: u64,
}

/// Times until a rank was reached, and how many messages never reached it.
#[derive(Debug, Clone)]
struct Reached {
    latency: Histogram<u64>,
    never: u64,
}

impl Default for Spread {
    fn default() -> Self {
        let reached = || Reached { latency: new_latency_histogram(), never: 0 };
        Self { ranks: [reached(), reached(), reached(), reached()], messages: 0 }
    }
}

impl Spread {
    /// Adds a message: the codes of its latencies, [`UNRECEIVED`] for subscribers that lost it. Their order changes.
    pub fn add_message(&mut self, codes: &mut [u16]) {
        if codes.is_empty() {
            return;
        }
        self.messages += 1;
        let subscribers = codes.len();
        let ranks = [1, subscribers.div_ceil(2), (subscribers * 99).div_ceil(100), subscribers];
        for (reached, rank) in self.ranks.iter_mut().zip(ranks) {
            // What was not received has the highest code of all.
            let (_, code, _) = codes.select_nth_unstable(rank - 1);
            if *code == UNRECEIVED || reached.latency.record(latency_ns(*code)).is_err() {
                reached.never += 1;
            }
        }
    }

    /// Messages added.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Adds the messages of another slice.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.ranks.iter_mut().zip(&other.ranks) {
            mine.latency.add(&theirs.latency).expect("every latency histogram has the same fixed layout");
            mine.never += theirs.never;
        }
        self.messages += other.messages;
    }

    /// The figures of it; `None` where no message was added.
    pub fn summary(&self) -> Option<FanOutSpread> {
        let [first, median, ninety_nine, last] = &self.ranks;
        (self.messages > 0).then(|| FanOutSpread {
            first_us: first.summary(),
            median_us: median.summary(),
            ninety_nine_us: ninety_nine.summary(),
            last_us: last.summary(),
            incomplete: Some(last.never),
            messages: Some(self.messages),
        })
    }
}

impl Reached {
    /// Quantiles over all messages; one that falls among those that never got there has no value.
    fn summary(&self) -> LatencySummary {
        let messages = self.latency.len() + self.never;
        let distribution = Distribution::of(&self.latency);
        let quantile = |quantile: f64| {
            let rank = ((quantile * messages as f64).ceil() as u64).max(1);
            resolves(quantile, messages).then(|| distribution.at_rank_us(rank)).flatten()
        };
        let all = self.never == 0 && messages > 0;
        LatencySummary {
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p99_9: quantile(0.999),
            max: all.then(|| self.latency.max() as f64 / 1_000.0),
            mean: all.then(|| self.latency.mean() / 1_000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::compact::code_of;

    fn near(value: Option<f64>, expected_us: f64) -> bool {
        value.is_some_and(|value| (value - expected_us).abs() <= expected_us * 0.001)
    }

    #[test]
    fn ranks_are_those_of_the_subscribers() {
        let mut spread = Spread::default();
        for message in 0..10_u64 {
            // 200 subscribers, 1 µs apart, in any order.
            let mut codes: Vec<u16> =
                (0..200_u64).map(|place| code_of(1_000 * (100 + message + place * 7 % 200))).collect();
            spread.add_message(&mut codes);
        }
        let summary = spread.summary().expect("there are messages");
        assert!(near(summary.first_us.p50, 104.0), "{summary:?}");
        assert!(near(summary.median_us.p50, 203.0), "{summary:?}");
        assert!(near(summary.ninety_nine_us.p50, 301.0), "{summary:?}");
        assert!(near(summary.last_us.p50, 303.0) && near(summary.last_us.max, 308.0), "{summary:?}");
        // Ten messages resolve a median and nothing beyond, however many subscribers there are.
        assert_eq!((summary.last_us.p90, summary.last_us.p99), (None, None));
        assert_eq!((summary.messages, summary.incomplete), (Some(10), Some(0)));
    }

    #[test]
    fn a_message_that_was_lost_to_one_is_never_complete() {
        let mut spread = Spread::default();
        for message in 0..400 {
            let mut codes = vec![code_of(50_000); 10];
            if message % 20 == 0 {
                codes[message / 20 % 10] = UNRECEIVED;
            }
            spread.add_message(&mut codes);
        }
        let summary = spread.summary().expect("there are messages");
        assert!(near(summary.median_us.p99, 50.0) && near(summary.median_us.max, 50.0), "{summary:?}");
        assert!(near(summary.last_us.p90, 50.0), "{summary:?}");
        // 5 % of the messages never come to their end, so p99 lies among them.
        assert_eq!((summary.last_us.p99, summary.last_us.max, summary.last_us.mean), (None, None, None));
        assert_eq!(summary.incomplete, Some(20));
    }

    #[test]
    fn slices_add_up_and_nothing_is_nothing() {
        let mut one = Spread::default();
        assert_eq!(one.summary(), None);
        one.add_message(&mut [code_of(5_000)]);
        let mut sum = one.clone();
        sum.merge(&one);
        assert_eq!(sum.messages(), 2);
        assert!(near(sum.summary().expect("there are messages").last_us.max, 5.0));
    }
}
