//! Where receipts become figures. One recorder a worker thread: no lock, no channel and no allocation for a
//! receipt; recorders are added up when the slice is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use lastmile_reports::histogram::{HIGHEST_LATENCY_NS, new_latency_histogram};

use crate::adapter::identity::IdPlace;
use crate::channels::Turns;
use crate::in_flight::{MOST_IN_FLIGHT, WorkerShare};
use crate::kernel_time::{KernelRecorder, KernelRecording, KernelStamp};
use crate::ledger::{Judgement, Ledger};
use crate::live::LiveLatencies;
use crate::message::{Identity, MessageTemplate};
use crate::receipt_log::ReceiptLog;
use crate::timetable::{MessageTimes, Timetable};

/// What a transport tells about its subscribers: nothing but receipts, beginnings and ends.
pub trait Sink {
    /// A subscriber is attached: what is published from now on reaches it.
    fn attached(&mut self, subscriber: usize, took_ns: u64);

    /// A message is complete in our hands.
    fn receipt(&mut self, subscriber: usize, received_ns: u64, message: &[u8]);

    /// A subscriber was disconnected, in words for people.
    fn ended(&mut self, subscriber: usize, reason: &str);

    /// Whether the kernel's stamps are wanted, through [`Self::kernel_receipt`].
    fn wants_kernel_stamps(&self) -> bool {
        false
    }

    /// The messages handed out from now on, until the next call, ended with bytes that the kernel received then;
    /// `None` where it did not say. To be called before every receipt, or batch of them, where stamps are wanted.
    fn kernel_receipt(&mut self, _stamp: Option<KernelStamp>) {}

    /// Everything that was there to be read has been read: a good moment to tell others how far we are.
    fn batch_end(&mut self);
}

/// How far a worker is, for those who watch it. Written only by the worker.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Progress {
    /// Subscribers attached so far.
    pub attached: AtomicU64,
    /// Messages received so far, warm-up included, duplicates not.
    pub received: AtomicU64,
    /// Subscribers that were disconnected.
    pub ended: AtomicU64,
    /// Latencies of the measured window so far.
    pub latencies: LiveLatencies,
}

/// What a slice's receipts added up to.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Deliveries of the messages of each second of the measured window.
    pub delivered_by_second: Vec<u64>,
    /// Receipt − planned, one histogram for each second of the measured window. Nothing in a closed loop.
    pub latency_by_second: Vec<Histogram<u64>>,
    /// Receipt − sent.
    pub service_latency: Histogram<u64>,
    /// Time to attach, one value a subscriber.
    pub connect: Histogram<u64>,
    /// Deliveries of the measured window.
    pub delivered: u64,
    /// Of these, after a later message.
    pub reordered: u64,
    /// Further receipts of the same message.
    pub duplicated: u64,
    /// Receipts that were not what was published.
    pub corrupt: u64,
    /// Times the histograms could not take.
    pub out_of_range: u64,
    /// When the last message was received.
    pub last_receipt_ns: u64,
    /// Errors in words for people, with their count.
    pub errors: BTreeMap<String, u64>,
    /// Single receipts, a table for each worker that kept one.
    pub receipts: Vec<ReceiptLog>,
    /// What the kernel's stamps said, where they were taken.
    pub kernel: Option<KernelRecording>,
}

impl Recording {
    /// A recording of nothing.
    pub fn new(seconds: usize) -> Self {
        Self {
            delivered_by_second: vec![0; seconds],
            latency_by_second: (0..seconds).map(|_| new_latency_histogram()).collect(),
            service_latency: new_latency_histogram(),
            connect: new_latency_histogram(),
            delivered: 0,
            reordered: 0,
            duplicated: 0,
            corrupt: 0,
            out_of_range: 0,
            last_receipt_ns: 0,
            errors: BTreeMap::new(),
            receipts: Vec::new(),
            kernel: None,
        }
    }

    /// Adds another worker's recording of the same slice.
    pub fn add(&mut self, other: Self) {
        for (mine, theirs) in self.delivered_by_second.iter_mut().zip(&other.delivered_by_second) {
            *mine += theirs;
        }
        for (mine, theirs) in self.latency_by_second.iter_mut().zip(&other.latency_by_second) {
            add_histogram(mine, theirs);
        }
        add_histogram(&mut self.service_latency, &other.service_latency);
        add_histogram(&mut self.connect, &other.connect);
        self.delivered += other.delivered;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.corrupt += other.corrupt;
        self.out_of_range += other.out_of_range;
        self.last_receipt_ns = self.last_receipt_ns.max(other.last_receipt_ns);
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
        self.receipts.extend(other.receipts);
        if let Some(theirs) = other.kernel {
            self.kernel.get_or_insert_default().merge(&theirs);
        }
    }

