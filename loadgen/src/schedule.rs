//! When each message is due: planned times as values. Nothing here sleeps or reads a clock.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::clock::{SECOND_NS, duration_ns};

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arrivals {
    /// One every `1 / rate` seconds.
    #[default]
    Constant,
    /// Independent arrivals: exponential gaps, as the sum of many unrelated sources has them.
    Poisson,
}

/// The plan of one slice: offsets from its start, and where its measured part begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    offsets_ns: Vec<u64>,
    first_measured: usize,
    warmup_ns: u64,
    measured_ns: u64,
}

impl Schedule {
    /// Every message that falls into `warmup + measured`, in order.
    pub fn new(
        arrivals: Arrivals,
        messages_per_second: f64,
        warmup: Duration,
        measured: Duration,
        seed: u64,
    ) -> Self {
        let (warmup_ns, measured_ns) = (duration_ns(warmup), duration_ns(measured));
        let end_ns = warmup_ns + measured_ns;
        let offsets_ns: Vec<u64> = match arrivals {
            Arrivals::Constant => {
                let gap_ns = SECOND_NS as f64 / messages_per_second;
                // One more than can fit: rounding must not lose the last one.
                let most = (end_ns as f64 / gap_ns).ceil() as u64 + 1;
                (0..most)
                    .map(|index| (index as f64 * gap_ns).round() as u64)
                    .take_while(|&offset| offset < end_ns)
                    .collect()
            }
            Arrivals::Poisson => poisson(messages_per_second, end_ns, seed),
        };
        let first_measured = offsets_ns.partition_point(|&offset| offset < warmup_ns);
        Self { offsets_ns, first_measured, warmup_ns, measured_ns }
    }

    /// A window without a plan: in a closed loop it is the receipts that tell when the next message is published.
    pub fn closed_loop(warmup: Duration, measured: Duration) -> Self {
        let (warmup_ns, measured_ns) = (duration_ns(warmup), duration_ns(measured));
        Self { offsets_ns: Vec::new(), first_measured: 0, warmup_ns, measured_ns }
    }

    /// Planned offsets of all messages from the start of the slice, ascending.
    pub fn offsets_ns(&self) -> &[u64] {
        &self.offsets_ns
    }

    /// Index of the first message that counts; those before it are warm-up.
    pub fn first_measured(&self) -> usize {
        self.first_measured
    }

    /// Offset at which the measured window begins.
    pub fn window_begins_ns(&self) -> u64 {
        self.warmup_ns
    }

    /// Offset at which the measured window ends.
    pub fn window_ends_ns(&self) -> u64 {
        self.warmup_ns + self.measured_ns
    }
}

fn poisson(messages_per_second: f64, end_ns: u64, seed: u64) -> Vec<u64> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mean_gap_ns = SECOND_NS as f64 / messages_per_second;
    let mut at_ns = 0.0;
    let mut offsets_ns = Vec::new();
    loop {
        // 1 − u lies in (0, 1]: its logarithm is finite.
        at_ns -= (1.0 - random.random::<f64>()).ln() * mean_gap_ns;
        if at_ns >= end_ns as f64 {
            return offsets_ns;
        }
        offsets_ns.push(at_ns as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced_and_excludes_the_warmup_by_index() {
        let schedule = Schedule::new(Arrivals::Constant, 100.0, seconds(2.0), seconds(10.0), 1);
        assert_eq!(schedule.offsets_ns().len(), 1200);
        assert_eq!(schedule.first_measured(), 200);
        assert_eq!(schedule.offsets_ns()[..3], [0, 10_000_000, 20_000_000]);
        assert_eq!(schedule.offsets_ns()[1199], 11_990_000_000);
        assert_eq!((schedule.window_begins_ns(), schedule.window_ends_ns()), (2_000_000_000, 12_000_000_000));
    }

    #[test]
    fn a_gap_that_is_no_whole_number_does_not_drift() {
        let schedule = Schedule::new(Arrivals::Constant, 3.0, Duration::ZERO, seconds(1000.0), 1);
        assert_eq!(schedule.offsets_ns().len(), 3000);
        assert_eq!(schedule.offsets_ns()[2997], 999 * SECOND_NS);
        assert_eq!(schedule.first_measured(), 0);
    }

    #[test]
    fn poisson_keeps_the_rate_and_repeats_by_seed() {
        let plan = |seed| Schedule::new(Arrivals::Poisson, 1000.0, seconds(1.0), seconds(9.0), seed);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let offsets = plan(7).offsets_ns().to_vec();
        // 10,000 expected with a standard deviation of 100.
        assert!((9_500..10_500).contains(&offsets.len()), "{}", offsets.len());
        assert!(offsets.is_sorted());
        let mean_gap = *offsets.last().unwrap() as f64 / offsets.len() as f64;
        let short = offsets.windows(2).filter(|pair| ((pair[1] - pair[0]) as f64) < mean_gap).count() as f64;
        // Exponential gaps lie below their mean with probability 1 − 1/e.
        assert!((0.60..0.66).contains(&(short / offsets.len() as f64)));
    }
}
