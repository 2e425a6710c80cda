//! What a shard is told, and the names it gives its members.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastmile_wire::command::{Command, CommandError};
use tokio::sync::{mpsc, oneshot};
use wtransport::quinn::SendStream;

use super::queue::QueueOutlet;
use super::session::{OpenSession, SessionOutlet};
use super::shared::{Delivered, Here, SharedShard};
use super::socket::Socket;
use crate::catalog::{Change, Subscription};
use crate::guard::{Access, Permit};
use crate::hub::From;
use crate::protocol::StreamProtocol;
use crate::published::{Format, Published};

/// A shard's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardId(pub usize);

impl ShardId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0
    }
}

/// A member's name within its shard. The generation tells a member from the next one in the same slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberKey {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl MemberKey {
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// A socket that has asked for a stream and is to get it.
#[derive(Debug)]
pub struct SocketJoin {
    /// The connection.
    pub socket: Socket,
    /// What it speaks.
    pub protocol: &'static dyn StreamProtocol,
    /// In what form it gets rounds.
    pub format: Format,
    /// Whether it gets any before its client has said who it is.
    pub access: Access,
    /// What it gets.
    pub subscription: Subscription,
    /// Where its rounds begin.
    pub from: From,
    /// The answer to its handshake; sent once it is attached, so that who has seen it misses nothing.
    pub head: Bytes,
    /// What the client sent behind its request.
    pub early: Vec<u8>,
    /// Its place among the connections, for as long as it lasts.
    pub permit: Permit,
}

/// A subscriber that takes its frames from a queue.
#[derive(Debug)]
pub struct QueueJoin {
    /// In what form it gets rounds.
    pub format: Format,
    /// What it gets.
    pub subscription: Subscription,
    /// Where its rounds begin.
    pub from: From,
    /// Where its frames go.
    pub outlet: QueueOutlet,
    /// Told when it is attached, before the first frame.
    pub attached: oneshot::Sender<MemberKey>,
}

/// A WebTransport session that is about to be accepted.
#[derive(Debug)]
pub struct SessionJoin {
    /// How its rounds travel.
    pub outlet: SessionOutlet,
    /// What it gets.
    pub subscription: Subscription,
    /// Where its rounds begin.
    pub from: From,
    /// Told when it is attached; the session is accepted then.
    pub attached: oneshot::Sender<MemberKey>,
}

/// Where the answer to a command goes.
#[derive(Debug)]
pub enum Reply {
    /// To the member's socket, between two rounds.
    Socket,
    /// To whoever waits for it.
    Waiting(oneshot::Sender<String>),
}

/// What a shard is told.
#[derive(Debug)]
pub enum ShardInput {
    /// A round was published.
    Round(Arc<Published>),
    /// Somebody else has begun to deliver: the rest is the shard's.
    GoOn,
    /// The hub has attached a member: it gets this now and every later round.
    Attached {
        /// The member.
        member: MemberKey,
        /// The latest round of each of its games, or what it had missed.
        latest: Vec<Arc<Published>>,
    },
    /// The hub has changed a member's subscription: from here on it gets other games' rounds.
    Changed {
        /// The member.
        member: MemberKey,
        /// What changes.
        change: Change,
        /// The latest round of each game that is added.
        latest: Vec<Arc<Published>>,
        /// Who is to be told.
        reply: Reply,
    },
    /// A member's client said something, elsewhere than on a socket of the shard.
    Said {
        /// The member.
        member: MemberKey,
        /// What.
        command: Result<Command, CommandError>,
        /// Where the answer goes.
        answer: oneshot::Sender<String>,
    },
    /// A socket wants to become a member.
    JoinSocket(Box<SocketJoin>),
    /// A queue wants to become a member.
    JoinQueue(Box<QueueJoin>),
    /// A session wants to become a member.
    JoinSession(Box<SessionJoin>),
    /// An attached session was accepted: what has come meanwhile can go.
    Open(MemberKey, Box<OpenSession>),
    /// A stream was opened for a session that had to wait for one.
    Stream(MemberKey, SendStream),
    /// A session that was full takes more.
    Writable(MemberKey),
    /// A session, or a queue's reader, has gone.
    Leave(MemberKey),
    /// Say that everything told before has been done.
    Echo(std::sync::mpsc::Sender<()>),
    /// Say goodbye to everyone, one after the other within so long.
    Drain(Duration),
    /// Say goodbye to everyone, and end.
    Stop,
}

/// Where a shard is told things, in order. Never blocks: the queue is as long as what came since the shard last ran.
#[derive(Debug, Clone)]
pub struct ShardSender {
    queue: mpsc::UnboundedSender<ShardInput>,
    shared: Arc<SharedShard>,
}

/// What a shard has been told and has not taken yet.
#[derive(Debug)]
pub struct Inbox {
    pub(super) queue: mpsc::UnboundedReceiver<ShardInput>,
    pub(super) shared: Arc<SharedShard>,
}

impl ShardSender {
    /// A queue: its sending side and the side the shard reads.
    pub fn channel() -> (Self, Inbox) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::<SharedShard>::default();
        (Self { queue: sender, shared: Arc::clone(&shared) }, Inbox { queue: receiver, shared })
    }

    /// Tells the shard. After it has ended, at shutdown, nothing happens.
    pub fn tell(&self, input: ShardInput) {
        self.shared.note_told();
        let _ = self.queue.send(input);
    }

    /// Delivers a round: there and then where the shard sleeps and it may be so, or else the shard is told.
    pub fn publish(&self, round: &Arc<Published>, here: Here) {
        match self.shared.deliver(round, here) {
            Delivered::Whole => {}
            Delivered::Begun => self.tell(ShardInput::GoOn),
            Delivered::Nothing => self.tell(ShardInput::Round(Arc::clone(round))),
        }
    }
}

impl Inbox {
    /// What it has been told next, where that is anything.
    pub fn try_take(&mut self) -> Option<ShardInput> {
        let input = self.queue.try_recv().ok()?;
        self.shared.note_taken(1);
        Some(input)
    }
}
