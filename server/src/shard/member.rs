//! Members: the subscribers a shard owns.

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use slab::Slab;

use super::backlog::Backlog;
use super::group::{Batch, GroupId};
use super::inbox::MemberKey;
use super::queue::QueueOutlet;
use super::socket::Socket;
use crate::catalog::Subscription;
use crate::protocol::{CloseReason, Conversation, StreamProtocol};
use crate::published::Framing;

/// A subscriber.
#[derive(Debug)]
pub struct Member {
    generation: u32,
    /// Where its frames go.
    pub outlet: Outlet,
    /// How far it is.
    pub phase: Phase,
}

/// How far a member is.
#[derive(Debug)]
pub enum Phase {
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
    Closing,
}

/// What a member brings along until it is attached.
#[derive(Debug)]
pub struct Joining {
    /// What it gets.
    pub subscription: Subscription,
    /// The answer to its handshake, where the shard is to send it.
    pub head: Bytes,
    /// What its client sent behind the request.
    pub early: Vec<u8>,
    /// Told when it is attached.
    pub attached: Option<tokio::sync::oneshot::Sender<MemberKey>>,
}

/// Where a member's frames go.
#[derive(Debug)]
pub enum Outlet {
    /// Straight to its socket.
    Socket(SocketOutlet),
    /// To a queue that someone else reads, framed like this.
    Queue(QueueOutlet, Framing),
}

impl Outlet {
    /// How rounds are framed for it.
    pub fn framing(&self) -> Framing {
        match self {
            Self::Socket(outlet) => outlet.protocol.framing(),
            Self::Queue(_, framing) => *framing,
        }
    }
}

/// What has become of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything is with the kernel.
    Written,
    /// Something waits for the socket to take it.
    Waiting,
}

/// A socket, what it speaks, and what it has not taken yet.
#[derive(Debug)]
pub struct SocketOutlet {
    /// The connection.
    pub socket: Socket,
    /// What it speaks.
    pub protocol: &'static dyn StreamProtocol,
    /// What is kept of the client's words.
    pub conversation: Conversation,
    /// When its client was last heard, in seconds of the shard's clock.
    pub heard_s: u32,
    /// Its backlog; none while the socket takes everything.
    backlog: Option<Box<Backlog>>,
    /// The poller tells when the socket takes more.
    pub watched_for_writing: bool,
}

impl SocketOutlet {
    /// A socket that has just come.
    pub fn new(socket: Socket, protocol: &'static dyn StreamProtocol, now_s: u32) -> Self {
        Self {
            socket,
            protocol,
            conversation: Conversation::default(),
            heard_s: now_s,
            backlog: None,
            watched_for_writing: false,
        }
    }

    /// Sends whole frames behind all that waits.
    ///
    /// # Errors
    /// `TooSlow` where more than `limit_bytes` would wait, `PeerGone` where the connection broke.
    pub fn write(&mut self, frames: &Bytes, limit_bytes: usize) -> Result<Progress, CloseReason> {
        if let Some(backlog) = &mut self.backlog {
            if backlog.waiting_bytes() + frames.len() > limit_bytes {
                return Err(CloseReason::TooSlow);
            }
            backlog.push(frames.clone(), 0);
            return Ok(Progress::Waiting);
        }
        let sent = match self.socket.send(frames) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Err(CloseReason::PeerGone),
        };
        if sent < frames.len() {
            // Even a single write above the limit gets its chance: only what comes on top is too slow.
            self.backlog.get_or_insert_default().push(frames.clone(), sent);
        }
        Ok(self.progress())
    }

    /// Sends the answer to the handshake and the first frames in one write. What of the head stays unsent
    /// waits as a chunk of its own, so that the backlog can still be cut between frames.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_head(
        &mut self,
        head: &Bytes,
        frames: &Bytes,
        limit_bytes: usize,
    ) -> Result<Progress, CloseReason> {
        let first = Bytes::from([&head[..], &frames[..]].concat());
        let sent = match self.socket.send(&first) {
            Ok(sent) => sent,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(_) => return Err(CloseReason::PeerGone),
        };
        let backlog = self.backlog.get_or_insert_default();
        if sent < head.len() {
            backlog.push(head.clone(), sent);
        }
        let frames_sent = sent.saturating_sub(head.len());
        if frames_sent < frames.len() {
            backlog.push(frames.clone(), frames_sent);
        }
        if backlog.waiting_bytes() == 0 {
            self.backlog = None;
        } else if backlog.waiting_bytes() > limit_bytes.max(first.len()) {
            return Err(CloseReason::TooSlow);
        }
        Ok(self.progress())
    }

    /// Sends what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// `PeerGone` where the connection broke.
    pub fn drain(&mut self) -> Result<Progress, CloseReason> {
        let drained = self.try_drain();
        match drained {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(CloseReason::PeerGone),
            _ => Ok(self.progress()),
        }
    }

    fn try_drain(&mut self) -> std::io::Result<()> {
        while let Some(backlog) = &mut self.backlog {
            let front = backlog.front();
            if front.is_empty() {
                self.backlog = None;
                break;
            }
            let sent = self.socket.send(front)?;
            backlog.advance(sent);
        }
        self.socket.flush()
    }

    fn progress(&self) -> Progress {
        if self.backlog.is_some() || self.socket.holds_unsent() {
            Progress::Waiting
        } else {
            Progress::Written
        }
    }

    /// Drops what waits but for the frame that was begun, and appends the protocol's goodbye.
    ///
    /// # Errors
    /// `PeerGone` where the connection broke.
    pub fn say_goodbye(&mut self, reason: CloseReason) -> Result<Progress, CloseReason> {
        let backlog = self.backlog.get_or_insert_default();
        backlog.keep_begun_frame(|frames, sent| self.protocol.end_of_frame(frames, sent));
        backlog.push(Bytes::from(self.protocol.goodbye(reason)), 0);
        self.drain()
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

    /// Adds a member that waits for the hub.
    pub fn insert(&mut self, outlet: Outlet, joining: Joining) -> MemberKey {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let phase = Phase::Joining(Box::new(joining));
        let slot = self.slots.insert(Member { generation, outlet, phase }) as u32;
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

impl Member {
    /// Hands a batch on.
    ///
    /// # Errors
    /// The reason to close the member for.
    pub fn deliver(&mut self, batch: &Batch, limit_bytes: usize) -> Result<Progress, CloseReason> {
        match (&mut self.outlet, batch) {
            (Outlet::Socket(outlet), Batch::Joined(frames)) => outlet.write(frames, limit_bytes),
            (Outlet::Socket(outlet), Batch::Each(frames)) => {
                let mut progress = Progress::Written;
                for frame in Arc::as_ref(frames) {
                    progress = outlet.write(frame, limit_bytes)?;
                }
                Ok(progress)
            }
            (Outlet::Queue(outlet, _), batch) => {
                outlet.deliver(batch, limit_bytes).map(|()| Progress::Written)
            }
        }
    }
}
