//! One slice: attach subscribers, publish by the schedule, wait for what is under way, add up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lastmile_processes::ProcessError;
use lastmile_reports::schema::ResourcePoint;
use rustix::thread::CpuSet;

use crate::adapter::fill_game;
use crate::channels::Channel;
use crate::clock::{self, SECOND_NS};
use crate::feed::{FeedConnection, FeedError};
use crate::in_flight::InFlight;
use crate::interrupt::Interrupt;
use crate::kernel_time::Offset;
use crate::live::Live;
use crate::message::{MessageTemplate, PayloadTooSmall};
use crate::observation::{Costs, Observation, Wellbeing};
use crate::plan::{Case, Instruments, Slice, Timestamps};
use crate::publisher::{Published, Publisher};
use crate::receipt_log::{Detail, Extent, MOST_BYTES, PerMessage};
use crate::recorder::Recording;
use crate::schedule::Schedule;
use crate::stack::Stack;
use crate::stages::{Stages, read_server_times};
use crate::timetable::Timetable;
use crate::together::{Messages, Seat};
use crate::transport::AttachError;
use crate::variant::Variant;
use crate::workers::{Work, Workers, receipt_logs, shares};

/// Time between two looks at the slice while it runs.
const LOOK_NS: u64 = 50_000_000;
/// The same while something is expected to happen any moment.
const CLOSE_LOOK_NS: u64 = 2_000_000;
/// From the last attachment to the first message: what attaching stirred up settles.
const SETTLING_NS: u64 = 50_000_000;
/// Longest time without a further subscriber being attached.
const ATTACH_PATIENCE_NS: u64 = 15 * SECOND_NS;
/// After the last message: longest wait without a receipt, and in all.
const DRAIN_PATIENCE_NS: u64 = 2 * SECOND_NS;
const DRAIN_LIMIT_NS: u64 = 5 * SECOND_NS;

/// Why a slice has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// The payload can't hold a round.
    #[error(transparent)]
    Payload(#[from] PayloadTooSmall),
    /// Nothing can be published.
    #[error(transparent)]
    Redis(#[from] FeedError),
    /// A subscriber could not be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Subscribers wait for an answer that does not come.
    #[error(
        "{attached} of {connections} subscribers were attached, then none for {patience:?}; the server does not answer"
    )]
    AttachStalled {
        /// How many got through.
        attached: u64,
        /// How many there were to be.
        connections: usize,
        /// How long was waited.
        patience: Duration,
    },
    /// A process of the stack ended in the middle.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The publisher could not go on.
    #[error("publishing stopped after {messages} messages: {reason}")]
    Publisher {
        /// Messages written until then.
        messages: usize,
        /// What happened.
        reason: String,
    },
    /// Redis refuses to publish.
    #[error("{count} publishes were refused, the first with: {answer}")]
    RefusedPublish {
        /// How many.
        count: u64,
        /// What it said.
        answer: String,
    },
    /// Nothing that is published reaches the server.
    #[error(
        "nobody is subscribed to {channel} in {redis}: the server under test must read from the same Redis; name it with --redis"
    )]
    NobodyListens {
        /// Where it was published.
        channel: String,
        /// In which Redis.
        redis: String,
    },
    /// Another slice that was to get the same publishes ended before it was ready.
    #[error("the other server that was to be measured at the same time was not ready for it")]
    Abandoned,
    /// Interrupted before anything was measured.
    #[error("interrupted before anything was measured")]
    Interrupted,
    /// This machine refused a thread, a descriptor or a look into /proc.
    #[error("this machine refused what a run needs: {0}")]
    System(#[from] io::Error),
}

/// What a slice needs beside its case.
pub struct SliceRequest<'a> {
    /// What is measured.
    pub case: &'a Case,
    /// Which part of it.
    pub slice: Slice,
    /// First identifier.
    pub first_id: u64,
    /// Seed of payload and schedule.
    pub seed: u64,
    /// Worker threads.
    pub threads: usize,
    /// Connections being opened at once, over all workers.
    pub connecting: usize,
    /// How closely to look.
    pub instruments: Instruments,
    /// Its place among others that get the same publishes, where it is not measured alone.
    pub seat: Option<&'a Seat<'a>>,
}

