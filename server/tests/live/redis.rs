//! Redis comes and goes; clients stay.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lastmile_processes::Signal;
use lastmile_wire::channel::stream_channel;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Place, Site, Stream, Way, get, metric, open, round, run, soon, until};
use crate::resume::{resume, take};

/// How long Redis is away.
const OUTAGE: Duration = Duration::from_secs(5);

/// Time between two looks at the others meanwhile.
const LOOK_PAUSE: Duration = Duration::from_millis(250);

#[test]
fn clients_outlive_a_redis_that_stops_and_comes_back() {
    let mut site = Site::start(&[]);
    run(async {
        let mut subscribers = site.connect_all("crash").await;
        site.publish("crash", &round("crash", 1));
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next_id().await, 1);
        }
        for outage in 1..=2 {
            site.redis.stop().expect("it stops");
            until("the server misses Redis", || site.metric("lastmile_redis_connected") == 0).await;
            let answer = get(&site.place, "/readyz").await;
            assert_eq!(answer.status, 503);
            assert_eq!(answer.json()["problems"][0]["name"], "redis", "{}", answer.body);
            assert_eq!(get(&site.place, "/healthz").await.status, 200, "alive all the same");
            // Who comes meanwhile gets the latest round there was.
            let latest = if outage == 1 { 1 } else { 10 };
            for way in Way::ALL {
                let mut newcomer = site.connect(way, "crash").await;
                assert_eq!(newcomer.next_id().await, latest, "{way:?}");
                subscribers.push(newcomer);
            }

            site.redis.restart().expect("it starts again");
            until("the server is back", || site.metric("lastmile_redis_connected") == 1).await;
            let answer = get(&site.place, "/readyz").await;
            assert_eq!((answer.status, answer.json()), (200, json!({ "status": "ready", "problems": [] })));
            site.publish("crash", &round("crash", 10 * outage));
            for subscriber in &mut subscribers {
                assert_eq!(subscriber.next_id().await, 10 * outage, "{:?}", subscriber.way);
            }
            assert_eq!(site.metric("lastmile_redis_disconnects_total"), outage);
        }
    });
}

/// What an operator sees while Redis is away, or is there.
async fn tells(place: &Place, is_there: bool) {
    let names = |answer: &serde_json::Value| {
        let problems = answer["problems"].as_array().expect("problems");
        problems.iter().map(|problem| problem["name"].to_string()).collect::<Vec<_>>()
    };
    let expected: &[&str] = if is_there { &[] } else { &["\"redis\""] };
    let alive = get(place, "/healthz").await;
    assert_eq!((alive.status, alive.json()["status"].as_str()), (200, Some("alive")));
    assert_eq!(names(&alive.json()), expected, "{}", alive.body);
    let ready = get(place, "/readyz").await;
    assert_eq!(ready.status, if is_there { 200 } else { 503 });
    assert_eq!(names(&ready.json()), expected, "{}", ready.body);
    let metrics = get(place, "/metrics").await.body;
    assert_eq!(metric(&metrics, "lastmile_redis_connected"), u64::from(is_there));
}