    /// All seconds' latencies in one histogram.
    pub fn latency(&self) -> Histogram<u64> {
        let mut all = new_latency_histogram();
        for second in &self.latency_by_second {
            add_histogram(&mut all, second);
        }
        all
    }

    fn count_error(&mut self, error: &str) {
        match self.errors.get_mut(error) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(error.to_owned(), 1);
            }
        }
    }
}

/// Adds a histogram of the same layout.
pub fn add_histogram(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    sum.add(other).expect("every latency histogram has the same fixed layout");
}

/// Records a value, or counts it as out of range: no value is ever clipped.
pub fn record(histogram: &mut Histogram<u64>, value_ns: u64, out_of_range: &mut u64) {
    if value_ns > HIGHEST_LATENCY_NS || histogram.record(value_ns).is_err() {
        *out_of_range += 1;
    }
}

/// The sink of one worker.
#[derive(Debug)]
pub struct Recorder {
    table: Arc<Timetable>,
    /// One a channel.
    templates: Arc<[MessageTemplate]>,
    turns: Turns,
    progress: Arc<Progress>,
    ledgers: Vec<Ledger>,
    attached: u64,
    received: u64,
    ended: u64,
    recording: Recording,
    /// The books of a closed loop.
    in_flight: Option<WorkerShare>,
    /// Single receipts, where they are kept.
    receipts: Option<ReceiptLog>,
    /// The kernel's stamps, where they are taken.
    kernel: Option<KernelRecorder>,
    /// Where messages have their identifier that do not arrive as they were published.
    id: Option<IdPlace>,
}

impl Recorder {
    /// A recorder for subscribers `0 .. subscribers` of a worker, whose turns over the channels are these; there is a
    /// template for each channel.
    pub fn new(
        table: Arc<Timetable>,
        templates: Arc<[MessageTemplate]>,
        turns: Turns,
        progress: Arc<Progress>,
        subscribers: usize,
    ) -> Self {
        let messages = if table.is_closed_loop() { MOST_IN_FLIGHT as usize } else { table.len() };
        let remembered = messages.div_ceil(turns.channels());
        let ledgers = vec![Ledger::new(remembered); subscribers];
        let recording = Recording::new(table.seconds());
        Self {
            table,
            templates,
            turns,
            progress,
            ledgers,
            attached: 0,
            received: 0,
            ended: 0,
            recording,
            in_flight: None,
            receipts: None,
            kernel: None,
            id: None,
        }
    }

    /// Keeps the books of a closed loop, too.
    #[must_use]
    pub fn with_in_flight(mut self, share: Option<WorkerShare>) -> Self {
        self.in_flight = share;
        self
    }

    /// Keeps single receipts, too, in a table for this recorder's subscribers.
    #[must_use]
    pub fn with_receipts(mut self, receipts: Option<ReceiptLog>) -> Self {
        self.receipts = receipts;
        self
    }

    /// Takes the kernel's stamps, too.
    #[must_use]
    pub fn with_kernel_stamps(mut self, kernel: Option<KernelRecorder>) -> Self {
        self.kernel = kernel;
        self
    }

    /// Knows messages by an identifier in this place alone, and does not compare their bytes.
    #[must_use]
    pub fn with_id(mut self, id: Option<IdPlace>) -> Self {
        self.id = id;
        self
    }

    /// What was recorded.
    pub fn into_recording(mut self) -> Recording {
        self.recording.kernel = self.kernel.map(KernelRecorder::into_recording);
        self.recording.receipts.extend(self.receipts);
        self.recording
    }

    #[inline]
    fn delivered(&mut self, subscriber: usize, index: usize, times: MessageTimes, received_ns: u64) {
        let recording = &mut self.recording;
        let Some(second) = times.second else { return };
        recording.delivered += 1;
        recording.delivered_by_second[second as usize] += 1;
        if self.in_flight.is_some() {
            return;
        }
        let Some(latency_ns) = received_ns.checked_sub(times.planned_ns) else {
            recording.out_of_range += 1;
            return;
        };
        let by_second = &mut recording.latency_by_second[second as usize];
        record(by_second, latency_ns, &mut recording.out_of_range);
        let kernel_ns = match &mut self.kernel {
            None => None,
            Some(kernel) => kernel.note(times.planned_ns, received_ns, &mut recording.out_of_range),
        };
        self.progress.latencies.count(latency_ns);
        if let Some(receipts) = &mut self.receipts {
            receipts.note(index, subscriber, latency_ns, received_ns, kernel_ns);
        }
        // Sent before it was planned does not happen, received before it was sent even less.
        let service_ns = received_ns.saturating_sub(times.sent_ns);
        record(&mut recording.service_latency, service_ns, &mut recording.out_of_range);
    }

