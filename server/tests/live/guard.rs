//! Origins, tokens and limits, on every way to receive.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::client::conn::http2 as client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lastmile_processes::PrivateRedis;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wtransport::endpoint::ConnectOptions;

use crate::common::{
    Answer, PATIENCE, Place, Program, Site, Stream, Subscriber, Way, certificate_files, every_way, exchange,
    get, open, round, run, soon, try_open, until, webtransport,
};

const TOKEN: &str = "a-token-of-the-tests-0123456789";
const OTHER_TOKEN: &str = "another-token-of-the-tests+/==";
const PAGE: &str = "https://app.example";

/// What became of a request for a stream. WebTransport tells its clients no status.
type Admitted = Result<Kept, Option<u16>>;

/// Holds a connection open.
type Kept = Box<dyn std::any::Any>;

/// Asks for a stream with these headers.
async fn ask(place: &Place, way: Way, target: &str, headers: &[(&str, &str)]) -> Admitted {
    soon(&format!("{way:?} {target} {headers:?}"), async {
        match way {
            Way::WebSocket | Way::Sse => ask_http1(place, way, target, headers).await,
            Way::SseHttp2 => ask_http2(place, target, headers).await,
            Way::Stream | Way::Streams | Way::Datagram => ask_webtransport(place, target, headers).await,
        }
    })
    .await
}

