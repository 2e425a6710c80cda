//! The frames of a group of sockets, one behind the other: every member has its own place in it, and gets
//! everything between there and the end with one write. What a slow socket has not taken yet is still here, so
//! that a backlog costs its bytes once, however many wait for it.

use std::collections::VecDeque;

/// Unused space above this is given back.
const KEEP_BYTES: usize = 64 * 1024;

/// Where a frame ends, and when its round arrived.
#[derive(Debug, Clone, Copy)]
struct Mark {
    end: u64,
    ingested_ns: u64,
}

/// See the module's documentation. Places are counted in bytes since the log began, and never reused.
#[derive(Debug, Default)]
pub struct Log {
    bytes: Vec<u8>,
    /// The place of the first byte kept; a border between two frames.
    start: u64,
    marks: VecDeque<Mark>,
}

impl Log {
    /// Appends a whole frame.
    pub fn push(&mut self, frame: &[u8], ingested_ns: u64) {
        self.bytes.extend_from_slice(frame);
        self.marks.push_back(Mark { end: self.end(), ingested_ns });
    }

    /// Bytes kept.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The place behind the last byte.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
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

    /// The arrival times of the rounds whose frames end behind `from` and not behind `to`.
    pub fn ingested_between(&self, from: u64, to: u64) -> impl ExactSizeIterator<Item = u64> {
        let first = self.marks.partition_point(|mark| mark.end <= from);
        let last = self.marks.partition_point(|mark| mark.end <= to);
        self.marks.range(first..last.max(first)).map(|mark| mark.ingested_ns)
    }

    /// Forgets whole frames before a place that nobody will ask for again. Moves bytes only when at least as
    /// many are forgotten.
    pub fn forget(&mut self, before: u64) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let mut log = Log::default();
        log.push(b"aaaa", 1);
        log.push(b"bb", 2);
        log.push(b"cccccccc", 3);
        log
    }

    #[test]
    fn every_place_leads_to_what_follows_it() {
        let log = log();
        assert_eq!(log.end(), 14);
        assert_eq!(log.from(5), b"bcccccccc");
        assert_eq!([0, 1, 4, 5, 6, 7, 14].map(|place| log.border(place)), [0, 4, 4, 6, 6, 14, 14]);
        let times = |from, to| log.ingested_between(from, to).collect::<Vec<_>>();
        assert_eq!(times(0, 14), [1, 2, 3]);
        assert_eq!(times(4, 13), [2], "the last frame has not been written whole");
        assert_eq!(times(5, 14), [2, 3], "a frame counts when its end is written");
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
        log.push(b"d", 4);
        log.forget(13);
        assert_eq!(log.start, 0, "the place is inside the third frame");
        log.forget(14);
        assert_eq!((log.start, log.from(14), log.end()), (14, &b"d"[..], 15));
        log.forget(15);
        assert_eq!((log.from(15), log.border(15), log.end()), (&b""[..], 15, 15));
    }
}
