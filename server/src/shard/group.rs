//! The groups of a shard: who gets which games, and in what form.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::log::{ByteLog, RoundLog};
use super::wheel::Wheel;
use crate::catalog::{GameIndex, Subscription};
use crate::published::{Format, Gathering, Published};

/// A group's place in [`Groups`].
pub type GroupId = usize;

/// What the members of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// The games they get.
    pub subscription: Subscription,
    /// In what form.
    pub format: Format,
    /// What they take.
    pub kind: GroupKind,
}

/// See [`GroupKey::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupKind {
    /// Bytes: sockets of the shard.
    Bytes,
    /// Rounds: WebTransport sessions, and queues.
    Rounds,
}

/// Members with the same subscription, format and kind.
#[derive(Debug)]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// The group is in the shard's list of those with work.
    pub is_active: bool,
    /// The members.
    pub members: GroupMembers,
    /// Rounds that wait for their batch to be complete, and when it is.
    gathering: Gathering,
    due: Option<Instant>,
}

/// The members of a group.
#[derive(Debug)]
pub enum GroupMembers {
    /// See [`GroupKind::Bytes`].
    Bytes(Wheel<ByteLog>),
    /// See [`GroupKind::Rounds`].
    Rounds(Wheel<RoundLog>),
}

impl Group {
    /// Somebody can be written to.
    pub fn has_work(&self) -> bool {
        match &self.members {
            GroupMembers::Bytes(wheel) => wheel.has_work(),
            GroupMembers::Rounds(wheel) => wheel.has_work(),
        }
    }

    fn is_empty(&self) -> bool {
        match &self.members {
            GroupMembers::Bytes(wheel) => wheel.is_empty(),
            GroupMembers::Rounds(wheel) => wheel.is_empty(),
        }
    }

    fn append(&mut self, message: &Arc<Published>) {
        match &mut self.members {
            GroupMembers::Bytes(wheel) => wheel.push(message, self.key.format),
            GroupMembers::Rounds(wheel) => wheel.push(message, self.key.format),
        }
    }

    /// Appends what has been gathered; whether that was anything.
    pub fn complete_batch(&mut self) -> bool {
        self.due = None;
        let batch = self.gathering.take(self.key.format.encoding);
        if let Some(batch) = &batch {
            self.append(batch);
        }
        batch.is_some()
    }
}

/// The groups of a shard.
#[derive(Debug)]
pub struct Groups {
    slots: Slab<Group>,
    by_key: HashMap<GroupKey, GroupId>,
    by_game: Vec<Vec<GroupId>>,
    /// Batches and when they are complete. Some may have been completed ahead of time.
    due: BinaryHeap<Reverse<(Instant, GroupId)>>,
}

impl Groups {
    /// None yet, for so many games.
    pub fn new(games: usize) -> Self {
        Self {
            slots: Slab::new(),
            by_key: HashMap::new(),
            by_game: vec![Vec::new(); games],
            due: BinaryHeap::new(),
        }
    }

    /// The group of a key, made where there is none.
    pub fn find(&mut self, key: GroupKey) -> GroupId {
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
        let members = match key.kind {
            GroupKind::Bytes => GroupMembers::Bytes(Wheel::default()),
            GroupKind::Rounds => GroupMembers::Rounds(Wheel::default()),
        };
        let group =
            Group { key: key.clone(), is_active: false, members, gathering: Gathering::default(), due: None };
        let id = self.slots.insert(group);
        for game in key.subscription.games() {
            self.by_game[game.index()].push(id);
        }
        self.by_key.insert(key, id);
        id
    }

    /// A group; `None` where it was forgotten.
    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.slots.get_mut(id)
    }

    /// The groups there are.
    pub fn ids(&self) -> Vec<GroupId> {
        self.slots.iter().map(|(id, _)| id).collect()
    }

    /// Forgets a group that has lost its last member.
    pub fn remove_if_empty(&mut self, id: GroupId) {
        if self.slots.get(id).is_some_and(Group::is_empty) {
            let group = self.slots.remove(id);
            for game in group.key.subscription.games() {
                self.by_game[game.index()].retain(|other| *other != id);
            }
            self.by_key.remove(&group.key);
        }
    }

    /// Appends a round to every group that gets its game, and hands each to `on_group`; but where rounds are gathered,
    /// it waits for its batch.
    pub fn push(&mut self, round: &Arc<Published>, mut on_group: impl FnMut(GroupId, &mut Group)) {
        for &id in &self.by_game[round.game().index()] {
            let group = &mut self.slots[id];
            if group.key.format.batch_ms == 0 {
                group.append(round);
                on_group(id, group);
                continue;
            }
            group.gathering.push(round);
            if group.gathering.is_full() {
                group.complete_batch();
                on_group(id, group);
            } else if group.due.is_none() {
                let due = Instant::now() + Duration::from_millis(group.key.format.batch_ms.into());
                group.due = Some(due);
                self.due.push(Reverse((due, id)));
            }
        }
    }

    /// How many get a game, where all of them are sockets that get it at once.
    pub fn sockets_of(&self, game: GameIndex) -> Option<usize> {
        self.by_game[game.index()].iter().try_fold(0, |count, &id| {
            let group = &self.slots[id];
            let GroupMembers::Bytes(wheel) = &group.members else { return None };
            (group.key.format.batch_ms == 0).then(|| count + wheel.len())
        })
    }

    /// When the next batch is complete.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// A group whose batch is complete by now.
    pub fn take_due(&mut self, now: Instant) -> Option<GroupId> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse((due, id))) = self.due.pop() else { break };
            if self.slots.get(id).is_some_and(|group| group.due == Some(due)) {
                return Some(id);
            }
        }
        None
    }
}
