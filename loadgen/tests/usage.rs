//! What can't work is told in a sentence that says what to do, with exit code 2, before anything is measured.

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use lastmile_processes::PrivateRedis;
use support::stub::{Action, Stub};
use support::{finish, lastmile, server_program, start, text};

/// Runs `lastmile run` in a folder of its own and holds the exit code and what is said against what is wanted;
/// nothing may be left in the folder.
#[track_caller]
fn refused(flags: &[&str], words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = lastmile(&["run"]);
    command.args(flags).current_dir(folder.path());
    refused_by(command, folder.path(), words);
}

#[track_caller]
fn refused_by(mut command: Command, folder: &Path, words: &[&str]) {
    let output = command.output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    let left: Vec<_> =
        std::fs::read_dir(folder).unwrap().flat_map(|entry| result_files(&entry.unwrap().path())).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn result_files(path: &Path) -> Vec<std::path::PathBuf> {
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().flat_map(|entry| result_files(&entry.unwrap().path())).collect()
    } else {
        vec![path.to_owned()]
    }
}

/// An address nobody listens on.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn flags_that_make_no_sense() {
    refused(
        &["--protocols", "ws,smoke"],
        &[
            "unknown protocol \"smoke\"",
            "ws, sse, wss, sse-tls, wt-stream, wt-streams, wt-datagram, redis, tcp",
        ],
    );
    refused(
        &["--protocols", "sse+h3"],
        &["sse has no option \"h3\"", "+h2, +msgpack and +batch1 to +batch100"],
    );
    refused(&["--rate", "0"], &["--rate", "0.001"]);
    refused(&["--duration", "ten"], &["--duration", "10s, 500ms or 2m"]);
    refused(&["--duration", "0s"], &["change --rate or --duration"]);
    refused(&["--rate", "1000000", "--duration", "1h"], &["change --rate or --duration"]);
    refused(&["--connections", "0"], &["--connections"]);
    refused(&["--payload", "100"], &["--payload", "at least"]);
    refused(&["--game", "chess"], &["no game \"chess\"", "crash, double, slot, wall-street"]);
    refused(&["--type", "chess"], &["no game of type \"chess\"", "multiplier, color, slots, trending"]);
    refused(&["--game", "crash", "--type", "color"], &["--game", "--type"]);
    refused(&["--redis", "http://x"], &["redis://HOST:PORT"]);
    refused(&["--target", "http://127.0.0.1:1"], &["--redis", "--publish-http"]);
    refused(&["--in-flight", "8", "--rate", "10"], &["--in-flight", "--rate"]);
    refused(&["--in-flight", "8", "--arrivals", "poisson"], &["--in-flight", "--arrivals"]);
    refused(&["--in-flight", "0"], &["--in-flight"]);
    refused(&["--ws-path", "/x"], &["--target"]);
    refused(&["--publish-http", "http://127.0.0.1:1/x"], &["--target"]);
    let target = ["--target", "http://127.0.0.1:1"];
    let both = ["--redis", "redis://127.0.0.1:1", "--publish-http", "http://127.0.0.1:1/"];
    refused(&[&target[..], &both[..]].concat(), &["--redis", "--publish-http"]);
    refused(&[&target[..], &both[2..3], &["ftp://x"]].concat(), &["use http://HOST:PORT/path"]);
    refused(&[&target[..], &both[..2], &["--sse-path", "x"]].concat(), &["a path like /ws/crash"]);
}

#[test]
fn programs_that_are_missing() {
    refused(&["--server-bin", "/nowhere/server"], &["--server-bin names /nowhere/server", "cargo build"]);
    let folder = tempfile::tempdir().unwrap();
    let mut command = lastmile(&["run"]);
    command.env("LASTMILE_SERVER_BIN", "/nowhere/server").current_dir(folder.path());
    refused_by(command, folder.path(), &["LASTMILE_SERVER_BIN names /nowhere/server"]);
    let mut command = lastmile(&["run"]);
    command.env("LASTMILE_REDIS_SERVER", "/nowhere/redis").current_dir(folder.path());
    refused_by(command, folder.path(), &["redis-server was not found"]);
    // A program, but not a server of ours. (With all protocols the turn of `redis`, which needs none, may come first: that is
    // measured, and kept.)
    let ws = ["--protocols", "ws", "--server-bin"];
    refused(&[&ws[..], &["/bin/echo"]].concat(), &["instead of its ready line"]);
    refused(&[&ws[..], &["/bin/false"]].concat(), &["lastmile-server ended unexpectedly"]);
}

