//! `--persist`, and coming back after more than the ring keeps: the database has it.

use std::time::Duration;

use lastmile_processes::PrivatePostgres;
use lastmile_wire::msgpack;
use lastmile_wire::request::Encoding;
use lastmile_wire::round::Round;

use crate::common::{Form, Site, Subscriber, Way, every_way, get, round, run, until};
use crate::resume::{publish, resume, take};

fn written(site: &Site) -> u64 {
    site.metric("lastmile_persist_rounds_total{outcome=\"written\"}")
}

#[test]
fn what_the_ring_has_forgotten_comes_from_the_database() {
    let gap = |from: u64, to: u64| format!(r#"{{"gap":{{"from":{from},"to":{to}}}}}"#).into_bytes();
    // As the database writes it: what was published has spaces.
    let stored = |id: u64| Round::parse(&round("crash", id)).expect("a round").to_json();
    every_way(&["--replay-rounds", "4", "--persist"], async |site| {
        publish(site, 1..=20).await;
        until("everything is stored", || written(site) == 20).await;
        for way in Way::ALL {
            let mut subscriber = resume(site, way, 3).await;
            let mut expected: Vec<Vec<u8>> = (4..=16).map(stored).collect();
            expected.extend((17..=20).map(|id| round("crash", id)));
            if !way.is_ordered() {
                expected.sort();
            }
            assert!(take(&mut subscriber, 17).await == expected, "{way:?}");
            // Before everything there is.
            let mut stranger = resume(site, way, 0).await;
            let mut expected = vec![gap(0, 1)];
            expected.extend((1..=16).map(stored));
            expected.extend((17..=20).map(|id| round("crash", id)));
            if !way.is_ordered() {
                expected.sort();
            }
            assert!(take(&mut stranger, 21).await == expected, "{way:?}");
            let packed = Form { encoding: Encoding::MessagePack, batch_ms: 5 };
            let mut packed = Subscriber::resume_in(&site.place, way, "crash", packed, 3).await;
            let mut ids = Vec::new();
            for _ in 4..=20 {
                ids.push(msgpack::peek_round_id(&packed.next().await).expect("a round"));
            }
            ids.sort_unstable();
            assert_eq!(ids, (4..=20).collect::<Vec<_>>(), "{way:?}");
        }
    });
}

#[test]
fn a_database_that_is_away_stops_nobody_but_itself() {
    let mut postgres = PrivatePostgres::start().expect("a PostgreSQL");
    let url = postgres.url();
    let site = Site::start(&["--database", &url, "--persist", "--replay-rounds", "2"]);
    run(async {
        let mut subscribers = site.connect_all("crash").await;
        publish(&site, 1..=3).await;
        until("it is stored", || written(&site) == 3).await;
        postgres.stop().expect("it stops");
        publish(&site, 4..=8).await;
        for subscriber in &mut subscribers {
            let received = take(subscriber, 8).await;
            assert!(
                received == (1..=8).map(|id| round("crash", id)).collect::<Vec<_>>(),
                "{:?}",
                subscriber.way
            );
        }
        // Who comes back meanwhile is told what can't be read.
        let mut back = resume(&site, Way::WebSocket, 3).await;
        let gap = br#"{"gap":{"from":3,"to":7}}"#.to_vec();
        assert_eq!(take(&mut back, 3).await, [gap, round("crash", 7), round("crash", 8)]);
        assert_eq!(get(&site.place, "/readyz").await.status, 503);
        assert_eq!((written(&site), site.metric("lastmile_persist_queued")), (3, 5));

        postgres.restart().expect("it starts again");
        until("everything is stored", || written(&site) == 8).await;
        let mut back = resume(&site, Way::WebSocket, 3).await;
        let ids =
            take(&mut back, 5).await.iter().map(|round| crate::common::round_id(round)).collect::<Vec<_>>();
        assert_eq!(ids, [4, 5, 6, 7, 8]);
    });
}

#[test]
fn what_waits_for_the_database_is_written_before_the_server_ends() {
    let postgres = PrivatePostgres::start().expect("a PostgreSQL");
    let url = postgres.url();
    let flags = ["--database", url.as_str(), "--persist"];
    let site = Site::start(&flags);
    for id in 1..=2000 {
        site.publish("crash", &round("crash", id));
    }
    let Site { server, redis, .. } = site;
    // A publish is over before the server has read it.
    let began = std::time::Instant::now();
    while server.metrics().ingest.rounds.get() < 2000 && began.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(2));
    }
    server.shutdown();
    let site = Site::start_with(redis, &flags);
    run(async {
        let history = get(&site.place, "/api/history/crash?limit=1000").await.json();
        assert_eq!(history.as_array().map(Vec::len), Some(1000));
        assert_eq!((&history[0]["round_id"], &history[999]["round_id"]), (&2000.into(), &1001.into()));
    });
}
