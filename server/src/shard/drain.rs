//! Goodbyes spread over a while: were everyone told at once, everyone would be back at once.

use std::time::{Duration, Instant};

use super::Shard;
use super::inbox::MemberKey;
use super::member::Outlet;
use crate::protocol::CloseReason;

/// Members that are told goodbye one after the other.
#[derive(Debug)]
pub struct Drain {
    members: Vec<MemberKey>,
    told: usize,
    began: Instant,
    length: Duration,
}

impl Drain {
    /// Those whose turn it is.
    fn due(&mut self, now: Instant) -> Vec<MemberKey> {
        let share =
            now.duration_since(self.began).as_secs_f64() / self.length.as_secs_f64().max(f64::MIN_POSITIVE);
        let due = ((self.members.len() as f64 * share) as usize).clamp(self.told, self.members.len());
        let members = self.members[self.told..due].to_vec();
        self.told = due;
        members
    }
}

impl Shard {
    /// Begins to tell everyone goodbye, within so long. WebTransport sessions at once: a successor can have their port
    /// only when they are gone.
    pub(super) fn drain(&mut self, length: Duration) {
        let is_session = |shard: &mut Self, key: &MemberKey| {
            shard.members.get(*key).is_some_and(|member| matches!(member.outlet, Outlet::Session(_)))
        };
        let (sessions, members): (Vec<MemberKey>, Vec<MemberKey>) =
            self.members.keys().into_iter().partition(|key| is_session(self, key));
        self.drain = Some(Drain { members, told: 0, began: Instant::now(), length });
        for key in sessions {
            self.close(key, CloseReason::GoingAway);
        }
    }

    /// Tells those goodbye whose turn it is.
    pub(super) fn continue_drain(&mut self) {
        let due = self.drain.as_mut().map(|drain| drain.due(Instant::now()));
        for key in due.unwrap_or_default() {
            self.close(key, CloseReason::GoingAway);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::member::Members;
    use super::*;

    #[test]
    fn everyone_has_a_turn_and_only_one() {
        let key = |slot| MemberKey { slot, generation: 1 };
        let began = Instant::now();
        let length = Duration::from_secs(10);
        let mut drain = Drain { members: (0..100).map(key).collect(), told: 0, began, length };
        let mut turn = |seconds| drain.due(began + Duration::from_secs(seconds)).len();
        assert_eq!([0, 1, 5, 5, 10, 20].map(&mut turn), [0, 10, 40, 0, 50, 0]);
        let mut nobody = Drain { members: Members::default().keys(), told: 0, began, length: Duration::ZERO };
        assert_eq!(nobody.due(began), []);
    }
}
