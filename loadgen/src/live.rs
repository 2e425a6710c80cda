//! A slice's figures while it runs, for whoever watches: rough, and so cheap that the watched do not notice.

use std::sync::atomic::{AtomicU32, Ordering};

/// Latencies are told apart by units of so many nanoseconds, a power of two.
const UNIT_BITS: u32 = 8;
/// Counters a doubling of the latency: within 7 % of each other's neighbours.
const PARTS: u64 = 8;
/// Doublings above the linear beginning: up to 2³² units, 18 minutes.
const COUNTERS: usize = (PARTS * 30) as usize;

/// The counter of a latency.
#[inline]
fn counter_of(latency_ns: u64) -> usize {
    let units = (latency_ns >> UNIT_BITS).min(u64::from(u32::MAX));
    if units < PARTS {
        return units as usize;
    }
    let doubling = u64::from(units.ilog2());
    ((doubling - 2) * PARTS + ((units >> (doubling - 3)) & (PARTS - 1))) as usize
}

/// The middle of a counter's latencies in microseconds.
fn middle_us(counter: usize) -> f64 {
    let counter = counter as u64;
    let (low, high) = if counter < PARTS {
        (counter, counter + 1)
    } else {
        let shift = counter / PARTS - 1;
        ((PARTS + counter % PARTS) << shift, (PARTS + counter % PARTS + 1) << shift)
    };
    f64::midpoint(low as f64, high as f64) * f64::from(1 << UNIT_BITS) / 1_000.0
}

/// Latencies so far, counted by one worker and read by whoever watches. Counting is a load, an addition and a store in
/// memory that only the worker writes: no lock, no read-modify-write, and no cache line of others.
#[derive(Debug)]
#[repr(align(64))]
pub struct LiveLatencies {
    counters: [AtomicU32; COUNTERS],
}

impl Default for LiveLatencies {
    fn default() -> Self {
        Self { counters: [const { AtomicU32::new(0) }; COUNTERS] }
    }
}

impl LiveLatencies {
    /// Counts a latency. Only one thread may.
    #[inline]
    pub fn count(&self, latency_ns: u64) {
        let counter = &self.counters[counter_of(latency_ns)];
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// Latencies so far, added up.
#[derive(Debug, Clone)]
pub struct LatencyCounts {
    counts: Vec<u64>,
}

impl Default for LatencyCounts {
    fn default() -> Self {
        Self { counts: vec![0; COUNTERS] }
    }
}

impl LatencyCounts {
    /// Adds what a worker has counted.
    pub fn add(&mut self, latencies: &LiveLatencies) {
        for (sum, counter) in self.counts.iter_mut().zip(&latencies.counters) {
            *sum += u64::from(counter.load(Ordering::Relaxed));
        }
    }

    /// Adds other counts.
    pub fn plus(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }

    /// A quantile in microseconds, within 7 %; `None` for nothing.
    pub fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        let rank = ((quantile * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        let counter = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle_us(counter))
    }
}

/// How a slice does at this moment.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// Receipts so far, warm-up included.
    pub received: u64,
    /// Latencies of the measured window so far; nothing in a closed loop.
    pub latencies: LatencyCounts,
    /// Deliveries that are due and have not come: lost, or still under way.
    pub missing: u64,
    /// Subscribers that were disconnected.
    pub disconnected: u64,
    /// The latest message was sent so late after its planned time, in microseconds.
    pub behind_us: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_holds_its_latencies_and_they_are_close() {
        let mut last = 0;
        for latency_ns in
            (0..70).flat_map(|power| [0.9, 1.0, 1.3, 1.9].map(|of| 1.3_f64.powi(power) * of * 300.0))
        {
            let counter = counter_of(latency_ns as u64);
            assert!(counter < COUNTERS);
            last = last.max(counter);
            let middle = middle_us(counter);
            let us = latency_ns / 1_000.0;
            assert!((middle - us).abs() <= 0.07 * us + 0.13, "{us} is counted as {middle}");
        }
        assert!(last > 200);
        assert!(counter_of(u64::MAX) < COUNTERS);
    }

    #[test]
    fn quantiles_are_those_of_all_workers() {
        let (one, other) = (LiveLatencies::default(), LiveLatencies::default());
        for index in 1..=1_000_u64 {
            if index.is_multiple_of(2) { &one } else { &other }.count(index * 1_000);
        }
        let mut counts = LatencyCounts::default();
        assert_eq!(counts.quantile_us(0.5), None);
        counts.add(&one);
        counts.add(&other);
        for (quantile, expected_us) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = counts.quantile_us(quantile).unwrap();
            assert!((found - expected_us).abs() < 0.07 * expected_us, "{found} for {expected_us}");
        }
    }
}
