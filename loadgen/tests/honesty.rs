//! Stalls appear in the figures as what they are.

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use lastmile_reports::histogram::decode;
use lastmile_reports::schema::CaseResult;
use rustix::process::{Pid, Signal, kill_process};
use support::place::Place;
use support::stub::{Action, Stub, monotonic_ns, round_id};
use support::{case, finish, measure, result_of, start, text};

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

#[test]
fn five_milliseconds_on_one_percent_are_seen_behind_the_99th_percentile() {
    // At 100 a second nothing else waits behind a message that is held for 5 ms.
    let stub = Stub::start(|number| match number % 100 {
        50 => Action::Freeze(Duration::from_millis(5)),
        _ => Action::Deliver,
    });
    let flags = "--connections 5 --rate 100 --warmup 0s --duration 5s --protocols ws";
    let result = measure(&stub, &flags.split(' ').collect::<Vec<_>>());
    let case = case(&result, "ws");
    let histogram = decode(&case.histogram).unwrap();
    // The injected share is exact; what a loaded machine adds only makes it larger.
    assert!(slower_than(&case.histogram, Duration::from_micros(4_990)) >= 5 * 5, "{:?}", case.latency_us);
    let behind = histogram.value_at_quantile(0.9905);
    assert!(behind >= 4_990_000, "{behind} ns behind the 99th percentile");
    assert!(case.latency_us.p50.unwrap() < 5_000.0, "{:?}", case.latency_us);
    let last = case.spread.unwrap().last_us;
    assert!(last.max.unwrap() >= 4_990.0, "{last:?}");
}

#[test]
fn a_message_that_reaches_its_subscribers_one_by_one_is_spread() {
    let stub = Stub::start(|_| Action::Stagger(Duration::from_millis(4)));
    let flags = "--connections 5 --rate 20 --warmup 0s --duration 2s --protocols sse";
    let result = measure(&stub, &flags.split(' ').collect::<Vec<_>>());
    let spread = case(&result, "sse").spread.unwrap();
    assert_eq!((spread.messages, spread.incomplete), (Some(40), Some(0)));
    let [first, median, ninety_nine, last] =
        [spread.first_us, spread.median_us, spread.ninety_nine_us, spread.last_us]
            .map(|summary| summary.p50.unwrap());
    // The third of five is half of them, and 99 % of five are all.
    assert!(median - first >= 7_900.0 && last - first >= 15_900.0, "{spread:?}");
    assert!((ninety_nine - last).abs() < 0.1, "{spread:?}");
}

/// What a subscriber that shares no code with the generator hears: when each message came to it.
fn independent_subscriber(stub: &Stub) -> thread::JoinHandle<HashMap<u64, u64>> {
    let mut socket = TcpStream::connect(stub.http).unwrap();
    let request = "GET /ws/crash HTTP/1.1\r\nHost: stub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    thread::spawn(move || {
        // Waits for its core no longer than those it is compared with.
        lastmile_processes::run_in_short_turns();
        let mut heard = HashMap::new();
        loop {
            let mut frame = [0; 2];
            if reader.read_exact(&mut frame).is_err() {
                return heard;
            }
            let mut length = u64::from(frame[1]);
            if length == 126 {
                let mut long = [0; 2];
                reader.read_exact(&mut long).unwrap();
                length = u16::from_be_bytes(long).into();
            }
            let mut payload = vec![0; length as usize];
            reader.read_exact(&mut payload).unwrap();
            let now_ns = monotonic_ns();
            let payload = text(&payload);
            if let Some(id) = round_id(&payload) {
                heard.entry(id).or_insert(now_ns);
            }
            // The last message of the test below.
            if heard.len() == 320 {
                return heard;
            }
        }
    })
}

