//! What every subscriber of a worker made of every message: one latency of two bytes for each delivery.
//!
//! Histograms forget which message a latency belongs to. How a message spreads over its subscribers, and how sure the
//! quantiles are, hangs on exactly that; so a worker keeps this table beside its histograms. It is allocated and
//! touched before the first connection: a receipt costs one store, next to the one for the subscriber before.
//!
//! **Memory.** Two bytes a delivery of the measured window, at most [`MOST_BYTES`] a slice over all workers: 134
//! million deliveries. The stages of a message need exact times, of eight bytes more each ([`Detail`]). Where a slice has more, only every second message is kept, or every fourth, … as many as fit;
//! spread and intervals then are of those messages, and the result says of how many (`spread.messages`). Histograms and
//! accounting are always of all.

use lastmile_reports::histogram::HIGHEST_LATENCY_NS;
use lastmile_reports::statistics::bootstrap::{Blocks, block_length};
use lastmile_reports::statistics::compact::{UNRECEIVED, code_of};
use lastmile_reports::statistics::spread::Spread;

use crate::channels::Turns;

/// Most memory that the tables of all workers of a slice take.
pub const MOST_BYTES: usize = 256 << 20;

/// What is kept of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The bucket of its latency.
    Codes,
    /// Also when the client had it.
    Client,
    /// Also when the client's kernel had it.
    Kernel,
}

impl Detail {
    fn bytes(self) -> usize {
        match self {
            Self::Codes => size_of::<u16>(),
            Self::Client => size_of::<u16>() + size_of::<u64>(),
            Self::Kernel => size_of::<u16>() + 2 * size_of::<u64>(),
        }
    }
}

/// How many messages the tables of a slice have room for, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first message that counts.
    first: usize,
    /// The number of messages that count.
    measured: usize,
    /// Every 2^`shift`-th message is kept.
    shift: u32,
    detail: Detail,
}

impl Extent {
    /// All messages from number `first` on, of `messages` in all, for so many subscribers over all workers; fewer
    /// where they would need more than `most_bytes`.
    pub fn new(first: usize, messages: usize, subscribers: usize, detail: Detail, most_bytes: usize) -> Self {
        let measured = messages.saturating_sub(first);
        let mut extent = Self { first, measured, shift: 0, detail };
        while extent.rows().saturating_mul(subscribers).saturating_mul(detail.bytes()) > most_bytes
            && extent.rows() > 1
        {
            extent.shift += 1;
        }
        extent
    }

    /// Messages kept.
    pub fn rows(&self) -> usize {
        self.measured.div_ceil(1 << self.shift)
    }

    /// The row of a message; `None` for warm-up and for what is not kept.
    #[inline]
    fn row_of(&self, index: usize) -> Option<usize> {
        let measured = index.checked_sub(self.first)?;
        (measured & ((1 << self.shift) - 1) == 0).then_some(measured >> self.shift)
    }

    /// The rows of the first so many messages of the slice, warm-up included.
    pub fn rows_of(&self, messages: usize) -> usize {
        messages.saturating_sub(self.first).min(self.measured).div_ceil(1 << self.shift)
    }

    /// The message of a row.
    pub fn index_of(&self, row: usize) -> usize {
        self.first + (row << self.shift)
    }
}

/// The table of one worker.
#[derive(Debug, Clone)]
pub struct ReceiptLog {
    extent: Extent,
    turns: Turns,
    subscribers: usize,
    /// Places of a row.
    width: usize,
    /// A row for each message, a place for each subscriber of its channel.
    codes: Box<[u16]>,
    /// The same with exact times, empty where they are not kept; 0 where there is none.
    received_ns: Box<[u64]>,
    kernel_ns: Box<[u64]>,
}

impl ReceiptLog {
    /// An empty table for so many subscribers. Its memory is touched here and not by the receipts.
    pub fn new(extent: Extent, subscribers: usize, turns: Turns) -> Self {
        let width = turns.most_listeners(subscribers);
        let places = extent.rows() * width;
        // Zeroed memory would be touched by the first receipts; written to, it is touched here.
        let times = |wanted: bool| {
            let mut times = vec![u64::MAX; if wanted { places } else { 0 }].into_boxed_slice();
            times.fill(0);
            times
        };
        Self {
            extent,
            turns,
            subscribers,
            width,
            codes: vec![UNRECEIVED; places].into_boxed_slice(),
            received_ns: times(extent.detail != Detail::Codes),
            kernel_ns: times(extent.detail == Detail::Kernel),
        }
    }

    /// Which messages it has room for.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Notes when a subscriber had a message. What is beyond the range of latencies is left to those who count it.
    #[inline]
    pub fn note(
        &mut self,
        index: usize,
        subscriber: usize,
        latency_ns: u64,
        received_ns: u64,
        kernel_ns: Option<u64>,
    ) {
        let Some(row) = self.extent.row_of(index) else { return };
        let place = row * self.width + self.turns.among_listeners(subscriber);
        if latency_ns > HIGHEST_LATENCY_NS || place >= self.codes.len() {
            return;
        }
        self.codes[place] = code_of(latency_ns);
        if let Some(exact_ns) = self.received_ns.get_mut(place) {
            *exact_ns = received_ns;
        }
        if let (Some(exact_ns), Some(kernel_ns)) = (self.kernel_ns.get_mut(place), kernel_ns) {
            *exact_ns = kernel_ns;
        }
    }

