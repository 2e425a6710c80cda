//! When each message of a slice was planned and when it was really sent: written by the publisher, read by
//! every worker that receives, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::SECOND_NS;
use crate::schedule::Schedule;

/// What [`Timetable::times_of`] knows of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageTimes {
    /// When it was due.
    pub planned_ns: u64,
    /// Just before its bytes were written.
    pub sent_ns: u64,
    /// The second of the measured window it was planned in; `None` for warm-up.
    pub second: Option<u32>,
}

/// Planned and sent times, indexed by message.
#[derive(Debug)]
pub struct Timetable {
    schedule: Schedule,
    first_id: u64,
    /// Time the schedule counts from; 0 until publishing begins.
    start_ns: AtomicU64,
    /// 0 for what has not been sent. In a closed loop a ring: the last [`RING`] messages.
    sent_ns: Box<[AtomicU64]>,
    /// Messages sent so far, in a closed loop only.
    sent: Option<AtomicU64>,
}

/// Messages whose times a closed loop remembers: far more than can be under way
/// ([`MOST_IN_FLIGHT`](crate::in_flight::MOST_IN_FLIGHT)), and a power of two.
const RING: usize = 1 << 14;

impl Timetable {
    /// The table of a slice that has not begun.
    pub fn new(schedule: Schedule, first_id: u64) -> Self {
        let sent_ns = schedule.offsets_ns().iter().map(|_| AtomicU64::new(0)).collect();
        Self { schedule, first_id, start_ns: AtomicU64::new(0), sent_ns, sent: None }
    }

    /// The table of a closed loop: nobody knows yet how many messages there will be, and each is planned for when it
    /// is sent.
    pub fn closed_loop(schedule: Schedule, first_id: u64) -> Self {
        let sent_ns = (0..RING).map(|_| AtomicU64::new(0)).collect();
        Self { schedule, first_id, start_ns: AtomicU64::new(0), sent_ns, sent: Some(AtomicU64::new(0)) }
    }

    /// Whether this is the table of a closed loop.
    pub fn is_closed_loop(&self) -> bool {
        self.sent.is_some()
    }

    /// The plan behind it.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Messages planned in all; in a closed loop, those remembered.
    pub fn len(&self) -> usize {
        self.sent_ns.len()
    }

    /// No message is planned.
    pub fn is_empty(&self) -> bool {
        self.sent_ns.is_empty()
    }

    /// Fixes the time the schedule counts from. Before it every receipt is from before this slice.
    pub fn begin(&self, start_ns: u64) {
        self.start_ns.store(start_ns, Ordering::Release);
    }

    /// The time the schedule counts from; `None` before [`Self::begin`].
    pub fn start_ns(&self) -> Option<u64> {
        Some(self.start_ns.load(Ordering::Acquire)).filter(|&start| start != 0)
    }

    /// The same for whoever knows that it has begun.
    pub fn planned_start_ns(&self) -> u64 {
        self.start_ns.load(Ordering::Acquire)
    }

    /// The measured window has begun by `now_ns`.
    pub fn is_measuring(&self, now_ns: u64) -> bool {
        self.start_ns().is_some_and(|start| now_ns >= start + self.schedule.window_begins_ns())
    }

    /// The identifier of a message.
    pub fn id_of(&self, index: usize) -> u64 {
        self.first_id + index as u64
    }

    /// The message with this identifier, if it is one of this slice.
    #[inline]
    pub fn index_of(&self, id: u64) -> Option<usize> {
        let index = id.checked_sub(self.first_id)? as usize;
        let known = match &self.sent {
            None => 0..self.sent_ns.len(),
            Some(sent) => {
                let sent = sent.load(Ordering::Acquire) as usize;
                sent.saturating_sub(RING)..sent
            }
        };
        known.contains(&index).then_some(index)
    }

    /// Notes that a message is being written now. Released, so that whoever receives it sees the time.
    #[inline]
    pub fn note_sent(&self, index: usize, sent_ns: u64) {
        match &self.sent {
            None => self.sent_ns[index].store(sent_ns, Ordering::Release),
            Some(sent) => {
                self.sent_ns[index % RING].store(sent_ns, Ordering::Relaxed);
                sent.store(index as u64 + 1, Ordering::Release);
            }
        }
    }

