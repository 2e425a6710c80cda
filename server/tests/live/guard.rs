//! Origins and tokens, on every way to receive.

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
    Answer, Place, Program, Stream, Way, every_way, exchange, get, open, run, soon, try_open, until,
    webtransport,
};

pub const TOKEN: &str = "a-token-of-the-tests-0123456789";
pub const OTHER_TOKEN: &str = "another-token-of-the-tests+/==";
const PAGE: &str = "https://app.example";

/// What became of a request for a stream. WebTransport tells its clients no status.
pub type Admitted = Result<Kept, Option<u16>>;

/// Holds a connection open.
pub type Kept = Box<dyn std::any::Any>;

/// Asks for a stream with these headers.
pub async fn ask(place: &Place, way: Way, target: &str, headers: &[(&str, &str)]) -> Admitted {
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
pub fn is_refused(asked: &Admitted, status: u16) -> bool {
    matches!(asked, Err(None)) || matches!(asked, Err(Some(found)) if *found == status)
}

pub async fn request(place: &Place, method: &str, target: &str, headers: &str) -> Answer {
    exchange(
        place,
        format!("{method} {target} HTTP/1.1\r\nhost: live.example:3000\r\n{headers}\r\n").as_bytes(),
    )
    .await
}

/// The value of a header.
pub fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
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
pub fn token_file(folder: &tempfile::TempDir, tokens: &[&str]) -> String {
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
