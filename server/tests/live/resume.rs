//! Coming back: what was missed is replayed, once and in order, and what can't be is told.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Site, Subscriber, Way, every_way, open, round, round_id, run, soon};

pub async fn resume(site: &Site, way: Way, since: u64) -> Subscriber {
    let target = way.target("crash");
    let separator = if target.contains('?') { '&' } else { '?' };
    let target = format!("{target}{separator}since={since}");
    Subscriber::try_connect_to(&site.place, way, &target).await.expect("a stream")
}

/// Publishes these rounds and waits until the server has them.
pub async fn publish(site: &Site, ids: std::ops::RangeInclusive<u64>) {
    let mut witness = site.connect(Way::WebSocket, "crash").await;
    for id in ids.clone() {
        site.publish("crash", &round("crash", id));
    }
    while witness.next_id().await != *ids.end() {}
}

/// The next messages of a subscriber; sorted where no order is promised.
pub async fn take(subscriber: &mut Subscriber, count: usize) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(subscriber.next().await.to_vec());
    }
    if !subscriber.way.is_ordered() {
        taken.sort();
    }
    taken
}

#[test]
fn who_comes_back_gets_what_it_missed_and_then_what_comes() {
    every_way(&[], async |site| {
        publish(site, 1..=5).await;
        let mut subscribers = Vec::new();
        for way in Way::ALL {
            let mut subscriber = resume(site, way, 2).await;
            assert_eq!(take(&mut subscriber, 3).await, [3, 4, 5].map(|id| round("crash", id)), "{way:?}");
            subscribers.push(subscriber);
            subscribers.push(resume(site, way, 5).await);
        }
        site.publish("crash", &round("crash", 6));
        for subscriber in &mut subscribers {
            assert_eq!(take(subscriber, 1).await, [round("crash", 6)], "{:?}", subscriber.way);
        }
    });
}

#[test]
fn what_is_not_kept_any_more_is_told() {
    let gap = |from: u64, to: u64| format!(r#"{{"gap":{{"from":{from},"to":{to}}}}}"#).into_bytes();
    every_way(&["--replay-rounds", "2"], async |site| {
        publish(site, 1..=5).await;
        for way in Way::ALL {
            let mut subscriber = resume(site, way, 2).await;
            let expected = [gap(2, 4), round("crash", 4), round("crash", 5)];
            assert_eq!(take(&mut subscriber, 3).await, expected, "{way:?}");
            let mut elsewhere = resume(site, way, 9).await;
            assert_eq!(take(&mut elsewhere, 2).await, [gap(9, 5), round("crash", 5)], "{way:?}");
        }
    });
}

#[test]
fn coming_back_again_and_again_while_rounds_are_published_misses_none_and_repeats_none() {
    const ROUNDS: u64 = 300;
    let site = Site::start(&[]);
    run(publish(&site, 1..=1));
    let mut redis = site.redis.connect().expect("a connection");
    let publisher = std::thread::spawn(move || {
        for id in 2..=ROUNDS {
            redis.command(&[b"PUBLISH", b"stream:crash", &round("crash", id)]).expect("a publish");
            // So that some come while a subscriber attaches and some while it is away; the test holds for any pace.
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    run(async {
        let mut last = [1; Way::ALL.len()];
        while last.iter().any(|last| *last < ROUNDS) {
            for (way, last) in Way::ALL.into_iter().zip(&mut last).filter(|(way, _)| way.is_ordered()) {
                let mut subscriber = resume(&site, way, *last).await;
                for _ in 0..7.min(ROUNDS - *last) {
                    *last += 1;
                    assert_eq!(subscriber.next_id().await, *last, "{way:?}");
                }
            }
            for (way, last) in Way::ALL.into_iter().zip(&mut last).filter(|(way, _)| !way.is_ordered()) {
                let mut subscriber = resume(&site, way, *last).await;
                let count = 7.min(ROUNDS - *last);
                let mut ids: Vec<u64> = Vec::new();
                // Rounds may overtake each other: those up to the seventh are there when all of them are.
                while !(*last + 1..=*last + count).all(|id| ids.contains(&id)) {
                    ids.push(round_id(&subscriber.next().await));
                }
                let received = ids.len();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(
                    (ids.len(), ids.first().is_none_or(|id| *id > *last)),
                    (received, true),
                    "{way:?}"
                );
                *last += count;
            }
        }
    });
    publisher.join().expect("a publisher");
}

/// The head and the first bytes of an event stream asked for with this header.
async fn ask(site: &Site, last_event_id: &str, until: &str) -> String {
    let mut stream = open(&site.place, "http/1.1").await;
    let request =
        format!("GET /sse/crash?since=1 HTTP/1.1\r\nhost: test\r\nlast-event-id: {last_event_id}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(until) {
        let count = soon("an answer", stream.read_buf(&mut answer)).await.expect("bytes");
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).expect("text")
}

#[test]
fn the_last_event_id_of_an_event_source_is_newer_than_its_address() {
    every_way(&[], async |site| {
        publish(site, 1..=3).await;
        let answer = ask(site, "2", "\nid: 3\n").await;
        assert!(!answer.contains("\nid: 2\n"), "{answer}");
        assert!(ask(site, "", "\nid: 3\n").await.contains("\nid: 2\n"), "an empty one is none");
        let refused = ask(site, "two", "Last-Event-ID").await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    });
}
