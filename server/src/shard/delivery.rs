//! Attaching, and the way of rounds to the members.

use std::sync::Arc;

use bytes::Bytes;

use super::group::{GroupId, GroupKey, GroupKind, GroupMembers};
use super::inbox::MemberKey;
use super::member::{Outlet, Phase, Progress};
use super::shared::{Delivered, Here};
use super::{BYTES_A_TURN, SEATS_A_TURN, Shard, protocol_of};
use crate::protocol::CloseReason;
use crate::published::{self, Format, Moment, Published};

impl Shard {
    /// The hub has answered: the member gets its handshake's answer and the latest rounds, and is in its group
    /// from here on. What the group has in its log now is older than the answer: a newcomer begins behind it.
    pub(super) fn attach(&mut self, key: MemberKey, latest: &[Arc<Published>]) {
        let Some(member) = self.members.get(key) else { return };
        let (format, kind) = (member.outlet.format(), member.outlet.kind());
        let Phase::Joining(joining) = &mut member.phase else { return };
        let subscription = joining.subscription.clone();
        let head = std::mem::take(&mut joining.head);
        let mut early = std::mem::take(&mut joining.early);
        let said = std::mem::take(&mut joining.said);
        let attached = joining.attached.take();

        self.enter_group(key, GroupKey { subscription, format, kind });
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
        if let Err(reason) = self.take_said(key, said) {
            return self.close(key, reason);
        }
        self.hear_early(key, &mut early);
    }

    pub(super) fn enter_group(&mut self, key: MemberKey, group_key: GroupKey) {
        self.counters().protocol(protocol_of(group_key.format.framing)).connections.add(1);
        // What has been gathered until now is older than the newcomer's answer from the hub.
        let gathering = self.groups.find(group_key.clone());
        self.complete_batch(gathering);
        // That may have closed the last of those who were there, and the group with them.
        let id = self.groups.find(group_key);
        let Some(group) = self.groups.get_mut(id) else { return };
        let position = match &mut group.members {
            GroupMembers::Bytes(wheel) => wheel.enter(key.slot),
            GroupMembers::Rounds(wheel) => wheel.enter(key.slot),
        };
        if let Some(member) = self.members.get(key) {
            member.phase = Phase::Live { group: id, position };
        }
    }

    /// Sends the handshake's answer, and what the member begins with, in one write.
    fn greet(&mut self, key: MemberKey, head: &[u8], latest: &[Arc<Published>]) -> Result<(), CloseReason> {
        let Some((format, messages, frames)) = self.frames_for(key, latest) else { return Ok(()) };
        let limit_bytes = self.settings.backlog_bytes;
        match self.members.get(key).map(|member| &mut member.outlet) {
            Some(Outlet::Socket(outlet)) => {
                outlet.begin(&[head, &frames[..]].concat());
                self.write_on(key)?;
            }
            Some(Outlet::Session(outlet)) => outlet.begin(&messages),
            Some(Outlet::Queue(outlet, _)) => {
                outlet.limit_bytes = limit_bytes;
                if !frames.is_empty() {
                    outlet.begin(frames.clone())?;
                }
            }
            None => {}
        }
        self.count_greeting(format, &messages, &frames);
        Ok(())
    }

    /// Sends the latest rounds of games that a member has asked for later.
    pub(super) fn send_latest(
        &mut self,
        key: MemberKey,
        latest: &[Arc<Published>],
    ) -> Result<(), CloseReason> {
        let Some((format, messages, frames)) = self.frames_for(key, latest) else { return Ok(()) };
        let limit_bytes = self.settings.backlog_bytes;
        match self.members.get(key).map(|member| &mut member.outlet) {
            Some(Outlet::Session(outlet)) => outlet.add_latest(&messages, limit_bytes)?,
            Some(Outlet::Socket(_)) => self.write_own(key, &frames)?,
            // An event stream has no way to ask.
            Some(Outlet::Queue(..)) | None => {}
        }
        self.count_greeting(format, &messages, &frames);
        Ok(())
    }

    fn frames_for(
        &mut self,
        key: MemberKey,
        latest: &[Arc<Published>],
    ) -> Option<(Format, Vec<Arc<Published>>, Bytes)> {
        let format = self.members.get(key)?.outlet.format();
        let messages = published::messages(latest, format);
        let frames = published::join(&messages, format, Moment::Attach);
        Some((format, messages, frames))
    }

    fn count_greeting(&self, format: Format, messages: &[Arc<Published>], frames: &[u8]) {
        let counters = self.counters().protocol(protocol_of(format.framing));
        counters.deliveries.add(messages.iter().map(|message| message.round_count() as u64).sum());
        counters.bytes.add(frames.len() as u64);
    }

