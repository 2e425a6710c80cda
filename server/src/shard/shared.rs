//! A shard in the hands of whoever moves it: its own thread, or the thread that brings a round while the shard sleeps.
//! Waking a thread for a round that goes to a handful of sockets takes longer than writing to them.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Shard;
use crate::published::Published;

/// What may be done by whoever brings a round.
#[derive(Debug, Clone, Copy)]
pub struct Here {
    /// The whole delivery, to at most so many sockets.
    pub sockets: usize,
    /// Of a longer one the first turn.
    pub first_turn: bool,
}

/// How far a round was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// To everyone.
    Whole,
    /// To some; the shard has the round.
    Begun,
    /// To nobody; the shard does not have it.
    Nothing,
}

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

    /// Delivers a round now, as far as that is not the shard's own work: nothing where it is awake or has something to do
    /// first.
    ///
    /// Whoever calls this holds the hub's lock, and so does whoever puts something into the queue that must come before
    /// the round: what stands in the queue now is all there is of it.
    pub fn deliver(&self, round: &Arc<Published>, here: Here) -> Delivered {
        let Ok(mut shard) = self.shard.try_lock() else { return Delivered::Nothing };
        if self.untaken.load(Ordering::Acquire) > 0 {
            return Delivered::Nothing;
        }
        shard.as_mut().map_or(Delivered::Nothing, |shard| shard.deliver(round, here))
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
    use crate::shard::{BYTES_A_TURN, Inbox, SEATS_A_TURN, ShardInput, ShardSender, Socket, SocketJoin};

    const TWO: Here = Here { sockets: 2, first_turn: false };
    const FIRST_TURN: Here = Here { sockets: 2, first_turn: true };

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
            self.publish_payload(round_id, Bytes::from(round_id.to_string()), TWO)
        }

        fn publish_payload(&self, round_id: u64, payload: Bytes, here: Here) -> Bytes {
            let round = Arc::new(Published::new(self.game, round_id, payload, 0));
            self.sender.publish(&round, here);
            round.frame(Format::plain(Sse.framing()), Moment::Live).clone()
        }

        /// The shard wakes and does what there is to be done.
        fn wake(&mut self) {
            self.served.with(|shard| {
                shard.take_told(&mut self.inbox);
                while shard.take_turn().is_some() {}
            });
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
    async fn of_a_longer_delivery_the_first_turn_comes_at_once_and_the_rest_in_order() {
        let mut sleeping = Sleeping::with(SEATS_A_TURN + 3);
        let count_of =
            |received: &[Vec<u8>], frame: &[u8]| received.iter().filter(|seen| *seen == frame).count();
        let first = sleeping.publish_payload(1, Bytes::from_static(b"1"), FIRST_TURN);
        let received = sleeping.received();
        assert_eq!((count_of(&received, &first), count_of(&received, b"")), (SEATS_A_TURN, 3));
        let second = sleeping.publish_payload(2, Bytes::from_static(b"2"), FIRST_TURN);
        assert_eq!(count_of(&sleeping.received(), b""), SEATS_A_TURN + 3, "it is the shard's turn");
        sleeping.wake();
        let (received, both) = (sleeping.received(), [first, second.clone()].concat());
        assert_eq!((count_of(&received, &second), count_of(&received, &both)), (SEATS_A_TURN, 3));
        assert_eq!(sleeping.inbox.shared.untaken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn large_rounds_are_the_shards_own_work_and_a_turn_ends_with_one() {
        let mut sleeping = Sleeping::with(2);
        let large = Bytes::from(vec![b'1'; BYTES_A_TURN]);
        sleeping.publish_payload(1, large, FIRST_TURN);
        assert_eq!(sleeping.received(), [b"", b""]);
        let received =
            |sleeping: &mut Sleeping| sleeping.received().iter().map(Vec::is_empty).collect::<Vec<_>>();
        sleeping.served.with(|shard| {
            shard.take_told(&mut sleeping.inbox);
            shard.take_turn();
        });
        assert_eq!(received(&mut sleeping), [false, true]);
        sleeping.served.with(Shard::take_turn);
        assert_eq!(received(&mut sleeping)[1..], [false]);
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
        assert!(sleeping.inbox.shared.deliver(&round, TWO) == Delivered::Nothing, "nor when it has gone");
    }
}
