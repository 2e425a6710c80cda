//! What a run does, as data: the cases, and the slices in which they are measured.

use std::sync::Arc;
use std::time::Duration;

use crate::channels::{Channel, Turns};
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

impl Plan {
    /// How long publishing takes in all.
    pub fn length(&self) -> Duration {
        self.slices.iter().map(|slice| slice.warmup + slice.measured).sum()
    }
}
