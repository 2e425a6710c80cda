//! What a subscriber takes of the generator's memory, beside what a run takes whoever subscribes.

mod support;

use support::finish;
use support::place::Place;
use support::text;

const FEW: u32 = 500;
const MANY: u32 = 4_500;

/// Resident memory of the generator at the end of a run of its own.
fn resident_bytes(protocol: &str, pace: &str, subscribers: u32) -> f64 {
    let folder = Place::new();
    let flags = format!(
        "--protocols {protocol} --connections {subscribers} {pace} --warmup 200ms --duration 1s --slices 1"
    );
    let output = finish(folder.start(&flags));
    assert!(output.status.success(), "{flags}: {}", text(&output.stderr));
    let result = folder.written();
    assert_eq!(result.cases[0].errors, [], "{flags}");
    result.cases[0].generator.rss_bytes.unwrap() as f64
}

/// The books of a run are the same for both: what is left are the subscribers.
#[track_caller]
fn assert_small(protocol: &str) {
    for pace in ["--in-flight 32", "--rate 20"] {
        let grown = resident_bytes(protocol, pace, MANY) - resident_bytes(protocol, pace, FEW);
        let each = grown / f64::from(MANY - FEW);
        assert!((1.0..=1024.0).contains(&each), "{protocol} {pace}: {each:.0} bytes a subscriber");
    }
}

#[test]
fn a_websocket_subscriber_takes_less_than_a_kilobyte_in_either_loop() {
    assert_small("ws");
}

#[test]
fn an_sse_subscriber_takes_less_than_a_kilobyte_in_either_loop() {
    assert_small("sse");
}
