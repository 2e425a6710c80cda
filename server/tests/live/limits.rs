//! How much of the server one client may take.

use lastmile_processes::PrivateRedis;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::guard::{Kept, ask, header, is_refused, request};
use crate::common::{Place, Program, Subscriber, Way, every_way, get, open, round, run, soon, until};

#[test]
fn an_address_has_so_many_connections_and_gets_them_back() {
    for way in Way::ALL {
        // A stream that shares a connection counts beside it.
        let limit = if way == Way::SseHttp2 { "4" } else { "2" };
        every_way(&["--connections-per-address", limit], async |site| {
            let mut first = site.connect(way, "crash").await;
            let second = site.connect(way, "crash").await;
            let third = ask(&site.place, way, &way.target("crash"), &[]).await;
            assert!(is_refused(&third, 429), "{way:?}: {:?}", third.err());
            assert!(site.metric("lastmile_refused_total{reason=\"connections_of_address\"}") > 0);
            site.publish("crash", &round("crash", 1));
            assert_eq!(first.next_id().await, 1, "{way:?}: the others are served");
            drop((first, second));
            until("both are gone", || site.server.open_connections() == 0).await;
            site.connect(way, "crash").await;
        });
    }
}

#[test]
fn connections_that_come_too_fast_are_told_so() {
    every_way(&["--connects-per-second", "1"], async |site| {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(ask(&site.place, Way::Sse, "/sse/crash", &[]).await.map(drop));
        }
        let refused = statuses.pop().expect("three");
        assert!(statuses.iter().all(Result::is_ok), "twice a second's worth: {statuses:?}");
        // Over TLS nobody is answered: the handshake would cost more than all the rest.
        assert_eq!(refused, Err(if site.place.tls { None } else { Some(429) }));
        assert_eq!(site.metric("lastmile_refused_total{reason=\"connect_rate\"}"), 1);
    });
}

#[test]
fn rest_is_limited_by_the_minute_in_the_contracts_words() {
    every_way(&["--rest-per-minute", "3", "--trusted-proxy", "127.0.0.1/32"], async |site| {
        let before =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
        for left in [2, 1, 0, 0] {
            let answer = get(&site.place, "/api/games").await;
            let number = |name: &str| header(&answer, name).and_then(|value| value.parse::<u64>().ok());
            assert_eq!(number("x-ratelimit-limit"), Some(3));
            assert_eq!(number("x-ratelimit-remaining"), Some(left));
            let reset = number("x-ratelimit-reset").expect("a time");
            assert!((before..=before + 120).contains(&reset), "{reset}");
        }
        let refused = get(&site.place, "/api/latest/crash").await;
        assert_eq!(refused.status, 429);
        assert_eq!(refused.json(), json!({"error": "Too many requests, please slow down", "success": false}));
        assert!(
            header(&refused, "retry-after")
                .is_some_and(|seconds| (1..=60).contains(&seconds.parse().unwrap_or(0)))
        );
        // Another client of the same proxy, and what is no REST.
        let other = request(&site.place, "GET", "/api/games", "x-forwarded-for: 203.0.113.5\r\n").await;
        assert_eq!((other.status, header(&other, "x-ratelimit-remaining")), (200, Some("2")));
        assert_eq!(get(&site.place, "/healthz").await.status, 200);
        assert_eq!(header(&get(&site.place, "/healthz").await, "x-ratelimit-limit"), None);
    });
    every_way(&["--rest-per-minute", "1"], async |site| {
        for (client, status) in [("203.0.113.5", 200), ("203.0.113.6", 429)] {
            let answer =
                request(&site.place, "GET", "/api/games", &format!("x-forwarded-for: {client}\r\n")).await;
            assert_eq!(answer.status, status, "a header of somebody who is no proxy says nothing");
        }
    });
}

#[test]
fn who_takes_too_long_for_a_request_is_cut_off() {
    let request = b"GET /sse/crash HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    every_way(&["--handshake-limit-s", "0.5", "--shards", "1"], async |site| {
        let mut subscriber = site.connect(Way::Sse, "crash").await;
        for beginning in [&request[..], &preface[..], &preface[..10], b""] {
            let (mut reader, mut writer) = tokio::io::split(open(&site.place, "http/1.1").await);
            let dripping = tokio::spawn({
                let beginning = beginning.to_vec();
                async move {
                    let drip = if beginning.starts_with(b"GET") { &b"x"[..] } else { b"" };
                    let _ = writer.write_all(&beginning).await;
                    while writer.write_all(drip).await.is_ok() {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                }
            });
            let mut rest = Vec::new();
            // Cut off, or reset with what was on its way.
            let _ = soon("the end of a slow client", reader.read_to_end(&mut rest)).await;
            dripping.abort();
        }
        site.publish("crash", &round("crash", 1));
        assert_eq!(subscriber.next_id().await, 1, "nobody else noticed");
    });
}