#[test]
fn doctor_tells_what_is_missing() {
    let output = lastmile(&["doctor"]).env("LASTMILE_REDIS_SERVER", "/nowhere").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).contains("MISSING  redis-server"), "{}", text(&output.stdout));
    let program = server_program();
    let output = lastmile(&["doctor", "--server-bin", program.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("file descriptors"));
}

#[test]
fn places_that_can_not_be_reached() {
    let nobody = nobody();
    refused(&["--redis", &format!("redis://{nobody}")], &["can't be reached", &nobody, "leave --redis away"]);
    refused(&["--redis", "redis+unix:///nowhere.sock"], &["redis+unix:///nowhere.sock can't be reached"]);
    let stub = Stub::start(|_| Action::Deliver);
    let redis = format!("redis://{}", stub.redis);
    refused(
        &["--redis", &redis, "--target", &format!("http://{nobody}"), "--protocols", "sse"],
        &["--target http://", "can't be reached", "is the server running"],
    );
    refused(
        &["--redis", &redis, "--target", &format!("http://{}", stub.http), "--protocols", "ws,wt-stream"],
        &["wt-stream needs a target of the form https://"],
    );
    refused(
        &["--redis", &redis, "--target", &format!("http://{}", stub.redis), "--protocols", "ws"],
        &["ws:", "closed the connection before the subscription was accepted"],
    );
    let http = format!("http://{}", stub.http);
    let target = ["--target", http.as_str(), "--protocols", "ws"];
    let posted = format!("http://{nobody}/x");
    refused(&[&target[..], &["--publish-http", &posted]].concat(), &["--publish-http", "can't be reached"]);
    let redis_flags = ["--redis", redis.as_str()];
    refused(&[&target[..], &redis_flags, &["--target-pid", "4294967295"]].concat(), &["--target-pid"]);
    refused(&[&target[..], &redis_flags, &["--ws-path", "/elsewhere"]].concat(), &["404: no game"]);
    // Taken before anything else, it would wait for QUIC's patience to end.
    refused(
        &["--redis", &redis, "--target", &format!("https://{nobody}"), "--protocols", "wt-stream"],
        &["wt-stream:", &nobody, "no answer over QUIC (UDP)"],
    );
}

#[test]
fn a_server_without_the_game_says_so_itself() {
    let stub = Stub::start(|_| Action::Deliver);
    for (protocol, said) in [("ws", "404: no game"), ("sse", "404: no game"), ("wt-streams", "status 404")] {
        let folder = tempfile::tempdir().unwrap();
        let output = finish(start(&stub, &["--game", "double", "--protocols", protocol], folder.path()));
        assert_eq!(output.status.code(), Some(2));
        let stderr = text(&output.stderr);
        assert!(stderr.contains(said) && stderr.contains(protocol), "{stderr}");
    }
}

#[test]
fn a_redis_the_server_does_not_read_from() {
    let stub = Stub::start(|_| Action::Deliver);
    let redis = PrivateRedis::start().unwrap();
    let target = format!("http://{}", stub.http);
    refused(
        &["--redis", &redis.url(), "--target", &target, "--protocols", "ws"],
        &["nobody is subscribed to stream:crash", "the same Redis"],
    );
}

#[test]
fn limits_of_this_machine() {
    let program = env!("CARGO_BIN_EXE_lastmile");
    let limited = |connections: &str| {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "ulimit -n 256 && exec \"$@\"",
            "sh",
            program,
            "run",
            "--protocols",
            "wt-stream,ws",
        ]);
        command.args(["--connections", connections]);
        command
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = limited("1000");
    command.current_dir(folder.path());
    refused_by(command, folder.path(), &["1000 connections need 1064", "at most 256", "--connections 192"]);
}

#[test]
fn a_folder_that_can_not_be_written() {
    let program = server_program();
    refused(
        &["--server-bin", program.to_str().unwrap(), "--out", "/proc/results"],
        &["results can't be written to /proc/results", "--out"],
    );
}
