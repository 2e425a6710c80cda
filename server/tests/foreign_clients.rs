//! Clients that are not ours receive rounds from the server program: `websockets` from `PyPI`, curl, Chromium.
//!
//! `scripts/test` fetches them; where one is missing, its test says so.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lastmile_processes::{Child, Launch, PrivateRedis, Signal};
use serde_json::Value;

/// A browser on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server program with a Redis of its own.
struct Site {
    // Declared before Redis, so that the server ends first.
    server: Child,
    redis: PrivateRedis,
    ready: Value,
}

impl Site {
    fn open(flags: &[&str]) -> Self {
        let redis = PrivateRedis::start().expect("a Redis");
        let server = Launch::new("lastmile-server", env!("CARGO_BIN_EXE_lastmile-server"))
            .arguments([
                "--listen",
                "127.0.0.1:0",
                "--wt-listen",
                "127.0.0.1:0",
                "--database",
                "sqlite::memory:",
            ])
            .arguments(["--redis", redis.url().as_str()])
            .arguments(flags.iter().copied())
            .spawn()
            .expect("a server");
        let line = server.read_line(PATIENCE).expect("it gets ready");
        let ready = serde_json::from_str(&line).expect("JSON");
        Self { server, redis, ready }
    }

    /// A part of the ready line.
    fn said(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap_or_else(|| panic!("{name} in {}", self.ready))
    }

    /// An address of the server's HTTP side: `ws`, `https`, …
    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.said("http"))
    }

    /// Publishes a round and returns it. It has a line break of JSON and a letter beyond ASCII in it: what
    /// arrives must be the same, byte for byte.
    fn publish(&self, round_id: u64) -> String {
        let round = format!(
            concat!(
                r#"{{"round_id":{},"game_id":1,"game_slug":"crash","game_type":"multiplier","#,
                r#""finished_at":"2026-01-17T00:45:42.735266-03:00","#,
                r#""extras":"{{\"point\": \"11.72\",\n\"palavra\": \"ação\"}}","timestamp":1768621542123}}"#
            ),
            round_id
        );
        let receivers = self.redis.publish("stream:crash", round.as_bytes()).expect("PUBLISH");
        assert_eq!(receivers, 1, "one subscription for the whole server");
        round
    }
}

/// A program that `scripts/test` put into `.tools` or named in the environment.
fn tool(variable: &str, in_tools: &str) -> PathBuf {
    let path = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let path = path.unwrap_or_else(|| checkout().join(".tools").join(in_tools));
    assert!(path.exists(), "{} is not there: run scripts/test once, which fetches it", path.display());
    path
}

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the checkout")
}

