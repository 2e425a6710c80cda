//! Encodings and batches, on every way to receive.

use lastmile_wire::request::Encoding;
use serde_json::Value;

use crate::common::{Form, Subscriber, Way, every_way, exchange, large_round, round, soon};

#[test]
fn every_form_carries_what_was_published_on_every_way() {
    every_way(&[], async |site| {
        site.publish_heard("crash", &round("crash", 1)).await;
        let mut subscribers = Vec::new();
        for way in Way::ALL {
            for form in Form::ALL {
                subscribers.push(Subscriber::connect_in(&site.place, way, "crash", form).await);
            }
        }
        // The third is too large for a datagram, the fourth for a batch.
        for payload in [round("crash", 2), large_round("crash", 3, 5000), large_round("crash", 4, 100_000)] {
            site.publish("crash", &payload);
        }
        for subscriber in &mut subscribers {
            let (way, form) = (subscriber.way, subscriber.form);
            let mut received = Vec::new();
            for _ in 1..=4 {
                received.push(subscriber.next().await.to_vec());
            }
            let mut expected = vec![
                form.of(&round("crash", 1)),
                form.of(&round("crash", 2)),
                form.of(&large_round("crash", 3, 5000)),
                form.of(&large_round("crash", 4, 100_000)),
            ];
            if !way.is_ordered() {
                received.sort();
                expected.sort();
            }
            assert!(received == expected, "{way:?} {form:?}");
        }
    });
}

#[test]
fn another_implementation_reads_the_same_fields_in_the_same_order() {
    every_way(&[], async |site| {
        let form = Form { encoding: Encoding::MessagePack, batch_ms: 0 };
        let mut subscriber = Subscriber::connect_in(&site.place, Way::WebSocket, "crash", form).await;
        site.publish("crash", &round("crash", 7));
        let received = subscriber.next().await;
        let value: Value = rmp_serde::from_slice(&received).expect("MessagePack");
        assert_eq!(value, serde_json::from_slice::<Value>(&round("crash", 7)).expect("JSON"));
    });
}

#[test]
fn rounds_of_an_interval_come_in_one_message() {
    every_way(&[], async |site| {
        for encoding in Encoding::ALL {
            let form = Form { encoding, batch_ms: 100 };
            for way in Way::ALL {
                site.publish_heard("crash", &round("crash", 0)).await;
                let mut subscriber = Subscriber::connect_in(&site.place, way, "crash", form).await;
                assert!(subscriber.next().await == form.of(&round("crash", 0)), "{way:?}");
                for id in 1..=20 {
                    site.publish("crash", &round("crash", id));
                }
                let (mut messages, mut received) = (0, Vec::new());
                for _ in 1..=20 {
                    messages += usize::from(subscriber.pending() == 0);
                    received.push(subscriber.next().await.to_vec());
                }
                let mut expected: Vec<_> = (1..=20).map(|id| form.of(&round("crash", id))).collect();
                if !way.is_ordered() {
                    received.sort();
                    expected.sort();
                }
                assert!(received == expected, "{way:?}");
                // Twenty publishes take longer than an interval only on a machine that stands still.
                assert!(messages < 20, "{way:?}: {messages} messages");
                // A newcomer begins with what it would get otherwise, and what is gathered goes before it.
                site.publish_heard("crash", &round("crash", 21)).await;
                let mut newcomer = Subscriber::connect_in(&site.place, way, "crash", form).await;
                assert!(newcomer.next().await == form.of(&round("crash", 21)), "{way:?}");
                assert!(subscriber.next().await == form.of(&round("crash", 21)), "{way:?}");
                site.publish("crash", &round("crash", 22));
                for subscriber in [&mut newcomer, &mut subscriber] {
                    assert!(subscriber.next().await == form.of(&round("crash", 22)), "{way:?}");
                }
                assert_eq!((newcomer.pending(), subscriber.pending()), (0, 0), "{way:?}: once each");
            }
        }
    });
}

#[test]
fn the_subprotocol_asks_for_msgpack() {
    every_way(&[], async |site| {
        let handshake = |protocols: &str| {
            format!(
                "GET /ws/crash HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocols}\r\n"
            )
        };
        site.publish_heard("crash", &round("crash", 3)).await;
        for (protocols, is_chosen) in [
            ("sec-websocket-protocol: chat, lastmile.msgpack\r\n", true),
            ("sec-websocket-protocol: chat\r\n", false),
            ("", false),
        ] {
            let mut stream = crate::common::open(&site.place, "http/1.1").await;
            let request = handshake(protocols);
            tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("a request");
            let mut answer = Vec::new();
            let head_end = loop {
                let read = tokio::io::AsyncReadExt::read_buf(&mut stream, &mut answer);
                assert_ne!(soon("an answer", read).await.expect("bytes"), 0);
                let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
                if let Some(end) = end.filter(|end| answer.len() > end + 4) {
                    break end;
                }
            };
            let head = String::from_utf8_lossy(&answer[..head_end]).to_lowercase();
            assert_eq!(head.contains("\r\nsec-websocket-protocol: lastmile.msgpack"), is_chosen, "{head}");
            assert_eq!(head.matches("sec-websocket-protocol").count(), usize::from(is_chosen), "{head}");
            let frame = if is_chosen { 0x82 } else { 0x81 };
            assert_eq!(answer[head_end + 4], frame, "{head}");
        }
        let refused = exchange(&site.place, b"GET /sse/crash?batch_ms=500 HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert_eq!(refused.status, 400);
    });
}
