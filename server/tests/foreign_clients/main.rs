//! Clients that are not ours receive rounds from the server program: those of the seed document, `websockets` and
//! aioquic from `PyPI`, `ws` from npm, gorilla/websocket for Go, curl, Chromium.
//!
//! `scripts/test` fetches them; where one is missing, its test says so.

mod pages;
mod relay;
mod seed;
mod sse;
mod websocket;
mod webtransport;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lastmile_processes::{Child, Launch, PrivateRedis};
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
        let (server, ready) = launch(&redis, "127.0.0.1:0", flags);
        Self { server, redis, ready }
    }

    /// Ends the server as an update of it would, and starts another at the same address.
    fn restart(&mut self) {
        let status = self.server.stop().expect("it can be stopped");
        assert!(status.success(), "{}", self.server.log_tail());
        (self.server, self.ready) = launch(&self.redis, self.said("http"), &[]);
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

fn launch(redis: &PrivateRedis, listen: &str, flags: &[&str]) -> (Child, Value) {
    let server = Launch::new("lastmile-server", env!("CARGO_BIN_EXE_lastmile-server"))
        .arguments(["--listen", listen, "--wt-listen", "127.0.0.1:0", "--database", "sqlite::memory:"])
        .arguments(["--redis", redis.url().as_str()])
        .arguments(flags.iter().copied())
        .spawn()
        .expect("a server");
    let line = server.read_line(PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let ready = serde_json::from_str(&line).expect("JSON");
    (server, ready)
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

fn ends_well(browser: &Child) {
    let status = browser.wait(PATIENCE).expect("it can be waited for").expect("it has all it wanted");
    assert!(status.success(), "{}", browser.log_tail());
}