    /// A message that is not one of ours as it was published.
    #[cold]
    fn stray(&mut self, subscriber: usize, received_ns: u64, id: Option<u64>) {
        let index = id.and_then(|id| self.table.index_of(id));
        let counts = match index {
            Some(index) => self.table.is_measured(index),
            // A server sends the latest rounds of its games right after attaching, from before this slice.
            None => !self.ledgers[subscriber].is_empty() && self.table.is_measuring(received_ns),
        };
        if counts {
            self.recording.corrupt += 1;
            self.recording.count_error(match (id, index) {
                (_, Some(index)) if self.turns.of_message(index) != self.turns.of_subscriber(subscriber) => {
                    "a message of another game than was subscribed to arrived"
                }
                (_, Some(_)) => "a message arrived with other bytes than were published",
                (Some(_), None) => "a message arrived that this run did not publish",
                (None, None) => "something arrived that is no round",
            });
        }
    }
}

impl Sink for Recorder {
    fn attached(&mut self, _subscriber: usize, took_ns: u64) {
        self.attached += 1;
        record(&mut self.recording.connect, took_ns, &mut self.recording.out_of_range);
        self.progress.attached.store(self.attached, Ordering::Release);
    }

    #[inline]
    fn receipt(&mut self, subscriber: usize, received_ns: u64, message: &[u8]) {
        let channel = self.turns.of_subscriber(subscriber);
        let identity = match &self.id {
            None => self.templates[channel].identify(message),
            Some(place) => place.find(message).map_or(Identity::Different(None), Identity::Intact),
        };
        let id = match identity {
            Identity::Intact(id) => id,
            Identity::Different(id) => return self.stray(subscriber, received_ns, id),
        };
        let Some(index) = self.table.index_of(id) else {
            return self.stray(subscriber, received_ns, Some(id));
        };
        let Some(times) = self.table.times_of(index) else {
            return self.stray(subscriber, received_ns, Some(id));
        };
        if self.turns.of_message(index) != channel {
            return self.stray(subscriber, received_ns, Some(id));
        }
        let judgement = self.ledgers[subscriber].judge(self.turns.within_channel(index) as u64);
        match judgement {
            Judgement::InOrder | Judgement::Reordered => {
                self.received += 1;
                self.recording.last_receipt_ns = received_ns;
                self.recording.reordered +=
                    u64::from(judgement == Judgement::Reordered && times.second.is_some());
                self.delivered(subscriber, index, times, received_ns);
                if let Some(share) = &mut self.in_flight {
                    share.received(index as u64);
                }
            }
            Judgement::Duplicate | Judgement::TooOld => {
                self.recording.duplicated += u64::from(times.second.is_some());
                if judgement == Judgement::TooOld {
                    self.recording.count_error(
                        "a message came too late to tell whether it had come before (counted as duplicate)",
                    );
                }
            }
        }
    }

    fn wants_kernel_stamps(&self) -> bool {
        self.kernel.is_some()
    }

    #[inline]
    fn kernel_receipt(&mut self, stamp: Option<KernelStamp>) {
        if let Some(kernel) = &mut self.kernel {
            kernel.begin(stamp);
        }
    }

    fn ended(&mut self, subscriber: usize, reason: &str) {
        self.ended += 1;
        self.recording.count_error(reason);
        if let Some(share) = &mut self.in_flight {
            share.ended(subscriber);
        }
        self.progress.ended.store(self.ended, Ordering::Release);
    }

