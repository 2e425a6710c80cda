//! What is published arrives, byte for byte and in order; what does not exist is refused.

use http_body_util::BodyExt;
use lastmile_processes::PrivateRedis;
use lastmile_server::store::Store;
use serde_json::json;
use sqlx::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{
    Event, Events, PATIENCE, Site, Subscriber, Way, every_way, exchange, get, http2, large_round, open,
    round, round_id, run, soon,
};

#[test]
fn rounds_arrive_byte_for_byte_in_order_by_game_and_by_type() {
    every_way(&[], async |site| {
        let mut of_game = site.connect_all("crash").await;
        let mut of_type = site.connect_all("type/multiplier").await;
        let mut of_other = site.connect_all("double").await;
        let rounds: Vec<Vec<u8>> = (1..=20).map(|id| round("crash", id)).collect();
        for round in &rounds {
            site.publish("crash", round);
        }
        site.publish("double", &round("double", 1000));
        for subscriber in of_game.iter_mut().chain(&mut of_type) {
            let way = subscriber.way;
            let mut received = Vec::new();
            for _ in &rounds {
                received.push(subscriber.next().await.to_vec());
            }
            if !way.is_ordered() {
                received.sort_by_key(|round| round_id(round));
            }
            assert_eq!(received, rounds, "{way:?}");
        }
        for subscriber in &mut of_other {
            assert_eq!(subscriber.next().await, round("double", 1000), "{:?}", subscriber.way);
        }
    });
}

#[test]
fn the_latest_round_comes_first_then_the_live_ones() {
    every_way(&[], async |site| {
        let mut watcher = site.connect(Way::WebSocket, "crash").await;
        for id in 1..=3 {
            site.publish("crash", &round("crash", id));
            assert_eq!(watcher.next_id().await, id);
        }
        let mut subscribers = site.connect_all("crash").await;
        subscribers.extend(site.connect_all("type/multiplier").await);
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next().await, round("crash", 3), "{:?}", subscriber.way);
        }
        for id in 4..=6 {
            site.publish("crash", &round("crash", id));
            for subscriber in &mut subscribers {
                assert_eq!(subscriber.next().await, round("crash", id), "{:?}", subscriber.way);
            }
        }
    });
}

#[test]
fn a_type_is_the_union_of_its_games_with_the_latest_of_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = format!("sqlite://{}", folder.path().join("games.db").display());
    run(async {
        Store::connect(&database, PATIENCE).await.expect("a database").close().await;
        let mut connection = sqlx::SqliteConnection::connect(&database).await.expect("a connection");
        sqlx::query(
            "INSERT INTO games (id, slug, name, type) VALUES (99, 'aviator', 'Aviator', 'multiplier')",
        )
        .execute(&mut connection)
        .await
        .expect("a fifth game");
        connection.close().await.expect("closed");
    });
    every_way(&["--database", &database], async |site| {
        let mut watcher = site.connect(Way::Sse, "type/multiplier").await;
        for (slug, id) in [("crash", 1), ("aviator", 2)] {
            site.publish(slug, &round(slug, id));
            assert_eq!(watcher.next_id().await, id);
        }
        for way in Way::ALL {
            let mut subscriber = site.connect(way, "type/multiplier").await;
            let mut latest = [subscriber.next_id().await, subscriber.next_id().await];
            latest.sort_unstable();
            assert_eq!(latest, [1, 2], "{way:?}");
            for (slug, id) in [("aviator", 3), ("crash", 4)] {
                site.publish(slug, &round(slug, id));
                assert_eq!(subscriber.next().await, round(slug, id), "{way:?}");
            }
            // The next way shall find the same latest rounds.
            site.publish("crash", &round("crash", 1));
            site.publish("aviator", &round("aviator", 2));
            assert_eq!(subscriber.next_id().await + subscriber.next_id().await, 3);
        }
        let mut of_one = site.connect(Way::WebSocket, "aviator").await;
        assert_eq!(of_one.next_id().await, 2);
    });
}

