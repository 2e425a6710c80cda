//! Subscribers on a connection that others share: HTTP/2 streams take their frames from a bounded queue. All queues of
//! one connection have a bound together, for its client may open many and read none.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use lastmile_wire::sse::end_of_event;
use tokio::sync::oneshot;

use super::inbox::{MemberKey, QueueJoin, ShardInput, ShardSender};
use crate::catalog::Subscription;
use crate::hub::From;
use crate::protocol::CloseReason;
use crate::published::Format;

/// Times the limit of one queue that all queues of a connection hold together.
const LIMITS_A_CONNECTION: usize = 4;

/// A batch up to this size is taken by an empty queue, however much others of its connection hold: a stream that is read
/// is not to suffer for one that is not.
const ALWAYS_TAKEN_BYTES: usize = 16 * 1024;

/// What a reader is given at once at most. It keeps a part until its client takes it.
const PART_BYTES: usize = 16 * 1024;

/// Bytes that wait in all queues of one connection. Clones count the same.
#[derive(Debug, Clone, Default)]
pub struct ConnectionBacklog(Arc<AtomicUsize>);

impl ConnectionBacklog {
    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// Where nothing waits even a batch above the limit is taken, or one large round could never be sent.
fn fits(waiting: usize, size: usize, limit: usize) -> bool {
    waiting == 0 || waiting + size <= limit
}

/// What both ends share.
#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    connection: ConnectionBacklog,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Bytes>,
    /// Of the first batch, what has been given.
    given: usize,
    /// Bytes of all batches.
    bytes: usize,
    /// Those of the first batch ever, while it waits: what a client had missed is as much as that is, and none of it its
    /// slowness.
    first_bytes: usize,
    /// There will be no more.
    closed: Option<CloseReason>,
    /// Nobody reads any more.
    is_left: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing behind the lock can be left half done: a panic elsewhere is no reason to stop.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the first batch out.
    fn pop(&self, state: &mut State) -> Option<Bytes> {
        let batch = state.batches.pop_front()?;
        (state.given, state.first_bytes) = (0, 0);
        state.bytes -= batch.len();
        self.connection.0.fetch_sub(batch.len(), Relaxed);
        Some(batch)
    }

    fn push(&self, state: &mut State, batch: Bytes) {
        state.bytes += batch.len();
        self.connection.0.fetch_add(batch.len(), Relaxed);
        state.batches.push_back(batch);
    }

    fn rest_of_event(state: &State) -> Bytes {
        let Some(batch) = state.batches.front().filter(|_| state.given > 0) else { return Bytes::new() };
        Bytes::copy_from_slice(&batch[state.given..end_of_event(batch, state.given)])
    }

    fn clear(&self, state: &mut State) {
        while self.pop(state).is_some() {}
        state.batches = VecDeque::new();
    }

    fn close(&self, reason: CloseReason) {
        let mut state = self.state();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(reason);
        if reason == CloseReason::TooSlow {
            // It may go on reading nothing, and then nobody would drop this. Of an event that has been begun the rest
            // is still owed, or the goodbye would be a part of it.
            let rest = Self::rest_of_event(&state);
            self.clear(&mut state);
            if !rest.is_empty() {
                self.push(&mut state, rest);
            }
        }
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }
}

/// The shard's end of a queue.
#[derive(Debug)]
pub struct QueueOutlet {
    queue: Arc<Queue>,
    /// Bytes that may be queued; set by the shard.
    pub(super) limit_bytes: usize,
}

impl QueueOutlet {
    /// Puts what a newcomer begins with into the queue: the latest rounds, or what it had missed.
    ///
    /// # Errors
    /// As for [`Self::deliver`].
    pub fn begin(&self, frames: Bytes) -> Result<(), CloseReason> {
        let mut state = self.queue.state();
        let size = frames.len();
        if size > ALWAYS_TAKEN_BYTES && !fits(self.queue.connection.bytes(), size, self.limit_of_connection())
        {
            return Err(CloseReason::TooSlow);
        }
        state.first_bytes = size;
        self.put(state, frames)
    }

    /// Puts whole frames into the queue.
    ///
    /// # Errors
    /// `TooSlow` where it is full, or where those of its connection are together; `PeerGone` where nobody reads it any
    /// more.
    pub fn deliver(&self, frames: Bytes) -> Result<(), CloseReason> {
        let state = self.queue.state();
        let size = frames.len();
        let waiting = state.bytes - state.given.max(state.first_bytes);
        let of_connection = self.queue.connection.bytes().saturating_sub(state.first_bytes);
        let is_small = waiting == 0 && size <= ALWAYS_TAKEN_BYTES;
        if !fits(waiting, size, self.limit_bytes)
            || !(is_small || fits(of_connection, size, self.limit_of_connection()))
        {
            return Err(CloseReason::TooSlow);
        }
        self.put(state, frames)
    }

