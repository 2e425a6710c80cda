//! The search for the highest rate that keeps an objective, against a stub that can't do more than it can.

mod support;

use std::fs;
use std::process::Command;
use std::time::Duration;

use lastmile_reports::store;
use support::stub::{Action, Stub};
use support::{lastmile, result_of, text};

/// Delivers at most a hundred messages a second, whatever is asked of it.
fn slow() -> Stub {
    Stub::start(|_| Action::Freeze(Duration::from_millis(10)))
}

fn capacity(stub: &Stub, folder: &std::path::Path, flags: &str) -> Command {
    let mut command = lastmile(&["capacity", "--json", "--protocols", "ws", "--connections", "2"]);
    command.args(["--warmup", "100ms", "--duration", "500ms", "--out"]).arg(folder);
    command.args(stub.flags()).args(flags.split(' '));
    command
}

#[test]
fn the_knee_is_found_confirmed_and_written_with_all_that_led_there() {
    let stub = slow();
    let folder = tempfile::tempdir().unwrap();
    let flags = "--objective p50<150ms,lost=0 --from 5 --to 5000 --tolerance 30%";
    let output = capacity(&stub, folder.path(), flags).output().unwrap();
    let result = result_of(&output);
    let [search] = &result.capacity[..] else { panic!("{:?}", result.capacity) };
    assert_eq!((search.protocol.as_str(), search.connections), ("ws", 2));
    assert_eq!(search.objective, "p50<150ms,lost=0");
    let rate = search.rate.expect("a rate");
    // It serves a hundred a second, half a second lets some more pass, and a busy machine makes it fewer.
    assert!((5.0..=320.0).contains(&rate) && !search.is_bounded, "{search:?}");
    assert!((search.steps[0].rate - 5.0).abs() < 1e-9);
    let confirmations = search.steps.iter().filter(|step| step.is_confirmation && step.kept);
    assert!(
        confirmations.clone().count() >= 1 && confirmations.clone().all(|step| step.rate >= rate),
        "{search:?}"
    );
    assert!(search.steps.iter().any(|step| !step.kept && step.rate > rate), "{search:?}");
    // What is shown in full is the rate that was found.
    assert_eq!(result.cases.len(), 1);
    assert!((result.cases[0].rate - rate).abs() < 1e-9 && result.cases[0].accounting.lost == 0);
    assert!(folder.path().join("report.html").is_file());

    // A run is something else than a search, and a search can be repeated.
    let path = folder.path().join("result.json");
    let run = lastmile(&["run", "--repeat"]).arg(&path).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
    assert!(text(&run.stderr).contains("use lastmile capacity"), "{}", text(&run.stderr));
    let mut again = lastmile(&["capacity", "--json", "--to", "10", "--confirm", "1", "--repeat"]);
    let again = again.arg(&path).arg("--out").arg(folder.path().join("again")).output().unwrap();
    let again = result_of(&again);
    assert_eq!((again.capacity[0].rate, again.capacity[0].is_bounded), (Some(10.0), true));
    assert_eq!((again.capacity[0].steps.len(), again.seed), (3, result.seed));
}

#[test]
fn what_the_generator_can_not_publish_is_no_limit_of_the_server() {
    // Redis takes twenty a second, of messages so large that few of them wait on the way there: a publisher that wants to
    // send more is held up. The server itself delivers whatever comes.
    let stub = Stub::start(|_| Action::Deliver);
    stub.slow_redis(Duration::from_millis(50));
    let folder = tempfile::tempdir().unwrap();
    let flags = "--objective lost=0 --from 4 --to 4000 --tolerance 100% --payload 1048576 --strict";
    let output = capacity(&stub, folder.path(), flags).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("the generator ended the search of ws"), "{stderr}");
    let result = result_of(&output);
    let [search] = &result.capacity[..] else { panic!("{:?}", result.capacity) };
    assert!(search.is_generator_limit && !search.is_bounded, "{search:?}");
    // What could be judged was kept, and what could not is neither kept nor broken.
    assert!(search.rate.is_some_and(|rate| (4.0..=64.0).contains(&rate)), "{search:?}");
    assert!(search.steps.iter().all(|step| step.kept == step.refused.is_empty()), "{search:?}");
    let refused: Vec<&String> = search.steps.iter().flat_map(|step| &step.refused).collect();
    assert!(refused.iter().any(|why| why.starts_with("achieved rate: ")), "{refused:?}");
    let shown = lastmile(&["show"]).arg(folder.path().join("result.json")).output().unwrap();
    let words: Vec<String> = text(&shown.stdout).split_whitespace().map(str::to_owned).collect();
    assert!(words.join(" ").contains("the generator, not the server"), "{words:?}");
}

