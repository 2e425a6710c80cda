//! What a subscriber is promised, under random treatment: subscribers attach, resume, leave, die, stall and are closed
//! for it while rounds are published, in every encoding and with batches, those whose clients can say something get a
//! second game now and then, and each checks every round it gets. On every way to receive:
//!
//! * what arrives is byte for byte what was published, or that as `MessagePack`;
//! * the first round is not older than what anyone had received before; of one that resumes it is the next;
//! * no round comes twice, and on ways with order each is the one after the one before;
//! * none is missing until the subscriber ends, but for datagrams;
//! * of a game that is subscribed for a while, neither, from its latest round on;
//! * only who stalled is closed as too slow, and is told so, as far as QUIC can.
//!
//! `LASTMILE_DELIVERIES` says how many rounds all subscribers of a way receive together, `LASTMILE_RANDOM_SEED` which
//! treatment they get.

#[path = "../common/mod.rs"]
mod common;

mod fate;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lastmile_processes::RedisConnection;
use tokio::task::JoinSet;

use common::{End, Form, Place, Site, Subscriber, Way, large_round, round};
use fate::{Fate, Random};

/// Rounds received where nobody says how many: for a debug build.
const DELIVERIES: u64 = 12_000;

/// Subscribers at a time.
const PLACES: usize = 12;

/// Of these, how many live for long.
const LONG_LIVES: usize = 2;

/// Rounds that may be on their way to a subscriber that does not stall: far less than its backlog.
const WINDOW: u64 = 40;

/// Bytes that may wait for one: some hundred rounds.
const BACKLOG_BYTES: &str = "524288";

/// Rounds published while one stalls for long: more than its backlog and the system's buffers hold.
const LONG_STALL_ROUNDS: u64 = 1500;

/// How long the publisher waits for a datagram, which may have been lost.
const DATAGRAM_PATIENCE: Duration = Duration::from_millis(5);

/// Pause between two looks at the others.
const LOOK_PAUSE: Duration = Duration::from_micros(200);

/// No delivery takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Stands for a place whose subscriber is not to be waited for.
const NOBODY: u64 = u64::MAX;

/// A round: every fourth is large, so that those who stall have much waiting for them.
fn payload(id: u64) -> Vec<u8> {
    if id.is_multiple_of(4) { large_round("crash", id, 16_000) } else { round("crash", id) }
}

/// What publisher and subscribers know of each other. Identifiers rise by one, from 1.
struct Progress {
    published: AtomicU64,
    /// Rounds received by all together.
    deliveries: AtomicU64,
    /// The newest round that anybody has received: who attaches later must not begin before it.
    received: AtomicU64,
    /// The newest round of each place's subscriber, [`NOBODY`] where it is not to be waited for.
    places: Vec<AtomicU64>,
    /// The round all who are there then wait for; 0 while that is open.
    last: AtomicU64,
    ended: AtomicBool,
}

/// How often which end came.
#[derive(Debug, Default)]
struct Ends {
    left: AtomicU64,
    died: AtomicU64,
    too_slow: AtomicU64,
    reset: AtomicU64,
    stayed: AtomicU64,
}

