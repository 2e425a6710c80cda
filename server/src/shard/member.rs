//! Members: the subscribers a shard owns.

use bytes::Bytes;
use slab::Slab;
use tokio::sync::oneshot;

use super::group::{GroupId, GroupKind};
use super::inbox::MemberKey;
use super::outlet::SocketOutlet;
use super::queue::QueueOutlet;
use super::session::SessionOutlet;
use crate::catalog::Subscription;
use crate::guard::CommandBudget;
use crate::hub::From;
use crate::protocol::Said;
use crate::published::Format;

/// A subscriber.
#[derive(Debug)]
pub struct Member {
    generation: u32,
    /// Where its frames go.
    pub outlet: Outlet,
    /// How far it is.
    pub phase: Phase,
    /// What its client may still say in this second.
    pub commands: CommandBudget,
}

/// How far a member is.
#[derive(Debug)]
pub enum Phase {
    /// Its client has not said yet who it is.
    Unknown(Box<Joining>),
    /// It waits for the hub's answer.
    Joining(Box<Joining>),
    /// It gets rounds.
    Live {
        /// Its group.
        group: GroupId,
        /// Its position among the group's members.
        position: u32,
    },
    /// It has been told goodbye, and gets a little time to take it.
    Closing {
        /// What its client has sent since, read and thrown away.
        discarded_bytes: u32,
    },
}

/// What a member brings along until it is attached.
#[derive(Debug)]
pub struct Joining {
    /// What it gets.
    pub subscription: Subscription,
    /// Where its rounds begin.
    pub from: From,
    /// The answer to its handshake, where the shard is to send it.
    pub head: Bytes,
    /// What its client sent behind the request.
    pub early: Vec<u8>,
    /// What it said meanwhile.
    pub said: Vec<Said>,
    /// Told when it is attached.
    pub attached: Option<oneshot::Sender<MemberKey>>,
}

impl Joining {
    /// Someone waits for this member to be attached, and answers its client then.
    pub fn waited_for(subscription: Subscription, from: From, attached: oneshot::Sender<MemberKey>) -> Self {
        Self {
            subscription,
            from,
            head: Bytes::new(),
            early: Vec::new(),
            said: Vec::new(),
            attached: Some(attached),
        }
    }
}

/// Where a member's frames go.
#[derive(Debug)]
pub enum Outlet {
    /// Straight to its socket.
    Socket(SocketOutlet),
    /// To its WebTransport session.
    Session(Box<SessionOutlet>),
    /// To a queue that someone else reads, in this form.
    Queue(QueueOutlet, Format),
}

/// What has become of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything is on its way.
    Written,
    /// Something waits for the peer to take it.
    Waiting,
}

impl Outlet {
    /// In what form it gets rounds.
    pub fn format(&self) -> Format {
        match self {
            Self::Socket(outlet) => outlet.format,
            Self::Session(outlet) => outlet.format(),
            Self::Queue(_, format) => *format,
        }
    }

    /// The kind of group it belongs to.
    pub fn kind(&self) -> GroupKind {
        match self {
            Self::Socket(_) => GroupKind::Bytes,
            Self::Session(_) | Self::Queue(..) => GroupKind::Rounds,
        }
    }
}

/// The members of a shard, by key.
#[derive(Debug, Default)]
pub struct Members {
    slots: Slab<Member>,
    generation: u32,
}

impl Members {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// One past the highest slot in use or ever used: what a sweep must visit.
    pub fn slots(&self) -> usize {
        self.slots.capacity()
    }

    /// Adds a member that is not attached yet.
    pub fn insert(&mut self, outlet: Outlet, phase: Phase) -> MemberKey {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let commands = CommandBudget::default();
        let slot = self.slots.insert(Member { generation, outlet, phase, commands }) as u32;
        MemberKey { slot, generation }
    }

    /// A member, if it is still here.
    pub fn get(&mut self, key: MemberKey) -> Option<&mut Member> {
        self.slots.get_mut(key.slot as usize).filter(|member| member.generation == key.generation)
    }

    /// The member in a slot.
    pub fn in_slot(&mut self, slot: u32) -> Option<(MemberKey, &mut Member)> {
        let member = self.slots.get_mut(slot as usize)?;
        Some((MemberKey { slot, generation: member.generation }, member))
    }

    /// Takes a member out; dropping it closes its connection.
    pub fn remove(&mut self, key: MemberKey) -> Option<Member> {
        self.get(key)?;
        self.slots.try_remove(key.slot as usize)
    }

    /// The keys of all members.
    pub fn keys(&self) -> Vec<MemberKey> {
        let key =
            |(slot, member): (usize, &Member)| MemberKey { slot: slot as u32, generation: member.generation };
        self.slots.iter().map(key).collect()
    }
}
