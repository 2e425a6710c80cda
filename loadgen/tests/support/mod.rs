//! What the tests share: the stub, and the program under test.

// Each test file is a program of its own and uses its part of this.
#![allow(dead_code)]

mod http2_stub;
pub mod place;
pub mod stub;
mod tls_stub;
mod webtransport_stub;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use lastmile_reports::schema::{CaseResult, RunResult};

/// The program under test, with its output to be read.
pub fn lastmile(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastmile"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("LASTMILE_SERVER_BIN");
    command
}

/// Runs to the end.
pub fn output(arguments: &[&str]) -> Output {
    lastmile(arguments).output().expect("the program starts")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The result a run printed with `--json`.
#[track_caller]
pub fn result_of(output: &Output) -> RunResult {
    let stdout = text(&output.stdout);
    serde_json::from_str(&stdout).unwrap_or_else(|error| {
        panic!("{error}\n{}\nstdout: {stdout}\nstderr: {}", output.status, text(&output.stderr))
    })
}

/// Measures a stub with these flags and returns its result.
#[track_caller]
pub fn measure(stub: &stub::Stub, flags: &[&str]) -> RunResult {
    let folder = tempfile::tempdir().unwrap();
    let output = finish(start(stub, flags, folder.path()));
    assert!(output.status.success(), "{}: {}", output.status, text(&output.stderr));
    result_of(&output)
}

/// Begins to measure a stub.
pub fn start(stub: &stub::Stub, flags: &[&str], folder: &std::path::Path) -> Child {
    let mut command = lastmile(&["run", "--json", "--out"]);
    command.arg(folder).args(stub.flags()).args(flags);
    command.spawn().expect("the program starts")
}

pub fn finish(child: Child) -> Output {
    child.wait_with_output().expect("the program ends")
}

/// The case of a protocol.
#[track_caller]
pub fn case<'a>(result: &'a RunResult, protocol: &str) -> &'a CaseResult {
    let found = result.cases.iter().find(|case| case.protocol == protocol);
    found.unwrap_or_else(|| panic!("no case of {protocol}"))
}

/// The real server: `scripts/test` builds it before the tests.
pub fn server_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("lastmile-server");
    assert!(
        program.is_file(),
        "{} is missing; build it first: cargo build -p lastmile-server (scripts/test does)",
        program.display()
    );
    program
}
