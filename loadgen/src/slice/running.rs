//! A slice from its first subscriber to its last receipt.

use std::sync::Arc;
use std::time::Duration;

use rustix::thread::CpuSet;

use super::outstanding::Outstanding;
use super::{SliceError, SliceOutcome, SliceRequest, Watcher};
use crate::adapter::fill_game;
use crate::clock::{self, SECOND_NS};
use crate::feed::FeedConnection;
use crate::in_flight::InFlight;
use crate::interrupt::Interrupt;
use crate::kernel_time::Offset;
use crate::live::Live;
use crate::message::MessageTemplate;
use crate::observation::Observation;
use crate::publisher::{Published, Publisher};
use crate::receipt_log::PerMessage;
use crate::stack::Stack;
use crate::stages::{Stages, read_server_times};
use crate::timetable::Timetable;
use crate::variant::Variant;
use crate::workers::Workers;

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

/// A slice whose workers are at work.
pub(super) struct Running<'a> {
    pub(super) request: &'a SliceRequest<'a>,
    pub(super) stack: &'a Stack,
    pub(super) interrupt: &'a Interrupt,
    pub(super) watcher: &'a dyn Watcher,
    pub(super) table: Arc<Timetable>,
    pub(super) workers: Workers,
    pub(super) observation: Observation,
    pub(super) in_flight: Option<Arc<InFlight>>,
    pub(super) kernel_offset: Option<Offset>,
    pub(super) attaching: Duration,
}

impl Running<'_> {
    pub(super) fn await_attached(&mut self) -> Result<(), SliceError> {
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

    pub(super) fn publish(
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
            let received = self.workers.sum(|progress| &progress.received);
            outstanding.look(&self.table, &self.request.case.load, received);
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
    pub(super) fn drain(&self, messages: usize) {
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

    pub(super) fn finish(mut self, published: Published) -> Result<SliceOutcome, SliceError> {
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