/// What a slice measured.
#[derive(Debug, Clone)]
pub struct SliceOutcome {
    /// Receipts, all workers added up.
    pub recording: Recording,
    /// What the publisher did.
    pub published: Published,
    /// Subscribers attached when publishing began.
    pub connections: u64,
    /// Of the published messages, those that count.
    pub measured_messages: u64,
    /// What subscribers are to get of these, together.
    pub expected: u64,
    /// Of these, how many were planned in each second of the window.
    pub messages_by_second: Vec<u64>,
    /// How many the schedule had for each second, published or not. Nothing in a closed loop.
    pub planned_by_second: Vec<u64>,
    /// What is known of single messages. Nothing in a closed loop.
    pub per_message: PerMessage,
    /// Where their time went, where that was asked for.
    pub stages: Option<Stages>,
    /// Length of the measured window, shorter than asked where it was cut.
    pub measured: Duration,
    /// From the window's beginning until the last message was sent, no less than the window.
    pub sending: Duration,
    /// From the window's beginning until the last message was received, no less than the window.
    pub receiving: Duration,
    /// From the beginning of the first connection until all subscribers were attached.
    pub attaching: Duration,
    /// It was cut short.
    pub is_interrupted: bool,
    /// Cost of the server, Redis and this program over the window.
    pub costs: Costs,
    /// How the generator and its host did.
    pub wellbeing: Wellbeing,
    /// What processes used, second by second of the window.
    pub resources: Vec<ResourcePoint>,
}

/// How a slice proceeds, for whoever shows it.
pub trait Watcher {
    /// So many of so many subscribers are attached.
    fn attaching(&self, attached: u64, connections: u64);
    /// Publishing: time since it began, length of warm-up, and how it goes, for whoever wants to know.
    fn measuring(&self, elapsed: Duration, warmup: Duration, live: &dyn Fn() -> Live);
    /// Everything is sent, the last receipts are waited for.
    fn draining(&self, received: u64);
}

/// Measures a slice on a stack made for it.
///
/// # Errors
/// [`SliceError`] says why there is no outcome.
pub fn measure(
    request: &SliceRequest<'_>,
    stack: &Stack,
    interrupt: &Interrupt,
    watcher: &dyn Watcher,
) -> Result<SliceOutcome, SliceError> {
    let load = &request.case.load;
    let slice = request.slice;
    let now = time::OffsetDateTime::now_utc();
    let encoding = request.case.variant.encoding();
    let template = |channel: &Channel| {
        MessageTemplate::new(&channel.game, load.payload_bytes, now, request.seed)
            .map(|template| template.received_as(encoding))
    };
    let templates = load.channels.iter().map(template).collect::<Result<_, _>>()?;
    let shares = shares(request.threads, load.connections);
    let (table, in_flight) = match load.in_flight {
        None => {
            let rate = load.messages_per_second;
            let schedule = Schedule::new(load.arrivals, rate, slice.warmup, slice.measured, request.seed);
            (Timetable::new(schedule, request.first_id), None)
        }
        Some(messages) => {
            let schedule = Schedule::closed_loop(slice.warmup, slice.measured);
            let in_flight = InFlight::new(messages, &shares, load.turns());
            (Timetable::closed_loop(schedule, request.first_id), Some(Arc::new(in_flight)))
        }
    };
    let own = Messages { table: Arc::new(table), templates };
    let Messages { table, templates } = match request.seat {
        None => own,
        Some(seat) => seat.messages(own),
    };
    let connection = stack.feed.open()?.on_channel(&stack.channel);

    let receipts = match in_flight {
        Some(_) => Vec::new(),
        None => {
            let first = table.schedule().first_measured();
            let turns = load.turns();
            let places = shares.iter().map(|&share| turns.most_listeners(share)).sum();
            let detail = match request.instruments {
                Instruments { stages: false, .. } => Detail::Codes,
                Instruments { timestamps: Timestamps::User, .. } => Detail::Client,
                Instruments { timestamps: Timestamps::Kernel, .. } => Detail::Kernel,
            };
            let extent = Extent::new(first, table.len(), places, detail, MOST_BYTES);
            receipt_logs(extent, &shares, turns)
        }
    };
    // A closed loop claims no latency, neither a client's nor a kernel's.
    let wants_stamps = request.instruments.timestamps == Timestamps::Kernel && in_flight.is_none();
    let kernel_offset = wants_stamps.then(Offset::measure);
    let observation = Observation::begin(stack);
    let begun_ns = clock::now_ns();
    let work = Work {
        target: stack.target.clone(),
        variant: request.case.variant,
        channels: Arc::clone(&load.channels),
        subscribers: load.connections,
        threads: request.threads,
        connecting: request.connecting,
        table: Arc::clone(&table),
        templates: Arc::clone(&templates),
        in_flight: in_flight.clone(),
        kernel_offset,
        id: stack.id.clone(),
    };
    let workers = Workers::start(&work, receipts)?;
    let attaching = Duration::ZERO;
    let mut running = Running {
        request,
        stack,
        interrupt,
        watcher,
        table,
        workers,
        observation,
        in_flight,
        kernel_offset,
        attaching,
    };
    running.await_attached()?;
    running.attaching = Duration::from_nanos(clock::now_ns() - begun_ns);
    running.observation.all_attached();
    let published = running.publish(connection, &templates)?;
    running.drain(published.messages);
    running.finish(published)
}

