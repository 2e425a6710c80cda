//! `--persist`, and coming back after more than the ring keeps: the database has it.

use std::time::Duration;

use lastmile_processes::PrivatePostgres;
use lastmile_wire::msgpack;
use lastmile_wire::request::Encoding;
use lastmile_wire::round::Round;

use crate::common::{Form, Site, Subscriber, Way, every_way, get, large_round, round, run, until};
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
        // Who comes back meanwhile is told what can't be read, and goes on.
        let gap = br#"{"gap":{"from":3,"to":7}}"#.to_vec();
        for way in Way::ALL {
            let mut back = resume(&site, way, 3).await;
            let expected = [gap.clone(), round("crash", 7), round("crash", 8)];
            assert_eq!(take(&mut back, 3).await, expected, "{way:?}");
            subscribers.push(back);
        }
        until("it is told", || site.metric("lastmile_database_reachable") == 0).await;
        for (target, status) in [("/healthz", 200), ("/readyz", 503)] {
            let answer = get(&site.place, target).await;
            let name = answer.json()["problems"][0]["name"].clone();
            assert_eq!((answer.status, name.as_str()), (status, Some("database")), "{}", answer.body);
        }
        let history = get(&site.place, "/api/history/crash").await;
        assert_eq!((history.status, &history.json()["success"]), (503, &false.into()), "{}", history.body);
        let latest = get(&site.place, "/api/latest/crash").await;
        assert_eq!((latest.status, latest.body.into_bytes()), (200, round("crash", 8)), "from memory");
        assert_eq!((written(&site), site.metric("lastmile_persist_queued")), (3, 5));

        postgres.restart().expect("it starts again");
        until("everything is stored", || written(&site) == 8).await;
        until("it is told", || site.metric("lastmile_database_reachable") == 1).await;
        assert_eq!(get(&site.place, "/readyz").await.status, 200);
        for way in Way::ALL {
            let mut back = resume(&site, way, 3).await;
            let mut ids: Vec<u64> =
                take(&mut back, 5).await.iter().map(|round| crate::common::round_id(round)).collect();
            ids.sort_unstable();
            assert_eq!(ids, [4, 5, 6, 7, 8], "{way:?}");
        }
        site.publish("crash", &round("crash", 9));
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next_id().await, 9, "{:?}", subscriber.way);
        }
    });
}

#[test]
fn what_was_missed_without_redis_is_told_also_where_the_ring_has_forgotten_it() {
    let mut site = Site::start(&["--persist", "--replay-rounds", "2"]);
    run(async {
        publish(&site, 1..=3).await;
        site.redis.stop().expect("it stops");
        until("the server misses Redis", || site.metric("lastmile_redis_connected") == 0).await;
        site.redis.restart().expect("it starts again");
        until("the server is back", || site.metric("lastmile_redis_connected") == 1).await;
        publish(&site, 10..=15).await;
        until("everything is stored", || written(&site) == 9).await;
        let stored = |id: u64| Round::parse(&round("crash", id)).expect("a round").to_json();
        for way in Way::ALL {
            let mut expected = vec![stored(3), br#"{"gap":{"from":3,"to":10}}"#.to_vec()];
            expected.extend((10..=13).map(stored));
            expected.extend([round("crash", 14), round("crash", 15)]);
            if !way.is_ordered() {
                expected.sort();
            }
            let mut back = resume(&site, way, 2).await;
            assert!(take(&mut back, 8).await == expected, "{way:?}");
        }
    });
}

#[test]
fn what_finds_no_room_to_wait_for_the_database_is_dropped_counted_and_told() {
    // docs/promises.md: 64 MiB wait, what is beyond that is dropped.
    const ROUND_BYTES: usize = 60_000;
    const ROUNDS: u64 = 1300;
    let dropped = |site: &Site| site.metric("lastmile_persist_rounds_total{outcome=\"dropped\"}");
    let mut postgres = PrivatePostgres::start().expect("a PostgreSQL");
    let url = postgres.url();
    let site = Site::start(&["--database", &url, "--persist", "--replay-rounds", "2"]);
    run(async {
        postgres.stop().expect("it stops");
        let mut subscriber = site.connect(Way::WebSocket, "crash").await;
        for id in 1..=ROUNDS {
            let round = large_round("crash", id, ROUND_BYTES);
            site.publish("crash", &round);
            assert!(subscriber.next().await == round, "{id}");
        }
        // A round is on its way to subscribers before it is to the database.
        let waiting = || site.metric("lastmile_persist_queued");
        until("the last is dropped, too", || waiting() + dropped(&site) == ROUNDS).await;
        let waiting = waiting();
        assert!(dropped(&site) > 0);
        assert!(waiting as usize * ROUND_BYTES <= 64 << 20, "{waiting} wait");
        postgres.restart().expect("it starts again");
        until("all that waited is stored", || written(&site) == waiting).await;
        assert_eq!((dropped(&site), site.metric("lastmile_persist_queued")), (ROUNDS - waiting, 0));
        let newest = get(&site.place, "/api/history/crash?limit=1").await.json();
        assert_eq!(newest[0]["round_id"], waiting, "the last that found room");
        // In the database the next one follows it: the server knows better.
        publish(&site, ROUNDS + 1..=ROUNDS + 3).await;
        until("these are stored", || written(&site) == waiting + 3).await;
        let stored = |payload: Vec<u8>| Round::parse(&payload).expect("a round").to_json();
        let gap = format!(r#"{{"gap":{{"from":{waiting},"to":{}}}}}"#, ROUNDS + 1).into_bytes();
        for way in Way::ALL {
            let mut expected = vec![
                stored(large_round("crash", waiting, ROUND_BYTES)),
                gap.clone(),
                stored(round("crash", ROUNDS + 1)),
                round("crash", ROUNDS + 2),
                round("crash", ROUNDS + 3),
            ];
            if !way.is_ordered() {
                expected.sort();
            }
            let mut back = resume(&site, way, waiting - 1).await;
            assert!(take(&mut back, 5).await == expected, "{way:?}");
            // And directly from where the hole begins.
            let mut back = resume(&site, way, waiting).await;
            assert!(take(&mut back, 1).await[0] == gap || !way.is_ordered(), "{way:?}");
        }
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
