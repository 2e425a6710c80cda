//! A shard: one thread, and the connections it accepted, which nobody else has. It is woken once for all that is pending,
//! joins a group's frames and writes them to each member with one system call; the module `wheel` tells how. Nothing
//! pending, nothing delayed: batching comes from load, never from a timer. There is no lock and no allocation
//! per delivery.

#[cfg(test)]
mod bench;
mod closing;
mod commands;
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
mod shared;
mod socket;
mod sweep;
mod wheel;

pub use inbox::{
    Inbox, MemberKey, QueueJoin, Reply, SessionJoin, ShardId, ShardInput, ShardSender, SocketJoin,
};
pub use queue::{ConnectionBacklog, QueueOutlet, QueueReader};
pub use session::{OpenSession, SessionOutlet, SessionSeat, end};
pub use shared::Here;
pub use socket::Socket;
pub use wheel::{BYTES_A_TURN, SEATS_A_TURN};

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use self::closing::Closing;
use self::commands::Unknowns;
use self::drain::Drain;
use self::group::{GroupId, GroupKind, Groups};
use self::member::{Joining, Members, Outlet, Phase};
use self::outlet::SocketOutlet;
use self::poller::{Poller, SocketEvent};
use self::sweep::Sweep;
use crate::catalog::{Catalog, Subscription};
use crate::guard::{Access, Guard};
use crate::hub::Hub;
use crate::metrics::{Metrics, ShardMetrics};
use crate::published::Framing;

/// Inputs taken before anything is written.
const INPUTS_AT_A_TIME: usize = 256;

/// Turns of sockets before others get theirs: about a millisecond.
const TURNS_AT_A_TIME: usize = 8;

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
    /// Knows tokens, and how much a client may say.
    pub guard: Arc<Guard>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    catalog: Arc<Catalog>,
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
    unknowns: Unknowns,
    sweep: Sweep,
    /// Members with decrypted bytes that have not been heard.
    unheard: HashSet<MemberKey>,
    read_buffer: Box<[u8]>,
    stopping: bool,
}

/// Why a shard moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// It is time to look after everyone.
    Tick,
    /// Sockets have something to say.
    Sockets,
    /// It has been told something.
    Told,
    /// A batch is complete.
    Due,
    /// It has not been through with its work.
    Work,
}

/// What it was woken with.
#[derive(Debug)]
struct Heard {
    inputs: Vec<ShardInput>,
    events: Vec<SocketEvent>,
}

/// What a step leaves to be done.
#[derive(Debug)]
struct Left {
    /// When the next batch is complete.
    due: Option<Instant>,
    /// There is something to be written, someone to be heard or to be visited now.
    has_work: bool,
}

