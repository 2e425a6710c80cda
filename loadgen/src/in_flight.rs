//! The closed loop's books: which messages have reached every subscriber, so that the next can be published.
//!
//! A worker counts the receipts of a message in memory of its own; only when all of its subscribers have one does it
//! write that into a place shared with the publisher, and wakes it once its batch of receipts is over. So a receipt
//! costs one addition, and there is neither a lock nor a contended counter.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crate::channels::Turns;

/// Most messages that may be under way: what a subscriber's window of received messages still remembers.
pub const MOST_IN_FLIGHT: u32 = 1024;

/// Which messages are complete, shared by the publisher and all workers.
#[derive(Debug)]
pub struct InFlight {
    limit: usize,
    /// Places of a worker's ring − 1; the number of places is a power of two above the limit.
    mask: usize,
    workers: Vec<Worker>,
    turns: Turns,
    publisher: OnceLock<Thread>,
}

#[derive(Debug)]
struct Worker {
    /// In each place, one above the last index there that all of this worker's subscribers have.
    complete: Box<[AtomicU64]>,
    /// Its subscribers on each channel that are still connected. Where there are none, it keeps nobody waiting.
    listeners: Box<[AtomicU32]>,
}

impl InFlight {
    /// Books for `limit` messages under way and workers with so many subscribers each, numbered one after the other.
    pub fn new(limit: u32, shares: &[usize], turns: Turns) -> Self {
        let limit = limit as usize;
        let places = (2 * limit).next_power_of_two().max(64);
        let mut first = 0;
        let worker = |&share: &usize| {
            let own = turns.from(first);
            first += share;
            let listeners = (0..turns.channels()).map(|channel| own.listeners(channel, share) as u32);
            Worker {
                complete: (0..places).map(|_| AtomicU64::new(0)).collect(),
                listeners: listeners.map(AtomicU32::new).collect(),
            }
        };
        let workers = shares.iter().map(worker).collect();
        Self { limit, mask: places - 1, workers, turns, publisher: OnceLock::new() }
    }

    /// Messages to be kept under way.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The calling thread is the one to be woken (unparked) when messages have become complete.
    pub fn wake_this_thread(&self) {
        let _ = self.publisher.set(std::thread::current());
    }

    /// Whether a message of the last `limit` has reached every subscriber that is still connected.
    pub fn is_complete(&self, index: usize) -> bool {
        let channel = self.turns.of_message(index);
        let is_there = |worker: &Worker| {
            worker.complete[index & self.mask].load(Ordering::Acquire) == index as u64 + 1
                || worker.listeners[channel].load(Ordering::Acquire) == 0
        };
        self.workers.iter().all(is_there)
    }

    /// Nobody is left to publish for.
    pub fn is_deserted(&self) -> bool {
        let mut listeners = self.workers.iter().flat_map(|worker| &worker.listeners);
        listeners.all(|listeners| listeners.load(Ordering::Acquire) == 0)
    }

    fn wake(&self) {
        if let Some(publisher) = self.publisher.get() {
            publisher.unpark();
        }
    }
}

/// A worker's side of the books.
#[derive(Debug)]
pub struct WorkerShare {
    shared: Arc<InFlight>,
    worker: usize,
    /// Which of its subscribers is on which channel.
    turns: Turns,
    /// As in the shared books, which only this worker changes.
    listeners: Box<[u32]>,
    /// In each place one above an index, and how many of the worker's subscribers have that message.
    receipts: Box<[(u64, u32)]>,
    has_news: bool,
}

impl WorkerShare {
    /// The side of worker number `worker`, whose first subscriber has number `first` among all.
    pub fn new(shared: Arc<InFlight>, worker: usize, first: usize) -> Self {
        let receipts = vec![(0, 0); shared.mask + 1].into_boxed_slice();
        let listeners = shared.workers[worker]
            .listeners
            .iter()
            .map(|listeners| listeners.load(Ordering::Relaxed))
            .collect();
        let turns = shared.turns.from(first);
        Self { shared, worker, turns, listeners, receipts, has_news: false }
    }

