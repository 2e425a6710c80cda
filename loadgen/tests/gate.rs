//! `lastmile gate` and `lastmile compare`, with real servers: outputs, exit codes, and what goes wrong.
//!
//! No test asserts on time: what is planted is processor time, several times over.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lastmile_processes::{PrivateRedis, Reply};
use lastmile_reports::gate::{Block, GateResult, Metric, Outcome, Role};
use support::{lastmile, server_program, text};

/// Short blocks of little load: what is tested is not how well they measure.
const SHORT: [&str; 8] = ["--connections", "10", "--rate", "100", "--warmup", "50ms", "--duration", "300ms"];
/// One metric at a generous chance of a false alarm, so that six pairs can decide.
const SIX_PAIRS: [&str; 6] = ["--pairs", "6", "--metrics", "cpu", "--alpha", "0.2"];

fn gate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = lastmile(&["gate", "--out", "out"]);
    command
        .args(arguments)
        .args(SHORT)
        .current_dir(folder)
        .env_remove("GITHUB_ACTIONS")
        .env_remove("GITHUB_STEP_SUMMARY");
    command
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) {
    let said = format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
}

#[track_caller]
fn written(folder: &Path) -> GateResult {
    GateResult::read(&folder.join("out/gate.json")).unwrap()
}

/// A program that can be started.
fn script(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{content}\n")).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

fn words(path: &Path) -> &str {
    path.to_str().expect("a path of the tests is text")
}

#[test]
fn a_planted_cost_is_caught_and_named_in_every_output() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_program();
    let slower = server.with_file_name("slower-server");
    assert!(slower.is_file(), "build it first: cargo build -p lastmile-benches --bins (scripts/test does)");
    let summary = folder.path().join("summary.md");
    let arguments = [
        "--base",
        words(&server),
        "--candidate",
        words(&slower),
        "--pairs",
        "8",
        "--metrics",
        "cpu",
        "--seed",
        "5",
    ];
    let output = gate(folder.path(), &arguments)
        .env("SLOWER_SERVER_CPU", "200")
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_STEP_SUMMARY", &summary)
        .output()
        .unwrap();
    assert_exit(&output, 1);
    let result = written(folder.path());
    assert_eq!((result.outcome, result.exit_code), (Outcome::Regression, 1));
    assert!(result.messages[0].starts_with("ws: the server's CPU per delivery is "), "{:?}", result.messages);
    assert!(result.judgements[0].change.unwrap() > 1.0, "{:?}", result.judgements);
    // Eight pairs, the base once more in three of them, in an order that is drawn.
    // A machine that is too busy for one makes it be replaced.
    assert!(result.blocks.len() >= 8 * 2 + 3, "{}", result.blocks.len());
    let firsts: Vec<Role> =
        (0..8).map(|pair| result.blocks.iter().find(|block| block.pair == pair).unwrap().role).collect();
    assert!(
        firsts.contains(&Role::Candidate) && firsts.iter().any(|role| *role != Role::Candidate),
        "{firsts:?}"
    );
    assert!(result.blocks.iter().all(|block| block.value(Metric::Cpu).is_some()));
    assert!(result.reproduce.contains("--seed 5"));

    let stdout = text(&output.stdout);
    assert!(
        stdout.contains("REGRESSION") && stdout.contains("::error title=lastmile gate%3A REGRESSION::ws: "),
        "{stdout}"
    );
    assert!(fs::read_to_string(summary).unwrap().contains("### REGRESSION"));
    assert!(fs::read_to_string(folder.path().join("out/gate.junit.xml")).unwrap().contains("failures=\"1\""));
    assert!(
        fs::read_to_string(folder.path().join("out/gate.html")).unwrap().contains("plot still wide rows")
    );
    assert!(output.stderr.is_empty(), "quiet without a terminal: {}", text(&output.stderr));
}

#[test]
fn a_candidate_that_ends_in_its_third_block_is_told_and_what_was_measured_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_program();
    let failing = format!(
        "n=$(($(cat '{0}' 2>/dev/null || echo 0) + 1)); echo $n > '{0}'\n\
         if [ $n -ge 3 ]; then echo 'out of luck' >&2; exit 9; fi\nexec '{1}' \"$@\"",
        folder.path().join("count").display(),
        server.display()
    );
    let failing = script(folder.path(), "failing", &failing);
    let arguments = [&["--base", words(&server), "--candidate", words(&failing)], &SIX_PAIRS[..]].concat();
    let output = gate(folder.path(), &arguments).output().unwrap();
    assert_exit(&output, 3);
    let result = written(folder.path());
    assert_eq!(result.outcome, Outcome::Invalid);
    let failure = result.failure.as_deref().unwrap();
    assert!(failure.starts_with("The candidate failed in its block 3 (pair 3): ws: "), "{failure}");
    assert!(failure.contains("out of luck"), "{failure}");
    assert!(text(&output.stderr).contains("out of luck"));
    let kept = |role: Role| result.blocks.iter().filter(|block| block.role == role).count();
    assert_eq!(kept(Role::Candidate), 2);
    assert!(kept(Role::Base) >= 2);
}