#[test]
fn a_server_out_of_descriptors_says_so_serves_the_others_and_recovers() {
    let redis = PrivateRedis::start().expect("a Redis");
    // With the first the guard's own count stops before the kernel does, with the second it is too late.
    for (limit, words) in [(400, "the server is full"), (36, "could not accept")] {
        let program = Program::start_limited(&redis, limit, &["--shards", "1"]);
        run(async {
            let mut served = Subscriber::connect(&program.place, Way::WebSocket, "crash").await;
            let mut crowd = Vec::new();
            let mut refused = 0;
            while refused < 3 {
                assert!(crowd.len() < 400, "the limit is never reached");
                match ask(&program.place, Way::Sse, "/sse/crash", &[]).await {
                    Ok(kept) => crowd.push(kept),
                    Err(status) => {
                        assert!(matches!(status, None | Some(503)), "{status:?}");
                        refused += 1;
                    }
                }
            }
            assert!(crowd.len() > 5, "{} of {limit} descriptors", crowd.len());
            redis.publish("stream:crash", &round("crash", 1)).expect("a publish");
            assert_eq!(served.next_id().await, 1, "who is connected is served");
            until(words, || program.child.log_tail().contains(words)).await;
            drop(crowd);
            let mut back = None;
            soon("there is room again", async {
                while back.is_none() {
                    back = ask(&program.place, Way::Sse, "/sse/crash", &[]).await.ok();
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            })
            .await;
            redis.publish("stream:crash", &round("crash", 2)).expect("a publish");
            assert_eq!(served.next_id().await, 2);
        });
        assert!(program.child.wait(std::time::Duration::ZERO).expect("a status").is_none(), "still alive");
    }
}

#[test]
fn every_answer_has_the_headers_of_a_careful_server() {
    every_way(&[], async |site| {
        for target in ["/", "/websocket.html", "/sse.html", "/webtransport.html", "/test.html"] {
            let answer = get(&site.place, target).await;
            let policy = header(&answer, "content-security-policy").expect("a policy");
            for part in
                ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
            {
                assert!(policy.contains(part), "{target}: {policy}");
            }
            assert!(!policy.contains("unsafe"), "{target}: {policy}");
            assert!(
                !answer.body.contains("<script>") && !answer.body.contains(" style="),
                "{target}: inline"
            );
            assert_eq!(header(&answer, "cross-origin-opener-policy"), Some("same-origin"), "{target}");
        }
        for target in
            ["/", "/assets/live.js", "/api/games", "/healthz", "/metrics", "/nothing", "/api/latest/none"]
        {
            let answer = get(&site.place, target).await;
            assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"), "{target}");
            assert_eq!(header(&answer, "referrer-policy"), Some("no-referrer"), "{target}");
            assert!(header(&answer, "content-security-policy").is_some(), "{target}");
            assert!(header(&answer, "x-request-id").is_some(), "{target}");
        }
    });
}

#[test]
fn one_client_can_not_hold_more_than_is_written_down() {
    // docs/security.md: 64 KiB for a connection over TCP beside what the kernel keeps.
    const STATED_BYTES: u64 = 64 * 1024;
    const CONNECTIONS: u64 = 150;
    let redis = PrivateRedis::start().expect("a Redis");
    let program = Program::start(&redis, &["--handshake-limit-s", "600"]);
    run(async {
        let mut kept = Vec::new();
        // What is allocated once, for the first of them, is not theirs.
        for _ in 0..20 {
            kept.push(greedy(&program.place).await);
        }
        let before = resident_bytes(program.child.pid());
        for _ in 0..CONNECTIONS {
            kept.push(greedy(&program.place).await);
        }
        // Both of each have been read by the time this is answered by the same threads.
        for _ in 0..10 {
            assert_eq!(get(&program.place, "/healthz").await.status, 200);
        }
        let held = resident_bytes(program.child.pid()).saturating_sub(before) / (2 * CONNECTIONS);
        assert!(held < STATED_BYTES, "{held} bytes a connection");
        println!("{held} bytes a connection");
    });
}

/// Two connections that make the server keep as much as they can: a head almost too long and without end, and a
/// WebSocket in the middle of a fragmented message and of a frame.
async fn greedy(place: &Place) -> Kept {
    let mut head = open(place, "http/1.1").await;
    let padding = "x".repeat(16_000);
    let request = format!("GET /ws/crash HTTP/1.1\r\nhost: x\r\nx-padding: {padding}");
    head.write_all(request.as_bytes()).await.expect("a head without end");
    let mut socket = open(place, "http/1.1").await;
    let request = "GET /ws/crash HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request.as_bytes()).await.expect("a request");
    let mut status = [0; 12];
    soon("an answer", socket.read_exact(&mut status)).await.expect("an answer");
    let mut frames = vec![0x01, 0xfe, 0x0f, 0x00, 0, 0, 0, 0];
    frames.extend(std::iter::repeat_n(b'x', 0x0f00));
    frames.extend([0x00, 0xfe, 0x01, 0x00, 0, 0, 0, 0]);
    frames.extend(std::iter::repeat_n(b'x', 200));
    socket.write_all(&frames).await.expect("frames without end");
    Box::new((head, socket))
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
}