async fn ask_http1(place: &Place, way: Way, target: &str, headers: &[(&str, &str)]) -> Admitted {
    let mut stream = try_open(place, "http/1.1").await.map_err(|_| None)?;
    let upgrade = match way {
        Way::WebSocket => {
            "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        }
        _ => "",
    };
    let line = |(name, value): &(&str, &str)| [name, ": ", value, "\r\n"].concat();
    let headers: String = headers.iter().map(line).collect();
    let request = format!("GET {target} HTTP/1.1\r\nhost: live.example:3000\r\n{upgrade}{headers}\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|_| None)?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.map_err(|_| None)?;
    match &status[9..] {
        b"101" | b"200" => Ok(Box::new(stream)),
        other => Err(std::str::from_utf8(other).expect("digits").parse().ok()),
    }
}

async fn ask_http2(place: &Place, target: &str, headers: &[(&str, &str)]) -> Admitted {
    let io = TokioIo::new(try_open(place, "h2").await.map_err(|_| None)?);
    let (mut sender, connection) =
        client::Builder::new(TokioExecutor::new()).handshake(io).await.map_err(|_| None)?;
    tokio::spawn(connection);
    let mut request = Request::get(format!("http://live.example:3000{target}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).expect("a request");
    let response = sender.send_request(request).await.map_err(|_| None)?;
    if response.status() == 200 {
        Ok(Box::new((response, sender)))
    } else {
        Err(Some(response.status().as_u16()))
    }
}

async fn ask_webtransport(place: &Place, target: &str, headers: &[(&str, &str)]) -> Admitted {
    let endpoint = webtransport::endpoint(place).expect("a socket");
    let mut options = ConnectOptions::builder(format!("https://{}{target}", place.webtransport));
    for (name, value) in headers {
        options = options.add_header(*name, *value);
    }
    let connection = endpoint.connect(options.build()).await.map_err(|error| {
        println!("{target}: {error}");
        None
    })?;
    Ok(Box::new((connection, endpoint)))
}

/// Whether it is refused as it should be.
fn is_refused(asked: &Admitted, status: u16) -> bool {
    matches!(asked, Err(None)) || matches!(asked, Err(Some(found)) if *found == status)
}

async fn request(place: &Place, method: &str, target: &str, headers: &str) -> Answer {
    exchange(
        place,
        format!("{method} {target} HTTP/1.1\r\nhost: live.example:3000\r\n{headers}\r\n").as_bytes(),
    )
    .await
}

/// The value of a header.
fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[test]
fn pages_of_other_origins_get_no_stream_on_any_protocol() {
    every_way(&["--allow-origin", PAGE], async |site| {
        for way in Way::ALL {
            let target = way.target("crash");
            assert!(ask(&site.place, way, &target, &[("origin", PAGE)]).await.is_ok(), "{way:?}");
            assert!(ask(&site.place, way, &target, &[]).await.is_ok(), "{way:?}: no browser");
            for origin in
                ["https://evil.example", "http://app.example", "null", "https://app.example.evil.example"]
            {
                let asked = ask(&site.place, way, &target, &[("origin", origin)]).await;
                assert!(is_refused(&asked, 403), "{way:?} {origin}: {:?}", asked.err());
            }
        }
        assert_eq!(site.metric("lastmile_refused_total{reason=\"origin\"}"), 4 * Way::ALL.len() as u64);
        let own =
            ask(&site.place, Way::WebSocket, "/ws/crash", &[("origin", "http://live.example:3000")]).await;
        assert!(own.is_ok(), "a page of the server's own");
    });
}

#[test]
fn pages_that_may_read_are_told_so() {
    every_way(&["--allow-origin", PAGE], async |site| {
        for target in ["/api/games", "/sse/nothing", "/healthz"] {
            let answer = request(&site.place, "GET", target, "origin: https://app.example\r\n").await;
            if target != "/sse/nothing" {
                assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE), "{target}");
                assert_eq!(header(&answer, "vary"), Some("origin"), "{target}");
            }
            let answer = request(&site.place, "GET", target, "origin: https://evil.example\r\n").await;
            assert_eq!(answer.status, 403, "{target}");
            assert_eq!(header(&answer, "access-control-allow-origin"), None, "{target}");
        }
        let preflight = "origin: https://app.example\r\naccess-control-request-method: GET\r\n\
                         access-control-request-headers: authorization\r\n";
        for target in ["/sse/crash", "/api/games"] {
            let answer = request(&site.place, "OPTIONS", target, preflight).await;
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{target}");
            assert_eq!(header(&answer, "access-control-allow-origin"), Some(PAGE));
            assert!(
                header(&answer, "access-control-allow-headers").expect("headers").contains("authorization")
            );
            let answer = request(&site.place, "OPTIONS", target, &preflight.replace("app", "evil")).await;
            assert_eq!(answer.status, 403, "{target}");
        }
        let mut stream = open(&site.place, "http/1.1").await;
        let asked = b"GET /sse/crash HTTP/1.1\r\nhost: x\r\norigin: https://app.example\r\n\r\n";
        stream.write_all(asked).await.expect("a request");
        let head = head(&mut *stream).await;
        assert!(head.contains("access-control-allow-origin: https://app.example\r\n"), "{head}");
        assert!(head.contains("x-request-id: "), "{head}");
    });
    every_way(&[], async |site| {
        let answer = request(&site.place, "GET", "/api/games", "origin: null\r\n").await;
        assert_eq!(header(&answer, "access-control-allow-origin"), Some("*"), "on loopback without a list");
    });
}

/// Reads the head of an answer.
async fn head(stream: &mut dyn Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a head", stream.read_u8()).await.expect("a head"));
    }
    String::from_utf8(head).expect("text").to_ascii_lowercase()
}

/// A file of tokens.
fn token_file(folder: &tempfile::TempDir, tokens: &[&str]) -> String {
    let path = folder.path().join("tokens");
    std::fs::write(&path, tokens.join("\n")).expect("a file");
    path.to_str().expect("text").to_owned()
}

#[test]
fn tokens_open_every_protocol_and_rest_and_are_rotated() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = token_file(&folder, &[TOKEN, OTHER_TOKEN]);
    every_way(&["--token-file", &path], async |site| {
        token_file(&folder, &[TOKEN, OTHER_TOKEN]);
        assert!(site.server.reload().is_empty());
        let bearer = |token: &str| format!("Bearer {token}");
        let in_query = |way: Way, token: &str| {
            let target = way.target("crash");
            let separator = if target.contains('?') { '&' } else { '?' };
            format!("{target}{separator}token={}", token.replace('+', "%2B"))
        };
        let mut kept = Vec::new();
        for way in Way::ALL {
            let target = way.target("crash");
            for token in [TOKEN, OTHER_TOKEN] {
                let asked = ask(&site.place, way, &target, &[("authorization", &bearer(token))]).await;
                kept.push(asked.unwrap_or_else(|status| panic!("{way:?}: {status:?}")));
                let asked = ask(&site.place, way, &in_query(way, token), &[]).await;
                kept.push(asked.unwrap_or_else(|status| panic!("{way:?}: {status:?}")));
            }
            let wrong = &TOKEN[1..];
            let asked = ask(&site.place, way, &target, &[("authorization", &bearer(wrong))]).await;
            assert!(is_refused(&asked, 401), "{way:?}");
            assert!(is_refused(&ask(&site.place, way, &in_query(way, wrong), &[]).await, 401), "{way:?}");
        }
        for way in [Way::Sse, Way::SseHttp2] {
            assert!(
                is_refused(&ask(&site.place, way, &way.target("crash"), &[]).await, 401),
                "{way:?} without"
            );
        }
        for target in ["/api/games", "/api/latest/crash", "/api/history/crash", "/metrics"] {
            let refused = get(&site.place, target).await;
            assert_eq!((refused.status, refused.json()["success"].clone()), (401, json!(false)), "{target}");
            assert_eq!(header(&refused, "www-authenticate"), Some("Bearer"), "{target}");
            let header = format!("authorization: Bearer {TOKEN}\r\n");
            assert_ne!(request(&site.place, "GET", target, &header).await.status, 401, "{target}");
            assert_ne!(get(&site.place, &format!("{target}?token={TOKEN}")).await.status, 401, "{target}");
        }
        for target in ["/", "/test.html", "/assets/live.js", "/healthz", "/readyz", "/api/certificate"] {
            assert_ne!(get(&site.place, target).await.status, 401, "{target} says nothing secret");
        }

        // Rotated: the old token opens nothing any more, and whoever is in stays in.
        let connected = site.server.metrics().connections();
        token_file(&folder, &[OTHER_TOKEN]);
        assert!(site.server.reload().is_empty());
        for way in Way::ALL {
            let target = way.target("crash");
            let asked = ask(&site.place, way, &target, &[("authorization", &bearer(TOKEN))]).await;
            assert!(is_refused(&asked, 401), "{way:?}: the old token");
            let asked = ask(&site.place, way, &target, &[("authorization", &bearer(OTHER_TOKEN))]).await;
            assert!(asked.is_ok(), "{way:?}: the new one");
        }
        until("only those of before are there", || site.server.metrics().connections() == connected).await;
        drop(kept);
        std::fs::write(folder.path().join("tokens"), "").expect("a file");
        assert_eq!(site.server.reload().len(), 1, "a file without tokens changes nothing");
        assert_eq!(site.metric("lastmile_reload_errors_total"), 1);
        assert_eq!(
            get(&site.place, &format!("/api/games?token={}", OTHER_TOKEN.replace('+', "%2B"))).await.status,
            200
        );
        token_file(&folder, &[TOKEN, OTHER_TOKEN]);
    });
}

