//! What the self-checks say of made-up results: each rule at its threshold, on both sides.

mod sample;

use lastmile_reports::checks::{Faults, Outcome, Verdict, faults, judge, stamp, verdict};
use lastmile_reports::schema::{Accounting, CaseResult, Health, LatencySummary, RunResult, ThreadUse};

/// A result whose only case has nothing to object to: 4,000 publishes, p99 at 1 ms, everything watched.
fn sound() -> RunResult {
    let mut result = sample::first_light();
    result.cases.truncate(1);
    let case = &mut result.cases[0];
    "ws".clone_into(&mut case.protocol);
    case.published = 4_000;
    case.latency_us = summary(1_000.0);
    case.health = Some(Health {
        threads: vec![thread("subscribers 0", 0.4), ThreadUse { spins: true, ..thread("publisher", 0.95) }],
        canary_us: Some(summary(60.0)),
        steal_share: Some(0.001),
        receive_buffer_drops: Some(0),
        throttled_periods: Some(0),
        ..Health::default()
    });
    result
}

fn thread(name: &str, cpu_share: f64) -> ThreadUse {
    ThreadUse { name: name.to_owned(), cpu_share, waited_share: 0.0, spins: false }
}

/// A distribution with this p99.
fn summary(p99: f64) -> LatencySummary {
    LatencySummary {
        p50: Some(0.4 * p99),
        p90: Some(0.7 * p99),
        p99: Some(p99),
        p99_9: Some(1.5 * p99),
        max: Some(2.0 * p99),
        mean: Some(0.5 * p99),
    }
}

/// What a check says of the sound result after a change.
#[track_caller]
fn after(name: &str, change: impl FnOnce(&mut CaseResult)) -> Outcome {
    let mut result = sound();
    change(&mut result.cases[0]);
    let checks = judge(&result);
    let check = checks.iter().find(|check| check.name == name).expect("there is such a check");
    check.outcomes[0].clone()
}

fn health(case: &mut CaseResult) -> &mut Health {
    case.health.get_or_insert_default()
}

#[track_caller]
fn invalid(outcome: &Outcome, words: &str) {
    assert!(
        matches!(outcome, Outcome::Invalid(found) if found.text.contains(words)),
        "{words:?} in {outcome:?}"
    );
}

#[track_caller]
fn suspect(outcome: &Outcome, words: &str) {
    assert!(
        matches!(outcome, Outcome::Suspect(found) if found.text.contains(words)),
        "{words:?} in {outcome:?}"
    );
}

#[track_caller]
fn not_judged(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::NotJudged(_)), "{outcome:?}");
}

#[test]
fn nothing_is_objected_to_where_nothing_is_wrong() {
    let result = sound();
    let checks = judge(&result);
    assert_eq!(verdict(&result, &checks), Verdict::Valid, "{checks:?}");
    let unjudged: Vec<&str> =
        checks.iter().filter(|check| check.outcomes[0] != Outcome::Holds).map(|check| check.name).collect();
    assert_eq!(unjudged, ["client queueing"], "kernel timestamps are asked for");
}

#[test]
fn a_busy_generator_invalidates_and_one_that_spins_by_design_does_not() {
    const NAME: &str = "generator headroom";
    assert_eq!(after(NAME, |case| health(case).threads[0].cpu_share = 0.8), Outcome::Holds);
    let starved = |waited_share: f64| after(NAME, |case| health(case).threads[0].waited_share = waited_share);
    assert_eq!(starved(0.4), Outcome::Holds);
    invalid(&starved(0.41), "\"subscribers 0\" used 40 % of a core and waited 41 % of the time for one");
    let busy = after(NAME, |case| health(case).threads[0].cpu_share = 0.81);
    invalid(&busy, "\"subscribers 0\" used 81 % of a core");
    // The canary's p99.9 is 1.5 times its p99 here: 100 µs are the limit of both.
    assert_eq!(after(NAME, |case| health(case).canary_us = Some(summary(66.0))), Outcome::Holds);
    suspect(&after(NAME, |case| health(case).canary_us = Some(summary(68.0))), "late by 102 µs at p99.9");
    suspect(&after(NAME, |case| health(case).canary_us = Some(summary(99.0))), "at p99.9");
    invalid(&after(NAME, |case| health(case).canary_us = Some(summary(101.0))), "late by 101 µs at p99,");
    not_judged(&after(NAME, |case| case.health = None));
    not_judged(&after(NAME, |case| health(case).canary_us = None));
    not_judged(&after(NAME, |case| case.latency_us.p99 = None));
}

