//! A shard: one thread, sole owner of the connections it accepted. It is woken once for all that is pending,
//! joins a group's frames and writes them to each member with one system call; the module `wheel` tells how. Nothing
//! pending, nothing delayed: batching comes from load, never from a timer. There is no lock and no allocation
//! per delivery.

mod closing;
mod delivery;
mod drain;
mod group;
mod inbox;
mod log;
mod member;
mod outlet;
mod poller;
mod queue;
mod reading;
mod session;
mod socket;
mod sweep;
mod wheel;

pub use inbox::{MemberKey, QueueJoin, SessionJoin, ShardId, ShardInput, ShardSender, SocketJoin};
pub use queue::{QueueOutlet, QueueReader};
pub use session::{OpenSession, SessionOutlet, SessionSeat};
pub use socket::Socket;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use self::closing::Closing;
use self::drain::Drain;
use self::group::{GroupId, Groups};
use self::member::{Joining, Members, Outlet};
use self::outlet::SocketOutlet;
use self::poller::{Poller, SocketEvent};
use self::sweep::Sweep;
use crate::catalog::Subscription;
use crate::hub::Hub;
use crate::metrics::{Metrics, ShardMetrics};
use crate::published::Framing;

/// Inputs taken before anything is written.
const INPUTS_AT_A_TIME: usize = 256;

/// Read buffer, shared by all members of a shard.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// What a shard can be told at start.
#[derive(Debug, Clone)]
pub struct ShardSettings {
    /// Bytes that may wait for one member before it is too slow.
    pub backlog_bytes: usize,
    /// Time between two heartbeats of an event stream; WebSockets are pinged every second one.
    pub heartbeat: Duration,
    /// A WebSocket client silent for this long is closed.
    pub idle_limit: Duration,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    settings: ShardSettings,
    hub: Hub,
    metrics: Arc<Metrics>,
    members: Members,
    groups: Groups,
    poller: Poller,
    /// Groups with work, each once.
    active: VecDeque<GroupId>,
    closing: Closing,
    drain: Option<Drain>,
    sweep: Sweep,
    read_buffer: Box<[u8]>,
    stopping: bool,
}

impl Shard {
    /// A shard without members. To be called on the thread's own runtime.
    ///
    /// # Errors
    /// Where the kernel gives no epoll descriptor.
    pub fn new(
        id: ShardId,
        games: usize,
        settings: ShardSettings,
        hub: Hub,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        Ok(Self {
            id,
            sweep: Sweep::new(settings.heartbeat),
            settings,
            hub,
            metrics,
            members: Members::default(),
            groups: Groups::new(games),
            poller: Poller::new()?,
            active: VecDeque::new(),
            closing: Closing::default(),
            drain: None,
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            stopping: false,
        })
    }

    /// Works until told to stop and everyone has been told goodbye.
    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<ShardInput>) {
        let mut inputs = Vec::with_capacity(INPUTS_AT_A_TIME);
        let mut events: Vec<SocketEvent> = Vec::new();
        let mut tick = tokio::time::interval(sweep::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !(self.stopping && self.members.len() == 0) {
            tokio::select! {
                biased;
                _ = tick.tick() => self.on_tick(),
                () = self.poller.wait(&mut events) => {
                    for event in events.drain(..) {
                        self.on_socket_event(event);
                    }
                }
                count = inbox.recv_many(&mut inputs, INPUTS_AT_A_TIME) => {
                    if count == 0 {
                        return;
                    }
                    for input in inputs.drain(..) {
                        self.take(input);
                    }
                }
                // Between two turns everyone else on this thread gets theirs: what has been published
                // meanwhile joins what the members of the next turn get.
                () = tokio::task::yield_now(), if !self.active.is_empty() => {}
            }
            self.take_turn();
        }
    }

    fn take(&mut self, input: ShardInput) {
        match input {
            ShardInput::Round(round) => self.push(&round),
            ShardInput::Attached { member, latest } => self.attach(member, &latest),
            ShardInput::JoinSocket(join) => {
                let outlet = SocketOutlet::new(join.socket, join.protocol, self.sweep.now_s(), join.permit);
                let joining = Joining {
                    subscription: join.subscription,
                    since: join.since,
                    head: join.head,
                    early: join.early,
                    attached: None,
                };
                self.join(Outlet::Socket(outlet), joining);
            }
            ShardInput::JoinQueue(join) => {
                let QueueJoin { framing, subscription, since, outlet, attached } = *join;
                self.join(Outlet::Queue(outlet, framing), Joining::waited_for(subscription, since, attached));
            }
            ShardInput::JoinSession(join) => {
                let SessionJoin { outlet, subscription, since, attached } = *join;
                self.join(
                    Outlet::Session(Box::new(outlet)),
                    Joining::waited_for(subscription, since, attached),
                );
            }
            ShardInput::Open(member, session) => self.open_session(member, *session),
            ShardInput::Stream(member, stream) => self.use_stream(member, stream),
            ShardInput::Writable(member) => self.on_writable(member),
            ShardInput::Leave(member) => self.remove(member, crate::protocol::CloseReason::ClientClosed),
            // Who asked may have stopped waiting.
            ShardInput::Echo(done) => drop(done.send(())),
            ShardInput::Drain(length) => self.drain(length),
            ShardInput::Stop => self.stop(),
        }
    }

    /// Asks the hub to attach a newcomer.
    fn join(&mut self, outlet: Outlet, joining: Joining) {
        if self.stopping {
            return;
        }
        let subscription: Subscription = joining.subscription.clone();
        let since = joining.since;
        let member = self.members.insert(outlet, joining);
        self.hub.attach(self.id, member, &subscription, since);
    }

    fn counters(&self) -> &ShardMetrics {
        &self.metrics.shards[self.id.index()]
    }
}

/// The protocol whose counters a framing belongs to.
fn protocol_of(framing: Framing) -> lastmile_wire::request::Protocol {
    use lastmile_wire::request::Protocol;
    match framing {
        Framing::WebSocketText => Protocol::WebSocket,
        Framing::SseEvent => Protocol::Sse,
        Framing::Bare => Protocol::Tcp,
        Framing::LengthPrefixed | Framing::UniStream | Framing::Datagram => Protocol::WebTransport,
    }
}