fn client(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn websocket_client(url: &str) -> Child {
    Launch::new("the websockets client", tool("LASTMILE_PYTHON", "python/bin/python3"))
        .argument(client("websocket_client.py"))
        .argument(url)
        .spawn()
        .expect("a client")
}

fn curl(arguments: &[&str]) -> Child {
    let arguments = ["--no-buffer", "--silent", "--show-error"].iter().chain(arguments);
    Launch::new("curl", "curl").arguments(arguments).spawn().expect("curl: apt-get install curl")
}

fn browser_client(name: &str, arguments: &[&str]) -> Child {
    let modules = tool("LASTMILE_NODE_MODULES", "playwright/node_modules");
    let chromium = std::env::var_os("LASTMILE_CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into());
    Launch::new(name, "node")
        .argument(client(name))
        .arguments(arguments.iter().copied())
        .environment("NODE_PATH", modules)
        .environment("LASTMILE_CHROMIUM", chromium)
        .spawn()
        .expect("node")
}

/// The next lines, in any order.
fn lines(child: &Child, count: usize) -> Vec<String> {
    let mut lines: Vec<_> =
        (0..count).map(|_| child.read_line(PATIENCE).unwrap_or_else(|error| panic!("{error}"))).collect();
    lines.sort();
    lines
}

fn line(child: &Child) -> String {
    lines(child, 1).remove(0)
}

/// Skips to the next event of an event stream and returns its lines.
fn event(child: &Child) -> Vec<String> {
    let mut event = Vec::new();
    loop {
        match line(child) {
            text if text.is_empty() && event.iter().any(|line: &String| line.starts_with("data:")) => {
                return event;
            }
            // The end of a block without data: the retry line's, or a heartbeat's.
            text if text.is_empty() => event.clear(),
            text => event.push(text),
        }
    }
}

fn expected_event(name: &str, round_id: u64, round: &str) -> Vec<String> {
    vec![format!("event: {name}"), format!("id: {round_id}"), format!("data: {round}")]
}

#[test]
fn the_websockets_package_receives_rounds_and_is_told_goodbye() {
    for (flags, scheme) in [(&[][..], "ws"), (&["--tls", "self-signed"][..], "wss")] {
        let site = Site::open(flags);
        let first = site.publish(1);
        let by_game = websocket_client(&site.url(scheme, "/ws/crash"));
        let by_type = websocket_client(&site.url(scheme, "/ws/type/multiplier"));
        for client in [&by_game, &by_type] {
            assert_eq!(line(client), first);
        }
        let second = site.publish(2);
        for client in [&by_game, &by_type] {
            assert_eq!(line(client), second);
        }
        site.server.signal(Signal::TERM).expect("it runs");
        for client in [&by_game, &by_type] {
            assert_eq!(line(client), "closed 1001");
        }
        let status = site.server.wait(PATIENCE).expect("it can be waited for");
        assert!(status.expect("it ends").success());
    }
}

#[test]
fn curl_receives_an_event_stream_over_both_versions_of_http() {
    let plain: (&[&str], _) = (&[], "http");
    let tls: (&[&str], _) = (&["--tls", "self-signed"], "https");
    for ((flags, scheme), version) in
        [(plain, "--http1.1"), (plain, "--http2-prior-knowledge"), (tls, "--http1.1"), (tls, "--http2")]
    {
        let site = Site::open(flags);
        let first = site.publish(1);
        let [by_game, by_type] = ["/sse/crash", "/sse/type/multiplier"]
            .map(|path| curl(&[version, "--insecure", &site.url(scheme, path)]));
        for client in [&by_game, &by_type] {
            assert_eq!(event(client), expected_event("initial", 1, &first), "{version}");
        }
        let second = site.publish(2);
        for client in [&by_game, &by_type] {
            assert_eq!(event(client), expected_event("message", 2, &second), "{version}");
        }
    }
}

/// Chromium with a WebTransport session for each delivery.
fn sessions_in_chromium(site: &Site, count: &str, deliveries: &[&str]) -> Child {
    let web_transport = format!("https://{}", site.said("webtransport"));
    let http = site.url("http", "");
    let mut arguments = vec![http.as_str(), &web_transport, site.said("certificate_sha256"), count];
    arguments.extend(deliveries);
    browser_client("webtransport_client.cjs", &arguments)
}

fn ends_well(browser: &Child) {
    let status = browser.wait(PATIENCE).expect("it can be waited for").expect("it has all it wanted");
    assert!(status.success(), "{}", browser.log_tail());
}

#[test]
fn chromium_receives_rounds_over_webtransport_streams() {
    let site = Site::open(&[]);
    let first = site.publish(1);
    let browser = sessions_in_chromium(&site, "3", &["stream", "streams"]);
    let by_both = |round: &str| ["stream", "streams"].map(|delivery| format!("{delivery} {round}"));
    let opened: Vec<_> = by_both("open").into_iter().chain(by_both(&first)).collect();
    let mut received = lines(&browser, 4);
    received.sort_by_key(|line| !line.ends_with("open"));
    assert_eq!(received, opened);
    for round_id in 2..=3 {
        let round = site.publish(round_id);
        assert_eq!(lines(&browser, 2), by_both(&round));
    }
    ends_well(&browser);
}

#[test]
fn chromium_receives_rounds_over_webtransport_datagrams() {
    // Nothing is published before the session stands: Chromium drops datagrams that come too early.
    let site = Site::open(&[]);
    let browser = sessions_in_chromium(&site, "2", &["datagram"]);
    assert_eq!(line(&browser), "datagram open");
    for round_id in 1..=2 {
        let round = site.publish(round_id);
        assert_eq!(line(&browser), format!("datagram {round}"));
    }
    ends_well(&browser);
}

#[test]
fn the_pages_show_rounds_in_chromium() {
    let site = Site::open(&[]);
    let browser = browser_client("pages_client.cjs", &[&site.url("http", "")]);
    let deliveries = ["wt-stream", "wt-streams", "wt-datagram"];
    let all = ["ws", "sse", deliveries[0], deliveries[1], deliveries[2]];
    let pages =
        [("websocket", &["ws"][..]), ("sse", &["sse"]), ("webtransport", &deliveries), ("test", &all)];
    for (round_id, (page, streams)) in (1..).zip(pages) {
        assert_eq!(line(&browser), format!("{page} open"));
        site.publish(round_id);
        for stream in streams {
            // A page may show the round before first, which is the latest as it opens.
            let shown = line(&browser);
            let rounds = [round_id, round_id - 1].map(|round_id| format!("{page} {stream} {round_id}"));
            assert!(rounds.contains(&shown), "{shown} is none of {rounds:?}");
        }
        assert_eq!(line(&browser), format!("{page} closed"));
    }
    ends_well(&browser);
    assert!(browser.read_line(PATIENCE).is_err(), "there are no complaints left to read");
}
