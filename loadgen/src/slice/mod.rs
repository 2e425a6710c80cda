//! One slice: attach subscribers, publish by the schedule, wait for what is under way, add up.

mod error;
mod outstanding;
mod running;

use std::sync::Arc;
use std::time::Duration;

use lastmile_reports::schema::ResourcePoint;

use crate::channels::Channel;
use crate::clock;
use crate::cores::Halves;
use crate::in_flight::InFlight;
use crate::interrupt::Interrupt;
use crate::kernel_time::Offset;
use crate::live::Live;
use crate::message::MessageTemplate;
use crate::observation::{Costs, Observation, Wellbeing};
use crate::plan::{Case, Instruments, Slice, Timestamps};
use crate::publisher::Published;
use crate::receipt_log::{Detail, Extent, MOST_BYTES, PerMessage};
use crate::recorder::Recording;
use crate::schedule::Schedule;
use crate::stack::Stack;
use crate::stages::Stages;
use crate::timetable::Timetable;
use crate::together::{Messages, Seat};
use crate::workers::{Work, Workers, receipt_logs, shares};
pub use error::SliceError;
use running::Running;

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
    /// What is whose, where server and subscribers do not share the cores.
    pub halves: Option<Halves>,
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
    let cores = request.halves.map(|halves| halves.subscribers);
    let observation = Observation::begin(stack, cores);
    let begun_ns = clock::now_ns();
    let work = Work {
        target: stack.target.clone(),
        variant: request.case.variant,
        channels: Arc::clone(&load.channels),
        subscribers: load.connections,
        threads: request.threads,
        cores,
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
