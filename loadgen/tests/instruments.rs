//! Looking closer: the kernel's timestamps, and where the time of a message goes.

mod support;

use lastmile_reports::schema::{CaseResult, RunResult};
use support::place::Place;
use support::stub::{Action, Stub};
use support::{finish, measure, text};

fn stage_names(case: &CaseResult) -> Vec<&str> {
    case.stages.iter().map(|stage| stage.name.as_str()).collect()
}

/// The means of a case's legs from planned to client, summed.
fn mean_of_legs(case: &CaseResult) -> f64 {
    let legs = case.stages.iter().filter(|stage| stage.name != "first to last write");
    legs.map(|stage| stage.latency_us.mean.unwrap()).sum()
}

/// Each delivery's legs add up to its latency, so their means do.
#[track_caller]
fn assert_adds_up(case: &CaseResult) {
    let (legs, whole) = (mean_of_legs(case), case.latency_us.mean.unwrap());
    assert!((legs - whole).abs() <= 0.02 * whole, "{}: {legs} of {whole}: {:?}", case.protocol, case.stages);
}

fn assert_stamped(result: &RunResult) {
    for case in &result.cases {
        let health = case.health.as_ref().unwrap();
        let (kernel, queueing) = (health.kernel_latency_us.unwrap(), health.kernel_to_client_us.unwrap());
        // The kernel has a message before the client, and the two parts are the whole.
        let whole = case.latency_us.mean.unwrap();
        let parts = kernel.mean.unwrap() + queueing.mean.unwrap();
        assert!((parts - whole).abs() <= 0.02 * whole, "{}: {parts} of {whole}", case.protocol);
        assert!(kernel.p50.unwrap() <= case.latency_us.p50.unwrap(), "{}: {health:?}", case.protocol);
        assert!(queueing.mean.unwrap() > 0.0, "{}: {health:?}", case.protocol);
        assert_eq!((case.out_of_range, &case.errors[..]), (0, &[][..]), "{}", case.protocol);
    }
}

#[test]
fn the_kernel_stamps_what_every_protocol_receives() {
    let stub = Stub::start(|_| Action::Deliver);
    // The kernel begins to stamp a moment after the first socket has asked for it: the warm-up covers that.
    let flags = "--timestamps kernel --connections 5 --rate 50 --warmup 500ms --duration 1s";
    let with = |protocols| flags.split(' ').chain(["--protocols", protocols]).collect::<Vec<_>>();
    let result = measure(&stub, &with("ws,sse,wss,sse-tls,wt-stream,wt-streams,wt-datagram"));
    assert_stamped(&result);
    let old = Stub::start_with(|_| Action::Deliver, &[&rustls::version::TLS12]);
    assert_stamped(&measure(&old, &with("wss,sse-tls")));
    // Without the server's part, what it does is one leg with the way there and back.
    assert!(result.cases.iter().all(|case| case.stages.is_empty()));
}

#[test]
fn legs_of_the_real_server_add_up_to_the_latency() {
    let place = Place::new();
    let flags = "--stages --connections 8 --rate 50 --warmup 200ms --duration 1s --protocols ws,wss,sse,wt-stream,wt-datagram";
    let output = finish(place.start(flags));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result = place.written();
    for case in &result.cases {
        let expected = [
            "planned to sent",
            "sent to ingest",
            "ingest to write",
            "first to last write",
            "write to client",
        ];
        assert_eq!(stage_names(case), expected, "{}: {:?}", case.protocol, case.errors);
        assert_adds_up(case);
        assert_eq!((case.out_of_range, &case.errors[..]), (0, &[][..]), "{}", case.protocol);
    }
    place.assert_clean();
}

#[test]
fn both_together_tell_every_leg_and_a_server_without_times_has_one() {
    let place = Place::new();
    let flags = "--stages --timestamps kernel --connections 4 --rate 50 --warmup 500ms --duration 1s --protocols ws,wss,wt-stream";
    let output = finish(place.start(flags));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result = place.written();
    assert_stamped(&result);
    for case in &result.cases {
        let names = stage_names(case);
        assert_eq!(names[4..], ["write to kernel", "kernel to client"], "{names:?}");
        assert_adds_up(case);
    }
    let stub = Stub::start(|_| Action::Deliver);
    let flags = "--stages --connections 4 --rate 50 --warmup 0s --duration 500ms --protocols sse";
    let result = measure(&stub, &flags.split(' ').collect::<Vec<_>>());
    assert_eq!(stage_names(&result.cases[0]), ["planned to sent", "sent to client"]);
    assert_adds_up(&result.cases[0]);
}
