//! Children end with their owner, whatever happens to it.

use std::path::Path;
use std::time::{Duration, Instant};

use lastmile_processes::{Child, Launch, ProcessError, Signal};

const PATIENCE: Duration = Duration::from_secs(20);

fn shell(script: &str) -> Launch {
    Launch::new("a shell", "/bin/sh").arguments(["-c", script])
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether the process is gone or a zombie; its own parent may be slow to reap it.
fn ended(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
    }
}

fn wait_until_ended(pid: u32) -> bool {
    let until = Instant::now() + PATIENCE;
    while !ended(pid) {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

fn ready(child: &Child) -> String {
    child.read_line(PATIENCE).expect("a line")
}

#[test]
fn dropping_a_child_stops_and_reaps_it() {
    let child = shell("echo up; exec sleep 1000").spawn().expect("a child");
    ready(&child);
    let pid = child.pid();
    assert!(exists(pid));
    drop(child);
    assert!(!exists(pid), "not even a zombie is left");
}

#[test]
fn a_child_deaf_to_its_stop_signal_is_killed_after_its_grace() {
    let child = shell("trap '' TERM; echo up; while :; do sleep 1000; done")
        .stop_with(Signal::TERM, Duration::from_millis(50))
        .spawn()
        .expect("a child");
    ready(&child);
    let status = child.stop().expect("it can be stopped");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    assert!(!exists(child.pid()));
}

#[test]
fn a_paused_child_is_stopped_too() {
    let child = shell("echo up; exec sleep 1000").spawn().expect("a child");
    ready(&child);
    child.signal(Signal::STOP).expect("it runs");
    let status = child.stop().expect("it can be stopped");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
}

#[test]
fn what_a_child_left_in_its_group_goes_with_it() {
    let child = shell("sleep 1000 & echo $!; wait").spawn().expect("a child");
    let grandchild: u32 = ready(&child).parse().expect("a process identifier");
    assert!(exists(grandchild));
    drop(child);
    assert!(wait_until_ended(grandchild));
}

#[test]
fn a_child_that_ended_on_its_own_takes_its_group_with_it_as_well() {
    let child = shell("sleep 1000 & echo $!").spawn().expect("a child");
    let grandchild: u32 = ready(&child).parse().expect("a process identifier");
    assert!(child.wait(PATIENCE).expect("it can be waited for").expect("it ended").success());
    assert!(wait_until_ended(grandchild));
}

#[test]
fn an_unexpected_end_is_told_with_the_end_of_the_log() {
    let child = shell("echo one; echo something is wrong >&2; exit 3").spawn().expect("a child");
    assert_eq!(ready(&child), "one");
    let error = child.read_line(PATIENCE).expect_err("there is no second line");
    assert!(matches!(&error, ProcessError::Exited { status, .. } if status.code() == Some(3)));
    let message = error.to_string();
    assert!(message.contains("a shell ended unexpectedly (exit status: 3)"), "{message}");
    assert!(message.contains("something is wrong"), "{message}");
    assert!(child.check_running().is_err());
}

#[test]
fn waiting_for_a_line_is_bounded() {
    let child = shell("echo up >&2; exec sleep 1000").spawn().expect("a child");
    let error = child.read_line(Duration::from_millis(20)).expect_err("it prints nothing on stdout");
    assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
    child.check_running().expect("it still runs");
    assert_eq!(child.wait(Duration::from_millis(1)).expect("it can be waited for"), None);
}

#[test]
fn closing_the_output_is_not_taken_for_the_end() {
    let child = shell("exec >&-; exec sleep 1000").spawn().expect("a child");
    let error = child.read_line(PATIENCE).expect_err("there is no output");
    assert!(matches!(error, ProcessError::OutputClosed { .. }), "{error}");
}

#[test]
fn a_child_that_prints_without_end_never_blocks() {
    let child = shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 0")
        .spawn()
        .expect("a child");
    let status = child.wait(PATIENCE).expect("it can be waited for");
    assert!(status.expect("nobody reads, and still it ends").success());
}

#[test]
fn a_missing_program_is_named() {
    let error = Launch::new("the server", "/nowhere/server").spawn().expect_err("there is none");
    assert!(error.to_string().contains("could not start the server (/nowhere/server)"), "{error}");
}

#[test]
fn environment_folder_and_arguments_reach_the_child() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = shell("echo \"$GREETING\"; pwd -P; echo \"$0\"")
        .argument("name with space")
        .environment("GREETING", "hello")
        .folder(folder.path())
        .spawn()
        .expect("a child");
    assert_eq!(ready(&child), "hello");
    assert_eq!(Path::new(&ready(&child)), folder.path().canonicalize().expect("it exists"));
    assert_eq!(ready(&child), "name with space");
}

#[test]
fn a_child_outlives_the_thread_that_started_it() {
    let child = std::thread::spawn(|| shell("echo up; exec sleep 1000").spawn().expect("a child"))
        .join()
        .expect("no panic");
    ready(&child);
    // Had the signal been tied to the thread that asked, the child would be dying by now.
    assert_eq!(child.wait(Duration::from_millis(100)).expect("it can be waited for"), None);
}

#[test]
fn a_panic_leaves_nothing_behind() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let child = shell("echo up; exec sleep 1000").spawn().expect("a child");
        ready(&child);
        sender.send(child.pid()).expect("the test waits");
        panic!("on purpose");
    });
    let pid = receiver.recv().expect("it started");
    assert!(panicked.join().is_err());
    assert!(!exists(pid));
}

/// Set for the process that plays an owner which is killed.
const OWNER_VARIABLE: &str = "LASTMILE_TEST_OWNER";

#[test]
fn a_child_dies_with_an_owner_that_is_killed() {
    let owner = Launch::new("the owner", std::env::current_exe().expect("this test"))
        .arguments(["--exact", "an_owner_that_is_killed", "--nocapture"])
        .environment(OWNER_VARIABLE, "1")
        .spawn()
        .expect("an owner");
    let pid: u32 = loop {
        let line = ready(&owner);
        if let Some((_, pid)) = line.split_once("orphan: ") {
            break pid.parse().expect("a process identifier");
        }
    };
    assert!(exists(pid));
    owner.kill().expect("it can be killed");
    assert!(wait_until_ended(pid), "the kernel ends the orphan");
}

/// Does nothing in a normal run: it is the other half of the test above.
#[test]
fn an_owner_that_is_killed() {
    if std::env::var_os(OWNER_VARIABLE).is_none() {
        return;
    }
    let child = shell("echo up; exec sleep 1000").spawn().expect("a child");
    ready(&child);
    println!("orphan: {}", child.pid());
    std::thread::sleep(PATIENCE);
}