#[test]
fn tokens_are_in_no_log_and_no_metric() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = token_file(&folder, &[TOKEN]);
    let redis = PrivateRedis::start().expect("a Redis");
    let program = Program::start(&redis, &["--token-file", &path, "--log", "debug", "--log-format", "json"]);
    run(async {
        for (token, status) in [(TOKEN, 200), ("a-wrong-token-that-is-secret", 401)] {
            for target in ["/api/games", "/sse/crash"] {
                let target = format!("{target}?token={token}");
                let mut stream = open(&program.place, "http/1.1").await;
                let request =
                    format!("GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
                stream.write_all(request.as_bytes()).await.expect("a request");
                assert!(head(&mut *stream).await.starts_with(&format!("http/1.1 {status} ")), "{target}");
            }
        }
        let metrics = get(&program.place, &format!("/metrics?token={TOKEN}")).await;
        assert!(metrics.body.contains("lastmile_refused_total"), "{}", metrics.body);
        until("all requests are logged", || program.child.log_tail().contains("/metrics")).await;
        let log = program.child.log_tail();
        for line in log.lines().filter(|line| line.contains("\"access\"")) {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(line["fields"]["request_id"].as_str().is_some_and(|id| id.len() >= 16), "{line}");
        }
        for text in [&log, &metrics.body] {
            assert!(!text.contains(TOKEN) && !text.contains("that-is-secret"), "{text}");
        }
        assert!(log.contains("/sse/crash"), "{log}");
    });
}

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
            assert!(program.child.log_tail().contains(words), "{}", program.child.log_tail());
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

