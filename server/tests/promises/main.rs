//! What a subscriber is promised, under random treatment: subscribers attach, resume from near and from far, leave, die,
//! stall and are closed for it while rounds are published, in every encoding and with batches, those whose clients can
//! say something get a second game now and then, and each checks every round it gets. On every way to receive:
//!
//! * what arrives is byte for byte what was published, or that as `MessagePack`; from the database, the same fields;
//! * the first round is not older than what anyone had received before; of one that resumes it is the next;
//! * no round comes twice, and on ways with order each is the one after the one before;
//! * none is missing until the subscriber ends, but for datagrams, and there none that was missed before;
//! * what can't be given to one that resumes is told, where it is missing, and nothing else is;
//! * of a game that is subscribed for a while, no round twice and none missing, from its latest on;
//! * only for whom more than the backlog waits is closed as too slow, and it is told so, as far as QUIC can; cut off is
//!   only who has not listened for as long as a goodbye is waited for.
//!
//! `LASTMILE_DELIVERIES` says how many rounds all subscribers of a way receive together, `LASTMILE_RANDOM_SEED` which
//! treatment they get.

#[path = "../common/mod.rs"]
mod common;

mod fate;
mod life;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lastmile_processes::RedisConnection;
use lastmile_server::metrics::Metrics;
use tokio::task::JoinSet;

use common::{Place, Site, Way, large_round, round};
use fate::{Fate, Random};
use life::{Ended, Life};

/// Rounds received where nobody says how many: for a debug build.
const DELIVERIES: u64 = 16_000;

/// Subscribers at a time.
const PLACES: usize = 12;

/// Of these, how many live for long.
const LONG_LIVES: usize = 2;

/// Rounds that may be on their way to a subscriber that does not stall: far less than its backlog.
const WINDOW: u64 = 40;

/// Bytes that may wait for one: some hundred rounds.
const BACKLOG_BYTES: usize = 512 * 1024;

/// Rounds of a game that the server keeps at least.
const RING_ROUNDS: u64 = 256;

/// Bytes of them, which would do for more, and of what it gives from the database: some five hundred rounds.
const REPLAY_BYTES: usize = 2 << 20;

/// Rounds that may wait for the database: fewer than half of what the ring keeps, so that both always meet.
const UNSTORED: i64 = 64;

/// Rounds published while one stalls for long: more than its backlog and the system's buffers hold.
const LONG_STALL_ROUNDS: u64 = 1500;

/// How long the publisher waits for a datagram, which may have been lost.
const DATAGRAM_PATIENCE: Duration = Duration::from_millis(5);

/// Rounds behind which a subscriber of datagrams may be left: every fourth is too large for one and comes on a stream,
/// so who is further behind than this is only slow.
const DATAGRAM_LAG: u64 = 8;

/// Pause between two looks at the others.
const PAUSE: Duration = Duration::from_micros(200);

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
    /// Whether it is still to get what it had missed, which is never lost.
    catching_up: Vec<AtomicBool>,
    /// The round all who are there then wait for; 0 while that is open.
    last: AtomicU64,
    ended: AtomicBool,
    /// The server's.
    metrics: Arc<Metrics>,
}

impl Progress {
    /// A round that is in the database, with all before it.
    fn stored(&self) -> u64 {
        let persist = &self.metrics.persist;
        if persist.dropped.get() + persist.refused.get() > 0 {
            return 0;
        }
        // Behind every third round comes one of the other game.
        (persist.written.get() + persist.known.get()) * 3 / 4
    }
}

/// How often what happened.
#[derive(Debug, Default)]
struct Tally {
    left: AtomicU64,
    died: AtomicU64,
    too_slow: AtomicU64,
    reset: AtomicU64,
    stayed: AtomicU64,
    resumed_from_afar: AtomicU64,
    gaps_told: AtomicU64,
}