#[test]
fn a_canary_that_sang_too_briefly_is_judged_by_what_it_resolves() {
    let brief = |p99: f64| LatencySummary { p99_9: None, ..summary(p99) };
    let told = after("generator headroom", |case| health(case).canary_us = Some(brief(101.0)));
    invalid(&told, "late by 101 µs at p99,");
    let told = after("generator headroom", |case| health(case).canary_us = Some(brief(99.0)));
    assert_eq!(told, Outcome::Holds);
}

#[test]
fn at_saturation_a_busy_generator_is_suspected_and_its_canary_is_no_matter() {
    let told = after("generator headroom", |case| {
        case.in_flight = Some(32);
        health(case).canary_us = Some(summary(9_000.0));
    });
    assert_eq!(told, Outcome::Holds);
    let told = after("generator headroom", |case| {
        case.in_flight = Some(32);
        health(case).threads[0].cpu_share = 0.97;
    });
    suspect(&told, "the throughput may be the generator's");
}

#[test]
fn what_waits_in_the_client_is_told_beside_the_kernels_own_figure() {
    let queue = |us: f64| {
        after("client queueing", |case| {
            health(case).kernel_to_client_us = Some(summary(us));
            health(case).kernel_latency_us = Some(summary(870.0));
        })
    };
    assert_eq!(queue(100.0), Outcome::Holds);
    suspect(&queue(101.0), "(870 µs by the kernel's receipt)");
}

#[test]
fn a_host_that_takes_something_away_is_named_with_the_figure() {
    const NAME: &str = "host";
    assert_eq!(after(NAME, |case| health(case).steal_share = Some(0.01)), Outcome::Holds);
    suspect(&after(NAME, |case| health(case).steal_share = Some(0.025)), "2.5 % of the processor time");
    suspect(&after(NAME, |case| health(case).receive_buffer_drops = Some(3)), "3 datagrams");
    suspect(&after(NAME, |case| health(case).throttled_periods = Some(1)), "throttled 1 times");
    not_judged(&after(NAME, |case| *health(case) = Health::default()));
}

#[test]
fn a_quantile_without_its_samples_is_refused() {
    const NAME: &str = "samples";
    let with = |published: u64| {
        after(NAME, |case| {
            case.published = published;
            case.latency_us.p99_9 = None;
        })
    };
    assert_eq!(with(299), Outcome::Holds);
    invalid(&with(298), "298 were published, but p99 needs 299 publishes");
    invalid(&after(NAME, |case| case.published = 2_994), "p99.9 needs 2,995 publishes");
}

#[test]
fn slip_and_rate_are_held_to_the_schedule() {
    let slip = |us: f64| after("schedule", |case| case.schedule_slip_us = Some(summary(us)));
    assert_eq!(slip(100.0), Outcome::Holds);
    invalid(&slip(101.0), "p99 of the slip is 101 µs");
    let rate = |share: f64| after("achieved rate", |case| case.achieved_rate = Some(share * case.rate));
    assert_eq!(rate(0.99), Outcome::Holds);
    invalid(&rate(0.9899), "99.0 of 100 messages/s were published");
}

#[test]
fn what_is_achieved_is_what_the_schedule_had_for_the_window() {
    let window = |duration_s: f64, planned: &[u64], published: u64| {
        after("achieved rate", |case| {
            (case.rate, case.duration_s) = (5.0, duration_s);
            case.achieved_rate = Some(published as f64 / duration_s);
            case.timeline.truncate(planned.len());
            for (point, planned) in case.timeline.iter_mut().zip(planned) {
                point.planned = Some(*planned);
            }
        })
    };
    // 1.3 s have six messages of a rate of 5, which makes 4.6 a second: all of them, and one less.
    assert_eq!(window(1.3, &[4, 2], 6), Outcome::Holds);
    invalid(&window(1.3, &[4, 2], 5), "3.8 of 5 messages/s");
    // Poisson arrivals may be many fewer or more than the rate says, and all of them are to be published.
    assert_eq!(window(2.0, &[3, 4], 7), Outcome::Holds);
    invalid(&window(2.0, &[8, 6], 13), "6.5 of 5 messages/s");
}