    /// A round was published.
    pub(super) fn push(&mut self, round: &Arc<Published>) {
        let limit_bytes = self.settings.backlog_bytes;
        let mut too_slow = Vec::new();
        self.groups.push(round, |id, group| {
            too_slow.extend(match &mut group.members {
                GroupMembers::Bytes(wheel) => wheel.too_slow(limit_bytes),
                GroupMembers::Rounds(wheel) => wheel.too_slow(limit_bytes),
            });
            if group.has_work() && !group.is_active {
                group.is_active = true;
                self.active.push_back(id);
            }
        });
        for slot in too_slow {
            if let Some((key, _)) = self.members.in_slot(slot) {
                self.close(key, CloseReason::TooSlow);
            }
        }
    }

    /// Delivers a round as far as it may be done `here`, where nothing else is to be done and all who get it are sockets.
    /// Can be called from any thread, by one who has the hub's lock: what this does never asks the hub.
    pub(super) fn deliver(&mut self, round: &Arc<Published>, here: Here) -> Delivered {
        if !self.active.is_empty() {
            return Delivered::Nothing;
        }
        let Some(sockets) = self.groups.sockets_of(round.game()) else { return Delivered::Nothing };
        let is_large = sockets.min(SEATS_A_TURN) * round.payload().len() > BYTES_A_TURN;
        let are_few = sockets <= here.sockets;
        if is_large || !(are_few || here.first_turn) {
            return Delivered::Nothing;
        }
        self.push(round);
        self.take_turn();
        while are_few && !self.active.is_empty() {
            self.take_turn();
        }
        if self.active.is_empty() { Delivered::Whole } else { Delivered::Begun }
    }

    /// Appends what a group has gathered.
    pub(super) fn complete_batch(&mut self, id: GroupId) {
        let limit_bytes = self.settings.backlog_bytes;
        let Some(group) = self.groups.get_mut(id) else { return };
        if !group.complete_batch() {
            return;
        }
        let too_slow = match &mut group.members {
            GroupMembers::Bytes(wheel) => wheel.too_slow(limit_bytes),
            GroupMembers::Rounds(wheel) => wheel.too_slow(limit_bytes),
        };
        self.activate(id);
        for slot in too_slow {
            if let Some((key, _)) = self.members.in_slot(slot) {
                self.close(key, CloseReason::TooSlow);
            }
        }
    }

    /// Appends every batch whose time is over.
    pub(super) fn complete_due_batches(&mut self) {
        let now = std::time::Instant::now();
        while let Some(id) = self.groups.take_due(now) {
            self.complete_batch(id);
        }
    }

    /// Gives the next group with work a turn; of what kind it was, where there was one.
    pub(super) fn take_turn(&mut self) -> Option<GroupKind> {
        let id = self.active.pop_front()?;
        let group = self.groups.get_mut(id)?;
        let kind = group.key.kind;
        group.is_active = false;
        let metrics = self.metrics.shards[self.id.index()].protocol(protocol_of(group.key.format.framing));
        let outcome = match &mut group.members {
            GroupMembers::Bytes(wheel) => wheel.turn(&mut self.members, metrics),
            GroupMembers::Rounds(wheel) => wheel.turn(&mut self.members, metrics),
        };
        for key in outcome.blocked {
            self.watch_for_writing(key);
        }
        for (key, reason) in outcome.failed {
            self.close(key, reason);
        }
        self.activate(id);
        Some(kind)
    }

    /// Puts a group with work into the list.
    fn activate(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(id)
            && group.has_work()
            && !group.is_active
        {
            group.is_active = true;
            self.active.push_back(id);
        }
    }

    /// Sends bytes to one member alone, between two frames of its group's.
    ///
    /// # Errors
    /// The reason to close it for.
    pub(super) fn write_own(&mut self, key: MemberKey, bytes: &[u8]) -> Result<(), CloseReason> {
        let limit_bytes = self.settings.backlog_bytes;
        if let Some(outlet) = self.socket_of(key) {
            outlet.add_own(bytes, limit_bytes)?;
        }
        self.write_on(key)
    }