    fn put(&self, mut state: MutexGuard<'_, State>, frames: Bytes) -> Result<(), CloseReason> {
        if state.is_left {
            return Err(CloseReason::PeerGone);
        }
        self.queue.push(&mut state, frames);
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
        Ok(())
    }

    fn limit_of_connection(&self) -> usize {
        self.limit_bytes.saturating_mul(LIMITS_A_CONNECTION)
    }

    /// Tells the reader why there will be no more, behind what is queued; but one that was too slow gets no more of that.
    pub fn close(self, reason: CloseReason) {
        self.queue.close(reason);
    }
}

impl Drop for QueueOutlet {
    fn drop(&mut self) {
        // Does nothing where a reason was given.
        self.queue.close(CloseReason::GoingAway);
    }
}

/// The subscriber's end of a queue. Dropping it leaves the shard.
#[derive(Debug)]
pub struct QueueReader {
    queue: Arc<Queue>,
    /// Where it stands, once it is attached.
    seat: Option<(ShardSender, MemberKey)>,
}

impl QueueReader {
    /// Joins a shard and waits until attached. `None` where the server is shutting down.
    pub async fn join(shard: &ShardSender, format: Format, subscription: Subscription) -> Option<Self> {
        Self::resume(shard, format, subscription, From::default(), ConnectionBacklog::default()).await
    }

    /// The same for a client that may say what it had last, on a connection with other queues.
    pub async fn resume(
        shard: &ShardSender,
        format: Format,
        subscription: Subscription,
        from: From,
        connection: ConnectionBacklog,
    ) -> Option<Self> {
        let queue = Arc::new(Queue { state: Mutex::default(), connection });
        let (attach, attached) = oneshot::channel();
        let outlet = QueueOutlet { queue: Arc::clone(&queue), limit_bytes: 0 };
        // Before the shard knows of it: what is queued is counted off however this ends.
        let mut reader = Self { queue, seat: None };
        let join = QueueJoin { format, subscription, from, outlet, attached: attach };
        shard.tell(ShardInput::JoinQueue(Box::new(join)));
        reader.seat = Some((shard.clone(), attached.await.ok()?));
        Some(reader)
    }