#[test]
fn a_new_certificate_is_for_new_clients_and_leaves_the_others_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = || certificate_files(folder.path());
    let [certificate, key] = write();
    for flags in [&["--tls-cert", &certificate, "--tls-key", &key][..], &["--tls", "self-signed"]] {
        let mut site = Site::start(flags);
        run(async {
            let mut before = site.connect_all("crash").await;
            write();
            if flags.contains(&"self-signed") {
                site.server.certificate().renew().expect("a new certificate");
            } else {
                assert!(site.server.reload().is_empty());
            }
            let old = site.place.clone();
            site.place = Place::of_ready_line(&site.server.ready_line());
            assert_ne!(old.certificate, site.place.certificate);
            let mut after = site.connect_all("crash").await;
            site.publish("crash", &round("crash", 1));
            for subscriber in before.iter_mut().chain(&mut after) {
                assert_eq!(subscriber.next_id().await, 1, "{:?}", subscriber.way);
            }
            // What is new is known by its new hash alone, also over QUIC.
            assert!(ask(&old, Way::Stream, "/wt/crash", &[]).await.is_err());
            let told = get(&site.place, "/api/certificate").await;
            if flags.contains(&"self-signed") {
                assert_eq!(told.json()["value"], site.server.certificate_sha256());
            } else {
                assert_eq!(told.status, 404);
                std::fs::write(&key, "no key").expect("a file");
                assert_eq!(site.server.reload().len(), 1);
                assert_eq!(
                    get(&site.place, "/healthz").await.status,
                    200,
                    "the pair of before is still served"
                );
            }
        });
    }
}

#[test]
fn the_program_reloads_on_a_hangup() {
    let redis = PrivateRedis::start().expect("a Redis");
    let folder = tempfile::tempdir().expect("a folder");
    let path = token_file(&folder, &[TOKEN]);
    let program = Program::start(&redis, &["--token-file", &path]);
    run(async {
        let target = |token: &str| format!("/api/games?token={}", token.replace('+', "%2B"));
        assert_eq!(get(&program.place, &target(TOKEN)).await.status, 200);
        token_file(&folder, &[OTHER_TOKEN]);
        program.child.signal(lastmile_processes::Signal::HUP).expect("a signal");
        soon("the old token is worth nothing", async {
            while get(&program.place, &target(TOKEN)).await.status != 401 {}
        })
        .await;
        assert_eq!(get(&program.place, &target(OTHER_TOKEN)).await.status, 200);
    });
}

#[test]
fn a_server_for_everyone_says_what_is_open() {
    let redis = PrivateRedis::start().expect("a Redis");
    let url = redis.url();
    let common = ["--wt-listen", "127.0.0.1:0", "--database", "sqlite::memory:", "--redis", url.as_str()];
    let child = Program::launch(&[&common[..], &["--listen", "0.0.0.0:0"]].concat());
    child.read_line(PATIENCE).expect("a ready line");
    let log = child.log_tail();
    assert!(log.contains("open:") && log.contains("--token-file") && log.contains("not encrypted"), "{log}");
    let program = Program::start(&redis, &[]);
    assert!(!program.child.log_tail().contains("open:"), "{}", program.child.log_tail());
}

/// What `--check-config` says, and its exit code.
fn check(flags: &[&str]) -> (Option<i32>, String) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lastmile-server"))
        .arg("--check-config")
        .args(flags)
        .output()
        .expect("a process");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("text"))
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = token_file(&folder, &[TOKEN]);
    let memory = ["--database", "sqlite::memory:"];
    let (code, said) = check(&memory);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("http://127.0.0.1:3000") && said.contains("nothing to say"), "{said}");
    let open = [&memory[..], &["--listen", "0.0.0.0:3000", "--token-file", &tokens]].concat();
    let (code, said) = check(&open);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 known") && said.contains("not encrypted") && said.contains("50 new"), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
    for (flags, words) in [
        (&["--token-file", "/nowhere/tokens"][..], "/nowhere/tokens"),
        (&["--tls-cert", "/nowhere/c", "--tls-key", "/nowhere/k"], "/nowhere/c"),
        (&["--redis", "http://x"], "--redis"),
        (&["--database", "mysql://secret@x"], "--database"),
        (&["--allow-origin", "example.com"], "--allow-origin"),
        (&["--trusted-proxy", "10.0.0.0/99"], "--trusted-proxy"),
        (&["--limits", "some"], "--limits"),
        (&["--connects-per-second", "many"], "--connects-per-second"),
    ] {
        let (code, said) = check(flags);
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        assert!(
            said.contains(words) && !said.contains("secret") && !said.contains("panicked"),
            "{flags:?}: {said}"
        );
    }
}
