//! Frames on their way to a queue.

use std::sync::Arc;

use bytes::Bytes;

use crate::published::{Framing, Moment, Published};

/// Frames shared by all who get them.
#[derive(Debug, Clone)]
pub enum Batch {
    /// Whole frames behind each other.
    Joined(Bytes),
    /// Frames that travel one by one.
    Each(Arc<[Bytes]>),
}

impl Batch {
    /// The frames of `rounds`, in order.
    pub fn new(framing: Framing, moment: Moment, rounds: &[Arc<Published>]) -> Self {
        if !framing.joins() {
            return Self::Each(rounds.iter().map(|round| round.frame(framing, moment).clone()).collect());
        }
        if let [round] = rounds {
            return Self::Joined(round.frame(framing, moment).clone());
        }
        let frames = || rounds.iter().map(|round| round.frame(framing, moment));
        let mut joined = Vec::with_capacity(frames().map(Bytes::len).sum());
        frames().for_each(|frame| joined.extend_from_slice(frame));
        Self::Joined(Bytes::from(joined))
    }

    /// The bytes of all its frames.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Joined(bytes) => bytes.len(),
            Self::Each(frames) => frames.iter().map(Bytes::len).sum(),
        }
    }
}
