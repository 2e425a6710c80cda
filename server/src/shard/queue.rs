//! Subscribers on a connection that others share: HTTP/2 streams take their frames from a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::inbox::{MemberKey, QueueJoin, ShardInput, ShardSender};
use crate::catalog::Subscription;
use crate::hub::From;
use crate::protocol::CloseReason;
use crate::published::Format;

/// Batches a queue holds at most; the limit that counts is the one in bytes.
const MAX_QUEUED_BATCHES: usize = 4096;

/// The shard's end of a queue.
#[derive(Debug)]
pub struct QueueOutlet {
    batches: mpsc::Sender<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    /// Bytes that may be queued; set by the shard.
    pub(super) limit_bytes: usize,
    closing: oneshot::Sender<CloseReason>,
}

impl QueueOutlet {
    /// Puts whole frames into the queue.
    ///
    /// # Errors
    /// `TooSlow` where it is full, `PeerGone` where nobody reads it any more.
    pub fn deliver(&self, frames: Bytes) -> Result<(), CloseReason> {
        let size = frames.len();
        // An empty queue takes even a batch above the limit, or one large round could never be sent.
        let queued_bytes = self.queued_bytes.load(Relaxed);
        if queued_bytes > 0 && queued_bytes + size > self.limit_bytes {
            return Err(CloseReason::TooSlow);
        }
        self.queued_bytes.fetch_add(size, Relaxed);
        self.batches.try_send(frames).map_err(|error| match error {
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
    batches: mpsc::Receiver<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    closing: oneshot::Receiver<CloseReason>,
    shard: ShardSender,
    member: MemberKey,
}

impl QueueReader {
    /// Joins a shard and waits until attached. `None` where the server is shutting down.
    pub async fn join(shard: &ShardSender, format: Format, subscription: Subscription) -> Option<Self> {
        Self::resume(shard, format, subscription, From::default()).await
    }

    /// The same for a client that says what it had last.
    pub async fn resume(
        shard: &ShardSender,
        format: Format,
        subscription: Subscription,
        from: From,
    ) -> Option<Self> {
        let (sender, batches) = mpsc::channel(MAX_QUEUED_BATCHES);
        let (close, closing) = oneshot::channel();
        let (attach, attached) = oneshot::channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let outlet = QueueOutlet {
            batches: sender,
            queued_bytes: Arc::clone(&queued_bytes),
            limit_bytes: 0,
            closing: close,
        };
        let join = QueueJoin { format, subscription, from, outlet, attached: attach };
        shard.tell(ShardInput::JoinQueue(Box::new(join)));
        let member = attached.await.ok()?;
        Some(Self { batches, queued_bytes, closing, shard: shard.clone(), member })
    }

    /// The next batch, or the reason why there is none. Cancel-safe.
    ///
    /// # Errors
    /// Why the shard has closed this subscriber; what is still queued then is dropped.
    pub async fn next(&mut self) -> Result<Bytes, CloseReason> {
        tokio::select! {
            biased;
            reason = &mut self.closing => Err(reason.unwrap_or(CloseReason::GoingAway)),
            batch = self.batches.recv() => {
                let batch = batch.ok_or(CloseReason::GoingAway)?;
                self.queued_bytes.fetch_sub(batch.len(), Relaxed);
                Ok(batch)
            }
        }
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        self.shard.tell(ShardInput::Leave(self.member));
    }
}
