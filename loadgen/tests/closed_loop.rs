//! The closed loop: so many messages under way, everything accounted for, no latency claimed.

mod support;

use std::time::Duration;

use lastmile_reports::schema::{Accounting, LatencySummary};
use support::stub::{Action, Stub};
use support::{case, finish, measure, output, result_of, start, text};

fn words(flags: &str) -> Vec<&str> {
    flags.split(' ').collect()
}

#[test]
fn throughput_is_told_without_latency_and_everything_is_accounted_for() {
    let stub = Stub::start(|_| Action::Deliver);
    let flags = "--connections 20 --in-flight 8 --warmup 200ms --duration 1s --threads 3 --protocols ws,sse,wt-stream";
    let result = measure(&stub, &words(flags));
    assert_eq!(result.cases.len(), 3);
    for case in &result.cases {
        assert_eq!((case.in_flight, case.rate, case.connections), (Some(8), 0.0, 20));
        assert_eq!(case.latency_us, LatencySummary::default());
        assert_eq!(case.service_latency_us, LatencySummary::default());
        assert_eq!((case.schedule_slip_us, case.histogram.as_str()), (None, ""));
        let Accounting { expected, delivered, lost, duplicated, reordered, corrupt } = case.accounting;
        assert_eq!((expected, delivered), (case.published * 20, case.published * 20), "{case:?}");
        assert_eq!((lost, duplicated, reordered, corrupt), (0, 0, 0, 0), "{case:?}");
        assert_eq!(case.errors, []);
        assert!(!case.interrupted && case.duration_s > 0.99, "{case:?}");
        assert!(case.published > 50, "a closed loop that crawls: {}", case.published);
        assert!(case.deliveries_per_s > 0.0 && case.attaching_s.is_some_and(|s| s > 0.0));
        assert_eq!(case.timeline.iter().map(|point| point.delivered).sum::<u64>(), delivered);
        assert_eq!(case.timeline.iter().map(|point| point.published).sum::<u64>(), case.published);
    }
}

#[test]
fn one_in_flight_means_one() {
    // Ten milliseconds on the way each: at most a hundred a second can be, one after the other.
    let stub = Stub::start(|_| Action::Freeze(Duration::from_millis(10)));
    let flags = "--connections 3 --in-flight 1 --warmup 0s --duration 1s --protocols ws";
    let result = measure(&stub, &words(flags));
    let published = case(&result, "ws").published;
    assert!((40..=101).contains(&published), "{published}");
    let result = measure(&stub, &words(&flags.replace("--in-flight 1", "--in-flight 4")));
    // The stub delivers one after the other: no faster, but nothing is lost.
    let case = case(&result, "ws");
    assert_eq!(case.accounting.delivered, case.published * 3);
}

#[test]
fn what_is_lost_is_given_up_and_who_is_gone_is_not_waited_for() {
    let stub = Stub::start(|number| match number {
        100 => Action::Lose,
        150 => Action::CloseFirst,
        _ => Action::Deliver,
    });
    let flags = "--connections 3 --in-flight 2 --warmup 0s --duration 3s --protocols ws";
    let result = measure(&stub, &words(flags));
    let case = case(&result, "ws");
    assert!(case.published > 200, "{}", case.published);
    // One for each subscriber, and of the closed one everything from number 150 on.
    assert_eq!(case.accounting.lost, 3 + case.published - 150, "{case:?}");
    assert_eq!(case.accounting.delivered + case.accounting.lost, case.published * 3);
    let told = |words: &str| case.errors.iter().any(|(error, count)| error.contains(words) && *count == 1);
    assert!(told("the closed loop went on without it") && told("too slow"), "{:?}", case.errors);
}

#[test]
fn a_foreign_server_with_its_own_path_is_published_to_by_http_and_observed() {
    let stub = Stub::start(|_| Action::Deliver);
    let target = format!("http://{}", stub.http);
    let publish = format!("http://{}/publish", stub.http);
    let pid = std::process::id().to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut flags = vec!["run", "--json", "--out", folder.path().to_str().unwrap(), "--target", &target];
    flags.extend(["--publish-http", &publish, "--target-pid", &pid, "--game", "double"]);
    flags.extend(words("--ws-path /ws/crash --sse-path /sse/crash --protocols ws,sse --connections 5"));
    for pace in
        ["--in-flight 4 --warmup 100ms --duration 500ms", "--rate 100 --warmup 100ms --duration 500ms"]
    {
        let mut flags = flags.clone();
        flags.extend(words(pace));
        let output = output(&flags);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let result = result_of(&output);
        for case in &result.cases {
            assert_eq!(case.accounting.delivered, case.published * 5, "{case:?}");
            assert!(case.published > 20 && case.errors.is_empty(), "{case:?}");
            assert!(case.server.cpu_us_per_delivery.is_some_and(|us| us > 0.0), "{case:?}");
            assert!(case.server.rss_bytes.is_some(), "{case:?}");
        }
    }
}

#[test]
fn an_interrupt_keeps_what_was_measured() {
    let stub = Stub::start(|_| Action::Deliver);
    let folder = tempfile::tempdir().unwrap();
    let flags = "--connections 2 --in-flight 2 --warmup 0s --duration 1h --protocols ws";
    let child = start(&stub, &words(flags), folder.path());
    stub.wait_for_publishes(100);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let result = result_of(&output);
    let case = case(&result, "ws");
    assert!(case.interrupted && case.published >= 90, "{case:?}");
    assert_eq!(case.accounting.delivered, case.published * 2);
}
