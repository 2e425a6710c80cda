//! The groups of a shard: who gets which game, and how.

use std::collections::HashMap;
use std::sync::Arc;

use slab::Slab;

use super::log::{ByteLog, RoundLog};
use super::wheel::Wheel;
use crate::catalog::Subscription;
use crate::published::{Framing, Published};

/// A group's place in [`Groups`].
pub type GroupId = usize;

/// What the members of a group have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// The games they get.
    pub subscription: Subscription,
    /// How their rounds are framed.
    pub framing: Framing,
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

/// Members with the same subscription, framing and kind.
#[derive(Debug)]
pub struct Group {
    /// What they have in common.
    pub key: GroupKey,
    /// The group is in the shard's list of those with work.
    pub is_active: bool,
    /// The members.
    pub members: GroupMembers,
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
}

/// The groups of a shard.
#[derive(Debug)]
pub struct Groups {
    slots: Slab<Group>,
    by_key: HashMap<GroupKey, GroupId>,
    by_game: Vec<Vec<GroupId>>,
}

impl Groups {
    /// None yet, for so many games.
    pub fn new(games: usize) -> Self {
        Self { slots: Slab::new(), by_key: HashMap::new(), by_game: vec![Vec::new(); games] }
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
        let id = self.slots.insert(Group { key: key.clone(), is_active: false, members });
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

    /// Appends a round to every group that gets its game, and hands each to `on_group`.
    pub fn push(&mut self, round: &Arc<Published>, mut on_group: impl FnMut(GroupId, &mut Group)) {
        for &id in &self.by_game[round.game().index()] {
            let group = &mut self.slots[id];
            match &mut group.members {
                GroupMembers::Bytes(wheel) => wheel.push(round, group.key.framing),
                GroupMembers::Rounds(wheel) => wheel.push(round, group.key.framing),
            }
            on_group(id, group);
        }
    }
}