fn number_from(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// The test's body, for one way.
fn holds(way: Way) {
    let wanted = number_from("LASTMILE_DELIVERIES", DELIVERIES);
    let seed = number_from("LASTMILE_RANDOM_SEED", 1);
    // Enough is kept for everyone who resumes here.
    let replay = ["--replay-rounds", "1000000", "--replay-bytes", "268435456"];
    let site = Site::start(&[&["--backlog-bytes", BACKLOG_BYTES][..], &replay].concat());
    let progress = Arc::new(Progress {
        published: AtomicU64::new(0),
        deliveries: AtomicU64::new(0),
        received: AtomicU64::new(0),
        places: (0..PLACES).map(|_| AtomicU64::new(NOBODY)).collect(),
        last: AtomicU64::new(0),
        ended: AtomicBool::new(false),
    });
    let ends = Arc::new(Ends::default());
    let publisher = {
        let redis = site.redis.connect().expect("a connection");
        let progress = Arc::clone(&progress);
        std::thread::spawn(move || publish(redis, &progress, way, wanted, Random::new(seed)))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut places = JoinSet::new();
        for index in 0..PLACES {
            let (place, progress, ends) = (site.place.clone(), Arc::clone(&progress), Arc::clone(&ends));
            let random = Random::new(seed ^ (index as u64 + 1) << 32);
            places.spawn(async move { occupy(&place, way, index, random, &progress, &ends).await });
        }
        while let Some(ended) = places.join_next().await {
            if let Err(error) = ended {
                progress.ended.store(true, SeqCst);
                panic!("{way:?}, LASTMILE_RANDOM_SEED={seed}: {error}");
            }
        }
    });
    progress.ended.store(true, SeqCst);
    publisher.join().expect("the publisher");
    let deliveries = progress.deliveries.load(SeqCst);
    println!("{way:?}: {} rounds, {deliveries} deliveries, {ends:?}", progress.published.load(SeqCst));
    assert!(deliveries >= wanted);
    assert!(ends.stayed.load(SeqCst) > 0 && ends.left.load(SeqCst) + ends.died.load(SeqCst) > 0, "{ends:?}");
}

/// Publishes in bursts, in step with the slowest that does not stall, until all have what they wait for.
fn publish(mut redis: RedisConnection, progress: &Progress, way: Way, wanted: u64, mut random: Random) {
    let mut burst = 0;
    for id in 1.. {
        if progress.ended.load(SeqCst) {
            return;
        }
        let reply = redis.command(&[b"PUBLISH", b"stream:crash", &payload(id)]).expect("a publish");
        assert_eq!(reply.integer(), Some(1), "the server's one subscription");
        if id.is_multiple_of(3) {
            redis.command(&[b"PUBLISH", b"stream:double", &round("double", id / 3)]).expect("a publish");
        }
        progress.published.store(id, SeqCst);
        if progress.last.load(SeqCst) == 0 && progress.deliveries.load(SeqCst) >= wanted {
            progress.last.store(id + WINDOW, SeqCst);
        }
        burst = if burst == 0 { random.below(2 * WINDOW / 3) } else { burst - 1 };
        let begun = Instant::now();
        let behind = || {
            let slowest = progress.places.iter().map(|place| place.load(SeqCst)).min().unwrap_or(NOBODY);
            let ahead = id.saturating_sub(slowest);
            ahead > WINDOW || (burst == 0 && ahead > 0)
        };
        while behind()
            && !progress.ended.load(SeqCst)
            && (way != Way::Datagram || begun.elapsed() < DATAGRAM_PATIENCE)
        {
            std::thread::sleep(LOOK_PAUSE);
        }
    }
}

/// One subscriber after the other, until the last round is near.
async fn occupy(place: &Place, way: Way, index: usize, mut random: Random, progress: &Progress, ends: &Ends) {
    let mut last = None;
    while progress.last.load(SeqCst) == 0 {
        let fate = Fate::draw(&mut random, index < LONG_LIVES);
        let topic = if random.below(2) == 0 { "crash" } else { "type/multiplier" };
        let form = Form::ALL[random.below(Form::ALL.len() as u64) as usize];
        // Not with more to catch up than may wait for it, or it would be too slow from the beginning; the publisher
        // waits for no datagram.
        let is_near = |last: &u64| progress.published.load(SeqCst).saturating_sub(*last) < 2 * WINDOW;
        let since = last.filter(is_near).filter(|_| random.below(4) == 0 && way != Way::Datagram);
        let not_before = progress.received.load(SeqCst);
        // It is waited for from now on: its backlog may begin before it knows that it is connected.
        progress.places[index].store(since.unwrap_or(progress.published.load(SeqCst)), SeqCst);
        let subscriber = match since {
            None => Subscriber::connect_in(place, way, topic, form).await,
            Some(since) => Subscriber::resume_in(place, way, topic, form, since).await,
        };
        let mut life = Life {
            subscriber,
            since,
            seen: BTreeSet::new(),
            second: Second::default(),
            stalled: false,
            index,
            progress,
        };
        let end = life.live(fate, &mut random).await;
        progress.places[index].store(NOBODY, SeqCst);
        life.check(not_before, end);
        last = life.seen.last().copied();
        match end {
            Ended::Left => &ends.left,
            Ended::Died => &ends.died,
            Ended::TooSlow => &ends.too_slow,
            Ended::Reset => &ends.reset,
            Ended::Stayed => &ends.stayed,
        }
        .fetch_add(1, SeqCst);
    }
}

