//! Whole runs of the real server: to their end, interrupted, and with a child that dies. None leaves anything.

mod support;

use std::fs;
use std::process::{Child, Output};

use rustix::process::{Pid, Signal, kill_process};
use support::place::{Place, wait_for};
use support::stub::{Action, Stub};
use support::{case, finish, lastmile, result_of, start, text};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}: {}", output.status, text(&output.stderr));
}

#[test]
fn a_run_measures_all_protocols_of_the_real_server_and_leaves_only_its_results() {
    let place = Place::new();
    let names = "ws,sse,wss,sse-tls,wt-stream,wt-streams,wt-datagram,redis,tcp";
    let flags = format!(
        "--connections 8 --rate 50 --warmup 200ms --duration 1s --protocols {names},sse+h2,sse-tls+h2"
    );
    let output = finish(place.start(&flags));
    assert_exit(&output, 0);
    let result = place.written();
    let protocols: Vec<&str> = result.cases.iter().map(|case| case.protocol.as_str()).collect();
    assert_eq!(protocols.join(","), format!("{names},sse+h2,sse-tls+h2"));
    for case in &result.cases {
        let accounting = case.accounting;
        assert_eq!(accounting.expected, 400, "{}", case.protocol);
        assert_eq!(accounting.delivered + accounting.lost, 400, "{}", case.protocol);
        if case.protocol != "wt-datagram" {
            assert_eq!((accounting.lost, accounting.duplicated, accounting.corrupt), (0, 0, 0), "{case:?}");
        }
        // The floor below everything has no server.
        let server_us = case.server.cpu_us_per_delivery;
        assert_eq!(server_us.is_some_and(|us| us > 0.0), case.protocol != "redis", "{}", case.protocol);
        let encrypted =
            ["wss", "sse-tls", "sse-tls+h2"].contains(&&*case.protocol) || case.protocol.starts_with("wt");
        assert_eq!(case.encrypted, Some(encrypted), "{}", case.protocol);
        assert!(case.redis.unwrap().cpu_s.unwrap() > 0.0, "{}", case.protocol);
        assert_eq!(case.errors, [], "{}", case.protocol);
    }
    let versions: Vec<&str> = result.environment.versions.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(versions, ["lastmile", "lastmile-server", "redis-server"]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("wt-datagram") && stdout.contains("Report: out/report.html"), "{stdout}");
    assert!(output.stderr.is_empty(), "silent without a terminal: {}", text(&output.stderr));
    assert!(place.path().join("out/report.html").is_file());
    place.assert_clean();
}

#[test]
fn the_newest_result_is_always_under_the_same_name() {
    let place = Place::new();
    let run = |flags: &[&str]| {
        let mut command = lastmile(&["run", "--protocols", "ws", "--connections", "1", "--warmup", "0s"]);
        command.args(["--duration", "100ms", "--json"]).args(flags).current_dir(place.path());
        command.env("LASTMILE_SERVER_BIN", place.path().join("lastmile-server"));
        let output = command.output().unwrap();
        assert_exit(&output, 0);
        result_of(&output)
    };
    let latest = place.path().join("results/latest");
    for flags in [&[][..], &[], &["--out", "results/named"]] {
        let result = run(flags);
        let newest = lastmile_reports::store::read(&latest.join("result.json")).unwrap();
        assert_eq!(newest, result);
        assert!(fs::read_link(&latest).unwrap().is_relative());
    }
    run(&["--out", "elsewhere"]);
    assert!(fs::read_link(&latest).unwrap().ends_with("named"), "who asked for another place knows it");
    assert_eq!(fs::read_dir(place.path().join("results")).unwrap().count(), 4);
}