    /// The next batch, or a part of it, or the reason why there are no more. Cancel-safe.
    ///
    /// # Errors
    /// Why the shard has closed this subscriber.
    pub async fn next(&mut self) -> Result<Bytes, CloseReason> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, CloseReason>> {
        let mut state = self.queue.state();
        let Some(batch) = state.batches.front().cloned() else {
            if let Some(reason) = state.closed {
                return Poll::Ready(Err(reason));
            }
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        let (given, end) = (state.given, batch.len().min(state.given + PART_BYTES));
        if given == 0 && end == batch.len() {
            return Poll::Ready(self.queue.pop(&mut state).ok_or(CloseReason::GoingAway));
        }
        // A copy, or a part that somebody keeps would keep the whole, which counts as waiting until its last part is
        // given.
        let part = Bytes::copy_from_slice(&batch[given..end]);
        state.given = end;
        if end == batch.len() {
            self.queue.pop(&mut state);
        }
        Poll::Ready(Ok(part))
    }
}

impl Drop for QueueReader {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.is_left = true;
        self.queue.clear(&mut state);
        drop(state);
        if let Some((shard, member)) = &self.seat {
            shard.tell(ShardInput::Leave(*member));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT_BYTES: usize = 100_000;

    fn queue(connection: &ConnectionBacklog) -> (QueueOutlet, QueueReader) {
        let queue = Arc::new(Queue { state: Mutex::default(), connection: connection.clone() });
        let reader = QueueReader { queue: Arc::clone(&queue), seat: None };
        (QueueOutlet { queue, limit_bytes: LIMIT_BYTES }, reader)
    }

    fn batch(size: usize) -> Bytes {
        (0..size).map(|at| at as u8).collect::<Vec<u8>>().into()
    }

    #[tokio::test]
    async fn a_batch_comes_in_parts_and_waits_until_its_last() {
        let connection = ConnectionBacklog::default();
        let (outlet, mut reader) = queue(&connection);
        let sizes = [1, PART_BYTES, PART_BYTES + 1, 4 * PART_BYTES];
        for size in sizes {
            outlet.deliver(batch(size)).expect("room");
        }
        for size in sizes {
            let (before, mut received) = (connection.bytes(), Vec::new());
            while received.len() < size {
                assert_eq!(connection.bytes(), before, "{} of {size}", received.len());
                let part = reader.next().await.expect("a part");
                assert!(part.len() <= PART_BYTES);
                received.extend_from_slice(&part);
            }
            assert_eq!((received, connection.bytes()), (batch(size).to_vec(), before - size));
        }
        outlet.deliver(batch(7)).expect("room");
        outlet.close(CloseReason::GoingAway);
        assert_eq!(reader.next().await, Ok(batch(7)), "what was queued comes before the goodbye");
        assert_eq!(reader.next().await, Err(CloseReason::GoingAway));
    }

    #[tokio::test]
    async fn who_was_too_slow_gets_the_rest_of_a_begun_event_and_no_more() {
        let connection = ConnectionBacklog::default();
        let (outlet, mut reader) = queue(&connection);
        let event =
            |letter: char| format!("data: {}\n\n", letter.to_string().repeat(PART_BYTES)).into_bytes();
        let events = ['a', 'b', 'c'].map(event);
        outlet.deliver(events.concat().into()).expect("room");
        outlet.deliver(event('d').into()).expect("room");
        let mut received = reader.next().await.expect("a part").to_vec();
        received.extend(reader.next().await.expect("a part"));
        outlet.close(CloseReason::TooSlow);
        while let Ok(part) = reader.next().await {
            received.extend(part);
        }
        assert!(received == events[..2].concat(), "{} bytes", received.len());
        assert_eq!((connection.bytes(), reader.next().await), (0, Err(CloseReason::TooSlow)));
    }

    #[tokio::test]
    async fn what_a_newcomer_begins_with_does_not_make_it_slow() {
        let connection = ConnectionBacklog::default();
        let (outlet, mut reader) = queue(&connection);
        outlet.begin(batch(10 * LIMIT_BYTES)).expect("room for what was missed");
        let (other, _reader) = queue(&connection);
        assert_eq!(other.begin(batch(LIMIT_BYTES)), Err(CloseReason::TooSlow), "two of them are too much");
        other.begin(batch(PART_BYTES)).expect("room for a latest round");
        outlet.deliver(batch(LIMIT_BYTES)).expect("room for what follows");
        assert_eq!(outlet.deliver(batch(1)), Err(CloseReason::TooSlow));
        let mut received = 0;
        while received < 11 * LIMIT_BYTES {
            received += reader.next().await.expect("a part").len();
        }
        assert_eq!(connection.bytes(), PART_BYTES);
    }

    #[tokio::test]
    async fn queues_of_a_connection_have_a_bound_together_and_one_that_is_read_lives() {
        let connection = ConnectionBacklog::default();
        let (read_outlet, mut read) = queue(&connection);
        let idle: Vec<_> = (0..100).map(|_| queue(&connection)).collect();
        let (mut closed, mut open): (Vec<_>, Vec<_>) = (Vec::new(), idle.into_iter().collect());
        for _ in 0..40 {
            read_outlet.deliver(batch(ALWAYS_TAKEN_BYTES)).expect("room for one that is read");
            assert_eq!(read.next().await.map(|part| part.len()), Ok(ALWAYS_TAKEN_BYTES));
            let mut left = Vec::new();
            for (outlet, reader) in open {
                match outlet.deliver(batch(ALWAYS_TAKEN_BYTES)) {
                    Ok(()) => left.push((outlet, reader)),
                    Err(reason) => {
                        assert_eq!(reason, CloseReason::TooSlow);
                        outlet.close(reason);
                        closed.push(reader);
                    }
                }
            }
            open = left;
            let stated = LIMITS_A_CONNECTION * LIMIT_BYTES + 100 * ALWAYS_TAKEN_BYTES;
            assert!(connection.bytes() <= stated, "{}", connection.bytes());
        }
        assert_eq!((open.len(), closed.len()), (0, 100), "none of them is read");
        assert_eq!(connection.bytes(), 0, "who was too slow holds nothing, read or not");
        for reader in &mut closed {
            assert_eq!(reader.next().await, Err(CloseReason::TooSlow));
        }
        // A large one where nothing else waits.
        read_outlet.deliver(batch(10 * LIMIT_BYTES)).expect("room");
        drop(read);
        assert_eq!(connection.bytes(), 0, "who has left holds nothing");
        assert_eq!(read_outlet.deliver(batch(1)), Err(CloseReason::PeerGone));
    }
}
