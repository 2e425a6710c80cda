//! What each part takes for a round by itself: validating it, and making its frame for each way it travels.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lastmile_benches::round::round;
use lastmile_server::catalog::Catalog;
use lastmile_server::published::{Format, Framing, Moment, Published};
use lastmile_wire::round::Round;

/// Lengths of a round: the usual one, and a large one.
const PAYLOADS_BYTES: [usize; 2] = [256, 16 * 1024];

const FRAMINGS: [(&str, Framing); 5] = [
    ("websocket_text", Framing::WebSocket),
    ("sse_event", Framing::SseEvent),
    ("length_prefixed", Framing::LengthPrefixed),
    ("uni_stream", Framing::UniStream),
    ("datagram", Framing::Datagram),
];

fn parse_and_validate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse_and_validate");
    for payload_bytes in PAYLOADS_BYTES {
        let payload = round(1_000_000_000, payload_bytes);
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(BenchmarkId::new("identify", payload_bytes), |bencher| {
            bencher.iter(|| Round::identify(black_box(&payload)).expect("a valid round").0);
        });
        // How a round goes that is written otherwise than publishers do.
        group.bench_function(BenchmarkId::new("parse", payload_bytes), |bencher| {
            bencher.iter(|| Round::parse(black_box(&payload)).expect("a valid round").round_id);
        });
    }
}

fn encode(criterion: &mut Criterion) {
    let catalog = Catalog::new([("crash".to_owned(), "multiplier".to_owned())]);
    let game = catalog.game("crash").expect("the game is in the catalog");
    let mut group = criterion.benchmark_group("encode");
    for payload_bytes in PAYLOADS_BYTES {
        let payload = Bytes::from(round(1_000_000_000, payload_bytes));
        group.throughput(Throughput::Bytes(payload.len() as u64));
        for (name, framing) in FRAMINGS {
            group.bench_function(BenchmarkId::new(name, payload_bytes), |bencher| {
                // A round keeps its frames, so that only its first one is made: each gets a round of its own,
                // which is handed back so that freeing it is not measured.
                bencher.iter_batched(
                    || Published::new(game, 1_000_000_000, payload.clone(), 0),
                    |published| {
                        black_box(published.frame(Format::plain(framing), Moment::Live).len());
                        published
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = parse_and_validate, encode
}
criterion_main!(benches);