struct Running<'a> {
    request: &'a SliceRequest<'a>,
    stack: &'a Stack,
    interrupt: &'a Interrupt,
    watcher: &'a dyn Watcher,
    table: Arc<Timetable>,
    workers: Workers,
    observation: Observation,
    in_flight: Option<Arc<InFlight>>,
    kernel_offset: Option<Offset>,
    attaching: Duration,
}

impl Running<'_> {
    fn await_attached(&mut self) -> Result<(), SliceError> {
        let connections = self.request.case.load.connections as u64;
        let mut last = (0, clock::now_ns());
        loop {
            let attached = self.workers.sum(|progress| &progress.attached);
            self.watcher.attaching(attached, connections);
            if attached == connections {
                return Ok(());
            }
            self.check()?;
            let now_ns = clock::now_ns();
            if attached > last.0 {
                last = (attached, now_ns);
            } else if now_ns - last.1 > ATTACH_PATIENCE_NS {
                return Err(SliceError::AttachStalled {
                    attached,
                    connections: connections as usize,
                    patience: Duration::from_nanos(ATTACH_PATIENCE_NS),
                });
            }
            if self.interrupt.is_asked() {
                return Err(SliceError::Interrupted);
            }
            clock::sleep_until(now_ns + CLOSE_LOOK_NS);
        }
    }

    /// What ends a slice at once, whatever it is doing.
    fn check(&mut self) -> Result<(), SliceError> {
        // A dead server shows in both: its log says more than a broken connection.
        self.stack.processes.check_running()?;
        if let Some(error) = self.workers.failure() {
            // The server may just be dying of the same cause.
            self.stack.processes.check_running()?;
            return Err(error.into());
        }
        Ok(())
    }

    fn publish(
        &mut self,
        connection: FeedConnection,
        templates: &[MessageTemplate],
    ) -> Result<Published, SliceError> {
        let (request, interrupt) = (self.request, self.interrupt);
        let (table, in_flight) = (Arc::clone(&self.table), self.in_flight.clone());
        let begin = |cores: Option<CpuSet>| -> Result<Publisher, SliceError> {
            table.begin(clock::now_ns() + SETTLING_NS);
            let channels = &request.case.load.channels;
            let messages = channels.iter().map(|channel| channel.game.slug.as_str()).zip(templates);
            Ok(Publisher::start(connection, messages, Arc::clone(&table), in_flight, cores)?)
        };
        let publisher = match request.seat {
            None => Arc::new(begin(None)?),
            Some(seat) => {
                let check = || {
                    self.check()?;
                    if interrupt.is_asked() { Err(SliceError::Interrupted) } else { Ok(()) }
                };
                seat.meet(check, |cores| begin(Some(*cores)))?
            }
        };
        let start_ns = self.table.planned_start_ns();
        let followed = self.follow(&publisher, start_ns);
        // Also where following failed: no thread outlives its slice.
        if followed.is_err() || self.interrupt.is_asked() {
            publisher.stop();
        }
        let done = publisher.join();
        self.observation.window_ends();
        followed?;
        self.judge(done)
    }

    /// Looks after the slice until everything is published, or nothing more shall be.
    fn follow(&mut self, publisher: &Publisher, start_ns: u64) -> Result<(), SliceError> {
        let window_ns = start_ns + self.table.schedule().window_begins_ns();
        let mut outstanding = Outstanding::default();
        while !publisher.is_finished() && !self.interrupt.is_asked() {
            let now_ns = clock::now_ns();
            if now_ns >= window_ns {
                self.observation.window_begins();
                self.observation.look();
            }
            self.check()?;
            if publisher.is_unheard() {
                return Err(self.nobody_listens());
            }
            let elapsed = Duration::from_nanos(now_ns.saturating_sub(start_ns));
            outstanding.look(self);
            self.watcher.measuring(elapsed, self.request.slice.warmup, &|| Live {
                received: self.workers.sum(|progress| &progress.received),
                latencies: self.workers.latencies(),
                missing: outstanding.missing(),
                disconnected: self.workers.sum(|progress| &progress.ended),
                behind_us: outstanding.behind_us,
            });
            let next_ns = now_ns + LOOK_NS;
            clock::sleep_until(if now_ns < window_ns { next_ns.min(window_ns) } else { next_ns });
        }
        Ok(())
    }

    fn judge(&self, published: Published) -> Result<Published, SliceError> {
        if let Some(reason) = published.failure {
            // Redis may be ours and dead: its log says more.
            self.stack.processes.check_running()?;
            return Err(SliceError::Publisher { messages: published.messages, reason });
        }
        let replies = &published.replies;
        if let Some(answer) = &replies.first_error {
            return Err(SliceError::RefusedPublish { count: replies.errors, answer: answer.clone() });
        }
        if replies.count > 0 && replies.without_subscriber == replies.count {
            return Err(self.nobody_listens());
        }
        Ok(published)
    }

    fn nobody_listens(&self) -> SliceError {
        SliceError::NobodyListens {
            channel: fill_game(&self.stack.channel, &self.request.case.load.channels[0].game.slug),
            redis: self.stack.feed.to_string(),
        }
    }

    /// Waits until everything has arrived that still can.
    fn drain(&self, messages: usize) {
        let load = &self.request.case.load;
        let connections = load.connections as u64;
        let expected = load.turns().expected(0, messages, load.connections);
        let begun_ns = clock::now_ns();
        let mut last = (0, begun_ns);
        loop {
            let received = self.workers.sum(|progress| &progress.received);
            let ended = self.workers.sum(|progress| &progress.ended);
            self.watcher.draining(received);
            let now_ns = clock::now_ns();
            if received > last.0 {
                last = (received, now_ns);
            }
            let is_over = received >= expected
                || ended >= connections
                || now_ns - last.1 > DRAIN_PATIENCE_NS
                || now_ns - begun_ns > DRAIN_LIMIT_NS;
            if is_over {
                return;
            }
            clock::sleep_until(now_ns + CLOSE_LOOK_NS);
        }
    }

    fn finish(mut self, published: Published) -> Result<SliceOutcome, SliceError> {
        self.check()?;
        let (costs, wellbeing, resources) = self.observation.end();
        let mut recording = self.workers.finish()?;
        if let Some(moved_ns) = self.kernel_offset.and_then(|offset| offset.moved_ns(&Offset::measure())) {
            recording.kernel = None;
            let error = format!(
                "the wall clock was set by {} µs while a slice was measured; it has no kernel timestamps",
                moved_ns / 1_000
            );
            recording.errors.insert(error, 1);
        }
        // Summed up here: the tables of all slices together would be a lot of memory.
        let receipts = std::mem::take(&mut recording.receipts);
        let per_message = PerMessage::of(&receipts, published.messages);
        // The floor below everything has no server to ask.
        let has_server = self.request.case.variant != Variant::REDIS;
        let stages = (self.request.instruments.stages && has_server && self.in_flight.is_none()).then(|| {
            let times = read_server_times(&self.stack.target).unwrap_or_else(|error| {
                recording.errors.insert(format!("the server's stages can't be read: {error}"), 1);
                None
            });
            Stages::of(&receipts, &self.table, published.messages, times.as_ref())
        });
        drop(receipts);
        let schedule = self.table.schedule();
        let is_closed_loop = self.in_flight.is_some();
        let messages_by_second = if is_closed_loop {
            published.by_second.clone()
        } else {
            messages_by_second(&self.table, published.messages)
        };
        let measured_messages: u64 = messages_by_second.iter().sum();
        let is_interrupted =
            if is_closed_loop { !published.is_whole } else { published.messages < self.table.len() };
        if measured_messages == 0 {
            return Err(SliceError::Interrupted);
        }
        let window_ns = self.table.start_ns().unwrap_or_default() + schedule.window_begins_ns();
        let since_window = |instant_ns: u64| Duration::from_nanos(instant_ns.saturating_sub(window_ns));
        let measured = if is_interrupted && is_closed_loop {
            since_window(published.last_sent_ns)
        } else if is_interrupted {
            // Until the first message that was due and not sent.
            since_window(self.table.planned_ns(published.messages))
        } else {
            self.request.slice.measured
        };
        let load = &self.request.case.load;
        // What counts are the last ones.
        let first = published.messages - measured_messages as usize;
        let expected = load.turns().expected(first, published.messages, load.connections);
        Ok(SliceOutcome {
            connections: load.connections as u64,
            expected,
            sending: since_window(published.last_sent_ns).max(measured),
            receiving: since_window(recording.last_receipt_ns).max(measured),
            recording,
            published,
            measured_messages,
            planned_by_second: if is_closed_loop { Vec::new() } else { planned_by_second(&self.table) },
            messages_by_second,
            per_message,
            stages,
            measured,
            attaching: self.attaching,
            is_interrupted,
            costs,
            wellbeing,
            resources,
        })
    }
}