#[test]
fn the_latest_rounds_of_before_the_start_are_known() {
    let redis = PrivateRedis::start().expect("a Redis");
    for (key, payload) in [
        ("latest:crash", round("crash", 41)),
        // A round of another game, and nonsense: as if they were not there.
        ("latest:double", round("crash", 42)),
        ("latest:slot", b"{}".to_vec()),
    ] {
        redis.command(&[b"SET", key.as_bytes(), &payload]).expect("a value");
    }
    let site = Site::start_with(redis, &[]);
    run(async {
        for way in Way::ALL {
            assert_eq!(site.connect(way, "crash").await.next().await, round("crash", 41), "{way:?}");
        }
        let mut of_double = site.connect_all("double").await;
        let mut of_crash = site.connect_all("crash").await;
        site.publish("double", &round("double", 7));
        // A publisher that keeps the latest round before it publishes it, while the server starts in between.
        site.publish("crash", &round("crash", 41));
        site.publish("crash", &round("crash", 42));
        for subscriber in &mut of_double {
            assert_eq!(subscriber.next_id().await, 7, "{:?}", subscriber.way);
        }
        for subscriber in &mut of_crash {
            let mut ids = [subscriber.next_id().await, subscriber.next_id().await];
            if !subscriber.way.is_ordered() {
                ids.sort_unstable();
            }
            assert_eq!(ids, [41, 42], "{:?}: a round twice", subscriber.way);
        }
    });
}

#[test]
fn rounds_of_every_size_arrive() {
    every_way(&[], async |site| {
        let mut subscribers = site.connect_all("slot").await;
        // Around every border of the framings: WebSocket's and QUIC's length encodings, a datagram, a buffer.
        let sizes = [1, 1000, 1200, 1500, 16_000, 16_384, 65_000, 66_000, 200_000, (1 << 20) - 300];
        for (id, size) in sizes.into_iter().enumerate() {
            let payload = large_round("slot", id as u64, size);
            site.publish("slot", &payload);
            for subscriber in &mut subscribers {
                assert!(subscriber.next().await == payload, "{:?}: {size} bytes", subscriber.way);
            }
        }
        assert!(site.metric("lastmile_datagram_fallbacks_total{protocol=\"wt\"}") >= 7);
    });
}

#[test]
fn an_event_stream_is_to_the_byte_what_the_contract_says() {
    let site = Site::start(&[]);
    run(async {
        let mut watcher = site.connect(Way::Sse, "crash").await;
        site.publish("crash", &round("crash", 511));
        watcher.next().await;
        let mut stream = open(&site.place, "http/1.1").await;
        stream.write_all(b"GET /sse/crash HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("a request");
        let event = |kind: &str, id: u64| {
            let data = String::from_utf8(round("crash", id)).expect("text");
            format!("event: {kind}\nid: {id}\ndata: {data}\n\n")
        };
        let mut named = [0; "HTTP/1.1 200 OK\r\nx-request-id: 0123456789abcdef\r\n".len()];
        soon("the stream's name", stream.read_exact(&mut named)).await.expect("bytes");
        assert!(
            named.starts_with(b"HTTP/1.1 200 OK\r\nx-request-id: "),
            "{}",
            String::from_utf8_lossy(&named)
        );
        let head = "content-type: text/event-stream\r\ncache-control: no-cache\r\n\
                    x-accel-buffering: no\r\nconnection: close\r\n\r\nretry: 3000\n\n";
        let mut expect = async |expected: String| {
            let mut bytes = vec![0; expected.len()];
            soon("the stream's bytes", stream.read_exact(&mut bytes)).await.expect("bytes");
            assert_eq!(String::from_utf8_lossy(&bytes), expected);
        };
        expect(format!("{head}{}", event("initial", 511))).await;
        site.publish("crash", &round("crash", 512));
        expect(event("message", 512)).await;
    });
}

#[test]
fn event_streams_have_the_same_heads_and_events_over_http2() {
    let site = Site::start(&["--tls", "self-signed"]);
    run(async {
        let mut watcher = site.connect(Way::SseHttp2, "crash").await;
        site.publish("crash", &round("crash", 1));
        watcher.next().await;
        let (response, _sender) = http2::request(&site.place, "/sse/crash").await.expect("an answer");
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(response.headers()[name], value);
        }
        let mut body = response.into_body();
        let mut events = Events::default();
        let mut received = Vec::new();
        site.publish("crash", &round("crash", 2));
        while received.len() < 3 {
            let frame = soon("an event", body.frame()).await.expect("more").expect("no error");
            events.push(&frame.into_data().expect("data"));
            received.extend(std::iter::from_fn(|| events.pop()));
        }
        let round_event = |event: &str, id: u64| Event::Round {
            event: event.to_owned(),
            id: id.to_string(),
            data: round("crash", id).into(),
        };
        assert_eq!(received[0], Event::Retry(3000));
        assert_eq!(received[1..], [round_event("initial", 1), round_event("message", 2)]);
    });
}