/// Reads an event stream until a heartbeat of a later second.
async fn heartbeat_after(stream: &mut Box<dyn Stream>, time: SystemTime) {
    let second = time.duration_since(UNIX_EPOCH).expect("a time").as_secs();
    let mut received = String::new();
    let is_later = |line: &str| {
        line.strip_prefix(": heartbeat ").and_then(|at| at.parse::<u64>().ok()).is_some_and(|at| at > second)
    };
    // The last line may not be whole.
    while !received.rsplit_once('\n').is_some_and(|(whole, _)| whole.lines().any(is_later)) {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.expect("bytes");
        assert_ne!(count, 0, "the stream ended: {received}");
        received.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
}

#[test]
fn through_five_seconds_without_redis_everyone_stays_and_who_resumes_is_told_what_was_missed() {
    let mut site = Site::start(&["--heartbeat-s", "0.5"]);
    run(async {
        for id in 1..=3 {
            site.publish_heard("crash", &round("crash", id)).await;
        }
        let mut subscribers = site.connect_all("crash").await;
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next_id().await, 3);
        }
        let mut silent = open(&site.place, "http/1.1").await;
        silent.write_all(b"GET /sse/slot HTTP/1.1\r\nhost: test\r\n\r\n").await.expect("a request");
        let mut newest = 3;
        let mut length = OUTAGE;
        // A round that is published before the server has subscribed again is missed; most often the first is.
        let missed = loop {
            let last = newest;
            site.redis.stop().expect("it stops");
            until("the server misses Redis", || site.metric("lastmile_redis_connected") == 0).await;
            let began = Instant::now();
            soon("a heartbeat meanwhile", heartbeat_after(&mut silent, SystemTime::now())).await;
            while began.elapsed() < length {
                tells(&site.place, false).await;
                for subscriber in subscribers.iter_mut().filter(|one| one.way.has_commands()) {
                    assert_eq!(
                        subscriber.say(r#"{"ping":7}"#).await,
                        r#"{"pong":7}"#,
                        "{:?}",
                        subscriber.way
                    );
                }
                let latest = get(&site.place, "/api/latest/crash").await.json();
                assert_eq!(latest["round_id"], last, "what was known before is known still");
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            assert_eq!(
                site.server.metrics().connections(),
                7,
                "everyone is still there, and the silent stream"
            );
            site.redis.restart().expect("it starts again");
            newest += 1;
            let heard =
                site.redis.publish(&stream_channel("crash"), &round("crash", newest)).expect("a publish");
            if heard == 0 {
                break newest;
            }
            for subscriber in &mut subscribers {
                assert_eq!(subscriber.next_id().await, newest);
            }
            length = Duration::ZERO;
        };
        until("the server is back", || site.metric("lastmile_redis_connected") == 1).await;
        tells(&site.place, true).await;
        let next = missed + 1;
        site.publish_heard("crash", &round("crash", next)).await;
        // Who stayed gets what is published from then on, and nothing that is no round.
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next().await, round("crash", next), "{:?}", subscriber.way);
        }
        let gap = format!(r#"{{"gap":{{"from":{},"to":{next}}}}}"#, missed - 1).into_bytes();
        for way in Way::ALL {
            let mut back = resume(&site, way, missed - 1).await;
            assert_eq!(take(&mut back, 2).await, [gap.clone(), round("crash", next)], "{way:?}");
            let mut newcomer = site.connect(way, "crash").await;
            assert_eq!(newcomer.next().await, round("crash", next), "{way:?}");
            subscribers.extend([back, newcomer, resume(&site, way, next).await]);
            // The notice stands where it happened; after a second outage there are two of them.
            if missed == 4 {
                let mut before = resume(&site, way, 2).await;
                let mut expected = vec![gap.clone(), round("crash", 3), round("crash", next)];
                if way.is_ordered() {
                    expected.swap(0, 1);
                }
                assert_eq!(take(&mut before, 3).await, expected, "{way:?}");
                subscribers.push(before);
            }
        }
        site.publish("crash", &round("crash", next + 1));
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next().await, round("crash", next + 1), "{:?}", subscriber.way);
        }
    });
}

#[test]
fn a_redis_that_freezes_is_noticed_and_left_for_one_that_answers() {
    let site = Site::start(&[]);
    run(async {
        let mut subscribers = site.connect_all("crash").await;
        let redis = site.redis.process().expect("it runs");
        redis.signal(Signal::STOP).expect("it can be stopped");
        until("the server misses Redis", || site.metric("lastmile_redis_connected") == 0).await;
        assert_eq!(get(&site.place, "/readyz").await.status, 503);
        redis.signal(Signal::CONT).expect("it can go on");
        until("the server is back", || site.metric("lastmile_redis_connected") == 1).await;
        site.publish("crash", &round("crash", 1));
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next_id().await, 1, "{:?}", subscriber.way);
        }
    });
}

#[test]
fn one_subscription_a_channel_serves_all_clients() {
    let site = Site::start(&[]);
    run(async {
        let mut subscribers = Vec::new();
        for topic in ["crash", "type/multiplier", "double", "type/color", "slot", "wall-street"] {
            for _ in 0..3 {
                subscribers.extend(site.connect_all(topic).await);
            }
        }
        for slug in ["crash", "double", "slot", "wall-street"] {
            let count = site.redis.subscriber_count(&format!("stream:{slug}")).expect("a count");
            assert_eq!(count, 1, "{slug}");
        }
        drop(subscribers);
        until("everyone left", || site.server.metrics().connections() == 0).await;
        assert_eq!(site.redis.subscriber_count("stream:crash").expect("a count"), 1, "it is kept");
    });
}

#[test]
fn a_connection_that_redis_cuts_is_made_again() {
    let site = Site::start(&[]);
    run(async {
        let mut subscriber = site.connect(Way::Stream, "crash").await;
        site.redis.command(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]).expect("a cut");
        let is_back = || site.redis.subscriber_count("stream:crash").expect("a count") == 1;
        until("it is cut", || site.metric("lastmile_redis_disconnects_total") == 1).await;
        until("it subscribes again", is_back).await;
        site.publish("crash", &round("crash", 5));
        assert_eq!(soon("a round", subscriber.next_id()).await, 5);
        assert_eq!(site.redis.subscriber_count("stream:crash").expect("a count"), 1);
    });
}