impl Tally {
    fn note(&self, life: &Life<'_>, end: Ended) {
        match end {
            Ended::Left => &self.left,
            Ended::Died => &self.died,
            Ended::TooSlow => &self.too_slow,
            Ended::Reset => &self.reset,
            Ended::Stayed => &self.stayed,
        }
        .fetch_add(1, SeqCst);
        self.resumed_from_afar.fetch_add(u64::from(life.came_from_afar()), SeqCst);
        self.gaps_told.fetch_add(life.gaps() as u64, SeqCst);
    }
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
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite://{}", folder.path().join("rounds.db").display());
    let [backlog, ring, bytes] =
        [BACKLOG_BYTES as u64, RING_ROUNDS, REPLAY_BYTES as u64].map(|number| number.to_string());
    let site = Site::start(&[
        "--backlog-bytes",
        &backlog,
        "--replay-rounds",
        &ring,
        "--replay-bytes",
        &bytes,
        "--database",
        &database,
        "--persist",
    ]);
    let progress = Arc::new(Progress {
        published: AtomicU64::new(0),
        deliveries: AtomicU64::new(0),
        received: AtomicU64::new(0),
        places: (0..PLACES).map(|_| AtomicU64::new(NOBODY)).collect(),
        catching_up: (0..PLACES).map(|_| AtomicBool::new(false)).collect(),
        last: AtomicU64::new(0),
        ended: AtomicBool::new(false),
        metrics: Arc::clone(site.server.metrics()),
    });
    let tally = Arc::new(Tally::default());
    let publisher = {
        let redis = site.redis.connect().expect("a connection");
        let progress = Arc::clone(&progress);
        std::thread::spawn(move || publish(redis, &progress, way, wanted, Random::new(seed)))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut places = JoinSet::new();
        for index in 0..PLACES {
            let (place, progress, tally) = (site.place.clone(), Arc::clone(&progress), Arc::clone(&tally));
            let random = Random::new(seed ^ (index as u64 + 1) << 32);
            places.spawn(async move { occupy(&place, (way, index), random, &progress, &tally).await });
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
    println!("{way:?}: {} rounds, {deliveries} deliveries, {tally:?}", progress.published.load(SeqCst));
    assert!(deliveries >= wanted);
    for seldom in [&tally.stayed, &tally.left, &tally.died, &tally.resumed_from_afar] {
        assert!(seldom.load(SeqCst) > 0, "{tally:?}");
    }
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
        let is_to_wait = || {
            let slowest = progress.places.iter().map(|place| place.load(SeqCst)).min().unwrap_or(NOBODY);
            let ahead = id.saturating_sub(slowest);
            let is_behind = ahead > WINDOW || (burst == 0 && ahead > 0);
            let may_be_lost = way == Way::Datagram
                && ahead <= DATAGRAM_LAG
                && !progress.catching_up.iter().any(|is_catching_up| is_catching_up.load(SeqCst));
            is_behind && (!may_be_lost || begun.elapsed() < DATAGRAM_PATIENCE)
        };
        while !progress.ended.load(SeqCst)
            && (is_to_wait() || progress.metrics.persist.queued.get() > UNSTORED)
        {
            std::thread::sleep(PAUSE);
        }
    }
}

/// One subscriber after the other, until the last round is near.
async fn occupy(
    place: &Place,
    (way, index): (Way, usize),
    mut random: Random,
    progress: &Progress,
    tally: &Tally,
) {
    let mut last = None;
    while progress.last.load(SeqCst) == 0 {
        let mut fate = Fate::draw(&mut random, index < LONG_LIVES);
        let not_before = progress.received.load(SeqCst);
        let mut life = Life::begin(place, (way, index), last, &mut random, progress).await;
        if life.came_from_afar() && random.below(2) == 0 {
            // Time enough to catch up.
            fate.rounds += 4 * RING_ROUNDS;
        }
        let end = life.live(fate, &mut random).await;
        progress.places[index].store(NOBODY, SeqCst);
        progress.catching_up[index].store(false, SeqCst);
        life.check(not_before, end);
        tally.note(&life, end);
        last = life.newest();
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