/// How many messages were planned in each second of the window.
fn planned_by_second(table: &Timetable) -> Vec<u64> {
    let mut by_second = vec![0; table.seconds()];
    let schedule = table.schedule();
    for offset_ns in &schedule.offsets_ns()[schedule.first_measured()..] {
        by_second[((offset_ns - schedule.window_begins_ns()) / SECOND_NS) as usize] += 1;
    }
    by_second
}

/// What is due and has not come, seen from look to look.
#[derive(Debug, Default)]
struct Outstanding {
    /// Messages sent so far.
    sent: usize,
    /// Deliveries outstanding at the last looks. What is under way comes soon and leaves the smallest of them; what is
    /// lost stays.
    last: [u64; Self::LOOKS],
    looks: usize,
    behind_us: Option<f64>,
}

impl Outstanding {
    /// Looks of a second.
    const LOOKS: usize = 20;

    fn look(&mut self, running: &Running<'_>) {
        let table = &running.table;
        if table.is_closed_loop() {
            return;
        }
        while let Some(times) = (self.sent < table.len()).then(|| table.times_of(self.sent)).flatten() {
            self.behind_us = Some(times.sent_ns.saturating_sub(times.planned_ns) as f64 / 1_000.0);
            self.sent += 1;
        }
        let load = &running.request.case.load;
        let expected = load.turns().expected(0, self.sent, load.connections);
        let received = running.workers.sum(|progress| &progress.received);
        self.last[self.looks % Self::LOOKS] = expected.saturating_sub(received);
        self.looks += 1;
    }

    fn missing(&self) -> u64 {
        // At the beginning there were not yet enough looks to tell what is lost from what is under way.
        if self.looks < Self::LOOKS { 0 } else { self.last.iter().copied().min().unwrap_or(0) }
    }
}

/// How many of the first `published` messages were planned in each second of the window.
fn messages_by_second(table: &Timetable, published: usize) -> Vec<u64> {
    let mut by_second = vec![0; table.seconds()];
    for index in table.schedule().first_measured()..published {
        if let Some(second) = table.times_of(index).and_then(|times| times.second) {
            by_second[second as usize] += 1;
        }
    }
    by_second
}
