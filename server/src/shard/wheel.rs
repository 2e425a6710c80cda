//! A group's members and their log: who has got how much, and whose turn is next.
//!
//! Writing goes round: a few members at a time get everything between their place in the log and its end, then
//! whatever has arrived meanwhile is appended, then the next few get their turn. So a round that arrives while
//! an earlier one is still being written joins it for all members who have not had their turn, and each round
//! is with everyone one turn of the wheel after it arrived. Nothing waits, and load makes the writes larger
//! instead of more.

use std::sync::Arc;

use super::inbox::MemberKey;
use super::log::Log;
use super::member::{Members, Progress};
use crate::clock;
use crate::metrics::ProtocolMetrics;
use crate::protocol::CloseReason;
use crate::published::{Format, NOT_A_ROUND, Published};

/// Members written to before the shard looks at its other work.
pub const SEATS_A_TURN: usize = 32;

/// Bytes written before the shard looks at its other work: large rounds do not hold up the small ones of other groups.
pub const BYTES_A_TURN: usize = 256 * 1024;

/// Members written to between two looks at the clock.
const SEATS_PER_STAMP: usize = 8;

/// A member's place.
#[derive(Debug, Clone, Copy)]
struct Seat {
    slot: u32,
    /// The socket is full; the poller will tell when it takes more.
    blocked: bool,
    place: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Wheel<L> {
    log: L,
    seats: Vec<Seat>,
    /// The seat whose turn is next.
    next: usize,
    /// Seats that have not got everything and are not blocked.
    behind: usize,
}

/// What a turn leaves to be done.
#[derive(Debug, Default)]
pub struct TurnOutcome {
    /// Members whose socket is full.
    pub blocked: Vec<MemberKey>,
    /// Members to be closed.
    pub failed: Vec<(MemberKey, CloseReason)>,
}

impl<L: Log> Wheel<L> {
    /// Adds a member that gets everything from here on; gives its position.
    pub fn enter(&mut self, slot: u32) -> u32 {
        self.seats.push(Seat { slot, blocked: false, place: self.log.end() });
        self.seats.len() as u32 - 1
    }

    /// Takes a member out. Gives its place in the log, and the slot of the member that has moved to its
    /// position, if one has.
    pub fn leave(&mut self, position: u32) -> (u64, Option<u32>) {
        let seat = self.seats.swap_remove(position as usize);
        if !seat.blocked && seat.place < self.log.end() {
            self.behind -= 1;
        }
        (seat.place, self.seats.get(position as usize).map(|moved| moved.slot))
    }

    /// Counts what a member has not got as handed over, and gives its place: somebody else takes care of it.
    pub fn hand_over(&mut self, position: u32, metrics: &ProtocolMetrics) -> u64 {
        let place = self.seats[position as usize].place;
        self.count(place, self.log.end(), 1, metrics, None);
        place
    }

