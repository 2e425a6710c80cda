//! `lastmile demo`: it says where to look, there are rounds of all games there, and Ctrl-C leaves nothing.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::{finish, lastmile, output, server_program, text};

/// What the server at this address answers to a request, up to the first `enough`.
fn ask(address: &str, path: &str, mut enough: impl FnMut(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time limit");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").expect("a request");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !enough(&text(&answer)) {
        let count = stream.read(&mut buffer).expect("an answer");
        assert!(count > 0, "{}", text(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    text(&answer)
}

#[test]
fn it_shows_rounds_of_all_games_and_ends_on_ctrl_c() {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = lastmile(&["demo", "--rate", "200"]);
    command.env("LASTMILE_SERVER_BIN", server_program()).env("TMPDIR", temporary.path());
    let mut demo = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(demo.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let said: Vec<String> = lines.by_ref().take(4).collect();
    let address = said
        .iter()
        .find_map(|line| line.trim().strip_prefix("http://")?.split_once('/'))
        .unwrap_or_else(|| panic!("{said:?}"))
        .0;
    assert!(said.iter().any(|line| line.contains(&format!("http://{address}/test.html"))), "{said:?}");
    assert!(said[3].contains("Ctrl-C"), "{said:?}");
    assert!(ask(address, "/", |page| page.contains("</html>")).starts_with("HTTP/1.1 200"));
    for slug in ["crash", "double", "slot", "wall-street"] {
        let stream = ask(address, &format!("/sse/{slug}"), |events| {
            events.matches("event: message").count() >= 3 && events.ends_with("\n\n")
        });
        assert!(stream.contains(&format!("\"game_slug\":\"{slug}\"")), "{stream}");
        let retained = ask(address, &format!("/api/latest/{slug}"), |answer| answer.contains("\"extras\""));
        assert!(retained.starts_with("HTTP/1.1 200"), "{retained}");
    }
    kill_process(Pid::from_child(&demo), Signal::INT).expect("it runs");
    let ended = finish(demo);
    assert!(ended.status.success(), "{}: {}", ended.status, text(&ended.stderr));
    TcpStream::connect(address).expect_err("the server has ended");
    let left: Vec<_> = fs::read_dir(temporary.path()).expect("the folder").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_can_not_be_is_said_at_once() {
    for (arguments, words) in [
        (&["demo", "--rate", "0"][..], "rate"),
        (&["demo", "--server-bin", "/nowhere"], "--server-bin names"),
    ] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}
