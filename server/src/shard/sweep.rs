//! Heartbeats and idle limits: every member is visited once a heartbeat, a few at each tick, and of those a few between
//! two turns of the groups, so that twenty thousand heartbeats never stand in the way of a round.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Shard;
use super::member::{Outlet, Phase};
use crate::protocol::CloseReason;

/// Time between two looks.
pub const TICK: Duration = Duration::from_millis(200);

/// Members visited before groups get their turns: what a turn takes.
const VISITS_AT_A_TIME: usize = 32;

/// Where the sweep is.
#[derive(Debug)]
pub struct Sweep {
    began: Instant,
    round_began: Instant,
    round_length: Duration,
    round: u32,
    next_slot: usize,
    is_behind: bool,
}

impl Sweep {
    /// A sweep that visits everyone once in `round_length`.
    pub fn new(round_length: Duration) -> Self {
        let now = Instant::now();
        Self { began: now, round_began: now, round_length, round: 0, next_slot: 0, is_behind: false }
    }

    /// Whole seconds since the shard began.
    pub fn now_s(&self) -> u32 {
        self.began.elapsed().as_secs() as u32
    }

    /// More slots are due than have been given.
    pub fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Some of the slots that are due, of so many, and the number of the round they belong to.
    fn due(&mut self, slots: usize) -> (std::ops::Range<usize>, u32) {
        let share = self.round_began.elapsed().as_secs_f64() / self.round_length.as_secs_f64();
        let from = self.next_slot.min(slots);
        let due = ((slots as f64 * share.min(1.0)) as usize).clamp(from, slots);
        let to = due.min(from + VISITS_AT_A_TIME);
        let round = self.round;
        self.next_slot = to;
        self.is_behind = to < due;
        if share >= 1.0 && to == slots {
            self.round_began = Instant::now();
            self.round = self.round.wrapping_add(1);
            self.next_slot = 0;
        }
        (from..to, round)
    }
}

impl Shard {
    pub(super) fn on_tick(&mut self) {
        self.remove_overdue();
        self.continue_drain();
        self.close_unknowns();
    }

    /// Visits a few of those whose time has come.
    pub(super) fn sweep_some(&mut self) {
        let (slots, round) = self.sweep.due(self.members.slots());
        if slots.is_empty() || self.stopping {
            return;
        }
        let unix_seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        for slot in slots {
            self.visit(slot as u32, round, unix_seconds);
        }
    }

    fn visit(&mut self, slot: u32, round: u32, unix_seconds: u64) {
        let now_s = self.sweep.now_s();
        let idle_limit_s = self.settings.idle_limit.as_secs() as u32;
        let Some((key, member)) = self.members.in_slot(slot) else { return };
        let (Phase::Live { .. }, Outlet::Socket(outlet)) = (&member.phase, &mut member.outlet) else {
            return;
        };
        if outlet.protocol.client_answers() && now_s.saturating_sub(outlet.heard_s) > idle_limit_s {
            return self.close(key, CloseReason::Idle);
        }
        if !round.wrapping_add(slot).is_multiple_of(outlet.protocol.sweeps_per_heartbeat()) {
            return;
        }
        let heartbeat = outlet.protocol.heartbeat(unix_seconds);
        if let Err(reason) = self.write_own(key, &heartbeat) {
            self.close(key, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_visited_once_a_round() {
        let mut sweep = Sweep::new(Duration::from_secs(3600));
        let hour_share = |sweep: &mut Sweep, share: f64| {
            sweep.round_began = Instant::now().checked_sub(Duration::from_secs_f64(3600.0 * share)).unwrap();
        };
        let mut visited = Vec::new();
        for share in [0.25, 0.5, 0.75] {
            hour_share(&mut sweep, share);
            let (slots, round) = sweep.due(100);
            assert_eq!((round, sweep.is_behind()), (0, false));
            visited.extend(slots);
        }
        hour_share(&mut sweep, 1.0);
        let (slots, round) = sweep.due(110);
        assert_eq!((&slots, round), (&(75..107), 0), "not all at once");
        visited.extend(slots);
        assert!(sweep.is_behind());
        let (slots, round) = sweep.due(110);
        assert_eq!((round, sweep.is_behind()), (0, false));
        visited.extend(slots);
        assert_eq!(visited, (0..110).collect::<Vec<_>>(), "also those who came in the middle of the round");
        assert_eq!(sweep.due(110), (0..0, 1));
    }
}
