//! What becomes of every message is counted exactly, on every protocol.

mod support;

use std::thread;

use lastmile_reports::schema::Accounting;
use rustls::SupportedProtocolVersion;
use support::stub::{Action, Stub};
use support::{case, measure};

const WARMUP: usize = 40;
const MEASURED: usize = 200;
const SUBSCRIBERS: u64 = 5;

fn script(number: usize) -> Action {
    match number {
        // Nothing of the warm-up counts.
        5 => Action::Lose,
        10 => Action::Twice,
        15 => Action::AfterTheNext,
        20 => Action::Damage,
        _ if number < WARMUP => Action::Deliver,
        _ => match number - WARMUP {
            10 | 11 => Action::Lose,
            20 => Action::Twice,
            30 | 32 | 34 => Action::AfterTheNext,
            40 => Action::Damage,
            150 => Action::CloseFirst,
            _ => Action::Deliver,
        },
    }
}

#[test]
fn every_loss_duplicate_reordering_and_damage_is_counted_on_every_protocol() {
    const BOTH: &[&SupportedProtocolVersion] = rustls::ALL_VERSIONS;
    const OLD: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
    thread::scope(|scope| {
        for (protocol, versions, goodbye) in [
            ("ws", BOTH, "the server closed the connection with code 1013: too slow"),
            ("sse", BOTH, "the server ended the stream"),
            ("wss", BOTH, "the server closed the connection with code 1013: too slow"),
            ("sse-tls", BOTH, "the server ended the stream"),
            ("wss", OLD, "the server closed the connection with code 1013: too slow"),
            ("sse-tls", OLD, "the server ended the stream"),
            ("sse+h2", BOTH, "the server ended the stream"),
            ("sse-tls+h2", BOTH, "the server ended the stream"),
            ("sse-tls+h2", OLD, "the server ended the stream"),
            ("redis", BOTH, "the server closed the connection without a word"),
            ("tcp", BOTH, "the server closed the connection without a word"),
            ("wt-stream", BOTH, "the server closed the connection with code 1013: too slow"),
            ("wt-streams", BOTH, "the server closed the connection with code 1013: too slow"),
            ("wt-datagram", BOTH, "the server closed the connection with code 1013: too slow"),
        ] {
            scope.spawn(move || counted_exactly(protocol, versions, goodbye));
        }
    });
}

fn counted_exactly(protocol: &str, versions: &[&'static SupportedProtocolVersion], goodbye: &str) {
    // A stub of its own: the script counts from the first message.
    let stub = Stub::start_with(script, versions);
    let flags = "--connections 5 --rate 200 --warmup 200ms --duration 1s --protocols";
    let flags: Vec<&str> = flags.split(' ').chain([protocol]).collect();
    let result = measure(&stub, &flags);
    let case = case(&result, protocol);

    let expected = MEASURED as u64 * SUBSCRIBERS;
    // Two lost, one damaged for each; the first one gets nothing from number 150 on.
    let lost = 3 * SUBSCRIBERS + (MEASURED as u64 - 150);
    let counted = Accounting {
        expected,
        delivered: expected - lost,
        lost,
        duplicated: SUBSCRIBERS,
        reordered: 3 * SUBSCRIBERS,
        corrupt: SUBSCRIBERS,
    };
    assert_eq!(case.accounting, counted, "{protocol}: {:?}", case.errors);
    let told = |words: &str| case.errors.iter().find(|(error, _)| error == words).map(|(_, count)| *count);
    assert_eq!(told(goodbye), Some(1), "{protocol}: {:?}", case.errors);
    let damaged = told("a message arrived with other bytes than were published");
    assert_eq!(damaged, Some(SUBSCRIBERS), "{protocol}: {:?}", case.errors);
    assert_eq!((case.published, case.connections, case.out_of_range), (MEASURED as u64, 5, 0));
    assert!(!case.interrupted && !result.interrupted);
    assert_eq!(case.timeline.iter().map(|point| point.delivered).sum::<u64>(), expected - lost);
}

#[test]
fn without_faults_everything_is_delivered_by_all_protocols_of_one_run() {
    let stub = Stub::start(|_| Action::Deliver);
    let flags = "--connections 20 --rate 100 --warmup 100ms --duration 500ms --threads 3 --arrivals poisson \
                 --slices 2 --protocols ws,sse,wss,sse-tls,sse+h2,wt-stream,wt-streams,wt-datagram,redis,tcp";
    let flags: Vec<&str> = flags.split(' ').filter(|word| !word.is_empty()).collect();
    let result = measure(&stub, &flags);
    let names: Vec<&str> = result.cases.iter().map(|case| case.protocol.as_str()).collect();
    let all =
        ["ws", "sse", "wss", "sse-tls", "sse+h2", "wt-stream", "wt-streams", "wt-datagram", "redis", "tcp"];
    assert_eq!(names, all, "shown as asked for, however they were measured");
    let mut orders: Vec<u32> =
        result.cases.iter().flat_map(|case| &case.slices).map(|slice| slice.order).collect();
    orders.sort_unstable();
    assert_eq!(orders, (0..20).collect::<Vec<u32>>(), "every slice has a place of its own");
    for case in &result.cases {
        let Accounting { expected, delivered, lost, duplicated, corrupt, .. } = case.accounting;
        assert_eq!(expected, case.published * 20, "{}", case.protocol);
        assert_eq!((delivered, lost, duplicated, corrupt), (expected, 0, 0, 0), "{case:?}");
        assert_eq!(case.errors, [], "{}", case.protocol);
        assert_eq!(case.slices.iter().map(|slice| slice.published).sum::<u64>(), case.published);
        assert_eq!(case.slices.iter().map(|slice| slice.delivered).sum::<u64>(), delivered);
        assert_eq!(case.timeline.iter().map(|point| point.delivered).sum::<u64>(), delivered);
        assert_eq!((case.slices.len(), case.floor), (2, ["redis", "tcp"].contains(&&*case.protocol)));
        let service = case.service_latency_us.p50.unwrap();
        assert!(case.latency_us.p50.unwrap() >= service * 0.99, "{}", case.protocol);
    }
}
