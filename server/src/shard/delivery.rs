//! Attaching, and the way of pending rounds to the members.

use std::sync::Arc;

use bytes::Bytes;

use super::group::{Batch, GroupId};
use super::inbox::MemberKey;
use super::member::{Outlet, Phase, Progress};
use super::{Shard, protocol_of};
use crate::clock;
use crate::protocol::CloseReason;
use crate::published::{Moment, Published};

/// Members written to between two looks at the clock.
const MEMBERS_PER_STAMP: usize = 16;

impl Shard {
    /// The hub has answered: the member gets its handshake's answer and the latest rounds, and is in its group
    /// from here on.
    pub(super) fn attach(&mut self, key: MemberKey, latest: &[Arc<Published>]) {
        let Some(member) = self.members.get(key) else { return };
        let framing = member.outlet.framing();
        let Phase::Joining(joining) = &mut member.phase else { return };
        let subscription = joining.subscription.clone();
        let head = std::mem::take(&mut joining.head);
        let mut early = std::mem::take(&mut joining.early);
        let attached = joining.attached.take();

        // What is pending now is older than this answer: it goes to those who were there before.
        let group = self.groups.find(&subscription, framing);
        self.write_group(group);
        self.enter_group(key, group);
        let counters = self.counters().protocol(protocol_of(framing));
        counters.connections.add(1);
        if let Some(attached) = attached {
            // Whoever waited for this may have gone; its reader's drop tells us.
            let _ = attached.send(key);
        }

        if let Err(reason) = self.greet(key, &head, latest) {
            return self.close(key, reason);
        }
        if self.watch(key).is_err() {
            return self.remove(key, CloseReason::PeerGone);
        }
        self.hear_early(key, &mut early);
    }

    fn enter_group(&mut self, key: MemberKey, id: GroupId) {
        // Both are there: the caller has just looked at the one and found the other.
        let (Some(member), Some(group)) = (self.members.get(key), self.groups.get_mut(id)) else { return };
        let position = group.members.len() as u32;
        group.members.push(key.slot);
        member.phase = Phase::Live { group: id, position };
    }

    /// Sends the handshake's answer and the latest rounds in one write.
    fn greet(&mut self, key: MemberKey, head: &Bytes, latest: &[Arc<Published>]) -> Result<(), CloseReason> {
        let limit_bytes = self.settings.backlog_bytes;
        let Some(member) = self.members.get(key) else { return Ok(()) };
        let framing = member.outlet.framing();
        let batch = Batch::new(framing, Moment::Attach, latest);
        match (&mut member.outlet, &batch) {
            (Outlet::Socket(outlet), Batch::Joined(frames)) => {
                outlet.write_head(head, frames, limit_bytes)?;
            }
            _ if latest.is_empty() => {}
            _ => {
                member.deliver(&batch, limit_bytes)?;
            }
        }
        let counters = self.counters().protocol(protocol_of(framing));
        counters.deliveries.add(latest.len() as u64);
        counters.bytes.add(batch.size_bytes() as u64);
        Ok(())
    }

    /// Writes what is pending, group by group.
    pub(super) fn write_pending(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for group in touched.drain(..) {
            self.write_group(group);
        }
        self.touched = touched;
    }

    /// Writes what is pending for one group to each of its members.
    fn write_group(&mut self, id: GroupId) {
        let Some(group) = self.groups.get_mut(id) else { return };
        if group.pending.is_empty() {
            return;
        }
        let framing = group.framing;
        let mut rounds = std::mem::replace(&mut group.pending, std::mem::take(&mut self.writing));
        // Taken out so that members can be borrowed; nothing enters or leaves the group while it is written.
        let slots = std::mem::take(&mut group.members);
        let batch = Batch::new(framing, Moment::Live, &rounds);
        let mut failed = Vec::new();
        for some in slots.chunks(MEMBERS_PER_STAMP) {
            for &slot in some {
                self.deliver(slot, &batch, &mut failed);
            }
            let now_ns = clock::now_ns();
            let histogram = &self.counters().protocol(protocol_of(framing)).ingest_to_written;
            for round in &rounds {
                histogram.record(now_ns.saturating_sub(round.ingested_ns()), some.len() as u64);
            }
        }
        let counters = self.counters().protocol(protocol_of(framing));
        let reached = (slots.len() - failed.len()) as u64;
        counters.deliveries.add(reached * rounds.len() as u64);
        counters.bytes.add(reached * batch.size_bytes() as u64);
        if let Some(group) = self.groups.get_mut(id) {
            group.members = slots;
        }
        rounds.clear();
        self.writing = rounds;
        for (key, reason) in failed {
            self.close(key, reason);
        }
    }

    fn deliver(&mut self, slot: u32, batch: &Batch, failed: &mut Vec<(MemberKey, CloseReason)>) {
        let limit_bytes = self.settings.backlog_bytes;
        let Some((key, member)) = self.members.in_slot(slot) else { return };
        match member.deliver(batch, limit_bytes) {
            Ok(Progress::Written) => {}
            Ok(Progress::Waiting) => self.watch_for_writing(key),
            Err(reason) => failed.push((key, reason)),
        }
    }
}
