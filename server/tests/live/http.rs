//! Connections that are slow, broken, too long or say more than asked.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{
    Event, Events, Site, Stream, Way, every_way, exchange, get, http2, large_round, open, round, run, soon,
    until,
};

const REQUEST: &[u8] = b"GET /sse/crash HTTP/1.1\r\nhost: x\r\n\r\n";

#[test]
fn a_request_that_takes_its_time_holds_nobody_up() {
    every_way(&["--shards", "1"], async |site| {
        let mut slow = Vec::new();
        for length in 0..REQUEST.len() {
            let mut stream = open(&site.place, "http/1.1").await;
            stream.write_all(&REQUEST[..length]).await.expect("a part of a request");
            slow.push((stream, length));
        }
        let mut subscribers = site.connect_all("crash").await;
        site.publish("crash", &round("crash", 1));
        for subscriber in &mut subscribers {
            assert_eq!(subscriber.next_id().await, 1);
        }
        for (mut stream, length) in slow {
            stream.write_all(&REQUEST[length..]).await.expect("the rest of a request");
            let mut start = [0; 15];
            soon("an answer", stream.read_exact(&mut start)).await.expect("an answer");
            assert_eq!(&start, b"HTTP/1.1 200 OK", "after a pause at {length}");
        }
    });
}

#[test]
fn what_is_no_http_is_a_bad_request() {
    every_way(&[], async |site| {
        for garbage in [
            &b"\x00\x01\x02\x03\r\n\r\n"[..],
            b"hello\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /ws/crash HTTP/9.9\r\n\r\n",
            b"GET /ws/crash HTTP/1.1\r\nno colon\r\n\r\n",
            b"GET /sse/crash HTTP/1.1\r\nhost: \x00\r\n\r\n",
        ] {
            let answer = exchange(&site.place, garbage).await;
            assert_eq!(answer.status, 400, "{}", String::from_utf8_lossy(garbage));
        }
        assert_eq!(get(&site.place, "/healthz").await.status, 200);
    });
}

#[test]
fn a_head_beyond_sixteen_kilobytes_is_refused() {
    every_way(&[], async |site| {
        for target in ["/ws/crash", "/sse/crash", "/healthz"] {
            let request = |padding: usize| {
                let padding = "x".repeat(padding);
                format!("GET {target} HTTP/1.1\r\nhost: x\r\nx-padding: {padding}\r\n\r\n").into_bytes()
            };
            for size in [17 * 1024, 40 * 1024] {
                let mut stream = open(&site.place, "http/1.1").await;
                // The server may answer before it has read everything.
                let _ = stream.write_all(&request(size)).await;
                let mut status = [0; 13];
                soon("an answer", stream.read_exact(&mut status)).await.expect("an answer");
                assert_eq!(&status, b"HTTP/1.1 431 ", "{target} with {size} bytes");
            }
            let mut stream = open(&site.place, "http/1.1").await;
            stream.write_all(&request(15 * 1024)).await.expect("a request");
            let mut status = [0; 12];
            soon("an answer", stream.read_exact(&mut status)).await.expect("an answer");
            assert_ne!(&status, b"HTTP/1.1 431", "{target} with a head of allowed size");
        }
    });
}

#[test]
fn a_head_without_end_is_not_read_for_ever() {
    every_way(&[], async |site| {
        let stream = open(&site.place, "http/1.1").await;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let writing = async {
            let line = format!("x-more: {}\r\n", "y".repeat(1000));
            writer.write_all(b"GET /sse/crash HTTP/1.1\r\n").await?;
            // Far more than the server and the kernel would ever hold.
            for _ in 0..64 * 1024 {
                writer.write_all(line.as_bytes()).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        let reading = async {
            let mut bytes = Vec::new();
            // Whatever has been written into a closed connection may make its end an abrupt one.
            let _ = reader.read_to_end(&mut bytes).await;
            bytes
        };
        let (written, read) =
            soon("the server's patience ends", async { tokio::join!(writing, reading) }).await;
        assert!(written.is_err(), "the server read all of it");
        assert!(read.is_empty() || read.starts_with(b"HTTP/1.1 431 "), "{}", String::from_utf8_lossy(&read));
    });
}

#[test]
fn what_follows_a_request_at_once_does_no_harm() {
    every_way(&[], async |site| {
        let ask = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
        let answer = exchange(&site.place, ask.repeat(2).as_bytes()).await;
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({ "status": "alive", "problems": [] }).to_string())
        );
        let missing = "GET /ws/poker HTTP/1.1\r\nhost: x\r\n\r\n";
        assert_eq!(exchange(&site.place, missing.repeat(2).as_bytes()).await.status, 404);
        // An event stream's client has nothing to say, but a little is overlooked.
        let mut stream = open(&site.place, "http/1.1").await;
        stream.write_all(&[REQUEST, ask.as_bytes()].concat()).await.expect("two requests");
        let mut events = after_head(&mut stream).await;
        site.publish("crash", &round("crash", 9));
        loop {
            if let Event::Round { id, .. } = next_event(&mut stream, &mut events).await {
                assert_eq!(id, "9");
                break;
            }
        }
    });
}