impl Shard {
    /// A shard without members. To be called on the thread's own runtime.
    ///
    /// # Errors
    /// Where the kernel gives no epoll descriptor.
    pub fn new(
        id: ShardId,
        catalog: Arc<Catalog>,
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
            groups: Groups::new(catalog.len()),
            catalog,
            poller: Poller::new()?,
            active: VecDeque::new(),
            closing: Closing::default(),
            drain: None,
            unknowns: Unknowns::default(),
            unheard: HashSet::new(),
            read_buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            stopping: false,
        })
    }

    /// Works until told to stop and everyone has been told goodbye.
    pub async fn run(self, mut inbox: Inbox) {
        let mut heard = Heard { inputs: Vec::with_capacity(INPUTS_AT_A_TIME), events: Vec::new() };
        let mut tick = tokio::time::interval(sweep::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let poller = self.poller.clone();
        let mut left = self.left();
        let served = inbox.shared.serve(self);
        loop {
            let woken = tokio::select! {
                biased;
                _ = tick.tick() => Woken::Tick,
                () = poller.wait(&mut heard.events) => Woken::Sockets,
                count = inbox.queue.recv_many(&mut heard.inputs, INPUTS_AT_A_TIME) => {
                    if count == 0 {
                        return;
                    }
                    Woken::Told
                }
                () = sleep_until(left.due), if left.due.is_some() => Woken::Due,
                // Between some turns everyone else on this thread gets theirs.
                () = tokio::task::yield_now(), if left.has_work => Woken::Work,
            };
            let Some(Some(still)) = served.with(|shard| shard.step(woken, &mut heard, &mut inbox)) else {
                return;
            };
            left = still;
            if woken == Woken::Sockets {
                // Clients that always have something to say do not hold up the others of this thread.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Does what it was woken for, gives groups their turns, and looks after a few members. `None` where it is over.
    fn step(&mut self, woken: Woken, heard: &mut Heard, inbox: &mut Inbox) -> Option<Left> {
        match woken {
            Woken::Tick => self.on_tick(),
            Woken::Due => self.complete_due_batches(),
            Woken::Work => {}
            Woken::Sockets => {
                for event in heard.events.drain(..) {
                    self.on_socket_event(event);
                }
                // Nor do they hold up rounds.
                self.take_told(inbox);
            }
            Woken::Told => {
                let count = heard.inputs.len();
                for input in heard.inputs.drain(..) {
                    self.take(input);
                }
                inbox.shared.note_taken(count);
            }
        }
        self.hear_rest();
        self.take_turns(inbox);
        if woken == Woken::Tick || self.sweep.is_behind() {
            self.sweep_some();
        }
        (!self.stopping || self.members.len() > 0).then(|| self.left())
    }

    /// Gives groups their turns. Sockets get several before clients are heard and others of this thread get theirs: what
    /// they do then would come between the first and the last member of every round.
    fn take_turns(&mut self, inbox: &mut Inbox) {
        for _ in 0..TURNS_AT_A_TIME {
            // A session's packets leave in a task of its own.
            if self.take_turn() != Some(GroupKind::Bytes) || self.active.is_empty() {
                return;
            }
            // What has been published meanwhile joins what the members of the next turn get.
            self.take_told(inbox);
        }
    }

    fn take_told(&mut self, inbox: &mut Inbox) {
        for _ in 0..INPUTS_AT_A_TIME {
            let Some(input) = inbox.try_take() else { break };
            self.take(input);
        }
    }

    fn left(&self) -> Left {
        let is_through = self.active.is_empty() && self.unheard.is_empty() && !self.sweep.is_behind();
        Left { due: self.groups.next_due(), has_work: !is_through }
    }

    fn take(&mut self, input: ShardInput) {
        match input {
            ShardInput::Round(round) => self.push(&round),
            // Whatever wakes a shard has it go on.
            ShardInput::GoOn => {}
            ShardInput::Attached { member, latest } => self.attach(member, &latest),
            ShardInput::Changed { member, change, latest, reply } => {
                self.change(member, &change, &latest, reply);
            }
            ShardInput::Said { member, command, answer } => {
                if let Err(reason) = self.command(member, command, Reply::Waiting(answer)) {
                    self.close(member, reason);
                }
            }
            ShardInput::JoinSocket(join) => {
                let SocketJoin { socket, protocol, format, access, subscription, from, head, early, permit } =
                    *join;
                let outlet = SocketOutlet::new(socket, protocol, format, self.sweep.now_s(), permit);
                let joining = Joining { subscription, from, head, early, said: Vec::new(), attached: None };
                match access {
                    Access::Granted => self.join(Outlet::Socket(outlet), joining),
                    Access::AwaitsToken => self.ask_who(Outlet::Socket(outlet), joining),
                }
            }
            ShardInput::JoinQueue(join) => {
                let QueueJoin { format, subscription, from, outlet, attached } = *join;
                self.join(Outlet::Queue(outlet, format), Joining::waited_for(subscription, from, attached));
            }
            ShardInput::JoinSession(join) => {
                let SessionJoin { outlet, subscription, from, attached } = *join;
                self.join(
                    Outlet::Session(Box::new(outlet)),
                    Joining::waited_for(subscription, from, attached),
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
    fn join(&mut self, outlet: Outlet, mut joining: Joining) {
        if self.stopping {
            return;
        }
        let subscription: Subscription = joining.subscription.clone();
        let from = std::mem::take(&mut joining.from);
        let member = self.members.insert(outlet, Phase::Joining(Box::new(joining)));
        self.hub.attach(self.id, member, &subscription, &from);
    }

    fn counters(&self) -> &ShardMetrics {
        &self.metrics.shards[self.id.index()]
    }
}

/// Resolves at an instant; without one it is not asked.
async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// The protocol whose counters a framing belongs to.
fn protocol_of(framing: Framing) -> lastmile_wire::request::Protocol {
    use lastmile_wire::request::Protocol;
    match framing {
        Framing::WebSocket => Protocol::WebSocket,
        Framing::SseEvent => Protocol::Sse,
        Framing::Bare => Protocol::Tcp,
        Framing::LengthPrefixed | Framing::UniStream | Framing::Datagram => Protocol::WebTransport,
    }
}
