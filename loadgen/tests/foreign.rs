//! Servers that are not ours, by a description of them.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lastmile_reports::schema::RunResult;
use support::stub::{Action, Stub};
use support::{lastmile, result_of, text};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Measures what flags ask for; everything has to arrive.
#[track_caller]
fn measured(flags: &[&str]) -> RunResult {
    let folder = tempfile::tempdir().unwrap();
    let mut command =
        lastmile(&["run", "--json", "--warmup", "200ms", "--duration", "500ms", "--rate", "100"]);
    command.args(flags).arg("--out").arg(folder.path());
    let result = result_of(&command.output().unwrap());
    for case in &result.cases {
        let books = case.accounting;
        assert_eq!((books.delivered, books.lost), (books.expected, 0), "{}: {books:?}", case.protocol);
        assert_eq!(
            (books.duplicated, books.corrupt),
            (0, 0),
            "{}: {books:?} {:?}",
            case.protocol,
            case.errors
        );
    }
    result
}

#[track_caller]
fn refused(flags: &[&str], words: &[&str]) {
    let output = lastmile(&["run"]).args(flags).current_dir(std::env::temp_dir()).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}

/// npm ws on Node, from the description that users have: scripts/test fetches the package.
#[test]
fn a_real_foreign_server_is_started_measured_and_ended_by_its_description() {
    let description = repository().join("scenarios/targets/ws.toml");
    let target = description.to_str().unwrap();
    let result = measured(&["--target", target, "--connections", "5"]);
    // Nobody said which protocols: those of the description.
    assert_eq!(result.cases.len(), 1);
    let case = &result.cases[0];
    assert_eq!((case.protocol.as_str(), case.accounting.expected), ("ws", 250));
    assert!(case.server.cpu_us_per_delivery.is_some(), "its process is observed");
    let server = result.conditions.iter().find(|(name, _)| name == "server").unwrap();
    assert_eq!(server.1, "npm ws on Node, a fresh process for every slice");

    // The description is in the result, which can be measured again from anywhere.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    fs::write(&path, serde_json::to_string(&result).unwrap()).unwrap();
    let mut again = lastmile(&["run", "--json", "--out", "again", "--repeat"]);
    let again = again.arg(&path).current_dir(folder.path()).output().unwrap();
    let again = result_of(&again);
    assert_eq!((&again.plan, again.cases[0].published), (&result.plan, case.published));

    refused(&["--target", target, "--protocols", "ws,sse"], &["does not say where sse is found", "[paths]"]);
    refused(&["--target", target, "--games", "3"], &["npm ws on Node has one stream for all games"]);
    refused(&["--target", target, "--target", "http://127.0.0.1:1"], &["leave its address away"]);
    refused(&["--target", target, "--ws-path", "/x"], &["leave those flags away"]);
}

#[test]
fn a_running_server_is_described_by_paths_and_where_identifiers_are() {
    let stub = Stub::start(|number| if number == 40 { Action::Damage } else { Action::Deliver });
    let folder = tempfile::tempdir().unwrap();
    let description = folder.path().join("stub.toml");
    let text = "title = 'a stub'\npaths = { ws = '/ws/{game}', sse = '/sse/{game}' }\n\
                publish.http = 'http://{address}/publish'\nmessage.id = 'round_id'\n";
    fs::write(&description, text).unwrap();
    let address = format!("http://{}", stub.http);
    let target = description.to_str().unwrap();
    let flags = ["--target", target, "--target", &address, "--connections", "2"];
    // By its identifier alone a damaged message is not told from others: nothing is lost and nothing corrupt.
    let result = measured(&flags);
    assert_eq!(result.cases.len(), 2);
    let condition = result.conditions.iter().find(|(name, _)| name == "identifiers").unwrap();
    assert_eq!(condition.1, "read from round_id; the bytes are not compared");
    assert!(result.conditions.iter().any(|(_, value)| value.contains("published by POST")));

    // By Redis and another channel, by a pointer, and out of a scenario beside the description.
    let text = "title = 'a stub'\npaths.sse = '/sse/{game}'\npublish.redis = 'other:{game}'\nmessage.id = '/round_id'\n";
    fs::write(&description, text).unwrap();
    let scenario = folder.path().join("scenario.toml");
    let text =
        format!("target = ['stub.toml', '{address}']\nredis = 'redis://{}'\nconnections = 2\n", stub.redis);
    fs::write(&scenario, text).unwrap();
    let result = measured(&[scenario.to_str().unwrap()]);
    assert_eq!(result.cases.len(), 1);

    refused(&["--target", target], &["does not say how the server is started", "--target http://HOST:PORT"]);
    refused(&["--target", target, "--target", &address], &["say with --redis"]);
    refused(
        &["--target", "/nowhere.toml"],
        &["--target /nowhere.toml can't be read", "scenarios/targets/ws.toml"],
    );
    fs::write(&description, "title = 'x'\npublish.redis = 'a'\npaths.web = '/x'\n").unwrap();
    refused(&["--target", target], &["stub.toml:3:7: unknown key \"web\""]);
}

