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
    /// 0 for what has not been sent.
    sent_ns: Box<[AtomicU64]>,
}

impl Timetable {
    /// The table of a slice that has not begun.
    pub fn new(schedule: Schedule, first_id: u64) -> Self {
        let sent_ns = schedule.offsets_ns().iter().map(|_| AtomicU64::new(0)).collect();
        Self { schedule, first_id, start_ns: AtomicU64::new(0), sent_ns }
    }

    /// The plan behind it.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Messages planned in all.
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
        (index < self.sent_ns.len()).then_some(index)
    }

    /// Notes that a message is being written now. Released, so that whoever receives it sees the time.
    #[inline]
    pub fn note_sent(&self, index: usize, sent_ns: u64) {
        self.sent_ns[index].store(sent_ns, Ordering::Release);
    }

    /// When a message is due, in the clock's time. Only meaningful after [`Self::begin`].
    #[inline]
    pub fn planned_ns(&self, index: usize) -> u64 {
        self.start_ns.load(Ordering::Relaxed) + self.schedule.offsets_ns()[index]
    }

    /// The times of a message; `None` where it has not been sent.
    #[inline]
    pub fn times_of(&self, index: usize) -> Option<MessageTimes> {
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
