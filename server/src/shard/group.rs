//! Groups: the members with the same subscription and framing, who therefore always get the same bytes. What
//! is pending for a group is joined once and written to each member with one call.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use slab::Slab;

use crate::catalog::{GameIndex, Subscription};
use crate::published::{Framing, Moment, Published};

/// Frames on their way to a member, shared by all who get them.
#[derive(Debug, Clone)]
pub enum Batch {
    /// Whole frames behind each other.
    Joined(Bytes),
    /// Frames that travel one by one.
    Each(Arc<[Bytes]>),
}

impl Batch {
    /// The frames of `rounds`, in order.
    pub fn new(framing: Framing, moment: Moment, rounds: &[Arc<Published>]) -> Self {
        if !framing.joins() {
            return Self::Each(rounds.iter().map(|round| round.frame(framing, moment).clone()).collect());
        }
        if let [round] = rounds {
            return Self::Joined(round.frame(framing, moment).clone());
        }
        let frames = || rounds.iter().map(|round| round.frame(framing, moment));
        let mut joined = Vec::with_capacity(frames().map(Bytes::len).sum());
        frames().for_each(|frame| joined.extend_from_slice(frame));
        Self::Joined(Bytes::from(joined))
    }

    /// The bytes of all its frames.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Joined(bytes) => bytes.len(),
            Self::Each(frames) => frames.iter().map(Bytes::len).sum(),
        }
    }
}

/// A group's place in [`Groups`].
pub type GroupId = usize;

/// See the module's documentation.
#[derive(Debug)]
pub struct Group {
    subscription: Subscription,
    /// How its members' rounds are framed.
    pub framing: Framing,
    /// The slots of its members.
    pub members: Vec<u32>,
    /// Rounds taken from the shard's queue and not written yet, oldest first.
    pub pending: Vec<Arc<Published>>,
}

/// The groups of a shard.
#[derive(Debug)]
pub struct Groups {
    slots: Slab<Group>,
    by_key: HashMap<(Subscription, Framing), GroupId>,
    by_game: Vec<Vec<GroupId>>,
}

impl Groups {
    /// None yet, for so many games.
    pub fn new(games: usize) -> Self {
        Self { slots: Slab::new(), by_key: HashMap::new(), by_game: vec![Vec::new(); games] }
    }

    /// The group of a subscription and framing, made where there is none.
    pub fn find(&mut self, subscription: &Subscription, framing: Framing) -> GroupId {
        if let Some(id) = self.by_key.get(&(subscription.clone(), framing)) {
            return *id;
        }
        let group =
            Group { subscription: subscription.clone(), framing, members: Vec::new(), pending: Vec::new() };
        let id = self.slots.insert(group);
        self.by_key.insert((subscription.clone(), framing), id);
        for game in subscription.games() {
            self.by_game[game.index()].push(id);
        }
        id
    }

    /// Forgets a group that has lost its last member.
    pub fn remove_if_empty(&mut self, id: GroupId) {
        if !self.slots[id].members.is_empty() {
            return;
        }
        let group = self.slots.remove(id);
        for game in group.subscription.games() {
            self.by_game[game.index()].retain(|other| *other != id);
        }
        self.by_key.remove(&(group.subscription, group.framing));
    }

    /// A group by its place; `None` where it was forgotten.
    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.slots.get_mut(id)
    }

    /// Makes a round pending for every group that gets its game; `touched` gets those that had nothing
    /// pending before.
    pub fn push(&mut self, round: &Arc<Published>, touched: &mut Vec<GroupId>) {
        let game: GameIndex = round.game();
        for &id in &self.by_game[game.index()] {
            let pending = &mut self.slots[id].pending;
            if pending.is_empty() {
                touched.push(id);
            }
            pending.push(Arc::clone(round));
        }
    }
}
