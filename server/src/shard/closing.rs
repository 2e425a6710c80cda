//! Goodbyes: a member leaves its group at once, gets its protocol's last words, and a little time to take them.

use std::time::{Duration, Instant};

use super::group::GroupMembers;
use super::inbox::MemberKey;
use super::log::ByteLog;
use super::member::{Outlet, Phase, Progress};
use super::{Shard, protocol_of};
use crate::protocol::CloseReason;

/// Time a member has to take its goodbye and close its side.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// Members that have been told goodbye, oldest first.
#[derive(Debug, Default)]
pub struct Closing(Vec<(Instant, MemberKey)>);

impl Closing {
    /// Takes out those whose time is over.
    fn take_due(&mut self) -> Vec<MemberKey> {
        let now = Instant::now();
        let due = self.0.partition_point(|(deadline, _)| *deadline <= now);
        self.0.drain(..due).map(|(_, member)| member).collect()
    }
}

impl Shard {
    /// Ends a member's membership for `reason`, and tells it.
    pub(super) fn close(&mut self, key: MemberKey, reason: CloseReason) {
        match self.members.get(key).map(|member| &member.phase) {
            None | Some(Phase::Closing { .. }) => return,
            Some(Phase::Joining(_)) => return self.remove(key, reason),
            Some(Phase::Unknown(_) | Phase::Live { .. }) if reason == CloseReason::PeerGone => {
                return self.remove(key, reason);
            }
            Some(Phase::Unknown(_)) => {
                if let Some(outlet) = self.socket_of(key) {
                    outlet.prepare_goodbye(&ByteLog::default(), 0, reason);
                }
            }
            Some(Phase::Live { .. }) => self.leave_group(key, Some(reason)),
        }
        self.counters().closed(reason).add(1);
        let Some(member) = self.members.get(key) else { return };
        member.phase = Phase::Closing { discarded_bytes: 0 };
        if !matches!(member.outlet, Outlet::Socket(_)) {
            match self.members.remove(key).map(|member| member.outlet) {
                Some(Outlet::Queue(outlet, _)) => outlet.close(reason),
                Some(Outlet::Session(outlet)) => outlet.close(reason),
                Some(Outlet::Socket(_)) | None => {}
            }
            return;
        }
        self.closing.0.push((Instant::now() + GOODBYE_LIMIT, key));
        self.write_goodbye(key);
    }

    /// Sends what a closing member is still to get, and closes our side behind it.
    pub(super) fn write_goodbye(&mut self, key: MemberKey) {
        let Some(outlet) = self.socket_of(key) else { return };
        match outlet.write_own() {
            Err(reason) => self.remove(key, reason),
            Ok(Progress::Waiting) => self.set_watch_for_writing(key, true),
            Ok(Progress::Written) => {
                outlet.socket.finish();
                self.set_watch_for_writing(key, false);
            }
        }
    }

    /// Ends a member without a word: its connection is gone.
    pub(super) fn remove(&mut self, key: MemberKey, reason: CloseReason) {
        if let Some(Phase::Live { .. }) = self.members.get(key).map(|member| &member.phase) {
            self.leave_group(key, None);
            self.counters().closed(reason).add(1);
        }
        self.members.remove(key);
    }

    /// Ends those who have not taken their goodbye in time.
    pub(super) fn remove_overdue(&mut self) {
        for key in self.closing.take_due() {
            self.members.remove(key);
        }
    }

    /// Says goodbye to everyone, and takes no one any more. What was published before is written first, as far
    /// as the sockets take it.
    pub(super) fn stop(&mut self) {
        for id in self.groups.ids() {
            self.complete_batch(id);
        }
        while !self.active.is_empty() {
            self.take_turn();
        }
        self.stopping = true;
        for key in self.members.keys() {
            self.close(key, CloseReason::GoingAway);
        }
    }

    /// Takes a member out of its group; with a goodbye to come, the frame it has begun is kept for it.
    pub(super) fn leave_group(&mut self, key: MemberKey, goodbye: Option<CloseReason>) {
        let Some(member) = self.members.get(key) else { return };
        let Phase::Live { group: id, position } = member.phase else { return };
        let framing = member.outlet.format().framing;
        let Some(group) = self.groups.get_mut(id) else { return };
        let moved = match &mut group.members {
            GroupMembers::Bytes(wheel) => {
                let (place, moved) = wheel.leave(position);
                if let (Outlet::Socket(outlet), Some(reason)) = (&mut member.outlet, goodbye) {
                    outlet.prepare_goodbye(wheel.log(), place, reason);
                }
                moved
            }
            GroupMembers::Rounds(wheel) => wheel.leave(position).1,
        };
        if let Some((_, other)) = moved.and_then(|slot| self.members.in_slot(slot))
            && let Phase::Live { position: place, .. } = &mut other.phase
        {
            *place = position;
        }
        self.groups.remove_if_empty(id);
        self.counters().protocol(protocol_of(framing)).connections.add(-1);
    }
}
