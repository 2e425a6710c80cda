//! Attaching without gap and without duplicate: thousands of subscribers come at moments of their own while
//! rounds are published without pause. A program of its own, because it wants the machine for itself.

#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use lastmile_processes::RedisConnection;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use common::{Place, Site, Subscriber, Way, round, round_id};

/// How many subscribers come on each way.
const CROWD: [(Way, usize); 6] = [
    (Way::WebSocket, 2000),
    (Way::Sse, 2000),
    (Way::SseHttp2, 100),
    (Way::Stream, 100),
    (Way::Streams, 100),
    (Way::Datagram, 100),
];

/// Handshakes at a time.
const HANDSHAKES: usize = 48;

/// Subscribers that come between two rounds. So there is always a round on its way while others attach, and
/// the work is the same on every machine.
const NEWCOMERS_A_ROUND: u64 = 20;

/// Pause between two looks whether they have come.
const LOOK_PAUSE: Duration = Duration::from_millis(1);

/// Pause between rounds once everyone has come.
const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// Rounds that everyone gets after everyone is there.
const ROUNDS_FOR_ALL: u64 = 10;

/// By how many rounds one may be overtaken where no order is promised.
const OVERTAKING: u64 = 100;

/// Waiting for thousands takes longer than for one.
const PATIENCE: Duration = Duration::from_secs(240);

/// What publisher and subscribers know of each other. Identifiers rise by one, from 1.
#[derive(Default)]
struct Progress {
    published: AtomicU64,
    attached: AtomicU64,
    /// The newest round that any subscriber has received: what attaches later must not begin before it.
    received: AtomicU64,
    /// The last round everyone must receive, 0 while that is open.
    last: AtomicU64,
    ended: AtomicBool,
}

#[test]
fn thousands_attach_while_rounds_are_published_and_miss_none() {
    raise_descriptor_limit();
    // Whoever is slow in this crowd shall wait, not be closed: that is another test.
    let site = Site::start(&["--backlog-bytes", "268435456"]);
    let progress = Arc::new(Progress::default());
    let publisher = {
        let redis = site.redis.connect().expect("a connection");
        let progress = Arc::clone(&progress);
        std::thread::spawn(move || publish(redis, &progress))
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let received: u64 = runtime.block_on(async {
        let attended = attend(&site.place, &progress);
        tokio::time::timeout(PATIENCE, attended).await.expect("everyone got everything in time")
    });
    progress.ended.store(true, SeqCst);
    publisher.join().expect("the publisher");
    println!("{} rounds, {received} received by all together", progress.published.load(SeqCst));
    assert_eq!(site.metric("lastmile_drops_total{reason=\"too_slow\"}"), 0);
    let crowd: usize = CROWD.iter().map(|(_, count)| count).sum();
    assert!(received > crowd as u64 * ROUNDS_FOR_ALL);
}

/// Publishes until the end, in step with those who come.
fn publish(mut redis: RedisConnection, progress: &Progress) {
    for id in 1.. {
        redis.command(&[b"PUBLISH", b"stream:crash", &round("crash", id)]).expect("a publish");
        progress.published.store(id, SeqCst);
        if progress.ended.load(SeqCst) {
            return;
        }
        while progress.attached.load(SeqCst) < NEWCOMERS_A_ROUND * id
            && progress.last.load(SeqCst) == 0
            && !progress.ended.load(SeqCst)
        {
            std::thread::sleep(LOOK_PAUSE);
        }
        if progress.last.load(SeqCst) > 0 {
            std::thread::sleep(ROUND_PAUSE);
        }
    }
}

/// Brings the crowd in and waits until everyone has got the last round; tells how many rounds they got.
async fn attend(place: &Place, progress: &Arc<Progress>) -> u64 {
    let door = Arc::new(Semaphore::new(HANDSHAKES));
    let crowd: usize = CROWD.iter().map(|(_, count)| count).sum();
    let waiting = Arc::new(Semaphore::new(0));
    let mut subscribers = JoinSet::new();
    for (index, way) in mixed().into_iter().enumerate() {
        let (place, progress) = (place.clone(), Arc::clone(progress));
        let (door, waiting) = (Arc::clone(&door), Arc::clone(&waiting));
        // Half of them take the game's type: a group of their own in the server.
        let topic = if index % 2 == 0 { "crash" } else { "type/multiplier" };
        subscribers.spawn(async move {
            let entering = door.acquire_owned().await.expect("an open door");
            let not_before = progress.received.load(SeqCst);
            let mut subscriber = Subscriber::connect(&place, way, topic).await;
            let first = subscriber.next_id().await;
            drop(entering);
            progress.attached.fetch_add(1, SeqCst);
            waiting.add_permits(1);
            follow(subscriber, first, not_before, &progress).await
        });
    }
    tokio::select! {
        all = waiting.acquire_many(crowd as u32) => all.expect("an open door").forget(),
        // Nobody goes before all have come, but for those who saw what they should not.
        Some(ended) = subscribers.join_next() => panic!("left too early: {ended:?}"),
    }
    progress.last.store(progress.published.load(SeqCst) + ROUNDS_FOR_ALL, SeqCst);
    let mut received = 0;
    while let Some(ended) = subscribers.join_next().await {
        received += ended.expect("a subscriber that saw what it should");
    }
    received
}

/// Receives until the last round, and sees that nothing is missing and nothing comes twice.
async fn follow(mut subscriber: Subscriber, first: u64, not_before: u64, progress: &Progress) -> u64 {
    let way = subscriber.way;
    let is_last = |id: u64| {
        let last = progress.last.load(SeqCst);
        last > 0 && id >= last
    };
    let (mut oldest, mut newest) = (first, first);
    let mut seen = BTreeSet::from([first]);
    // A stream a round promises no order, so that the last may come before others.
    while !(is_last(newest) && (way == Way::Datagram || seen.len() as u64 == newest - oldest + 1)) {
        let id = round_id(&subscriber.next_patiently().await);
        progress.received.fetch_max(id, SeqCst);
        assert!(seen.insert(id), "{way:?}: {id} came twice");
        assert!(!way.is_ordered() || id == newest + 1, "{way:?}: {id} after {newest}, began with {first}");
        (oldest, newest) = (oldest.min(id), newest.max(id));
        let last = progress.last.load(SeqCst);
        if way == Way::Streams && last > 0 && newest > last + OVERTAKING {
            let missing: Vec<u64> = (oldest..newest - OVERTAKING).filter(|id| !seen.contains(id)).collect();
            assert!(missing.is_empty(), "{way:?}: {missing:?} never came, began with {first}");
        }
    }
    assert!(oldest >= not_before, "{way:?}: began with {oldest}, but {not_before} had been delivered");
    seen.len() as u64
}

/// The crowd in a fixed order in which all ways come from the beginning to the end.
fn mixed() -> Vec<Way> {
    let mut order: Vec<(f64, Way)> = CROWD
        .iter()
        .flat_map(|&(way, count)| (0..count).map(move |index| ((index as f64 + 0.5) / count as f64, way)))
        .collect();
    order.sort_by(|one, other| one.0.total_cmp(&other.0));
    order.into_iter().map(|(_, way)| way).collect()
}

/// Both ends of every connection are in this process.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("the limit one may have");
}