    /// Of the message of a row, when each of the subscribers had it that got it, and when its kernel had it. Nothing
    /// where exact times are not kept.
    pub fn exact_receipts(&self, row: usize) -> impl Iterator<Item = (u64, Option<u64>)> {
        let places = row * self.width..(row + 1) * self.width;
        places.filter_map(|place| {
            let received_ns = *self.received_ns.get(place)?;
            let kernel_ns = self.kernel_ns.get(place).copied().filter(|&ns| ns > 0);
            (received_ns > 0).then_some((received_ns, kernel_ns))
        })
    }

    fn row(&self, row: usize) -> &[u16] {
        let channel = self.turns.of_message(self.extent.index_of(row));
        &self.codes[row * self.width..][..self.turns.listeners(channel, self.subscribers)]
    }
}

/// What the tables of a slice say of its messages.
#[derive(Debug, Clone, Default)]
pub struct PerMessage {
    /// How they spread over their subscribers.
    pub spread: Spread,
    /// Their latencies in blocks of consecutive messages.
    pub blocks: Blocks,
}

impl PerMessage {
    /// Sums up the tables of all workers, of which the first `published` messages were sent.
    pub fn of(logs: &[ReceiptLog], published: usize) -> Self {
        let mut sum = Self::default();
        let Some(extent) = logs.first().map(|log| log.extent) else { return sum };
        let rows = extent.rows_of(published);
        let length = block_length(rows);
        let mut message = Vec::new();
        let mut block = Vec::new();
        for row in 0..rows {
            message.clear();
            for log in logs {
                message.extend_from_slice(log.row(row));
            }
            block.extend(message.iter().filter(|&&code| code != UNRECEIVED));
            // With more channels than subscribers some have none.
            if !message.is_empty() {
                sum.spread.add_message(&mut message);
            }
            let held = row % length + 1;
            if held == length || row + 1 == rows {
                sum.blocks.add(&mut block, held);
            }
        }
        sum
    }

    /// Adds those of another slice.
    pub fn merge(&mut self, other: &Self) {
        self.spread.merge(&other.spread);
        self.blocks.merge(&other.blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_kept_where_it_fits_and_every_second_where_not() {
        let extent = Extent::new(10, 110, 1_000, Detail::Codes, MOST_BYTES);
        assert_eq!((extent.rows(), extent.row_of(9), extent.row_of(10)), (100, None, Some(0)));
        let half = Extent::new(10, 110, 1_000, Detail::Codes, 100 * 1_000);
        assert_eq!((half.rows(), half.row_of(11), half.row_of(12)), (50, None, Some(1)));
        assert_eq!((half.rows_of(13), half.index_of(1)), (2, 12));
        // Exact times take more room.
        let exact = Extent::new(10, 110, 1_000, Detail::Kernel, 100 * 1_000 * 18);
        assert_eq!(exact.rows(), 100);
        assert_eq!(Extent::new(10, 110, 1_000, Detail::Kernel, 100 * 1_000 * 17).rows(), 50);
        // Room for nothing: one message is kept all the same.
        assert_eq!(Extent::new(0, 1_000, 1_000, Detail::Codes, 0).rows(), 1);
        assert_eq!(Extent::new(5, 3, 10, Detail::Codes, MOST_BYTES).rows(), 0);
    }

    #[test]
    fn workers_are_joined_message_by_message() {
        let extent = Extent::new(2, 12, 5, Detail::Codes, MOST_BYTES);
        let mut logs = [ReceiptLog::new(extent, 2, Turns::new(1)), ReceiptLog::new(extent, 3, Turns::new(1))];
        for index in 0..12 {
            for subscriber in 0..2 {
                logs[0].note(index, subscriber, 1_000, 0, None);
            }
            for subscriber in 0..3 {
                // The last subscriber of the second worker misses a message, and another one was late beyond range.
                match (index, subscriber) {
                    (5, 2) => {}
                    (6, 2) => logs[1].note(index, subscriber, HIGHEST_LATENCY_NS + 1, 0, None),
                    _ => logs[1].note(index, subscriber, 2_000 + 1_000 * subscriber as u64, 0, None),
                }
            }
        }
        let summary = PerMessage::of(&logs, 12).spread.summary().expect("there are messages");
        assert_eq!((summary.messages, summary.incomplete), (Some(10), Some(2)));
        assert_eq!(summary.first_us.max, Some(1.0));
        assert!(summary.median_us.p50.is_some_and(|us| (us - 2.0).abs() < 0.01), "{summary:?}");
        assert!(summary.last_us.p50.is_some_and(|us| (us - 4.0).abs() < 0.01), "{summary:?}");
        // Only what was published is expected.
        let summary = PerMessage::of(&logs, 5).spread.summary().expect("there are messages");
        assert_eq!((summary.messages, summary.incomplete), (Some(3), Some(0)));
    }

    #[test]
    fn nobody_and_nothing_make_no_figures() {
        assert_eq!(PerMessage::of(&[], 10).spread.summary(), None);
        let log = ReceiptLog::new(Extent::new(5, 10, 1, Detail::Codes, MOST_BYTES), 1, Turns::new(1));
        assert_eq!(PerMessage::of(&[log], 5).spread.summary(), None);
    }
}