/// What was measured of these addresses, where nobody said what, and what was said of it.
fn measured_by_default(stub: &Stub, addresses: &[SocketAddr]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = lastmile(&["run", "--json", "--warmup", "0s", "--duration", "200ms", "--rate", "50"]);
    command.args(["--connections", "2", "--redis", &format!("redis://{}", stub.redis)]);
    for address in addresses {
        command.args(["--target", &format!("https://{address}")]);
    }
    let output = command.arg("--out").arg(folder.path()).output().unwrap();
    let result = result_of(&output);
    let names: Vec<&str> = result.cases.iter().map(|case| case.protocol.as_str()).collect();
    let told = result.conditions.iter().filter(|(name, _)| name == "left out");
    let stderr = text(&output.stderr);
    for (_, left_out) in told {
        assert!(stderr.contains(left_out), "{left_out:?} is not in: {stderr}");
    }
    (names.join(" "), stderr)
}

#[test]
fn an_https_target_is_measured_by_everything_it_serves_there() {
    let stub = Stub::start(|_| Action::Deliver);
    let (both, stderr) = measured_by_default(&stub, &[stub.https, stub.webtransport]);
    assert_eq!((both.as_str(), &*stderr), ("wss sse-tls wt-stream wt-streams wt-datagram redis", ""));
    let (https, stderr) = measured_by_default(&stub, &[stub.https]);
    assert_eq!(https, "wss sse-tls redis");
    assert!(
        stderr.contains("left out wt-stream, wt-streams, wt-datagram: ") && stderr.contains("UDP"),
        "{stderr}"
    );
    let (webtransport, stderr) = measured_by_default(&stub, &[stub.webtransport]);
    assert_eq!(webtransport, "wt-stream wt-streams wt-datagram redis");
    assert!(stderr.contains("left out wss, sse-tls: ") && stderr.contains("TCP"), "{stderr}");
    // Who names a protocol wants it, and is told why it can't be had.
    let (redis, https) = (format!("redis://{}", stub.redis), format!("https://{}", stub.webtransport));
    refused(&["--redis", &redis, "--target", &https, "--protocols", "wss"], &["wss needs a target", "TCP"]);
}

#[test]
fn a_description_whose_server_does_not_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let description = folder.path().join("d.toml");
    let target = description.to_str().unwrap();
    let start = |start: &str| {
        let head = "title = 'a server'\npaths.ws = '/'\npublish.http = 'http://{address}/'\n[start]\nneeds = 'more luck'\n";
        fs::write(&description, format!("{head}{start}\n")).unwrap();
    };
    start("command = ['/nowhere/server']");
    refused(&["--target", target], &["could not start a server (/nowhere/server)", "it needs more luck"]);
    start("command = ['/bin/echo', 'hello']");
    refused(&["--target", target], &["a server printed \"hello\" instead of a JSON object"]);
    start("command = ['/bin/false']\nready = 'port'");
    refused(&["--target", target], &["a server ended unexpectedly", "it needs more luck"]);
    start("command = ['{program}']\nvariables = { program = { env = 'LASTMILE_TEST_NOT_SET' } }");
    refused(&["--target", target], &["LASTMILE_TEST_NOT_SET is not set", "it needs more luck"]);
    start("command = ['/bin/true']\nfiles = { 'missing.conf' = '{scratch}/a' }");
    refused(&["--target", target], &["missing.conf could not be written"]);
}
