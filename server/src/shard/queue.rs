//! Subscribers that are no socket of the shard's: WebTransport sessions and HTTP/2 streams take their frames
//! from a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{mpsc, oneshot};

use super::batch::Batch;
use super::inbox::{MemberKey, QueueJoin, ShardInput, ShardSender};
use super::member::{Members, Outlet};
use crate::catalog::Subscription;
use crate::clock;
use crate::metrics::ProtocolMetrics;
use crate::protocol::CloseReason;
use crate::published::{Framing, Moment, Published};

/// Batches a queue holds at most; the limit that counts is the one in bytes.
const MAX_QUEUED_BATCHES: usize = 4096;

/// The shard's end of a queue.
#[derive(Debug)]
pub struct QueueOutlet {
    batches: mpsc::Sender<Batch>,
    queued_bytes: Arc<AtomicUsize>,
    closing: oneshot::Sender<CloseReason>,
}

impl QueueOutlet {
    /// Puts a batch into the queue.
    ///
    /// # Errors
    /// `TooSlow` where it is full, `PeerGone` where nobody reads it any more.
    pub fn deliver(&self, batch: &Batch, limit_bytes: usize) -> Result<(), CloseReason> {
        let size = batch.size_bytes();
        // An empty queue takes even a batch above the limit, or one large round could never be sent.
        let queued_bytes = self.queued_bytes.load(Relaxed);
        if queued_bytes > 0 && queued_bytes + size > limit_bytes {
            return Err(CloseReason::TooSlow);
        }
        self.queued_bytes.fetch_add(size, Relaxed);
        self.batches.try_send(batch.clone()).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CloseReason::TooSlow,
            mpsc::error::TrySendError::Closed(_) => CloseReason::PeerGone,
        })
    }

    /// Tells the reader why there will be no more.
    pub fn close(self, reason: CloseReason) {
        // A reader that has gone needs no reason.
        let _ = self.closing.send(reason);
    }
}

/// The subscriber's end of a queue. Dropping it leaves the shard.
#[derive(Debug)]
pub struct QueueReader {
    batches: mpsc::Receiver<Batch>,
    queued_bytes: Arc<AtomicUsize>,
    closing: oneshot::Receiver<CloseReason>,
    shard: ShardSender,
    member: MemberKey,
}

impl QueueReader {
    /// Joins a shard and waits until attached. `None` where the server is shutting down.
    pub async fn join(shard: &ShardSender, framing: Framing, subscription: Subscription) -> Option<Self> {
        let (sender, batches) = mpsc::channel(MAX_QUEUED_BATCHES);
        let (close, closing) = oneshot::channel();
        let (attach, attached) = oneshot::channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let outlet = QueueOutlet { batches: sender, queued_bytes: Arc::clone(&queued_bytes), closing: close };
        let join = QueueJoin { framing, subscription, outlet, attached: attach };
        shard.tell(ShardInput::JoinQueue(Box::new(join)));
        let member = attached.await.ok()?;
        Some(Self { batches, queued_bytes, closing, shard: shard.clone(), member })
    }

    /// The next batch, or the reason why there is none. Cancel-safe.
    ///
    /// # Errors
    /// Why the shard has closed this subscriber; what is still queued then is dropped.
    pub async fn next(&mut self) -> Result<Batch, CloseReason> {
        tokio::select! {
            biased;
            reason = &mut self.closing => Err(reason.unwrap_or(CloseReason::GoingAway)),
            batch = self.batches.recv() => {
                let batch = batch.ok_or(CloseReason::GoingAway)?;
                self.queued_bytes.fetch_sub(batch.size_bytes(), Relaxed);
                Ok(batch)
            }
        }
    }

    /// Resolves when the shard closes this subscriber: what interrupts a write that a slow peer holds up.
    /// Cancel-safe; not to be awaited again after it has resolved.
    pub async fn closed(&mut self) -> CloseReason {
        (&mut self.closing).await.unwrap_or(CloseReason::GoingAway)
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.shard.tell(ShardInput::Leave(self.member));
    }
}

/// Members with the same subscription and framing who take their frames from queues.
#[derive(Debug, Default)]
pub struct QueueGroup {
    slots: Vec<u32>,
    pending: Vec<Arc<Published>>,
}

impl QueueGroup {
    /// Adds a member; gives its position.
    pub fn enter(&mut self, slot: u32) -> u32 {
        self.slots.push(slot);
        self.slots.len() as u32 - 1
    }

    /// Takes a member out; gives the slot of the member that has moved to its position, if one has.
    pub fn leave(&mut self, position: u32) -> Option<u32> {
        self.slots.swap_remove(position as usize);
        self.slots.get(position as usize).copied()
    }

    /// Nobody is left.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Something is pending.
    pub fn has_work(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Makes a round pending.
    pub fn push(&mut self, round: &Arc<Published>) {
        self.pending.push(Arc::clone(round));
    }

    /// Hands what is pending to every member's queue; gives those who are to be closed.
    pub fn deliver(
        &mut self,
        framing: Framing,
        members: &mut Members,
        limit_bytes: usize,
        metrics: &ProtocolMetrics,
    ) -> Vec<(MemberKey, CloseReason)> {
        let mut failed = Vec::new();
        if self.pending.is_empty() {
            return failed;
        }
        let batch = Batch::new(framing, Moment::Live, &self.pending);
        for &slot in &self.slots {
            let Some((key, member)) = members.in_slot(slot) else { continue };
            let Outlet::Queue(outlet, _) = &member.outlet else { continue };
            if let Err(reason) = outlet.deliver(&batch, limit_bytes) {
                failed.push((key, reason));
            }
        }
        let reached = (self.slots.len() - failed.len()) as u64;
        metrics.deliveries.add(reached * self.pending.len() as u64);
        metrics.bytes.add(reached * batch.size_bytes() as u64);
        let now_ns = clock::now_ns();
        for round in self.pending.drain(..) {
            metrics.ingest_to_written.record(now_ns.saturating_sub(round.ingested_ns()), reached);
        }
        failed
    }
}
