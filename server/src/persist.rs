//! `--persist`: rounds on their way into the database, beside the way to the subscribers. Whoever publishes never
//! waits for it: a database that is slow or away costs memory up to a bound, then rounds, which are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use lastmile_wire::round::Round;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::holes::Holes;
use crate::metrics::{Metrics, PersistMetrics};
use crate::published::Published;
use crate::store::{Store, StoreError};

/// Rounds that wait at most, and the bytes of their payloads.
const MAX_QUEUED_ROUNDS: usize = 65_536;
const MAX_QUEUED_BYTES: usize = 64 << 20;

/// Rounds written with one statement at most.
const ROUNDS_A_STATEMENT: usize = 500;

/// First pause before a database that has failed is tried again, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// The least time between two log lines about a database that does not take rounds.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Where rounds are put. Once all of these are gone, what waits is written and the writer ends.
#[derive(Debug)]
pub struct Persist {
    queue: mpsc::Sender<Arc<Published>>,
    queued_bytes: Arc<AtomicUsize>,
    holes: Holes,
    metrics: Arc<Metrics>,
}

struct Writer {
    queue: mpsc::Receiver<Arc<Published>>,
    queued_bytes: Arc<AtomicUsize>,
    store: Store,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<bool>,
    last_logged: Option<Instant>,
}

impl Persist {
    /// Starts to write into `store`, on the runtime `control`; what it has no room for is noted among the holes. Gives
    /// the writer's end, too.
    pub fn start(
        control: &Runtime,
        store: Store,
        holes: Holes,
        metrics: Arc<Metrics>,
        stop: watch::Receiver<bool>,
    ) -> (Self, JoinHandle<()>) {
        let (sender, queue) = mpsc::channel(MAX_QUEUED_ROUNDS);
        let queued_bytes = Arc::<AtomicUsize>::default();
        let writer = Writer {
            queue,
            queued_bytes: Arc::clone(&queued_bytes),
            store,
            metrics: Arc::clone(&metrics),
            stop,
            last_logged: None,
        };
        (Self { queue: sender, queued_bytes, holes, metrics }, control.spawn(writer.run()))
    }

    /// Takes a round, or counts that there is no room for it.
    pub fn offer(&self, round: &Arc<Published>) {
        let size = round.payload().len();
        let fits = self.queued_bytes.load(Relaxed) + size <= MAX_QUEUED_BYTES;
        if fits && self.queue.try_send(Arc::clone(round)).is_ok() {
            self.queued_bytes.fetch_add(size, Relaxed);
            self.metrics.persist.queued.add(1);
            self.holes.note_kept(round.game(), round.round_id());
        } else {
            self.holes.note_dropped(round.game());
            self.metrics.persist.dropped.add(1);
        }
    }

    /// What is published from now on may not be seen, until rounds come again.
    pub fn interrupt(&self) {
        self.holes.interrupt();
    }
}

impl Writer {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(ROUNDS_A_STATEMENT);
        while self.queue.recv_many(&mut batch, ROUNDS_A_STATEMENT).await > 0 {
            self.write(&batch).await;
            let size: usize = batch.iter().map(|round| round.payload().len()).sum();
            self.queued_bytes.fetch_sub(size, Relaxed);
            self.metrics.persist.queued.add(-(batch.len() as i64));
            batch.clear();
        }
    }

    /// Writes rounds; tries again until the database takes them, but once only when the server stops.
    async fn write(&mut self, batch: &[Arc<Published>]) {
        let rounds: Vec<Round<'_>> =
            // They have been validated.
            batch.iter().filter_map(|round| Round::read(round.payload()).ok()).collect();
        let mut backoff = BACKOFF.0;
        loop {
            let is_last = *self.stop.borrow();
            match self.attempt(&rounds).await {
                Ok(()) => return,
                Err(error) => self.log(&error),
            }
            if is_last {
                return self.metrics.persist.dropped.add(rounds.len() as u64);
            }
            tokio::select! {
                () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(BACKOFF.1),
                // An error means that the server is gone altogether.
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    async fn attempt(&mut self, rounds: &[Round<'_>]) -> Result<(), StoreError> {
        let counters = Arc::clone(&self.metrics);
        let PersistMetrics { written, known, refused, .. } = &counters.persist;
        let count = |new: u64, of: u64| {
            written.add(new);
            known.add(of - new);
        };
        match self.store.insert_all(rounds).await {
            Ok(new) => count(new, rounds.len() as u64),
            // One that can't be stored must not keep the others out.
            Err(StoreError::UnknownGame { .. }) => {
                for round in rounds {
                    match self.store.insert(round).await {
                        Ok(is_new) => count(u64::from(is_new), 1),
                        Err(error @ StoreError::UnknownGame { .. }) => {
                            refused.add(1);
                            self.log(&error);
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn log(&mut self, error: &StoreError) {
        if self.last_logged.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            self.last_logged = Some(Instant::now());
            warn!(%error, "could not store rounds");
        }
    }
}