#[test]
fn an_interrupt_keeps_what_was_measured_and_leaves_no_process() {
    let place = Place::new();
    let flags = "--protocols ws,sse --rate 100 --connections 5 --warmup 0s --duration 60s";
    let (child, _redis) = place.start_and_see(flags, 50);
    assert!(!place.processes().is_empty(), "the test must see what it is about to miss");
    signal(&child, Signal::INT);
    let output = finish(child);
    assert_exit(&output, 130);
    let result = place.written();
    assert!(result.interrupted);
    assert_eq!(result.cases.len(), 1, "only the first protocol had begun");
    let case = &result.cases[0];
    assert!(case.interrupted && case.published >= 50 && case.duration_s < 60.0, "{case:?}");
    assert_eq!(case.accounting.expected, case.published * 5);
    assert_eq!(case.accounting.lost, 0, "what was under way was waited for");
    assert!(place.path().join("out/report.html").is_file());
    place.assert_clean();
}

#[test]
fn a_termination_before_anything_was_measured_leaves_nothing_at_all() {
    let place = Place::new();
    let (child, _redis) = place.start_and_see("--protocols ws,sse --warmup 60s", 1);
    signal(&child, Signal::TERM);
    assert_exit(&finish(child), 130);
    assert!(!place.path().join("out").exists());
    place.assert_clean();
}

#[test]
fn a_second_interrupt_ends_at_once_and_still_leaves_no_process() {
    let place = Place::new();
    let mut child = place.start("--protocols ws,sse --warmup 60s");
    // A paused server would hold up a polite end.
    wait_for(&mut child, "the server", || place.processes().len() == 2);
    for (pid, _) in place.processes() {
        let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP);
    }
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    assert_exit(&finish(child), 130);
    place.assert_clean();
}

#[test]
fn a_server_that_dies_is_named_with_its_log_and_finished_cases_are_kept() {
    let place = Place::new();
    let flags = "--protocols ws,sse --rate 100 --connections 5 --warmup 0s --duration 1s";
    // The first protocol has no more than 100.
    let (child, _redis) = place.start_and_see(flags, 111);
    let servers = place.processes();
    let [(pid, _)] = servers[..] else { panic!("one server was expected: {servers:?}") };
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let output = finish(child);
    assert_exit(&output, 3);
    let stderr = text(&output.stderr);
    let result = place.written();
    let [finished] = &result.cases[..] else { panic!("one case was finished: {:?}", result.cases) };
    assert_eq!(finished.accounting.delivered, 500);
    let second = if finished.protocol == "ws" { "sse" } else { "ws" };
    let told = format!("{second}: lastmile-server ended unexpectedly (signal: 9");
    assert!(stderr.contains(&told), "{stderr}");
    place.assert_clean();
}

#[test]
fn a_redis_that_dies_is_named() {
    let place = Place::new();
    let mut child = place.start("--protocols ws --rate 100 --warmup 60s");
    let mut redis = None;
    wait_for(&mut child, "Redis and the server", || {
        let processes = place.processes();
        redis = processes.iter().find(|(_, command)| command.contains("redis-server")).map(|(pid, _)| *pid);
        processes.len() == 2 && redis.is_some()
    });
    kill_process(Pid::from_raw(redis.unwrap()).unwrap(), Signal::KILL).unwrap();
    let output = finish(child);
    let stderr = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(2 | 3)), "{}: {stderr}", output.status);
    assert!(stderr.contains("redis-server") || stderr.contains("Redis"), "{stderr}");
    place.assert_clean();
}

#[test]
fn an_interrupt_works_the_same_on_a_foreign_target() {
    let stub = Stub::start(|_| Action::Deliver);
    let folder = tempfile::tempdir().unwrap();
    let flags = "--protocols wt-datagram --rate 100 --connections 3 --warmup 0s --duration 60s";
    let child = start(&stub, &flags.split(' ').collect::<Vec<_>>(), folder.path());
    stub.wait_for_publishes(60);
    signal(&child, Signal::INT);
    let output = finish(child);
    assert_exit(&output, 130);
    let result = result_of(&output);
    let case = case(&result, "wt-datagram");
    assert!(result.interrupted && case.interrupted);
    assert_eq!(case.accounting.expected, case.published * 3);
    assert_eq!(case.accounting.lost, 0);
}
