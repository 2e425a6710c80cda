//! The threads that drive subscribers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::thread::CpuSet;

use crate::adapter::identity::IdPlace;
use crate::channels::{Channel, Turns};
use crate::cores::keep_this_thread_to;
use crate::in_flight::{InFlight, WorkerShare};
use crate::kernel_time::{KernelRecorder, Offset};
use crate::live::LatencyCounts;
use crate::message::MessageTemplate;
use crate::receipt_log::{Extent, ReceiptLog};
use crate::recorder::{Progress, Recorder, Recording};
use crate::target::{Asked, Target};
use crate::timetable::Timetable;
use crate::transport::{AttachError, Pace, Stop};
use crate::unpack::Unpacked;
use crate::variant::Variant;

/// What workers do.
#[derive(Debug, Clone)]
pub struct Work {
    /// Where subscribers attach.
    pub target: Target,
    /// By which protocol.
    pub variant: Variant,
    /// To what; they take turns.
    pub channels: Arc<[Channel]>,
    /// How many of them, over all workers.
    pub subscribers: usize,
    /// Workers, at most one a subscriber.
    pub threads: usize,
    /// The cores they keep to; `None` for all.
    pub cores: Option<CpuSet>,
    /// Connections being opened at once, over all workers.
    pub connecting: usize,
    /// Times of the messages.
    pub table: Arc<Timetable>,
    /// Bytes of the messages, of each channel.
    pub templates: Arc<[MessageTemplate]>,
    /// The distance of the kernel's clock, where its stamps are to be taken.
    pub kernel_offset: Option<Offset>,
    /// The books of a closed loop, made for as many workers as [`worker_count`] tells.
    pub in_flight: Option<Arc<InFlight>>,
    /// Where messages have their identifier that do not arrive as they were published.
    pub id: Option<IdPlace>,
}

/// Drives a worker's share of subscribers. What is received one by one, as it was published, goes straight to the
/// recorder.
fn drive(
    target: &Target,
    variant: Variant,
    asked: Asked<'_>,
    pace: Pace,
    stop: &Stop,
    recorder: Recorder,
) -> Result<Recorder, AttachError> {
    if Unpacked::<Recorder>::is_needed(variant) {
        let unpacked = Unpacked::new(variant, recorder);
        return target.drive(variant, asked, pace, stop, unpacked).map(Unpacked::into_inner);
    }
    target.drive(variant, asked, pace, stop, recorder)
}

/// How many workers drive so many subscribers.
pub fn worker_count(threads: usize, subscribers: usize) -> usize {
    threads.clamp(1, subscribers.max(1))
}

/// How many of `subscribers` each worker drives.
pub fn shares(threads: usize, subscribers: usize) -> Vec<usize> {
    let count = worker_count(threads, subscribers);
    (0..count).map(|number| subscribers / count + usize::from(number < subscribers % count)).collect()
}

/// Empty tables of single receipts, one for each of the workers that [`worker_count`] tells.
pub fn receipt_logs(extent: Extent, shares: &[usize], turns: Turns) -> Vec<ReceiptLog> {
    let mut first = 0;
    let log = |&share: &usize| {
        let log = ReceiptLog::new(extent, share, turns.from(first));
        first += share;
        log
    };
    shares.iter().map(log).collect()
}

/// Workers at work. Dropping them ends them.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<Result<Recorder, AttachError>>>,
    progress: Vec<Arc<Progress>>,
    stop: Arc<Stop>,
    seconds: usize,
}

impl Workers {
    /// Starts them; they attach their subscribers at once. `receipts` are empty tables of [`receipt_logs`], or none.
    ///
    /// # Errors
    /// What the system said when it refused a thread or a descriptor.
    pub fn start(work: &Work, receipts: Vec<ReceiptLog>) -> io::Result<Self> {
        let shares = shares(work.threads, work.subscribers);
        let mut workers = Self {
            threads: Vec::new(),
            progress: Vec::new(),
            stop: Arc::new(Stop::new()?),
            seconds: work.table.seconds(),
        };
        let pace = Pace { connecting: work.connecting.div_ceil(shares.len()) };
        let mut turns = Turns::new(work.channels.len());
        let mut first = 0;
        let mut receipts = receipts.into_iter();
        for (number, share) in shares.into_iter().enumerate() {
            turns = turns.from(first);
            let progress = Arc::<Progress>::default();
            let (table, templates) = (Arc::clone(&work.table), Arc::clone(&work.templates));
            let books =
                work.in_flight.as_ref().map(|books| WorkerShare::new(Arc::clone(books), number, first));
            first += share;
            let recorder = Recorder::new(table, templates, turns, Arc::clone(&progress), share)
                .with_in_flight(books)
                .with_receipts(receipts.next())
                .with_kernel_stamps(work.kernel_offset.map(KernelRecorder::new))
                .with_id(work.id.clone());
            let (stop, work) = (Arc::clone(&workers.stop), work.clone());
            let thread = thread::Builder::new().name(format!("subscribers {number}")).spawn(move || {
                // On cores of their own they are in nobody's way but the canary's, which then goes ahead of them.
                if work.cores.is_none() {
                    lastmile_processes::run_in_short_turns();
                }
                keep_this_thread_to(work.cores.as_ref());
                let asked = Asked { channels: &work.channels, turns, subscribers: share };
                drive(&work.target, work.variant, asked, pace, &stop, recorder)
            })?;
            workers.threads.push(thread);
            workers.progress.push(progress);
        }
        Ok(workers)
    }

    /// A counter, summed over all workers.
    pub fn sum(&self, counter: impl Fn(&Progress) -> &AtomicU64) -> u64 {
        self.progress.iter().map(|progress| counter(progress).load(Ordering::Acquire)).sum()
    }

    /// Latencies so far, of all workers.
    pub fn latencies(&self) -> LatencyCounts {
        let mut counts = LatencyCounts::default();
        self.progress.iter().for_each(|progress| counts.add(&progress.latencies));
        counts
    }

    /// Why one of them has ended before its time.
    pub fn failure(&mut self) -> Option<AttachError> {
        let index = self.threads.iter().position(JoinHandle::is_finished)?;
        join(self.threads.swap_remove(index)).err()
    }

    /// Ends them and adds up what they recorded.
    ///
    /// # Errors
    /// Why one of them had ended before its time.
    pub fn finish(mut self) -> Result<Recording, AttachError> {
        self.stop.say();
        let mut sum = Recording::new(self.seconds);
        for thread in self.threads.drain(..) {
            sum.add(join(thread)?.into_recording());
        }
        Ok(sum)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.say();
        for thread in self.threads.drain(..) {
            // The error that ended the slice has been told already.
            let _ = thread.join();
        }
    }
}

fn join(thread: JoinHandle<Result<Recorder, AttachError>>) -> Result<Recorder, AttachError> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