#[test]
fn a_candidate_that_never_starts_is_a_fault_of_the_set_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_program();
    let failing = script(folder.path(), "failing", "echo 'no licence' >&2; exit 9");
    let arguments = [&["--base", words(&server), "--candidate", words(&failing)], &SIX_PAIRS[..]].concat();
    let output = gate(folder.path(), &arguments).output().unwrap();
    assert_exit(&output, 2);
    assert!(text(&output.stderr).contains("no licence"), "{}", text(&output.stderr));
}

/// A repository of one commit.
fn repository(folder: &Path) {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(folder).output().expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", text(&output.stderr));
    };
    git(&["init", "--quiet"]);
    fs::write(folder.join("build.sh"), "echo built >> \"$BUILDS\"; cp \"$SERVER\" made\n").unwrap();
    git(&["add", "build.sh"]);
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"];
    git(&[&identity[..], &["commit", "--quiet", "-m", "one"]].concat());
}

#[test]
fn a_revision_is_built_once_in_a_worktree_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    repository(folder.path());
    let builds = folder.path().join("builds");
    let build = ["--build-cmd", "sh build.sh", "--build-output", "made", "--cache", "cache"];
    let arguments = [&["--base", "HEAD", "--candidate", "HEAD"], &build[..], &SIX_PAIRS[..]].concat();
    let output = gate(folder.path(), &arguments)
        .env("SERVER", server_program())
        .env("BUILDS", &builds)
        .output()
        .unwrap();
    let result = written(folder.path());
    assert_exit(&output, result.exit_code.into());
    assert_eq!(fs::read_to_string(&builds).unwrap(), "built\n", "base and candidate are one revision");
    let revision = result.base.revision.clone().unwrap();
    assert!(revision.len() >= 40 && result.candidate.revision == result.base.revision);
    let pinned = format!("--base {revision} --candidate {revision}");
    assert!(result.reproduce.contains(&pinned), "{}", result.reproduce);
    assert!(result.base.version.is_some());
    // The user's own tree was not touched, and the other is gone.
    assert!(!folder.path().join("made").exists() && !folder.path().join("cache/tree").exists());
}

#[test]
fn a_base_that_does_not_build_is_told_with_the_end_of_its_output() {
    let folder = tempfile::tempdir().unwrap();
    repository(folder.path());
    let build =
        ["--build-cmd", "echo 'no such crate' >&2; exit 7", "--build-output", "made", "--cache", "cache"];
    let arguments = [&["--base", "HEAD", "--candidate", "HEAD"], &build[..], &SIX_PAIRS[..]].concat();
    let output = gate(folder.path(), &arguments).output().unwrap();
    assert_exit(&output, 2);
    let said = text(&output.stderr);
    assert!(said.contains("--base HEAD (") && said.contains("no such crate"), "{said}");
    let build = ["--build-cmd", "true", "--build-output", "made", "--cache", "cache"];
    let arguments = [&["--base", "HEAD", "--candidate", "HEAD"], &build[..], &SIX_PAIRS[..]].concat();
    let output = gate(folder.path(), &arguments).output().unwrap();
    assert_exit(&output, 2);
    assert!(text(&output.stderr).contains("--build-output"), "{}", text(&output.stderr));
}

#[test]
fn any_two_servers_are_gated_by_their_commands() {
    let folder = tempfile::tempdir().unwrap();
    let command = format!(
        "'{}' --listen 127.0.0.1:{{port}} --wt-listen 127.0.0.1:0 --database sqlite::memory: --redis {{redis}}",
        server_program().display()
    );
    let arguments = [&["--base-cmd", &command, "--candidate-cmd", &command], &SIX_PAIRS[..]].concat();
    let output = gate(folder.path(), &arguments).output().unwrap();
    let result = written(folder.path());
    assert_exit(&output, result.exit_code.into());
    assert_eq!(result.failure, None);
    assert!(result.blocks.len() >= 6 * 2 + 2, "{}", result.blocks.len());
    assert!(result.blocks.iter().all(|block| block.value(Metric::Cpu).is_some_and(|cpu| cpu > 0.0)));
}