#[test]
fn what_does_not_exist_is_not_found() {
    every_way(&[], async |site| {
        let not_found = json!({ "error": "Game not found", "success": false });
        for topic in ["poker", "type/cards", "type/crash", "multiplier"] {
            for protocol in ["ws", "sse"] {
                let answer = get(&site.place, &format!("/{protocol}/{topic}")).await;
                assert_eq!((answer.status, answer.json()), (404, not_found.clone()), "{protocol} {topic}");
            }
            for way in Way::ALL {
                let refused = Subscriber::try_connect(&site.place, way, topic).await;
                assert!(refused.is_err(), "{way:?} {topic}");
            }
        }
        for target in ["/ws/", "/sse/type/", "/ws/crash/more", "/sse/type/color/more", "/sse", "/ws/cr%61sh"]
        {
            let answer = get(&site.place, target).await;
            assert_eq!((answer.status, answer.json()["success"].clone()), (404, json!(false)), "{target}");
        }
    });
}

#[test]
fn a_parameter_that_can_not_be_is_a_bad_request() {
    every_way(&[], async |site| {
        for parameter in ["encoding=xml", "encoding=", "batch_ms=101", "batch_ms=-1", "batch_ms=soon"] {
            for protocol in ["ws", "sse"] {
                let answer = get(&site.place, &format!("/{protocol}/crash?{parameter}")).await;
                assert_eq!(answer.status, 400, "{protocol} {parameter}: {}", answer.body);
                let body = answer.json();
                assert_eq!(body["success"], false);
                assert!(body["error"].as_str().expect("words").contains(parameter), "{body}");
            }
            for way in Way::ALL {
                let target = way.target("crash");
                let mark = if target.contains('?') { '&' } else { '?' };
                let target = format!("{target}{mark}{parameter}");
                assert!(Subscriber::try_connect_to(&site.place, way, &target).await.is_err(), "{target}");
            }
        }
        let pigeon = "/wt/crash?delivery=pigeon";
        assert!(Subscriber::try_connect_to(&site.place, Way::Stream, pigeon).await.is_err());
        for way in [Way::WebSocket, Way::Sse, Way::SseHttp2, Way::Stream] {
            let target = format!("{}?encoding=json&batch_ms=0&unknown=1&bare", way.target("crash"));
            Subscriber::try_connect_to(&site.place, way, &target).await.expect("all of these are possible");
        }
    });
}

#[test]
fn a_plain_request_for_a_websocket_is_told_to_upgrade() {
    every_way(&[], async |site| {
        let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        for headers in [
            String::new(),
            format!("upgrade: websocket\r\nsec-websocket-version: 13\r\n{key}"),
            format!("connection: upgrade\r\nsec-websocket-version: 13\r\n{key}"),
            format!("upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 8\r\n{key}"),
        ] {
            let request = format!("GET /ws/crash HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
            let answer = exchange(&site.place, request.as_bytes()).await;
            assert_eq!(answer.status, 426, "{headers}");
            let head = answer.head.to_lowercase();
            assert!(
                head.contains("upgrade: websocket") && head.contains("sec-websocket-version: 13"),
                "{head}"
            );
            assert_eq!(answer.json()["success"], false);
        }
        let request = "GET /ws/crash HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: short\r\n\r\n";
        assert_eq!(exchange(&site.place, request.as_bytes()).await.status, 400);
    });
}