    #[inline]
    fn batch_end(&mut self) {
        self.progress.received.store(self.received, Ordering::Release);
        if let Some(share) = &mut self.in_flight {
            share.batch_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::Game;
    use crate::schedule::{Arrivals, Schedule};

    const FIRST_ID: u64 = 300_000_000_000_000;

    struct Bench {
        recorder: Recorder,
        message: Vec<u8>,
    }

    impl Bench {
        /// Ten messages a second: one second of warm-up, two measured; all sent 1 ms late, from time 1.
        fn new() -> Self {
            let second = Duration::from_secs(1);
            let schedule = Schedule::new(Arrivals::Constant, 10.0, second, 2 * second, 0);
            let table = Arc::new(Timetable::new(schedule, FIRST_ID));
            table.begin(1);
            for index in 0..table.len() {
                table.note_sent(index, table.planned_ns(index) + 1_000_000);
            }
            let game = Game::known("crash").unwrap();
            let when = time::OffsetDateTime::UNIX_EPOCH;
            let template = MessageTemplate::new(&game, 256, when, 1).unwrap();
            let message = template.bytes().to_vec();
            let recorder = Recorder::new(table, Arc::new([template]), Turns::new(1), Arc::default(), 2);
            Self { recorder, message }
        }

        fn receive(&mut self, subscriber: usize, index: u64, latency_ns: u64) {
            MessageTemplate::write_id(&mut self.message, FIRST_ID + index);
            let received_ns = self.recorder.table.planned_ns(index.min(29) as usize) + latency_ns;
            self.recorder.receipt(subscriber, received_ns, &self.message);
        }
    }

    #[test]
    fn warmup_is_received_and_not_counted() {
        let mut bench = Bench::new();
        for index in [0, 0, 9, 8, 10] {
            bench.receive(0, index, 5_000_000);
        }
        bench.recorder.batch_end();
        assert_eq!(bench.recorder.progress.received.load(Ordering::Relaxed), 4);
        let recording = bench.recorder.into_recording();
        assert_eq!((recording.delivered, recording.duplicated, recording.reordered), (1, 0, 0));
        assert_eq!((recording.latency().len(), recording.service_latency.len()), (1, 1));
    }

    #[test]
    fn both_latencies_and_the_second_are_right() {
        let mut bench = Bench::new();
        bench.receive(0, 10, 5_000_000);
        bench.receive(1, 10, 6_000_000);
        bench.receive(0, 29, 7_000_000);
        let recording = bench.recorder.into_recording();
        let seconds: Vec<u64> = recording.latency_by_second.iter().map(Histogram::len).collect();
        assert_eq!(seconds, [2, 1]);
        let near = |value: u64, expected: u64| value.abs_diff(expected) <= expected / 500;
        assert!(near(recording.latency().max(), 7_000_000));
        assert!(near(recording.service_latency.max(), 6_000_000));
    }

    #[test]
    fn every_kind_of_oddity_has_its_counter() {
        let mut bench = Bench::new();
        for index in [10, 12, 11, 11] {
            bench.receive(0, index, 5_000_000);
        }
        // Intact, but of another run; before a subscriber's first message that is the latest round.
        bench.receive(0, 500, 5_000_000);
        bench.receive(1, 500, 5_000_000);
        MessageTemplate::write_id(&mut bench.message, FIRST_ID + 13);
        let received_ns = bench.recorder.table.planned_ns(13) + 1;
        *bench.message.last_mut().unwrap() = b'?';
        bench.recorder.receipt(0, received_ns, &bench.message);
        bench.recorder.receipt(0, received_ns, b"{\"error\":\"no\"}");
        let recording = bench.recorder.into_recording();
        assert_eq!(
            (recording.delivered, recording.reordered, recording.duplicated, recording.corrupt),
            (3, 1, 1, 3)
        );
        assert_eq!(recording.errors.values().sum::<u64>(), 3);
        assert_eq!(recording.errors.len(), 3);
    }

    #[test]
    fn impossible_times_are_counted_and_nothing_is_clipped() {
        let mut bench = Bench::new();
        bench.receive(0, 10, 2 * HIGHEST_LATENCY_NS);
        MessageTemplate::write_id(&mut bench.message, FIRST_ID + 11);
        bench.recorder.receipt(0, 5, &bench.message);
        let recording = bench.recorder.into_recording();
        assert_eq!(recording.delivered, 2);
        assert_eq!(recording.latency().len(), 0);
        assert_eq!(recording.out_of_range, 3);
    }

    #[test]
    fn recordings_add_up() {
        let mut bench = Bench::new();
        bench.receive(0, 10, 5_000_000);
        bench.recorder.ended(1, "closed");
        let one = bench.recorder.into_recording();
        let mut sum = Recording::new(2);
        sum.add(one.clone());
        sum.add(one);
        assert_eq!((sum.delivered, sum.latency().len(), sum.errors["closed"]), (2, 2, 2));
    }
}