/// On two cores, one for each side: that shows that it works, not how well it measures.
#[test]
fn a_duet_publishes_once_for_both_and_has_its_noise_in_pairs_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_program();
    let redis = PrivateRedis::start().unwrap();
    let url = redis.url();
    let both = ["--base", words(&server), "--candidate", words(&server)];
    let duet = ["--mode", "duet", "--allow-few-cores", "--redis", &url];
    let output = gate(folder.path(), &[&both[..], &SIX_PAIRS[..], &duet[..]].concat()).output().unwrap();
    let result = written(folder.path());
    assert_exit(&output, result.exit_code.into());
    assert_eq!((result.failure.as_deref(), result.mode.as_str()), (None, "duet"));
    let of = |role: Role| result.blocks.iter().filter(move |block| block.role == role);
    assert!(of(Role::Candidate).count() >= 6 && of(Role::BaseAgain).count() >= 2);
    let others = of(Role::Candidate).chain(of(Role::BaseAgain));
    for other in others.clone() {
        let beside: Vec<_> = of(Role::Base).filter(|base| base.pair == other.pair).collect();
        assert_eq!(beside.len(), 1, "pair {}", other.pair);
        assert_eq!(beside[0].at_s.to_bits(), other.at_s.to_bits(), "begun together");
    }
    // Both had all of the same publishes: two publishers on one Redis would show as duplicates, and in its own count.
    let faults: Vec<&String> = result.blocks.iter().flat_map(|block| &block.faults).collect();
    assert!(faults.iter().all(|fault| !fault.starts_with("accounting")), "{faults:?}");
    let measured: u64 = others.map(|block| block.accounting.expected / 10).sum();
    let Reply::Bulk(Some(statistics)) = redis.command(&[b"INFO", b"commandstats"]).unwrap() else {
        panic!("Redis counts its commands");
    };
    let statistics = text(&statistics);
    let (_, calls) = statistics.split_once("cmdstat_publish:calls=").unwrap();
    let calls: u64 = calls.split(',').next().unwrap().parse().unwrap();
    assert!((measured..2 * measured).contains(&calls), "{calls} publishes, {measured} measured");
    let judgement = &result.judgements[0];
    // Each pair counts where it belongs, but those that a busy machine has made worthless.
    let sound = |role: Role| {
        let is_sound = |block: &&Block| block.faults.is_empty();
        let is_paired = |pair: usize| of(Role::Base).filter(is_sound).any(|base| base.pair == pair);
        of(role).filter(is_sound).filter(|block| is_paired(block.pair)).count()
    };
    assert_eq!(judgement.pairs, sound(Role::Candidate), "{judgement:?}");
    assert_eq!(judgement.noise_changes.len(), sound(Role::BaseAgain), "{judgement:?}");
    assert!(result.conditions.iter().any(|(name, value)| name == "duet" && value.contains("one publisher")));
    let cores = std::thread::available_parallelism().unwrap().get();
    let told = result.remarks.iter().any(|remark| remark.contains("--allow-few-cores"));
    assert_eq!(told, cores < 4, "{:?}", result.remarks);
}

#[test]
fn a_candidate_that_does_not_start_ends_a_duet_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_program();
    let failing = script(folder.path(), "failing", "echo 'no licence' >&2; exit 9");
    let both = ["--base", words(&server), "--candidate", words(&failing)];
    let duet = ["--mode", "duet", "--allow-few-cores"];
    let output = gate(folder.path(), &[&both[..], &SIX_PAIRS[..], &duet[..]].concat()).output().unwrap();
    assert_exit(&output, 2);
    let said = text(&output.stderr);
    assert!(said.contains("The candidate failed in its block 1") && said.contains("no licence"), "{said}");
}

/// A server that ends as clap does where it is given this flag.
fn older_server(folder: &Path, flag: &str) -> PathBuf {
    let content = format!(
        "for word; do if [ \"$word\" = {flag} ]; then echo \"error: unexpected argument '{flag}' found\" >&2; exit 2; fi; done\n\
         exec '{}' \"$@\"",
        server_program().display()
    );
    script(folder, "older", &content)
}

