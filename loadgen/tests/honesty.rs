//! Stalls appear in the figures as what they are.

mod support;

use std::time::Duration;

use lastmile_reports::histogram::decode;
use lastmile_reports::schema::CaseResult;
use support::stub::{Action, Stub};
use support::{case, finish, measure, result_of, start};

/// How many values of an encoded histogram lie above a limit.
fn slower_than(histogram: &str, limit: Duration) -> u64 {
    let histogram = decode(histogram).unwrap();
    histogram.len() - histogram.count_between(0, limit.as_nanos() as u64)
}

/// Both latencies: from the planned time, and from the sent time.
fn slow(case: &CaseResult, limit: Duration) -> (u64, u64) {
    let service = case.service_histogram.as_ref().unwrap();
    (slower_than(&case.histogram, limit), slower_than(service, limit))
}

#[test]
fn a_second_of_standstill_is_a_second_of_slow_messages() {
    // Message 100 of 400 is held for a second, and everything behind it; at 200 messages a second the ones
    // published in the first 800 ms of it arrive more than 200 ms late: 160 for each of 4 subscribers.
    let stub = Stub::start(|number| match number {
        100 => Action::Freeze(Duration::from_secs(1)),
        _ => Action::Deliver,
    });
    let flags = "--connections 4 --rate 200 --warmup 0s --duration 2s --protocols ws";
    let result = measure(&stub, &flags.split(' ').collect::<Vec<_>>());
    let case = case(&result, "ws");
    assert_eq!(case.accounting.lost, 0);
    let (slow, slow_service) = slow(case, Duration::from_millis(200));
    let expected = 160 * 4;
    assert!((expected * 3 / 4..=expected * 5 / 4).contains(&slow), "{slow} slow, about {expected} expected");
    assert!(slow_service >= expected * 3 / 4, "Redis took everything in time: sent times are no excuse");
    assert!(case.latency_us.max.unwrap() > 900_000.0, "{:?}", case.latency_us);
}

#[test]
fn a_delay_of_one_percent_shows_at_the_99th_percentile_and_not_at_the_median() {
    // Each hundredth message is held for 60 ms, and with it the five published meanwhile: 6 % of the messages.
    let stub = Stub::start(|number| match number % 100 {
        50 => Action::Freeze(Duration::from_millis(60)),
        _ => Action::Deliver,
    });
    let flags = "--connections 3 --rate 100 --warmup 0s --duration 4s --protocols sse";
    let result = measure(&stub, &flags.split(' ').collect::<Vec<_>>());
    let latency = case(&result, "sse").latency_us;
    assert!(latency.p50.unwrap() < 20_000.0, "{latency:?}");
    assert!(latency.p99.unwrap() > 40_000.0, "{latency:?}");
}

#[test]
fn a_publisher_held_up_by_redis_counts_from_the_planned_time() {
    // Half a megabyte each: Redis' standstill reaches the publisher after a few messages.
    let stub = Stub::start(|_| Action::Deliver);
    let folder = tempfile::tempdir().unwrap();
    let flags = "--connections 1 --rate 50 --payload 524288 --warmup 500ms --duration 3s --protocols ws";
    let child = start(&stub, &flags.split(' ').collect::<Vec<_>>(), folder.path());
    stub.wait_for_publishes(50);
    stub.stop_redis_for(Duration::from_secs(1));
    let output = finish(child);
    let result = result_of(&output);
    let case = case(&result, "ws");
    assert_eq!((case.accounting.lost, case.accounting.expected), (0, 150));
    // 50 messages were due in that second; those of its first 0.7 s come more than 300 ms late.
    let (slow, slow_service) = slow(case, Duration::from_millis(300));
    assert!(slow >= 20, "{slow} slow from the planned time");
    assert!(slow_service * 2 < slow, "{slow_service} slow from the sent time, {slow} from the planned");
    let slip = case.schedule_slip_us.unwrap().max.unwrap();
    assert!(slip > 300_000.0, "the publisher was held up, and says by how much: {slip}");
}
