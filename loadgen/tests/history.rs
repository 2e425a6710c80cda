//! `lastmile history` on both databases: results go in, changes come out, dated and never mixed between machines.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use lastmile_processes::PrivatePostgres;
use lastmile_reports::schema::RunResult;
use lastmile_reports::store;
use support::{lastmile, text};

fn history(arguments: &[&str]) -> Output {
    let mut command = lastmile(&["history"]);
    let ci = ["GITHUB_SHA", "GITHUB_REF_NAME", "GITHUB_HEAD_REF", "GITHUB_BASE_REF", "CI_COMMIT_SHA"];
    for name in ci.into_iter().chain(["CI_COMMIT_REF_NAME", "LASTMILE_HISTORY"]) {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let all = format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{all}");
    text(if code == 2 { &output.stderr } else { &output.stdout })
}

fn words(path: &Path) -> &str {
    path.to_str().expect("a path of the tests is text")
}

/// A result that passes its checks, as a commit of a day measured it: `cost` times the CPU, by so many cores.
fn result(folder: &Path, day: usize, cost: f64, cores: u32) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/tests/data/first-light-1.json");
    let mut result: RunResult = store::read(&data).unwrap();
    result.cases.retain(|case| case.protocol == "ws");
    result.started_at = format!("2026-01-{day:02}T00:00:00Z");
    result.seed = day as u64;
    result.environment.cores = cores;
    result.environment.git_revision = Some(format!("commit{day:02}of{cores}"));
    let wobble = 1.0 + ((day * 7) % 5) as f64 * 0.002;
    for case in &mut result.cases {
        case.server.cpu_us_per_delivery = Some(7.0 * cost * wobble);
    }
    let path = folder.join(format!("result-{day}-{cores}.json"));
    store::write(&path, &result).unwrap();
    path
}

/// The whole way on one database.
fn tells_changes(db: &str) {
    let folder = tempfile::tempdir().unwrap();
    let add = |path: &Path| history(&["add", "--db", db, "--branch", "main", "--allow-invalid", words(path)]);
    // Two machines, of which the second is always half as fast: mixed, every run would be a change.
    for day in 1..=16 {
        let cost = if day <= 9 { 1.0 } else { 1.1 };
        let added = add(&result(folder.path(), day, cost, 2));
        assert!(said(&added, 0).contains("added"), "day {day}");
        said(&add(&result(folder.path(), day, 2.0, 4)), 0);
    }
    let twice = add(&result(folder.path(), 1, 1.0, 2));
    assert!(said(&twice, 0).contains("was there already"));

    let list = said(&history(&["list", "--db", db, "--branch", "main"]), 0);
    assert_eq!(list.matches("commit").count(), 32, "{list}");

    let check = said(&history(&["check", "--db", db, "--branch", "main"]), 1);
    assert!(
        check.contains("of 2 machine(s)") && check.contains("1 changes of level, 1 for the worse"),
        "{check}"
    );
    assert!(check.contains("cpu changed by +9.9 % at commit10of2"), "{check}");
    // Long ago is no alarm any more, and too small no change.
    said(&history(&["check", "--db", db, "--branch", "main", "--recent", "3"]), 0);
    said(&history(&["check", "--db", db, "--branch", "main", "--change", "20"]), 0);

    let page = folder.path().join("trend.html");
    said(&history(&["report", "--db", db, "--branch", "main", "-o", words(&page)]), 0);
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains("commit10of2") && page.matches("<svg class=\"plot still third trend\"").count() >= 2
    );

    let out = folder.path().join("csv");
    let exported = said(&history(&["export", "--db", db, "--branch", "main", "--out", words(&out)]), 0);
    let files: Vec<&str> = exported
        .lines()
        .filter(|line| Path::new(line).extension().is_some_and(|ending| ending == "csv"))
        .collect();
    assert_eq!(files.len(), 2, "{exported}");
    // Into an empty history, it finds the same.
    let other = format!("sqlite://{}", folder.path().join("imported/history.db").display());
    let import: Vec<&str> = ["import", "--db", &other].into_iter().chain(files).collect();
    assert!(said(&history(&import), 0).starts_with("32 runs added, 0 were there already"));
    assert!(said(&history(&import), 0).starts_with("0 runs added, 32 were there already"));
    let check = said(&history(&["check", "--db", &other, "--branch", "main"]), 1);
    assert!(check.contains("cpu changed by +9.9 % at commit10of2"), "{check}");

    let nothing = said(&history(&["check", "--db", db, "--branch", "elsewhere"]), 2);
    assert!(nothing.contains("no run of branch \"elsewhere\", but of main"), "{nothing}");
}

#[test]
fn a_change_is_dated_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    tells_changes(&format!("sqlite://{}", folder.path().join("new/history.db").display()));
}

#[test]
fn a_change_is_dated_on_postgres() {
    let postgres = PrivatePostgres::start().unwrap();
    tells_changes(&postgres.url());
}

