//! The three clients of the document this server was built from, unchanged but for the server's address.

use std::fs;
use std::path::Path;

use lastmile_processes::{Child, Launch, Signal};

use super::{PATIENCE, Site, browser_client, checkout, client, line, tool};

/// A client's source with the server's address in it, in a folder of its own.
fn source(site: &Site, name: &str, folder: &Path) -> std::path::PathBuf {
    let source = fs::read_to_string(client("seed").join(name)).expect("a client of the seed document");
    assert_eq!(source.matches("localhost:3000").count(), 1, "{name}");
    let path = folder.join(name);
    fs::write(&path, source.replace("localhost:3000", site.said("http"))).expect("a file");
    path
}

/// Publishes the document's round, with another number.
fn publish(site: &Site, round_id: u64) {
    let round = format!(
        concat!(
            r#"{{"round_id":{},"game_id":1,"game_slug":"crash","game_type":"multiplier","#,
            r#""finished_at":"2026-01-17T00:45:42.735266-03:00","#,
            r#""extras":"{{\"point\": \"11.72\"}}","timestamp":1768621542123}}"#
        ),
        round_id
    );
    assert_eq!(site.redis.publish("stream:crash", round.as_bytes()).expect("PUBLISH"), 1);
}

fn ends(child: &Child) {
    let status = child.wait(PATIENCE).expect("it can be waited for").expect("it ends with its connection");
    assert!(status.success(), "{}", child.log_tail());
}

#[test]
fn the_python_client_works() {
    let site = Site::open(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    publish(&site, 512);
    let client = Launch::new("the seed's Python client", tool("LASTMILE_PYTHON", "python/bin/python3"))
        .argument(source(&site, "client.py", folder.path()))
        .environment("PYTHONUNBUFFERED", "1")
        .spawn()
        .expect("a client");
    assert_eq!(line(&client), "Connected to WebSocket");
    assert_eq!(line(&client), r#"Round 512: {"point": "11.72"}"#);
    publish(&site, 513);
    assert_eq!(line(&client), r#"Round 513: {"point": "11.72"}"#);
    site.server.signal(Signal::TERM).expect("it runs");
    ends(&client);
}

#[test]
fn the_go_client_works() {
    let site = Site::open(&[]);
    let folder = tempfile::tempdir().expect("a folder");
    let gopath = std::env::var_os("LASTMILE_GOPATH").unwrap_or_else(|| "/usr/share/gocode".into());
    let package = Path::new(&gopath).join("src/github.com/gorilla/websocket");
    assert!(package.exists(), "{} is not there: run scripts/test once, which fetches it", package.display());
    let program = folder.path().join("client");
    let compiler = Launch::new("go", "go")
        .arguments(["build".into(), "-o".into(), program.clone(), source(&site, "client.go", folder.path())])
        .environment("GOPATH", gopath)
        .environment("GO111MODULE", "off")
        .environment("GOCACHE", checkout().join(".tools/go-cache"))
        .spawn()
        .expect("go: apt-get install golang-go");
    // The standard library is built along, the first time.
    let built = compiler.wait(10 * PATIENCE).expect("it can be waited for").expect("it ends");
    assert!(built.success(), "{}", compiler.log_tail());
    publish(&site, 512);
    // It logs to standard error.
    let client = Launch::new("the seed's Go client", "sh")
        .arguments(["-c", r#"exec "$0" 2>&1"#])
        .argument(program)
        .spawn()
        .expect("a client");
    let logs = |text: &str| {
        let line = line(&client);
        // Behind the date and the time.
        let logged = line.splitn(3, ' ').nth(2);
        assert_eq!(logged, Some(text), "{line}");
    };
    logs(r#"Round 512: "{\"point\": \"11.72\"}""#);
    publish(&site, 513);
    logs(r#"Round 513: "{\"point\": \"11.72\"}""#);
    site.server.signal(Signal::TERM).expect("it runs");
    logs("read: websocket: close 1001 (going away): server going away");
    ends(&client);
}

#[test]
fn the_browsers_client_works_and_survives_a_restart_of_the_server() {
    let mut site = Site::open(&[]);
    publish(&site, 512);
    let script = client("seed/client.js");
    let script = script.to_str().expect("a path that is text");
    let browser = browser_client("seed_browser.cjs", &[&site.url("http", ""), script]);
    let shows_round = |round_id| {
        assert_eq!(line(&browser), format!("New round: {round_id}"));
        assert_eq!(line(&browser), r#"Result: {"point":"11.72"}"#);
    };
    assert_eq!(line(&browser), "WebSocket connected");
    shows_round(512);
    publish(&site, 513);
    shows_round(513);
    site.restart();
    assert_eq!(line(&browser), "WebSocket disconnected");
    assert_eq!(line(&browser), "Reconnecting in 3000ms...");
    assert_eq!(line(&browser), "WebSocket connected");
    publish(&site, 514);
    shows_round(514);
}