    /// Whether a message sent at `sent_ns` in a closed loop is measured, and in which second of the window.
    #[inline]
    pub fn second_of(&self, sent_ns: u64) -> Option<u32> {
        let window_ns = self.start_ns.load(Ordering::Relaxed) + self.schedule.window_begins_ns();
        let second = sent_ns.checked_sub(window_ns)? / SECOND_NS;
        Some((second as u32).min(self.seconds().saturating_sub(1) as u32))
    }

    /// Whether what becomes of a message is part of the accounting.
    pub fn is_measured(&self, index: usize) -> bool {
        match self.sent {
            None => index >= self.schedule.first_measured(),
            Some(_) => self.times_of(index).is_some_and(|times| times.second.is_some()),
        }
    }

    /// When a message is due, in the clock's time. Only meaningful after [`Self::begin`].
    #[inline]
    pub fn planned_ns(&self, index: usize) -> u64 {
        self.start_ns.load(Ordering::Relaxed) + self.schedule.offsets_ns()[index]
    }

    /// The times of a message; `None` where it has not been sent.
    #[inline]
    pub fn times_of(&self, index: usize) -> Option<MessageTimes> {
        if self.sent.is_some() {
            // The index is one that [`Self::index_of`] has found to be remembered.
            let sent_ns = self.sent_ns[index % RING].load(Ordering::Relaxed);
            return Some(MessageTimes { planned_ns: sent_ns, sent_ns, second: self.second_of(sent_ns) });
        }
        let sent_ns = self.sent_ns[index].load(Ordering::Acquire);
        if sent_ns == 0 {
            return None;
        }
        let second = (index >= self.schedule.first_measured()).then(|| {
            let offset_ns = self.schedule.offsets_ns()[index] - self.schedule.window_begins_ns();
            (offset_ns / SECOND_NS) as u32
        });
        Some(MessageTimes { planned_ns: self.planned_ns(index), sent_ns, second })
    }

    /// Seconds of the measured window, the last one perhaps not whole.
    pub fn seconds(&self) -> usize {
        let window_ns = self.schedule.window_ends_ns() - self.schedule.window_begins_ns();
        window_ns.div_ceil(SECOND_NS) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schedule::Arrivals;

    #[test]
    fn a_closed_loop_knows_what_was_sent_and_forgets_what_is_long_past() {
        let second = Duration::from_secs(1);
        let table = Timetable::closed_loop(Schedule::closed_loop(second, 2 * second), 500);
        table.begin(1_000);
        assert_eq!((table.seconds(), table.index_of(500)), (2, None));
        for (index, offset_s) in [0, 1, 2, 3].into_iter().enumerate() {
            table.note_sent(index, 1_000 + offset_s * SECOND_NS);
        }
        let seconds: Vec<_> = (0..4).map(|index| table.times_of(index).unwrap().second).collect();
        assert_eq!(seconds, [None, Some(0), Some(1), Some(1)]);
        assert!(!table.is_measured(0) && table.is_measured(1));
        assert_eq!((table.index_of(503), table.index_of(504)), (Some(3), None));
        table.note_sent(RING, 9 * SECOND_NS);
        assert_eq!((table.index_of(500), table.index_of(501)), (None, Some(1)));
    }

    #[test]
    fn identifiers_lead_to_times_and_seconds() {
        let second = Duration::from_secs(1);
        let schedule = Schedule::new(Arrivals::Constant, 2.0, second, 2 * second, 0);
        let table = Timetable::new(schedule, 500);
        assert_eq!((table.len(), table.seconds()), (6, 2));
        assert_eq!((table.index_of(499), table.index_of(500), table.index_of(506)), (None, Some(0), None));
        assert!(!table.is_measuring(u64::MAX));
        table.begin(1_000);
        assert!(!table.is_measuring(SECOND_NS));
        assert!(table.is_measuring(SECOND_NS + 1_000));
        assert_eq!(table.times_of(1), None);
        for index in 0..6 {
            table.note_sent(index, 7);
        }
        let seconds: Vec<_> = (0..6).map(|index| table.times_of(index).unwrap().second).collect();
        assert_eq!(seconds, [None, None, Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!(
            table.times_of(3),
            Some(MessageTimes { planned_ns: 1_500_001_000, sent_ns: 7, second: Some(0) })
        );
    }
}