    /// A member's place in the log.
    pub fn place(&self, position: u32) -> u64 {
        self.seats[position as usize].place
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Nobody is left.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Somebody can be written to.
    pub fn has_work(&self) -> bool {
        self.behind > 0
    }

    /// The frames.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// Appends a message for everyone.
    pub fn push(&mut self, message: &Arc<Published>, format: Format) {
        self.log.push(message, format);
        self.behind = self.seats.iter().filter(|seat| !seat.blocked).count();
    }

    /// The slots of those who have not taken more than `limit_bytes`.
    pub fn too_slow(&mut self, limit_bytes: usize) -> Vec<u32> {
        if self.log.size_bytes() <= limit_bytes {
            return Vec::new();
        }
        self.forget();
        let is_too_slow =
            |seat: &&Seat| seat.blocked && self.log.bytes_between(seat.place, self.log.end()) > limit_bytes;
        self.seats.iter().filter(is_too_slow).map(|seat| seat.slot).collect()
    }

    /// Writes to one member out of turn: what waits for it alone, and everything it has not got.
    ///
    /// # Errors
    /// The reason to close it for.
    pub fn write_to(
        &mut self,
        position: u32,
        members: &mut Members,
        metrics: &ProtocolMetrics,
    ) -> Result<Progress, CloseReason> {
        let seat = &mut self.seats[position as usize];
        let Some((_, member)) = members.in_slot(seat.slot) else { return Ok(Progress::Written) };
        let begun_ns = begun_ns(metrics);
        let (was_behind, from) = (!seat.blocked && seat.place < self.log.end(), seat.place);
        let result = self.log.write(&mut member.outlet, &mut seat.place);
        seat.blocked = result == Ok(Progress::Waiting);
        let is_behind = !seat.blocked && seat.place < self.log.end();
        self.behind = self.behind + usize::from(is_behind) - usize::from(was_behind);
        let to = seat.place;
        self.count(from, to, 1, metrics, begun_ns);
        result
    }

    /// Gives the next members their turn.
    pub fn turn(&mut self, members: &mut Members, metrics: &ProtocolMetrics) -> TurnOutcome {
        let mut outcome = TurnOutcome::default();
        let mut written = 0;
        let mut written_bytes = 0;
        let mut visited = 0;
        while written < SEATS_A_TURN
            && written_bytes < BYTES_A_TURN
            && self.behind > 0
            && visited <= self.seats.len()
        {
            // Members that got the same bytes since the last look at the clock are counted together.
            let mut run: Option<(u64, u64, u64)> = None;
            if self.next >= self.seats.len() {
                // Only here, where nothing is left to be counted that could be forgotten.
                self.next = 0;
                self.forget();
            }
            let begun_ns = begun_ns(metrics);
            for _ in 0..SEATS_PER_STAMP {
                if self.behind == 0 || self.next >= self.seats.len() || written_bytes >= BYTES_A_TURN {
                    break;
                }
                visited += 1;
                let Some((from, to)) = self.write_next(members, &mut outcome) else { continue };
                written += 1;
                written_bytes += self.log.bytes_between(from, to);
                run = match run {
                    Some((first, last, count)) if (first, last) == (from, to) => Some((from, to, count + 1)),
                    Some((first, last, count)) => {
                        self.count(first, last, count, metrics, begun_ns);
                        Some((from, to, 1))
                    }
                    None => Some((from, to, 1)),
                };
            }
            if let Some((from, to, count)) = run {
                self.count(from, to, count, metrics, begun_ns);
            }
        }
        if self.behind == 0 {
            self.forget();
        }
        outcome
    }

    /// Writes to the member whose turn it is; gives what part of the log it got.
    fn write_next(&mut self, members: &mut Members, outcome: &mut TurnOutcome) -> Option<(u64, u64)> {
        let end = self.log.end();
        let seat = self.seats.get_mut(self.next)?;
        self.next += 1;
        if seat.place == end {
            return None;
        }
        let (key, member) = members.in_slot(seat.slot)?;
        if seat.blocked {
            return None;
        }
        self.behind -= 1;
        let from = seat.place;
        match self.log.write(&mut member.outlet, &mut seat.place) {
            Ok(Progress::Written) => {}
            Ok(Progress::Waiting) => {
                seat.blocked = true;
                outcome.blocked.push(key);
            }
            Err(reason) => {
                // Not to be tried again before it is closed.
                seat.blocked = true;
                outcome.failed.push((key, reason));
            }
        }
        Some((from, seat.place))
    }

    /// Forgets what everyone has got.
    fn forget(&mut self) {
        let everyone_has = self.seats.iter().map(|seat| seat.place).min();
        self.log.forget(everyone_has.unwrap_or_else(|| self.log.end()));
    }

    fn count(&self, from: u64, to: u64, members: u64, metrics: &ProtocolMetrics, begun_ns: Option<u64>) {
        if from == to {
            return;
        }
        let now_ns = clock::now_ns();
        let mut rounds = 0;
        for ingested_ns in self.log.ingested_between(from, to) {
            if ingested_ns != NOT_A_ROUND {
                rounds += 1;
                metrics.ingest_to_written.record(now_ns.saturating_sub(ingested_ns), members);
                if let (Some(stages), Some(begun_ns)) = (&metrics.stages, begun_ns) {
                    stages.note_written(ingested_ns, begun_ns, now_ns);
                }
            }
        }
        metrics.deliveries.add(rounds * members);
        metrics.bytes.add(self.log.bytes_between(from, to) as u64 * members);
    }
}

/// When the writes that follow begin, where somebody wants to know.
fn begun_ns(metrics: &ProtocolMetrics) -> Option<u64> {
    metrics.stages.is_some().then(clock::now_ns)
}
