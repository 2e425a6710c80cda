//! What a round takes from the hub on, without a single system call: to the shards' queues, and through a shard
//! to subscribers in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lastmile_benches::round::round;
use lastmile_server::catalog::{Catalog, Subscription};
use lastmile_server::guard::Guard;
use lastmile_server::hub::Hub;
use lastmile_server::metrics::Metrics;
use lastmile_server::published::{Format, Framing, Moment, Published};
use lastmile_server::shard::{Inbox, QueueReader, Shard, ShardId, ShardSender, ShardSettings};
use lastmile_wire::request::Topic;
use tokio::runtime::{Builder, Runtime};

use tokio::task::LocalSet;

/// Rounds published behind each other.
const ROUNDS: u64 = 256;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn catalog() -> Catalog {
    Catalog::new([("crash".to_owned(), "multiplier".to_owned())])
}

fn subscription() -> Subscription {
    catalog().resolve(&Topic::Game("crash".to_owned())).expect("the game is in the catalog")
}

fn published(subscription: &Subscription, count: u64) -> Vec<Arc<Published>> {
    let game = subscription.games()[0];
    let publish = |id| Arc::new(Published::new(game, id, Bytes::from(round(id, 256)), 0));
    (1_000_000_000..1_000_000_000 + count).map(publish).collect()
}

/// Rounds to the queues of shards that do nothing with them.
fn to_shard_queues(criterion: &mut Criterion) {
    let rounds = published(&subscription(), ROUNDS);
    let mut group = criterion.benchmark_group("hub_to_shard_queues");
    for shards in [1, 4] {
        group.throughput(Throughput::Elements(ROUNDS * shards as u64));
        group.bench_function(BenchmarkId::from_parameter(shards), |bencher| {
            let setup = || {
                let (senders, inboxes): (Vec<_>, Vec<_>) =
                    (0..shards).map(|_| ShardSender::channel()).unzip();
                (Hub::new(1, senders), inboxes)
            };
            let run = |(hub, mut inboxes): (Hub, Vec<Inbox>)| {
                for (number, round) in (1..).zip(&rounds) {
                    hub.publish(round, number == rounds.len());
                }
                for inbox in &mut inboxes {
                    let mut received = 0;
                    while inbox.try_take().is_some() {
                        received += 1;
                    }
                    assert_eq!(received, ROUNDS, "each shard gets each round");
                }
                inboxes
            };
            bencher.iter_batched(setup, run, BatchSize::SmallInput);
        });
    }
}

/// One round at a time, or several, through hub and shard to subscribers that read queues in memory.
fn to_subscribers_in_memory(criterion: &mut Criterion) {
    let subscription = subscription();
    let mut group = criterion.benchmark_group("hub_to_subscribers_in_memory");
    for (subscribers, in_flight) in [(100, 1), (1000, 1), (1000, 32)] {
        let (runtime, local) = (runtime(), LocalSet::new());
        let (hub, mut readers) = local.block_on(&runtime, start(&subscription, subscribers));
        let rounds = published(&subscription, in_flight);
        let expected_bytes: usize = rounds
            .iter()
            .map(|round| round.frame(Format::plain(Framing::SseEvent), Moment::Live).len())
            .sum();
        group.throughput(Throughput::Elements(subscribers as u64 * in_flight));
        let name = BenchmarkId::new(format!("{in_flight}_in_flight"), subscribers);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                local.block_on(&runtime, async {
                    for (number, round) in (1..).zip(&rounds) {
                        hub.publish(round, number == rounds.len());
                    }
                    for reader in &mut readers {
                        let mut received_bytes = 0;
                        while received_bytes < expected_bytes {
                            received_bytes += reader.next().await.expect("events").len();
                        }
                    }
                });
            });
        });
    }
}

/// A hub and a shard on the caller's runtime, and subscribers that are attached.
async fn start(subscription: &Subscription, subscribers: usize) -> (Hub, Vec<QueueReader>) {
    // Heartbeats would be bytes that nobody counts on.
    let hour = Duration::from_secs(3600);
    let metrics = Arc::new(Metrics::new(1));
    let guard = Arc::new(Guard::open(Arc::clone(&metrics)));
    let settings = ShardSettings { backlog_bytes: 1 << 20, heartbeat: hour, idle_limit: hour, guard };
    let (shard_sender, inbox) = ShardSender::channel();
    let hub = Hub::new(1, vec![shard_sender.clone()]);
    let shard = Shard::new(ShardId(0), Arc::new(catalog()), settings, hub.clone(), metrics);
    // A shard stays on its thread.
    tokio::task::spawn_local(shard.expect("a descriptor").run(inbox));
    let mut readers = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let joined =
            QueueReader::join(&shard_sender, Format::plain(Framing::SseEvent), subscription.clone()).await;
        readers.push(joined.expect("the shard is running"));
    }
    (hub, readers)
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    targets = to_shard_queues, to_subscribers_in_memory
}
criterion_main!(benches);