/// What a gate of two revisions left: a figure of a block each, the base measured once more.
fn gate_result(folder: &Path, day: usize, cost: f64, outcome: &str) -> PathBuf {
    let block = |role: &str, value: f64| {
        serde_json::json!({
            "case": 0, "pair": 0, "role": role, "at_s": 0.0, "values": [["cpu", value]],
            "accounting": {"expected": 1, "delivered": 1, "lost": 0, "duplicated": 0, "reordered": 0, "corrupt": 0}
        })
    };
    let build = |name: &str| serde_json::json!({"name": name, "revision": format!("{name}{day:02}"), "program": name});
    let gate = serde_json::json!({
        "schema": "lastmile.gate/1", "command": "lastmile gate", "reproduce": "lastmile gate", "seed": day,
        "started_at": format!("2026-01-{day:02}T00:00:00Z"),
        "environment": {"cpu": "a", "cores": 2, "kernel": "Linux 6 x86_64", "memory_bytes": 1, "versions": []},
        "mode": "paired", "base": build("before"), "candidate": build("after"), "alpha": 0.01, "looks": [12],
        "cases": [{"protocol": "ws", "load": "10 subscribers"}], "thresholds": [], "judgements": [],
        "outcome": outcome, "messages": ["refused: too noisy"], "exit_code": 0,
        "blocks": [block("base", 7.0), block("candidate", 7.0 * cost), block("base-again", 7.2), block("base", 7.1)],
    });
    let path = folder.join(format!("gate-{day}.json"));
    fs::write(&path, gate.to_string()).unwrap();
    path
}

#[test]
fn both_sides_of_a_gate_are_added_to_series_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let db = format!("sqlite://{}", folder.path().join("history.db").display());
    let add = |path: &Path, more: &[&str]| {
        history(
            &[&["add", "--db", &db, "--branch", "topic", "--base-branch", "main", words(path)], more]
                .concat(),
        )
    };
    let path = gate_result(folder.path(), 1, 1.3, "regression");
    let said_of_both = said(&add(&path, &[]), 0);
    assert!(said_of_both.contains("added: 1 figures of before01 on main"), "{said_of_both}");
    assert!(said_of_both.contains("added: 1 figures of after01 on topic"), "{said_of_both}");
    assert_eq!(said(&add(&path, &[]), 0).matches("was there already").count(), 2);
    said(&add(&result(folder.path(), 2, 1.0, 2), &["--allow-invalid"]), 0);
    let out = folder.path().join("csv");
    said(&history(&["export", "--db", &db, "--branch", "topic", "--out", words(&out)]), 0);
    let files: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .filter(|content| content.starts_with("time"))
        .collect();
    assert_eq!(files.len(), 2, "a gate and a run: {files:?}");
    assert!(files.iter().any(|content| content.contains("9.1")), "{files:?}");

    let refused = gate_result(folder.path(), 3, 1.0, "invalid");
    assert!(said(&add(&refused, &[]), 2).contains("is INVALID (refused: too noisy)"));
    said(&add(&refused, &["--allow-invalid"]), 0);
    let text = fs::read_to_string(&path).unwrap().replace("\"revision\"", "\"forgotten\"");
    fs::write(&path, text.replace("\"seed\":1", "\"seed\":9")).unwrap();
    assert!(said(&add(&path, &[]), 2).contains("as the base; give --base-revision"));
    assert!(said(&add(&path, &["--base-revision", "b"]), 2).contains("as the candidate; give --revision"));
    said(&add(&path, &["--base-revision", "b", "--revision", "c"]), 0);
}

#[test]
fn what_can_not_be_added_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let db = format!("sqlite://{}", folder.path().join("history.db").display());
    let path = result(folder.path(), 1, 1.0, 2);
    let mut broken = store::read(&path).unwrap();
    broken.cases[0].accounting.lost += 1;
    let invalid = folder.path().join("invalid.json");
    store::write(&invalid, &broken).unwrap();
    broken.cases.clear();
    let empty = folder.path().join("empty.json");
    store::write(&empty, &broken).unwrap();
    let csv = folder.path().join("bad.csv");
    fs::write(&csv, "time,x\nyesterday,1\n").unwrap();
    let cases: [(&[&str], &str); 6] = [
        (&["add", "--db", &db, words(&invalid)], "--allow-invalid"),
        (&["add", "--db", &db, "--allow-invalid", words(&empty)], "no figure"),
        (&["add", "--db", &db, "/nowhere.json"], "/nowhere.json"),
        (&["list", "--db", "mysql://somebody:secret@host/x"], "sqlite://PATH"),
        (&["list", "--db", "postgres://somebody:secret@127.0.0.1:1/x"], "can't be opened"),
        (&["import", "--db", &db, words(&csv)], "bad.csv:2: \"yesterday\" is no time"),
    ];
    for (arguments, told) in cases {
        let stderr = said(&history(arguments), 2);
        assert!(stderr.contains(told) && !stderr.contains("secret"), "{arguments:?}: {stderr}");
    }
}