#[test]
fn a_base_from_before_a_flag_is_gated_or_told_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_program();
    let older = older_server(folder.path(), "--limits");
    let both = ["--base", words(&older), "--candidate", words(&server), "--candidate-args", "--shards 1"];
    let output = gate(folder.path(), &[&both[..], &SIX_PAIRS[..]].concat()).output().unwrap();
    let result = written(folder.path());
    assert_exit(&output, result.exit_code.into());
    assert_eq!(result.failure, None);
    assert!(result.base.arguments.is_empty() && result.candidate.arguments == ["--shards", "1"]);

    let older = older_server(folder.path(), "--games");
    let both = ["--base", words(&older), "--candidate", words(&server), "--games", "2"];
    let output = gate(folder.path(), &[&both[..], &SIX_PAIRS[..]].concat()).output().unwrap();
    assert_exit(&output, 2);
    let said = text(&output.stderr);
    assert!(
        said.contains("The base failed") && said.contains("does not know --games, needed for more"),
        "{said}"
    );
}

#[test]
fn what_can_not_work_is_told_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_program();
    let both = ["--base", words(&server), "--candidate", words(&server)];
    fs::write(folder.path().join("gate.toml"), "[gate]\ntreshold = 'p50=5%'\n").unwrap();
    fs::write(folder.path().join("few.toml"), "[gate]\npairs = 3\n").unwrap();
    fs::write(
        folder.path().join("target.toml"),
        "target = ['http://127.0.0.1:1']\nredis = 'redis://127.0.0.1:1'\n",
    )
    .unwrap();
    let cases: [(&[&str], &str); 12] = [
        (&["--base", "nowhere", "--candidate", words(&server)], "neither a program nor a git reference"),
        (&["--base", words(&server)], "--candidate"),
        (&[&both[..], &["--pairs", "6"]].concat(), "6 pairs can't decide"),
        (&[&both[..], &["--budget", "5s"]].concat(), "--budget is 5 s"),
        (&[&both[..], &["--threshold", "p42=5%"]].concat(), "write for example p99=10%"),
        (&[&both[..], &["--redis", "redis://127.0.0.1:1", "--metrics", "x"]].concat(), "no metric"),
        (&[&both[..], &["gate.toml"]].concat(), "did you mean \"threshold\"?"),
        (&[&both[..], &["few.toml"]].concat(), "a whole number from 6 to 500"),
        (&[&both[..], &["target.toml"]].concat(), "--base-cmd"),
        (&[&both[..], &["--base-args", "--log 'warn"]].concat(), "quotation mark"),
        (&[&both[..], &["--metrics", "rate"]].concat(), "close it with --in-flight"),
        (&[&both[..], &["--threshold", "p99=20%"]].concat(), "needs 299 publishes a block"),
    ];
    for (arguments, told) in cases {
        let output = gate(folder.path(), arguments).output().unwrap();
        assert_exit(&output, 2);
        assert!(text(&output.stderr).contains(told), "{arguments:?}: {}", text(&output.stderr));
    }
    let closed = ["gate", "--mode", "duet", "--allow-few-cores", "--in-flight", "4"];
    let output = lastmile(&[&closed[..], &both[..]].concat()).current_dir(folder.path()).output().unwrap();
    assert_exit(&output, 2);
    let said = text(&output.stderr);
    assert!(said.contains("a closed loop would wait for the slower of them"), "{said}");
    if std::thread::available_parallelism().unwrap().get() < 4 {
        let output = gate(folder.path(), &[&both[..], &["--mode", "duet"]].concat()).output().unwrap();
        assert_exit(&output, 2);
        assert!(text(&output.stderr).contains("needs at least 4 cores"), "{}", text(&output.stderr));
    }
}

#[test]
fn stored_results_are_compared_as_far_as_two_runs_can_tell() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reports/tests/data");
    let result = data.join("first-light-1.json");
    let compare = |arguments: &[&str]| lastmile(&[&["compare"], arguments].concat()).output().unwrap();
    let output = compare(&[words(&result), words(&result)]);
    assert_exit(&output, 0);
    let said = text(&output.stdout);
    assert!(said.contains("No difference shows") && said.contains("lastmile gate"), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.json");
    fs::write(&other, "{\"schema\": \"lastmile.gate/1\"}").unwrap();
    let output = compare(&[words(&result), words(&other)]);
    assert_exit(&output, 2);
    assert!(text(&output.stderr).contains("lastmile.gate/1"), "{}", text(&output.stderr));
    let unlike = fs::read_to_string(&result).unwrap().replace("\"connections\": 100", "\"connections\": 7");
    fs::write(&other, unlike).unwrap();
    let output = compare(&[words(&result), words(&other)]);
    assert_exit(&output, 2);
    assert!(text(&output.stderr).contains("no case in common"), "{}", text(&output.stderr));
}
