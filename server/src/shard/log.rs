//! What a group is to get. Every member has its own place in it, and gets everything between there and the end
//! in its turn. What a slow member has not taken yet is still here, so that a backlog costs its bytes once,
//! however many wait for it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::member::{Outlet, Progress};
use crate::protocol::CloseReason;
use crate::published::{self, Format, Moment, Published};

/// See the module's documentation. Places are numbers that rise with what is appended and are never reused.
pub trait Log {
    /// Appends a message: a round, or a batch of them.
    fn push(&mut self, message: &Arc<Published>, format: Format);

    /// The place behind everything.
    fn end(&self) -> u64;

    /// Bytes kept.
    fn size_bytes(&self) -> usize;

    /// Bytes between two places.
    fn bytes_between(&self, from: u64, to: u64) -> usize;

    /// The arrival times of the rounds that end behind `from` and not behind `to`; of what is no round
    /// [`crate::published::NOT_A_ROUND`].
    fn ingested_between(&self, from: u64, to: u64) -> impl Iterator<Item = u64>;

    /// Forgets what lies before a place that nobody will ask for again.
    fn forget(&mut self, before: u64);

    /// Writes what follows a member's place, as far as the member takes it, and moves the place on.
    ///
    /// # Errors
    /// The reason to close the member for.
    fn write(&self, outlet: &mut Outlet, place: &mut u64) -> Result<Progress, CloseReason>;
}

/// Unused space above this is given back.
const KEEP_BYTES: usize = 64 * 1024;

/// Where a frame ends, and when its round arrived. The rounds of a batch end at the same place.
#[derive(Debug, Clone, Copy)]
struct Mark {
    end: u64,
    ingested_ns: u64,
}

/// The frames of a group of sockets, one behind the other. Places are counted in bytes.
#[derive(Debug, Default)]
pub struct ByteLog {
    bytes: Vec<u8>,
    /// The place of the first byte kept; a border between two frames.
    start: u64,
    marks: VecDeque<Mark>,
}

impl ByteLog {
    fn append(&mut self, frame: &[u8], arrivals: &[u64]) {
        self.bytes.extend_from_slice(frame);
        let end = self.end();
        self.marks.extend(arrivals.iter().map(|&ingested_ns| Mark { end, ingested_ns }));
    }

    /// Everything from a place on. Places that have been forgotten are not asked for: see [`Self::forget`].
    pub fn from(&self, place: u64) -> &[u8] {
        debug_assert!(place >= self.start && place <= self.end());
        &self.bytes[(place - self.start) as usize..]
    }

    /// The next border between two frames at or behind a place.
    pub fn border(&self, place: u64) -> u64 {
        if place == self.start {
            return place;
        }
        let index = self.marks.partition_point(|mark| mark.end < place);
        self.marks.get(index).map_or_else(|| self.end(), |mark| mark.end)
    }
}

impl Log for ByteLog {
    fn push(&mut self, message: &Arc<Published>, format: Format) {
        self.append(message.frame(format, Moment::Live), message.arrivals());
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn bytes_between(&self, from: u64, to: u64) -> usize {
        (to - from) as usize
    }

    fn ingested_between(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        let first = self.marks.partition_point(|mark| mark.end <= from);
        let last = self.marks.partition_point(|mark| mark.end <= to);
        self.marks.range(first..last.max(first)).map(|mark| mark.ingested_ns)
    }

    /// Keeps whole frames, and moves bytes only when at least as many are forgotten.
    fn forget(&mut self, before: u64) {
        let frames = self.marks.partition_point(|mark| mark.end <= before);
        let Some(border) = frames.checked_sub(1).map(|last| self.marks[last].end) else { return };
        let dead = (border - self.start) as usize;
        if dead < self.bytes.len() - dead {
            return;
        }
        self.bytes.drain(..dead);
        self.marks.drain(..frames);
        self.start = border;
        if self.bytes.capacity() > KEEP_BYTES && self.bytes.len() < KEEP_BYTES / 2 {
            self.bytes.shrink_to(KEEP_BYTES);
        }
    }

    fn write(&self, outlet: &mut Outlet, place: &mut u64) -> Result<Progress, CloseReason> {
        match outlet {
            Outlet::Socket(outlet) => outlet.write(self, place),
            // Only sockets are in a group of sockets: see `Outlet::kind`.
            Outlet::Session(_) | Outlet::Queue(..) => Ok(Progress::Written),
        }
    }
}

/// The rounds of a group that takes them one by one. Places are counted in rounds.
#[derive(Debug, Default)]
pub struct RoundLog {
    rounds: VecDeque<Kept>,
    /// The place of the first round kept.
    start: u64,
    appended_bytes: u64,
}

/// A round, and how much was appended before it.
#[derive(Debug)]
struct Kept {
    round: Arc<Published>,
    bytes_before: u64,
}

impl RoundLog {
    /// The rounds from a place on, oldest first.
    pub fn from(&self, place: u64) -> impl Iterator<Item = &Arc<Published>> {
        self.rounds.range((place - self.start) as usize..).map(|kept| &kept.round)
    }