    /// A subscriber has got a message, for the first time.
    #[inline]
    pub fn received(&mut self, index: u64) {
        let place = index as usize & self.shared.mask;
        let (tag, count) = &mut self.receipts[place];
        if *tag > index + 1 {
            // So late that the loop has gone on without it.
            return;
        }
        if *tag <= index {
            (*tag, *count) = (index + 1, 0);
        }
        *count += 1;
        if *count >= self.listeners[self.turns.of_message(index as usize)] {
            self.complete(place);
        }
    }

    /// A subscriber was disconnected: what the others all have is complete now. What it had received itself still
    /// counts, so that a message or two may be called complete early; they are accounted for all the same.
    pub fn ended(&mut self, subscriber: usize) {
        let channel = self.turns.of_subscriber(subscriber);
        let left = self.listeners[channel].saturating_sub(1);
        self.listeners[channel] = left;
        self.shared.workers[self.worker].listeners[channel].store(left, Ordering::Release);
        self.has_news |= left == 0;
        for place in 0..self.receipts.len() {
            let (tag, count) = self.receipts[place];
            if tag > 0 && self.turns.of_message(tag as usize - 1) == channel && count >= left {
                self.complete(place);
            }
        }
    }

    /// Wakes the publisher if anything has become complete since the last call.
    #[inline]
    pub fn batch_end(&mut self) {
        if std::mem::take(&mut self.has_news) {
            self.shared.wake();
        }
    }

    fn complete(&mut self, place: usize) {
        let tag = self.receipts[place].0;
        self.shared.workers[self.worker].complete[place].store(tag, Ordering::Release);
        self.has_news = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(limit: u32, subscribers: [usize; 2]) -> (Arc<InFlight>, [WorkerShare; 2]) {
        let shared = Arc::new(InFlight::new(limit, &subscribers, Turns::new(1)));
        let worker = |number: usize| WorkerShare::new(Arc::clone(&shared), number, number * subscribers[0]);
        let workers = [worker(0), worker(1)];
        (shared, workers)
    }

    #[test]
    fn a_message_is_complete_when_the_last_subscriber_of_the_last_worker_has_it() {
        let (shared, [mut one, mut other]) = books(8, [2, 1]);
        for index in 0..10_000 {
            assert!(!shared.is_complete(index as usize));
            one.received(index);
            other.received(index);
            assert!(!shared.is_complete(index as usize));
            one.received(index);
            assert!(shared.is_complete(index as usize), "{index}");
        }
    }

    #[test]
    fn a_late_receipt_completes_nothing_else() {
        let (shared, [mut one, _]) = books(1, [1, 0]);
        let places = shared.mask as u64 + 1;
        one.received(places);
        one.received(0);
        let complete = shared.workers[0].complete[0].load(Ordering::Relaxed);
        assert_eq!(complete, places + 1);
    }

    #[test]
    fn who_is_gone_is_not_waited_for() {
        let (shared, [mut one, mut other]) = books(8, [2, 1]);
        one.received(0);
        other.ended(0);
        assert!(!shared.is_complete(0) && !shared.is_deserted());
        one.ended(1);
        assert!(shared.is_complete(0));
        one.ended(0);
        assert!(shared.is_deserted() && shared.is_complete(5));
    }

    #[test]
    fn a_message_is_complete_when_its_channel_has_it() {
        // Four subscribers on three channels: 0, 1, 2 with the first worker, 0 with the second.
        let shared = Arc::new(InFlight::new(8, &[3, 1], Turns::new(3)));
        let mut one = WorkerShare::new(Arc::clone(&shared), 0, 0);
        let mut other = WorkerShare::new(Arc::clone(&shared), 1, 3);
        one.received(0);
        assert!(!shared.is_complete(0));
        other.received(0);
        one.received(1);
        assert!(shared.is_complete(0) && shared.is_complete(1) && !shared.is_complete(2));
        // Who listened to the third is gone, and holds up nobody.
        one.ended(2);
        assert!(shared.is_complete(2) && !shared.is_complete(3) && !shared.is_deserted());
    }

    #[test]
    fn the_publisher_is_woken_once_a_batch() {
        let (shared, [mut one, _]) = books(8, [1, 0]);
        shared.wake_this_thread();
        one.received(0);
        assert!(one.has_news);
        one.batch_end();
        assert!(!one.has_news);
        // Does not block: the wake-up was kept for this thread.
        std::thread::park();
    }
}