#[test]
fn a_second_independent_subscriber_sees_the_same() {
    // Every message takes 10 ms, every tenth 20: what the test's machine adds is small beside both.
    let stub = Stub::start(|number| match number % 10 {
        0 => Action::Freeze(Duration::from_millis(20)),
        _ => Action::Freeze(Duration::from_millis(10)),
    });
    let other = independent_subscriber(&stub);
    let flags = "--connections 3 --rate 40 --warmup 0s --duration 8s --protocols ws";
    let result = measure(&stub, &flags.split(' ').collect::<Vec<_>>());
    let ours = case(&result, "ws").service_latency_us;
    let heard = other.join().unwrap();
    let mut theirs: Vec<f64> =
        stub.arrivals().iter().map(|(id, sent_ns)| (heard[id] - sent_ns) as f64 / 1_000.0).collect();
    theirs.sort_by(f64::total_cmp);
    for (name, share, ours) in [("p50", 0.5, ours.p50.unwrap()), ("p99", 0.99, ours.p99.unwrap())] {
        let theirs = theirs[(share * theirs.len() as f64).ceil() as usize - 1];
        // 10 %, and half a millisecond for the way from the publisher to where the other one's time begins.
        assert!((ours - theirs).abs() <= 0.1 * theirs + 500.0, "{name}: {ours} and {theirs}");
    }
}

#[test]
fn the_null_run_reports_what_the_harness_itself_costs_and_subtracts_nothing() {
    // A sink that does nothing but hand on what it gets.
    let stub = Stub::start(|_| Action::Deliver);
    let flags = "--connections 10 --rate 100 --warmup 100ms --duration 1s --protocols ws,sse";
    let result = measure(&stub, &flags.split(' ').collect::<Vec<_>>());
    for case in &result.cases {
        let cost = case.generator.cpu_us_per_delivery.unwrap();
        assert!(cost > 0.0, "{case:?}");
        let service = decode(case.service_histogram.as_ref().unwrap()).unwrap();
        assert_eq!(service.len(), case.accounting.delivered);
        // Two system calls and two threads lie between them: a figure near nothing would have been made smaller.
        assert!(service.min() > 5_000, "{} ns", service.min());
        let health = case.health.as_ref().unwrap();
        let names: Vec<&str> = health.threads.iter().map(|thread| thread.name.as_str()).collect();
        assert!(names.contains(&"subscribers 0") && names.contains(&"publisher"), "{names:?}");
        assert!(health.canary_us.is_some_and(|canary| canary.max.is_some()), "{health:?}");
        assert!(health.threads.iter().all(|thread| (0.0..=1.5).contains(&thread.cpu_share)), "{health:?}");
        let generator = case.resources.first().unwrap().generator_cores.unwrap();
        assert!(generator > 0.0 && case.resources[0].server_cores.is_none(), "{:?}", case.resources);
        assert!(case.timeline.iter().all(|point| point.planned == Some(100)), "{:?}", case.timeline);
        let drawn: u64 = case.timeline.iter().flat_map(|point| &point.buckets).map(|(_, count)| count).sum();
        assert_eq!(drawn, case.accounting.delivered);
    }
}

#[test]
fn a_real_server_that_stands_still_for_a_second_is_seen_at_the_tail_and_loses_nothing() {
    let place = Place::new();
    let flags = "--protocols ws --connections 4 --rate 200 --warmup 0s --duration 3s";
    let (child, _redis) = place.start_and_see(flags, 100);
    let [(server, _)] = place.processes()[..] else { panic!("{:?}", place.processes()) };
    let server = Pid::from_raw(server).unwrap();
    kill_process(server, Signal::STOP).unwrap();
    thread::sleep(Duration::from_secs(1));
    kill_process(server, Signal::CONT).unwrap();
    let output = finish(child);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result = place.written();
    let case = case(&result, "ws");
    assert_eq!((case.accounting.lost, case.accounting.duplicated), (0, 0));
    // 200 messages were due in that second; those of its first 0.8 s came more than 200 ms late.
    let (slow, slow_service) = slow(case, Duration::from_millis(200));
    let expected = 160 * 4;
    assert!(slow >= expected * 3 / 4 && slow_service >= expected * 3 / 4, "{slow} and {slow_service} slow");
    assert!(case.latency_us.p99.unwrap() > 500_000.0, "{:?}", case.latency_us);
    assert!(case.latency_us.max.unwrap() > 900_000.0, "{:?}", case.latency_us);
    let complete = case.spread.unwrap().last_us;
    assert!(complete.p99.unwrap() > 500_000.0, "{complete:?}");
    place.assert_clean();
}