    /// Writes what a member has not got, as far as its socket takes it.
    ///
    /// # Errors
    /// The reason to close it for.
    pub(super) fn write_on(&mut self, key: MemberKey) -> Result<(), CloseReason> {
        let Some(member) = self.members.get(key) else { return Ok(()) };
        let Phase::Live { group: id, position } = member.phase else { return Ok(()) };
        let Some(group) = self.groups.get_mut(id) else { return Ok(()) };
        let metrics = self.metrics.shards[self.id.index()].protocol(protocol_of(group.key.format.framing));
        let progress = match &mut group.members {
            GroupMembers::Bytes(wheel) => wheel.write_to(position, &mut self.members, metrics),
            GroupMembers::Rounds(wheel) => wheel.write_to(position, &mut self.members, metrics),
        }?;
        self.set_watch_for_writing(key, progress == Progress::Waiting);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lastmile_wire::request::StreamRequest;

    use super::*;
    use crate::hub::From;
    use crate::metrics::Metrics;
    use crate::published::Framing;
    use crate::shard::bench::Bench;
    use crate::shard::{QueueReader, SessionOutlet, SessionSeat, ShardId, ShardInput};

    #[tokio::test]
    async fn a_newcomer_stays_when_the_last_member_before_it_is_closed_on_its_arrival() {
        let mut bench = Bench::new();
        let join = |bench: &Bench| {
            let (sender, subscription) = (bench.sender.clone(), bench.subscription.clone());
            tokio::spawn(async move {
                QueueReader::join(&sender, Format::plain(Framing::SseEvent), subscription).await
            })
        };
        let first = join(&bench);
        tokio::task::yield_now().await;
        let answer = bench.ask();
        bench.shard.take(answer);
        let gone = first.await.expect("a task").expect("a reader");

        let second = join(&bench);
        tokio::task::yield_now().await;
        let answer = bench.ask();
        // The first has gone, which the shard finds out when it delivers what came before the second.
        drop(gone);
        bench.publish(1);
        bench.shard.take(answer);
        let mut reader = second.await.expect("a task").expect("a reader");
        bench.publish(2);
        bench.shard.take_turn();
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
        let Ok(Ok(events)) = next else { panic!("no events: {next:?}") };
        assert_eq!(&events[..], b"event: message\nid: 2\ndata: 2\n\n");
    }

    #[tokio::test]
    async fn a_newcomer_stays_when_the_batch_it_completes_is_too_much_for_the_last_member_before_it() {
        let mut bench = Bench::new();
        let request = StreamRequest::parse("/wt/crash?batch_ms=100").expect("a stream").expect("a request");
        // Not opened yet: a session that takes nothing.
        let outlet = SessionOutlet::new(&request, Arc::new(Metrics::new(1)), ShardId(0));
        let format = outlet.format();
        let first = {
            let (sender, subscription) = (bench.sender.clone(), bench.subscription.clone());
            tokio::spawn(
                async move { SessionSeat::join(&sender, outlet, subscription, From::default()).await },
            )
        };
        tokio::task::yield_now().await;
        let answer = bench.ask();
        bench.shard.take(answer);
        let _seat = first.await.expect("a task").expect("a seat");
        let [group] = bench.shard.groups.ids()[..] else { panic!("one group") };
        bench.publish(1);
        bench.shard.complete_batch(group);
        bench.shard.take_turn();

        let second = {
            let (sender, subscription) = (bench.sender.clone(), bench.subscription.clone());
            tokio::spawn(async move { QueueReader::join(&sender, format, subscription).await })
        };
        tokio::task::yield_now().await;
        let answer = bench.ask();
        // More than may wait, and not complete until the newcomer is there.
        let much = Bytes::from(vec![b'2'; 2 * bench.shard.settings.backlog_bytes]);
        bench.shard.take(ShardInput::Round(Arc::new(Published::new(
            bench.subscription.games()[0],
            2,
            much,
            0,
        ))));
        bench.shard.take(answer);
        let mut reader = second.await.expect("a task").expect("a reader");
        let too_slow = bench.shard.counters().closed(CloseReason::TooSlow).get();
        assert_eq!(too_slow, 1, "the one before it is gone, and its group with it");
        bench.publish(3);
        for group in bench.shard.groups.ids() {
            bench.shard.complete_batch(group);
        }
        bench.shard.take_turn();
        let next = tokio::time::timeout(Duration::from_secs(10), reader.next()).await;
        let Ok(Ok(message)) = next else { panic!("nothing: {next:?}") };
        assert_eq!(&message[..], b"\x03[3]");
    }

    #[tokio::test]
    async fn rounds_that_arrive_while_others_are_written_reach_everyone_once_and_are_counted() {
        let mut bench = Bench::new();
        let mut readers = Vec::new();
        for _ in 0..100 {
            let (sender, subscription) = (bench.sender.clone(), bench.subscription.clone());
            let join = tokio::spawn(async move {
                QueueReader::join(&sender, Format::plain(Framing::SseEvent), subscription).await
            });
            tokio::task::yield_now().await;
            let answer = bench.ask();
            bench.shard.take(answer);
            readers.push(join.await.expect("a task").expect("a reader"));
        }
        for round_id in 1..=9 {
            bench.publish(round_id);
            bench.shard.take_turn();
        }
        while !bench.shard.active.is_empty() {
            bench.shard.take_turn();
        }
        let event = |id: u64| format!("event: message\nid: {id}\ndata: {id}\n\n");
        let expected = (1..=9).map(event).collect::<Vec<_>>().concat();
        for reader in &mut readers {
            let mut events = Vec::new();
            while events.len() < expected.len() {
                events.extend_from_slice(&reader.next().await.expect("events"));
            }
            assert_eq!(String::from_utf8_lossy(&events), expected);
        }
        let counted = bench.shard.counters().protocol(protocol_of(Framing::SseEvent));
        assert_eq!(counted.deliveries.get(), 900);
    }
}