#[test]
fn a_result_that_does_not_tell_what_was_planned_is_allowed_the_one_message_at_its_edges() {
    let window = |rate: f64, duration_s: f64, published: u64| {
        after("achieved rate", |case| {
            (case.rate, case.duration_s) = (rate, duration_s);
            case.achieved_rate = Some(published as f64 / duration_s);
            case.timeline.clear();
        })
    };
    // One of ten is more than a hundredth, and is allowed; two are not.
    assert_eq!(window(10.0, 1.0, 9), Outcome::Holds);
    invalid(&window(10.0, 1.0, 8), "8.0 of 10 messages/s");
    // Of a thousand a hundredth is ten, and the one at the edge is not allowed beside them.
    assert_eq!(window(100.0, 10.0, 990), Outcome::Holds);
    invalid(&window(100.0, 10.0, 989), "98.9 of 100 messages/s");
}

#[test]
fn what_a_protocol_promises_is_held_against_its_books() {
    const NAME: &str = "accounting";
    let of = |protocol: &str, change: fn(&mut Accounting)| {
        after(NAME, |case| {
            protocol.clone_into(&mut case.protocol);
            change(&mut case.accounting);
        })
    };
    let lose = |books: &mut Accounting| {
        books.lost += 1;
        books.delivered -= 1;
    };
    for protocol in ["ws", "sse-tls+h2", "wt-stream", "wt-stream+batch5", "tcp", "redis"] {
        invalid(&of(protocol, |books| books.reordered = 1), "1 reordered");
    }
    // A stream for each message: they may overtake each other, and that is all they may.
    for protocol in ["wt-streams", "wt-streams+msgpack"] {
        assert_eq!(of(protocol, |books| books.reordered = 1_000), Outcome::Holds);
        invalid(&of(protocol, lose), "1 lost");
        invalid(&of(protocol, |books| books.duplicated = 1), "1 duplicated");
        invalid(&of(protocol, |books| books.corrupt = 1), "1 corrupt");
    }
    // Datagrams promise nothing but that what comes is what was sent.
    let everything = |books: &mut Accounting| {
        (books.lost, books.duplicated, books.reordered) = (1, 1, 1);
        books.delivered -= 1;
    };
    assert_eq!(of("wt-datagram", everything), Outcome::Holds);
    invalid(&of("wt-datagram", |books| books.corrupt = 1), "1 corrupt");
    invalid(&of("wt-datagram", |books| books.lost += 1), "the books don't balance");
}

#[test]
fn faults_are_told_apart_by_whose_they_are() {
    let mut result = sound();
    let case = &mut result.cases[0];
    assert_eq!(faults(case), Faults::default());
    health(case).steal_share = Some(0.5);
    assert_eq!(faults(case), Faults::default(), "what only makes it SUSPECT is none");
    case.accounting.duplicated = 2;
    health(case).threads[0].cpu_share = 0.9;
    case.achieved_rate = Some(50.0);
    let Faults { of_the_server, of_the_generator } = faults(case);
    assert!(of_the_server.len() == 1 && of_the_server[0].starts_with("accounting: 2 duplicated"));
    let [rate, headroom] = &of_the_generator[..] else { panic!("{of_the_generator:?}") };
    assert!(rate.starts_with("achieved rate: 50.0 of 100") && headroom.starts_with("generator headroom: "));
}

#[test]
fn the_verdict_and_its_reasons_are_written_into_the_result() {
    let mut result = sound();
    stamp(&mut result);
    assert_eq!((result.verdict.as_deref(), result.objections.len()), (Some("VALID"), 0));
    let case = &mut result.cases[0];
    health(case).steal_share = Some(0.5);
    health(case).threads[0].cpu_share = 0.9;
    stamp(&mut result);
    assert_eq!(result.verdict.as_deref(), Some("INVALID"));
    assert_eq!(result.objections.len(), 2, "{:?}", result.objections);
    assert!(result.objections[0].starts_with("ws: generator headroom: thread"), "{:?}", result.objections);
    assert!(result.objections[1].starts_with("ws: host: 50.0 %"), "{:?}", result.objections);
}
