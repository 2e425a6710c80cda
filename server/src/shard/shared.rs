//! A shard in the hands of whoever moves it: its own thread, or the thread that brings a round while the shard sleeps.
//! Waking a thread for a round that goes to a handful of sockets takes longer than writing to them.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Shard;
use crate::published::Published;

/// See the module's documentation.
#[derive(Default)]
pub struct SharedShard {
    shard: Mutex<Option<Box<Shard>>>,
    /// Inputs in the shard's queue that it has not acted on yet: a round must not overtake what came before it.
    untaken: AtomicUsize,
}

impl fmt::Debug for SharedShard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The shard knows its hub, which knows its shards.
        formatter.debug_struct("SharedShard").field("untaken", &self.untaken).finish_non_exhaustive()
    }
}

/// Has the shard in its place for as long as its thread serves it.
pub struct Served(Arc<SharedShard>);

impl SharedShard {
    /// Puts a shard where others find it.
    pub fn serve(self: &Arc<Self>, shard: Shard) -> Served {
        *self.lock() = Some(Box::new(shard));
        Served(Arc::clone(self))
    }

    /// Something is about to be put into the queue.
    pub fn note_told(&self) {
        self.untaken.fetch_add(1, Ordering::Relaxed);
    }

    /// So much of the queue has been acted on. To be called with the shard in one's hands.
    pub fn note_taken(&self, count: usize) {
        // Pairs with the load in `deliver`.
        self.untaken.fetch_sub(count, Ordering::Release);
    }

    /// Delivers a round now; `false` where that is the shard's own work: it is awake, has something to do first, or the
    /// round goes to others than at most so many sockets.
    ///
    /// Whoever calls this holds the hub's lock, and so does whoever puts something into the queue that must come before
    /// the round: what stands in the queue now is all there is of it.
    pub fn deliver(&self, round: &Arc<Published>, at_most: usize) -> bool {
        let Ok(mut shard) = self.shard.try_lock() else { return false };
        if self.untaken.load(Ordering::Acquire) > 0 {
            return false;
        }
        shard.as_mut().is_some_and(|shard| shard.deliver(round, at_most))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Box<Shard>>> {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Served {
    /// Moves the shard; `None` once it has gone.
    pub fn with<T>(&self, work: impl FnOnce(&mut Shard) -> T) -> Option<T> {
        self.0.lock().as_deref_mut().map(work)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Its members' connections end here, whoever still holds the place.
        let gone = self.0.lock().take();
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use bytes::Bytes;

    use super::*;
    use crate::catalog::GameIndex;
    use crate::guard::{Access, Transport};
    use crate::hub::From;
    use crate::protocol::StreamProtocol;
    use crate::protocol::sse::Sse;
    use crate::published::{Format, Moment};
    use crate::shard::bench::Bench;
    use crate::shard::{Inbox, ShardInput, ShardSender, Socket, SocketJoin};

    /// A shard that nobody moves, as one that sleeps, with so many subscribers, and what delivers to it.
    struct Sleeping {
        served: Served,
        sender: ShardSender,
        inbox: Inbox,
        game: GameIndex,
        subscribers: Vec<TcpStream>,
    }

    impl Sleeping {
        fn with(subscribers: usize) -> Self {
            let mut bench = Bench::new();
            let subscribers = (0..subscribers).map(|_| subscribe(&mut bench)).collect();
            let Bench { shard, sender, inbox, subscription } = bench;
            let game = subscription.games()[0];
            Self { served: inbox.shared.serve(shard), sender, inbox, game, subscribers }
        }

        fn publish(&self, round_id: u64) -> Bytes {
            let round = Arc::new(Published::new(self.game, round_id, Bytes::from(round_id.to_string()), 0));
            self.sender.publish(&round, 2);
            round.frame(Format::plain(Sse.framing()), Moment::Live).clone()
        }

        /// What each subscriber has in its socket.
        fn received(&mut self) -> Vec<Vec<u8>> {
            self.subscribers.iter_mut().map(received).collect()
        }
    }

    fn subscribe(bench: &mut Bench) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let subscriber = TcpStream::connect(address).expect("a connection");
        let (socket, peer) = listener.accept().expect("a connection");
        subscriber.set_nonblocking(true).expect("a socket option");
        let guard = Arc::clone(&bench.shard.settings.guard);
        bench.sender.tell(ShardInput::JoinSocket(Box::new(SocketJoin {
            socket: Socket::Plain(OwnedFd::from(socket)),
            protocol: &Sse,
            format: Format::plain(Sse.framing()),
            access: Access::Granted,
            subscription: bench.subscription.clone(),
            from: From::default(),
            head: Bytes::new(),
            early: Vec::new(),
            permit: guard.connect(Transport::Tcp, peer.ip()).expect("a place"),
        })));
        let answer = bench.ask();
        bench.shard.take(answer);
        subscriber
    }

    fn received(subscriber: &mut TcpStream) -> Vec<u8> {
        let mut received = Vec::new();
        match subscriber.read_to_end(&mut received) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => received,
            ended => panic!("{ended:?}"),
        }
    }

    #[tokio::test]
    async fn a_round_for_few_sockets_is_with_them_before_the_shard_wakes() {
        let mut sleeping = Sleeping::with(2);
        let frames = [sleeping.publish(1), sleeping.publish(2)].concat();
        assert_eq!(sleeping.received(), [frames.clone(), frames]);
        assert!(sleeping.inbox.try_take().is_none(), "nothing is left for the shard");
    }

    #[tokio::test]
    async fn more_than_a_few_are_the_shards_own_work() {
        let mut sleeping = Sleeping::with(3);
        sleeping.publish(1);
        assert_eq!(sleeping.received(), [b"", b"", b""]);
        assert!(matches!(sleeping.inbox.try_take(), Some(ShardInput::Round(_))));
    }

    #[tokio::test]
    async fn a_round_does_not_overtake_what_the_shard_was_told_before() {
        let mut sleeping = Sleeping::with(1);
        let (told, _answer) = std::sync::mpsc::channel();
        sleeping.sender.tell(ShardInput::Echo(told));
        sleeping.publish(1);
        assert_eq!(sleeping.received(), [b""]);
        assert!(matches!(sleeping.inbox.try_take(), Some(ShardInput::Echo(_))));
        // Nor one that came before it.
        sleeping.publish(2);
        assert_eq!(sleeping.received(), [b""]);
        let mut rounds = Vec::new();
        while let Some(ShardInput::Round(round)) = sleeping.inbox.try_take() {
            rounds.push(round.round_id());
        }
        assert_eq!(rounds, [1, 2]);
        let frame = sleeping.publish(3);
        assert_eq!(sleeping.received(), [frame]);
    }

    #[tokio::test]
    async fn while_the_shard_moves_it_delivers_itself() {
        let mut sleeping = Sleeping::with(1);
        let moving = sleeping.served.0.lock();
        sleeping.publish(1);
        drop(moving);
        assert_eq!(sleeping.received(), [b""]);
        assert!(matches!(sleeping.inbox.try_take(), Some(ShardInput::Round(_))));
        drop(sleeping.served);
        let round = Arc::new(Published::new(sleeping.game, 2, Bytes::from("2"), 0));
        assert!(!sleeping.inbox.shared.deliver(&round, 2), "nor when it has gone");
    }
}