#[test]
fn what_is_not_delivered_as_promised_is_not_kept_whatever_the_objective_says() {
    let stub = Stub::start(|number| if number % 10 == 9 { Action::Twice } else { Action::Deliver });
    let folder = tempfile::tempdir().unwrap();
    let flags = "--objective p50<10s --from 40 --to 40 --confirm 0";
    let output = capacity(&stub, folder.path(), flags).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result = result_of(&output);
    assert_eq!((result.capacity[0].rate, result.capacity[0].is_generator_limit), (None, false));
    assert!(result.capacity[0].steps.iter().all(|step| !step.kept && step.refused.is_empty()));
    assert_eq!(result.verdict.as_deref(), Some("INVALID"), "that of the case shown: {:?}", result.objections);
}

#[test]
fn floors_are_searched_when_they_are_named() {
    let stub = Stub::start(|_| Action::Deliver);
    let searched = |flags: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = lastmile(&["capacity", "--json", "--connections", "2", "--warmup", "0s"]);
        command.args(["--duration", "100ms", "--objective", "max<10s", "--from", "50", "--to", "50"]);
        command.args(["--confirm", "0", "--out"]).arg(folder.path());
        let output = command.args(stub.flags()).args(flags).output().unwrap();
        let result = result_of(&output);
        let names: Vec<String> = result.capacity.into_iter().map(|search| search.protocol).collect();
        names.join(" ")
    };
    assert_eq!(searched(&[]), "ws sse wss sse-tls wt-stream wt-streams wt-datagram");
    assert_eq!(searched(&["--protocols", "tcp,redis"]), "tcp redis");
}

#[test]
fn an_interrupt_keeps_what_was_found() {
    let stub = slow();
    let folder = tempfile::tempdir().unwrap();
    let flags = "--objective p50<150ms --from 20 --to 30 --confirm 20";
    let child = capacity(&stub, folder.path(), flags).spawn().unwrap();
    // The second run is under way.
    stub.wait_for_publishes(20);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let result = store::read(&folder.path().join("result.json")).unwrap();
    assert!(result.interrupted);
    let search = &result.capacity[0];
    assert!(!search.steps.is_empty() && search.steps.len() < 20, "{search:?}");
    assert_eq!(search.rate, None, "nothing was confirmed");
}

#[track_caller]
fn refused(flags: &[&str], words: &[&str]) {
    let output = lastmile(&["capacity"]).args(flags).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
}

#[test]
fn what_can_not_be_searched_is_told() {
    refused(&["--objective", "p98<5ms"], &["\"p98\" is nothing that is measured here", "p99.9"]);
    refused(&["--objective", "p99>5ms"], &["less is better"]);
    refused(&["--rate", "10"], &["--from and --to"]);
    refused(&["--in-flight", "10"], &["--from and --to"]);
    refused(&["--from", "10", "--to", "5"], &["--from is to be the lower one"]);
    refused(&["--tolerance", "5"], &["--tolerance", "such as 5%"]);
    refused(&["--to", "10000000", "--duration", "1h"], &["--to"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, "[capacity]\nobjective = 'p99'\n").unwrap();
    refused(&[file.to_str().unwrap()], &["c.toml:2:13: objective: \"p99\" is no condition"]);
}
