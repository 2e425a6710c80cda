//! What a run does, as data: the cases, and the slices in which they are measured.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::channels::{Channel, Turns};
use crate::cores::Cores;
use crate::schedule::Arrivals;
use crate::variant::Variant;

/// The load every subscriber and message of a case is part of.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Subscribers.
    pub connections: usize,
    /// Messages a second.
    pub messages_per_second: f64,
    /// Closed loop: messages kept published that have not yet reached every subscriber, at whatever rate that
    /// makes. `None` for the open loop.
    pub in_flight: Option<u32>,
    /// How they are spaced.
    pub arrivals: Arrivals,
    /// Bytes of a message.
    pub payload_bytes: usize,
    /// What subscribers are spread over and the publisher goes round, at least one.
    pub channels: Arc<[Channel]>,
}

impl Load {
    /// Who is on which channel, over all workers.
    pub fn turns(&self) -> Turns {
        Turns::new(self.channels.len())
    }

    /// What is subscribed to, in words for people and results.
    pub fn topic(&self) -> String {
        match &self.channels[..] {
            [channel] => channel.topic.to_string(),
            channels => format!("{} games", channels.len()),
        }
    }
}

/// One protocol under one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The protocol.
    pub variant: Variant,
    /// The load.
    pub load: Load,
}

/// A part of a case's measurement: a fresh stack, a warm-up, a measured window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Index of its case.
    pub case: usize,
    /// What is published before anything counts.
    pub warmup: Duration,
    /// Length of the measured window.
    pub measured: Duration,
}

/// A whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Seed of everything drawn at random.
    pub seed: u64,
    /// What is measured, in the order shown.
    pub cases: Vec<Case>,
    /// How, in the order measured.
    pub slices: Vec<Slice>,
    /// Worker threads that drive subscribers.
    pub threads: usize,
    /// Connections in the middle of being opened, at most, over all workers.
    pub connecting: usize,
    /// How server and subscribers share the cores.
    pub cores: Cores,
    /// How closely it looks.
    pub instruments: Instruments,
}

/// How closely a run looks, beyond what every run does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instruments {
    /// Whose receipts.
    pub timestamps: Timestamps,
    /// Where the time of a message goes, leg by leg.
    pub stages: bool,
}

/// Whose receipts are noted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// Those of the client.
    #[default]
    User,
    /// Those of the client's kernel beside them.
    Kernel,
}

/// How a case is measured, before it is divided into slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What is published before anything counts, in each slice.
    pub warmup: Duration,
    /// What is measured in all.
    pub measured: Duration,
}

/// Slices of a case, unless told otherwise, and the shortest that is worth a fresh server.
const MOST_SLICES: u32 = 5;
const SHORTEST_SLICE: Duration = Duration::from_secs(2);

impl Share {
    /// The lengths of its slices, `count` of them or as many as are sensible. Each is of whole seconds where that is
    /// possible: a second that is cut would make a point of its own in every timeline.
    fn lengths(self, count: Option<u16>) -> Vec<Duration> {
        let sensible = self.measured.as_secs() / SHORTEST_SLICE.as_secs();
        let count = count.map_or((sensible as u32).clamp(1, MOST_SLICES), u32::from);
        let seconds = self.measured.as_secs() as u32;
        if seconds < count {
            return vec![self.measured / count; count as usize];
        }
        let rest = self.measured.saturating_sub(Duration::from_secs(seconds.into()));
        let mut lengths: Vec<Duration> = (0..count)
            .map(|place| Duration::from_secs((seconds / count + u32::from(place < seconds % count)).into()))
            .collect();
        if let Some(last) = lengths.last_mut() {
            *last += rest;
        }
        lengths
    }
}

/// The slices of all cases in the order they are measured: in rounds, each a random order of the cases that have a
/// slice left. So what drifts while a run lasts falls on all alike, and none is always the first or always behind the
/// same other.
pub fn interleave(shares: &[Share], count: Option<u16>, seed: u64) -> Vec<Slice> {
    let mut random = StdRng::seed_from_u64(seed ^ ORDER);
    let lengths: Vec<Vec<Duration>> = shares.iter().map(|share| share.lengths(count)).collect();
    let rounds = lengths.iter().map(Vec::len).max().unwrap_or(0);
    let mut slices = Vec::new();
    for round in 0..rounds {
        let of_case = |(case, share): (usize, &Share)| {
            lengths[case].get(round).map(|&measured| Slice { case, warmup: share.warmup, measured })
        };
        let mut these: Vec<Slice> = shares.iter().enumerate().filter_map(of_case).collect();
        these.shuffle(&mut random);
        slices.extend(these);
    }
    slices
}

/// Keeps the order from being drawn with the same numbers as what else the seed makes.
const ORDER: u64 = 0x6f72_6465_7220_6f66;

impl Plan {
    /// How long publishing takes in all.
    pub fn length(&self) -> Duration {
        self.slices.iter().map(|slice| slice.warmup + slice.measured).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn share(measured: Duration) -> Share {
        Share { warmup: SECOND, measured }
    }

    #[test]
    fn a_case_is_divided_into_whole_seconds() {
        for (measured, count, lengths) in [
            (10 * SECOND, None, vec![2; 5]),
            (60 * SECOND, None, vec![12; 5]),
            (7 * SECOND, None, vec![3, 2, 2]),
            (3 * SECOND, None, vec![3]),
            (10 * SECOND, Some(4), vec![3, 3, 2, 2]),
        ] {
            let lengths: Vec<Duration> = lengths.into_iter().map(Duration::from_secs).collect();
            assert_eq!(share(measured).lengths(count), lengths, "{measured:?} {count:?}");
        }
        let milliseconds = Duration::from_millis;
        assert_eq!(share(milliseconds(300)).lengths(None), [milliseconds(300)]);
        assert_eq!(share(milliseconds(300)).lengths(Some(3)), [milliseconds(100); 3]);
        assert_eq!(share(milliseconds(2500)).lengths(Some(2)), [milliseconds(1000), milliseconds(1500)]);
    }

    #[test]
    fn every_round_has_every_case_once_in_an_order_of_its_own() {
        let shares = [10, 10, 10, 10, 4].map(|seconds| share(seconds * SECOND));
        let slices = interleave(&shares, None, 7);
        assert_eq!(slices, interleave(&shares, None, 7));
        let order = |slices: &[Slice]| slices.iter().map(|slice| slice.case).collect::<Vec<_>>();
        let rounds =
            [&slices[..5], &slices[5..10], &slices[10..14], &slices[14..18], &slices[18..]].map(order);
        for (round, cases) in rounds.iter().zip([5, 5, 4, 4, 4]) {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..cases).collect::<Vec<_>>());
        }
        let other = interleave(&shares, None, 8);
        assert_ne!(order(&slices), order(&other));
        for (case, share) in shares.iter().enumerate() {
            let of_case = slices.iter().filter(|slice| slice.case == case);
            assert_eq!(of_case.map(|slice| slice.measured).sum::<Duration>(), share.measured);
        }
    }
}