    fn bytes_before(&self, place: u64) -> u64 {
        self.rounds.get((place - self.start) as usize).map_or(self.appended_bytes, |kept| kept.bytes_before)
    }
}

impl Log for RoundLog {
    fn push(&mut self, message: &Arc<Published>, format: Format) {
        self.rounds.push_back(Kept { round: Arc::clone(message), bytes_before: self.appended_bytes });
        self.appended_bytes += message.payload_in(format.encoding).len() as u64;
    }

    fn end(&self) -> u64 {
        self.start + self.rounds.len() as u64
    }

    fn size_bytes(&self) -> usize {
        (self.appended_bytes - self.bytes_before(self.start)) as usize
    }

    fn bytes_between(&self, from: u64, to: u64) -> usize {
        (self.bytes_before(to) - self.bytes_before(from)) as usize
    }

    fn ingested_between(&self, from: u64, to: u64) -> impl Iterator<Item = u64> {
        let places = (from - self.start) as usize..(to - self.start) as usize;
        self.rounds.range(places).flat_map(|kept| kept.round.arrivals()).copied()
    }

    fn forget(&mut self, before: u64) {
        self.rounds.drain(..(before - self.start) as usize);
        self.start = before;
    }

    fn write(&self, outlet: &mut Outlet, place: &mut u64) -> Result<Progress, CloseReason> {
        match outlet {
            Outlet::Session(outlet) => outlet.write(self, place),
            Outlet::Queue(outlet, format) => {
                let rounds: Vec<_> = self.from(*place).cloned().collect();
                if !rounds.is_empty() {
                    outlet.deliver(published::join(&rounds, *format, Moment::Live))?;
                }
                *place = self.end();
                Ok(Progress::Written)
            }
            // No socket is in such a group: see `Outlet::kind`.
            Outlet::Socket(_) => Ok(Progress::Written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> ByteLog {
        let mut log = ByteLog::default();
        log.append(b"aaaa", &[1]);
        log.append(b"bb", &[2]);
        log.append(b"cccccccc", &[3, 4]);
        log
    }

    #[test]
    fn every_place_leads_to_what_follows_it() {
        let log = log();
        assert_eq!(log.end(), 14);
        assert_eq!(log.from(5), b"bcccccccc");
        assert_eq!([0, 1, 4, 5, 6, 7, 14].map(|place| log.border(place)), [0, 4, 4, 6, 6, 14, 14]);
        let times = |from, to| log.ingested_between(from, to).collect::<Vec<_>>();
        assert_eq!(times(0, 14), [1, 2, 3, 4]);
        assert_eq!(times(4, 13), [2], "the last frame has not been written whole");
        assert_eq!(times(5, 14), [2, 3, 4], "a frame counts when its end is written");
        assert_eq!(times(14, 14).len(), 0);
    }

    #[test]
    fn forgetting_keeps_begun_frames_and_all_places() {
        let mut log = log();
        log.forget(5);
        assert_eq!(
            (log.start, log.from(5)),
            (0, &b"bcccccccc"[..]),
            "too little to be worth moving bytes for"
        );
        log.append(b"d", &[5]);
        log.forget(13);
        assert_eq!(log.start, 0, "the place is inside the third frame");
        log.forget(14);
        assert_eq!((log.start, log.from(14), log.end()), (14, &b"d"[..], 15));
        log.forget(15);
        assert_eq!((log.from(15), log.border(15), log.end()), (&b""[..], 15, 15));
    }
}