#[test]
fn who_talks_into_an_event_stream_is_closed() {
    every_way(&[], async |site| {
        let mut stream = open(&site.place, "http/1.1").await;
        stream.write_all(REQUEST).await.expect("a request");
        let mut events = after_head(&mut stream).await;
        stream.write_all(&[b'x'; 5000]).await.expect("talk");
        while next_event(&mut stream, &mut events).await != Event::Comment("closed: unexpected data".into()) {
        }
        let mut rest = Vec::new();
        soon("the end", stream.read_to_end(&mut rest)).await.expect("an end in order");
        assert_eq!(rest, b"");
        assert_eq!(site.metric("lastmile_drops_total{reason=\"policy\"}"), 1);
    });
}

#[test]
fn other_methods_are_not_allowed_on_streams() {
    every_way(&[], async |site| {
        for target in ["/ws/crash", "/sse/crash"] {
            let request = format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
            let answer = exchange(&site.place, request.as_bytes()).await;
            assert_eq!((answer.status, answer.json()["success"].clone()), (405, json!(false)), "{target}");
        }
    });
}

#[test]
fn event_streams_have_heartbeats() {
    every_way(&["--heartbeat-s", "0.2"], async |site| {
        let is_beat = |event: &Event| match event {
            Event::Comment(comment) => {
                let seconds = comment.strip_prefix("heartbeat ").expect("a heartbeat");
                assert!(seconds.parse::<u64>().expect("Unix seconds") > 1_700_000_000);
                true
            }
            _ => false,
        };
        let mut stream = open(&site.place, "http/1.1").await;
        stream.write_all(REQUEST).await.expect("a request");
        let mut events = after_head(&mut stream).await;
        let mut beats = 0;
        while beats < 3 {
            beats += usize::from(is_beat(&next_event(&mut stream, &mut events).await));
        }

        let (response, _sender) = http2::request(&site.place, "/sse/crash").await.expect("an answer");
        let mut body = response.into_body();
        let (mut events, mut beats) = (Events::default(), 0);
        while beats < 3 {
            let frame = soon("a heartbeat", http_body_util::BodyExt::frame(&mut body)).await;
            events.push(&frame.expect("more").expect("no error").into_data().expect("data"));
            beats += std::iter::from_fn(|| events.pop()).filter(is_beat).count();
        }
    });
}

/// Reads the head of an event stream.
async fn after_head(stream: &mut (impl Stream + ?Sized)) -> Events {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a head", stream.read_u8()).await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    Events::default()
}

async fn next_event(stream: &mut (impl Stream + ?Sized), events: &mut Events) -> Event {
    loop {
        if let Some(event) = events.pop() {
            return event;
        }
        let mut buffer = [0; 1024];
        let count = soon("an event", stream.read(&mut buffer)).await.expect("bytes");
        assert!(count > 0, "the stream ended");
        events.push(&buffer[..count]);
    }
}

#[test]
fn a_connection_over_http2_that_takes_nothing_or_asks_for_nothing_is_closed() {
    let site = Site::start(&["--heartbeat-s", "0.1", "--idle-limit-s", "1", "--shards", "1"]);
    run(async {
        // Reads everything, and stays although nothing is published: it takes the heartbeats.
        let mut reader = site.connect(Way::SseHttp2, "crash").await;
        // Its window is full soon, and nobody makes room; its library answers pings all the same.
        let (stalled, sender) = http2::request(&site.place, "/sse/crash").await.expect("a stream");
        let (answered, idle) = http2::request(&site.place, "/api/games").await.expect("an answer");
        drop(answered);
        for id in 1..=40 {
            site.publish("crash", &large_round("crash", id, 10_000));
            assert_eq!(reader.next_id().await, id);
        }
        until("both are closed", || sender.is_closed() && idle.is_closed()).await;
        drop(stalled);
        site.publish("crash", &round("crash", 41));
        assert_eq!(reader.next_id().await, 41);
    });
}
