//! Redis comes and goes; clients stay.

use lastmile_processes::Signal;
use serde_json::json;

use crate::common::{Site, Way, get, round, run, soon, until};

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
