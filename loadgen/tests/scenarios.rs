//! Scenario files, and results that are measured again.

mod support;

use std::fs;
use std::path::Path;

use lastmile::scenario::Scenario;
use support::stub::{Action, Stub};
use support::{finish, lastmile, result_of, start, text};

#[test]
fn a_file_and_flags_are_one_plan_and_a_result_is_measured_again() {
    let stub = Stub::start(|_| Action::Deliver);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.toml");
    let scenario = "title = 'two'\nprotocols = ['ws', 'sse']\nwarmup = '50ms'\nduration = '200ms'\n\
                    [[matrix]]\nconnections = [1, 2]\nrate = 50\n[[matrix]]\nconnections = 2\nrate = [50, 100]\n";
    fs::write(&file, scenario).unwrap();
    let flags = [file.to_str().unwrap(), "--seed", "5", "--protocols", "ws"];
    let run = start(&stub, &flags, &folder.path().join("first"));
    let first = result_of(&finish(run));
    let loads = |result: &lastmile_reports::schema::RunResult| {
        let load = |case: &lastmile_reports::schema::CaseResult| {
            assert_eq!(case.accounting.lost, 0);
            (case.protocol.clone(), case.connections, case.rate as u32, case.published)
        };
        result.cases.iter().map(load).collect::<Vec<_>>()
    };
    let ws = |connections, rate, published| ("ws".to_owned(), connections, rate, published);
    // The flag took the place of both protocols; what two matrices have is measured once.
    assert_eq!(loads(&first), [ws(1, 50, 10), ws(2, 50, 10), ws(2, 100, 20)]);

    let result = folder.path().join("first/result.json");
    // Everything is in the result, the addresses of the stub too.
    let mut again = lastmile(&["run", "--json", "--repeat"]);
    again.arg(&result).arg("--out").arg(folder.path().join("second"));
    let second = result_of(&again.output().unwrap());
    assert_eq!((loads(&second), second.seed), (loads(&first), 5));
    assert_eq!(second.plan, first.plan);
    // Flags lie over a plan, too.
    again.args(["--rate", "100", "--seed", "6"]);
    let third = result_of(&again.output().unwrap());
    assert_eq!((loads(&third), third.seed), (vec![ws(1, 100, 20), ws(2, 100, 20)], 6));
}

#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let output = lastmile(&["run"]).args(arguments).output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn mistakes_in_files_are_told_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "protocols = ['ws']\nconections = 5\n").unwrap();
    refused(
        &[path],
        &["bad.toml:2:1: unknown key \"conections\"; did you mean \"connections\"?", "2 | conections = 5"],
    );
    fs::write(&file, "[[matrix]]\nrate = 0.001\nduration = '1s'\n").unwrap();
    refused(&[path], &["bad.toml:2:8: rate: at 0.001 messages a second, 2 s hold 0 messages"]);
    // With a file that is right, a flag is at fault.
    fs::write(&file, "rate = 10\n").unwrap();
    refused(&[path, "--duration", "0s"], &["lastmile: at 10 messages a second"]);
    refused(&[path, "--repeat", path], &["--repeat"]);
    refused(&["--repeat", path], &["bad.toml"]);
    refused(&["/nowhere.toml"], &["/nowhere.toml can't be read", "scenarios/quick.toml"]);
    fs::write(&file, b"\xff").unwrap();
    refused(&[path], &["bad.toml can't be read"]);
}

#[test]
fn a_result_without_a_plan_tells_its_command() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/results/minimal");
    refused(&["--repeat", old.to_str().unwrap()], &["holds no plan", "its command was"]);
}

#[test]
fn the_ready_scenarios_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let scenario =
            Scenario::parse(&file.to_string_lossy(), &text).unwrap_or_else(|mistake| panic!("{mistake}"));
        assert!(scenario.title.is_some(), "{}", file.display());
    }
}

/// Measures the real server, fresh with the games that are asked for.
#[track_caller]
fn games(flags: &str) -> Vec<lastmile_reports::schema::CaseResult> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = lastmile(&["run", "--json", "--warmup", "100ms"]);
    command.args(flags.split(' ')).arg("--out").arg(folder.path());
    command.arg("--server-bin").arg(support::server_program());
    let cases = result_of(&command.output().unwrap()).cases;
    for case in &cases {
        let books = case.accounting;
        assert_eq!((books.delivered, books.lost), (books.expected, 0), "{}: {books:?}", case.protocol);
        assert_eq!((books.duplicated, books.corrupt), (0, 0), "{}: {books:?}", case.protocol);
        assert!(case.errors.is_empty(), "{:?}", case.errors);
    }
    cases
}

#[test]
fn subscribers_are_spread_over_games_and_the_books_are_exact() {
    let cases = games("--games 5 --connections 7 --rate 100 --duration 330ms --protocols ws,sse,wt-stream");
    assert_eq!(cases.len(), 3);
    for case in cases {
        // 33 messages from number 10 on: six rounds of five games reach all seven, then games 0, 1 and 2 two, two and
        // one of them.
        assert_eq!((case.published, case.accounting.expected), (33, 6 * 7 + 2 + 2 + 1), "{}", case.protocol);
        assert_eq!(case.topic, "5 games");
        let spread = case.spread.expect("how messages spread");
        assert_eq!((spread.messages, spread.incomplete), (Some(33), Some(0)));
    }
    // More games than subscribers: a message of most of them reaches nobody.
    let cases = games("--games 100 --connections 3 --rate 1000 --duration 200ms --protocols sse");
    assert_eq!((cases[0].published, cases[0].accounting.expected), (200, 6));
    // A closed loop waits for those alone who are to get a message.
    let cases = games("--games 3 --connections 5 --in-flight 4 --duration 200ms --protocols ws,wt-stream");
    for case in cases {
        assert!(case.published > 10 && case.accounting.expected > case.published, "{case:?}");
    }
}