/// How a subscriber ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It had read everything that it knew of.
    Left,
    /// In the middle of a stall, with rounds unread.
    Died,
    /// It was closed for stalling.
    TooSlow,
    /// So it was, but did not hear the words.
    Reset,
    /// It got the last round.
    Stayed,
}

/// What a subscriber has of the game that it gets now and then.
#[derive(Default)]
struct Second {
    is_subscribed: bool,
    newest: Option<u64>,
    /// It has begun anew so many times, with a round that need not follow the one before.
    restarts: u64,
}

/// A subscriber, and what it has received.
struct Life<'a> {
    subscriber: Subscriber,
    /// The round it resumed from.
    since: Option<u64>,
    seen: BTreeSet<u64>,
    second: Second,
    stalled: bool,
    index: usize,
    progress: &'a Progress,
}

impl Life<'_> {
    async fn live(&mut self, fate: Fate, random: &mut Random) -> Ended {
        let mut rounds = 0;
        while !self.has_all() {
            if rounds == fate.rounds {
                match fate.end {
                    fate::End::Leave => return Ended::Left,
                    fate::End::Die => {
                        self.stall(random.below(WINDOW)).await;
                        return Ended::Died;
                    }
                    fate::End::StallLong => self.stall(LONG_STALL_ROUNDS).await,
                }
            } else if random.below(100) == 0 {
                self.stall(random.below(2 * WINDOW)).await;
            }
            if self.subscriber.way.has_commands() && random.below(40) == 0 {
                match self.change().await {
                    Ok(()) => continue,
                    Err(end) => return self.ended(end),
                }
            }
            match tokio::time::timeout(PATIENCE, self.subscriber.next_or_end()).await.expect("a round") {
                Ok(round) => self.receive(&round),
                Err(end) => return self.ended(end),
            }
            rounds += 1;
        }
        Ended::Stayed
    }

    fn ended(&self, end: End) -> Ended {
        match end {
            End::Told { words, .. } if self.stalled => {
                assert_eq!(words, "subscriber too slow");
                Ended::TooSlow
            }
            // A goodbye of QUIC is one packet, which nobody repeats when it is lost: the next one that the client
            // sends is answered with a reset.
            End::Broken(words) if self.stalled && words.contains("connection has been reset") => {
                assert_eq!(self.subscriber.way.protocol(), "wt", "{words}");
                Ended::Reset
            }
            // A goodbye is not waited for longer than 2 s; who stalls longer is cut off where it was.
            End::Broken(words) if self.stalled && words == "the stream ended inside an event" => Ended::Reset,
            end => panic!("{:?}, stalled {}: {end:?}", self.subscriber.way, self.stalled),
        }
    }

    /// Gets the second game from now on, or no more.
    async fn change(&mut self) -> Result<(), End> {
        let verb = if self.second.is_subscribed { "unsubscribe" } else { "subscribe" };
        let answer = self.subscriber.try_say(&format!(r#"{{"{verb}":["double"]}}"#)).await?;
        self.second.is_subscribed = !self.second.is_subscribed;
        assert_eq!(answer.contains("\"double\""), self.second.is_subscribed, "{answer}");
        // On a WebSocket these are of before the change; a session's rounds come on streams of their own.
        for _ in 0..self.subscriber.pending() {
            let round = self.subscriber.next().await;
            self.receive(&round);
        }
        if self.second.is_subscribed {
            let is_websocket = self.subscriber.way == Way::WebSocket;
            self.second.restarts = if is_websocket { 1 } else { self.second.restarts + 1 };
        }
        Ok(())
    }

    fn receive_second(&mut self, received: &[u8], id: u64) {
        let (way, form) = (self.subscriber.way, self.subscriber.form);
        assert!(
            received == form.of(&round("double", id)),
            "{way:?} {form:?}: {id} is no round of either game"
        );
        self.progress.deliveries.fetch_add(1, SeqCst);
        let before = self.second.newest;
        if !way.is_ordered() {
            return;
        }
        if before.is_none_or(|before| id != before + 1) {
            assert!(
                self.second.restarts > 0 && before.is_none_or(|before| id >= before),
                "{way:?} {form:?}: {id} of the second game after {before:?}"
            );
            self.second.restarts -= 1;
        }
        self.second.newest = Some(id);
    }

    fn receive(&mut self, round: &[u8]) {
        let (way, form) = (self.subscriber.way, self.subscriber.form);
        let id = form.round_id(round);
        if round != form.of(&payload(id)) {
            return self.receive_second(round, id);
        }
        let before = self.seen.last().copied().or(self.since.filter(|_| way.is_ordered()));
        assert!(self.seen.insert(id), "{way:?}: {id} came twice");
        assert!(
            !way.is_ordered() || before.is_none_or(|before| id == before + 1),
            "{way:?}: {id} after {before:?}"
        );
        self.progress.deliveries.fetch_add(1, SeqCst);
        self.progress.received.fetch_max(id, SeqCst);
        // The newest, so that those who wait for this place don't wait for an overtaken one.
        self.progress.places[self.index].store(before.unwrap_or(0).max(id), SeqCst);
    }

    /// Takes nothing while so many rounds are published.
    async fn stall(&mut self, rounds: u64) {
        self.stalled = true;
        self.progress.places[self.index].store(NOBODY, SeqCst);
        let until = self.progress.published.load(SeqCst) + rounds;
        let begun = Instant::now();
        // Nobody publishes when the last round is out.
        while self.progress.published.load(SeqCst) < until
            && self.progress.last.load(SeqCst) == 0
            && begun.elapsed() < PATIENCE
        {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Everything up to the last round is there, as far as this way promises it.
    fn has_all(&self) -> bool {
        let last = self.progress.last.load(SeqCst);
        let (Some(&oldest), Some(&newest)) = (self.seen.first(), self.seen.last()) else { return false };
        let complete = self.subscriber.way == Way::Datagram || self.seen.len() as u64 == newest - oldest + 1;
        last > 0 && newest >= last && complete
    }

    fn check(&self, not_before: u64, end: Ended) {
        let way = self.subscriber.way;
        let Some(&oldest) = self.seen.first() else { return };
        if let Some(since) = self.since {
            assert!(oldest > since, "{way:?}: {oldest} again, behind {since}");
            let is_whole = way.is_ordered() || (end == Ended::Stayed && way != Way::Datagram);
            assert!(!is_whole || oldest == since + 1, "{way:?}: resumed from {since} with {oldest}");
        }
        // A stream a round may not have brought its oldest yet; of datagrams the first may be lost.
        assert!(
            oldest >= not_before || self.since.is_some(),
            "{way:?}: began with {oldest}, but {not_before} had been delivered"
        );
        if end == Ended::Stayed && way != Way::Datagram {
            let newest = self.seen.last().copied().unwrap_or_default();
            assert_eq!(self.seen.len() as u64, newest - oldest + 1, "{way:?}: a gap");
        }
    }
}

#[test]
fn of_websocket_hold_under_random_treatment() {
    holds(Way::WebSocket);
}

#[test]
fn of_sse_hold_under_random_treatment() {
    holds(Way::Sse);
}

#[test]
fn of_sse_over_http2_hold_under_random_treatment() {
    holds(Way::SseHttp2);
}

#[test]
fn of_webtransport_on_one_stream_hold_under_random_treatment() {
    holds(Way::Stream);
}

#[test]
fn of_webtransport_on_a_stream_a_round_hold_under_random_treatment() {
    holds(Way::Streams);
}

#[test]
fn of_webtransport_datagrams_hold_under_random_treatment() {
    holds(Way::Datagram);
}
