//! `lastmile gate`: from flags to two builds, through the gate, to its outputs.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use lastmile_processes::find_redis_server;
use lastmile_reports::gate::{Build, GateResult, annotations, junit, markdown, terminal};
use lastmile_reports::html;
use lastmile_reports::store::{StoreError, write_text};

use crate::cli::{GateArguments, Words};
use crate::commands::prepare::{SetupError, prepare_plan};
use crate::commands::run::default_folder;
use crate::commands::terminal_options;
use crate::gate::build::{BuildError, BuildOptions, resolve};
use crate::gate::watch::GateLine;
use crate::gate::{GateError, GateRequest, GateWatcher, Side, gate};
use crate::interrupt::Interrupt;
use crate::preflight::prepare_output;
use crate::progress::Silent;
use crate::redis::RedisUrl;
use crate::scenario::server::ServerSettings;
use crate::scenario::{Scenario, Source};
use crate::stack::StackPlan;
use crate::stack::command::ServerCommand;
use crate::target::Paths;

/// Where GitHub wants the summary of a step.
const STEP_SUMMARY: &str = "GITHUB_STEP_SUMMARY";
/// Set where GitHub reads annotations from the output.
const GITHUB: &str = "GITHUB_ACTIONS";

/// Why there was no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateCommandError {
    /// As for a run.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A side could not be had.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It could not come to a decision.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Its result could not be written.
    #[error("{0}; choose another folder with --out")]
    Output(#[from] StoreError),
}

/// What a gate left behind.
#[derive(Debug)]
pub struct FinishedGate {
    /// Everything.
    pub result: GateResult,
    /// Where it was written.
    pub folder: PathBuf,
}

impl FinishedGate {
    /// What to print: the table and where the report is, or the result itself; for GitHub its annotations too.
    pub fn text(&self, as_json: bool) -> String {
        if as_json {
            return self.result.to_json();
        }
        let mut text = terminal::render(&self.result, &terminal_options());
        text.extend(["\nReport: ", &self.folder.join("gate.html").to_string_lossy(), "\n"]);
        if env::var_os(GITHUB).is_some_and(|value| value == "true") {
            text.push_str(&annotations::render(&self.result));
        }
        text
    }
}

/// Runs a gate.
///
/// # Errors
/// [`GateCommandError`] where nothing was measured.
pub fn execute(
    arguments: &GateArguments,
    command: String,
    interrupt: &Interrupt,
) -> Result<FinishedGate, GateCommandError> {
    let source = arguments.scenario.clone().map_or(Source::Flags, Source::File);
    let load = match source {
        // Blocks are many and short; a file says itself how long.
        Source::Flags => arguments.load.clone().over(&GateArguments::default_load()),
        _ => arguments.load.clone(),
    };
    let server = ServerSettings { redis: arguments.redis.clone(), ..ServerSettings::default() };
    let mut scenario = Scenario::load(&source, &load, &arguments.run, &server).map_err(SetupError::from)?;
    // A block is one slice as long as was asked for.
    scenario.slices = Some(1);
    if !scenario.server.target.is_empty() {
        return Err(GateError::Target.into());
    }
    let settings = arguments.gate.clone().over(&scenario.gate);
    let redis = &scenario.server.redis;
    let mut plan = prepare_plan(&scenario)?;
    // Where the time goes is a question for a run; here it would only cost.
    plan.instruments.stages = false;
    if redis.is_none() {
        find_redis_server().map_err(SetupError::from)?;
    }
    let folder = arguments.out.clone().unwrap_or_else(|| default_folder("gate-"));
    prepare_output(&folder).map_err(SetupError::from)?;

    let nothing = Side {
        build: Build::default(),
        stack: StackPlan::Command { command: ServerCommand::default(), redis: None },
    };
    let mut request = GateRequest {
        reproduce: reproduce(&command, arguments, plan.seed),
        plan,
        conditions: Vec::new(),
        base: nothing.clone(),
        candidate: nothing,
        rules: settings.rules(),
        command,
    };
    // Before a build takes minutes.
    request.check()?;
    request.base = side(arguments, redis.as_ref(), "--base", interrupt)?;
    request.candidate = side(arguments, redis.as_ref(), "--candidate", interrupt)?;
    request.conditions = crate::commands::prepare::conditions(&request.plan, &request.base.stack);
    request.reproduce = pinned(&request.reproduce, &request);

    let line = io::stderr().is_terminal().then(GateLine::new);
    let watcher: &dyn GateWatcher = line.as_ref().map_or(&Silent, |line| line);
    let result = gate(&request, interrupt, watcher);
    write(&folder, &result)?;
    append_step_summary(&result);
    Ok(FinishedGate { result, folder })
}

/// One side of the gate. A program that is named by its path, a git reference, or a command.
fn side(
    arguments: &GateArguments,
    redis: Option<&RedisUrl>,
    role: &'static str,
    interrupt: &Interrupt,
) -> Result<Side, BuildError> {
    let (name, command, flags) = match role {
        "--base" => (&arguments.base, &arguments.base_cmd, &arguments.base_args),
        _ => (&arguments.candidate, &arguments.candidate_cmd, &arguments.candidate_args),
    };
    let redis = redis.cloned();
    if let Some(line) = command {
        let paths = Paths {
            websocket: arguments.ws_path.clone(),
            sse: arguments.sse_path.clone(),
            ..Paths::default()
        };
        let build = Build { name: line.clone(), program: line.clone(), ..Build::default() };
        let command = ServerCommand { line: line.clone(), paths };
        return Ok(Side { build, stack: StackPlan::Command { command, redis } });
    }
    let options = BuildOptions {
        command: arguments.build_cmd.clone(),
        output: arguments.build_output.clone(),
        cache: arguments.cache.clone(),
    };
    // The argument parser demands one of the two.
    let name = name.as_deref().unwrap_or_default();
    let (mut build, mut program) = resolve(role, name, &options, interrupt)?;
    if let Some(Words(words)) = flags {
        build.arguments.clone_from(words);
        program = program.with_arguments(words.clone());
    }
    Ok(Side { build, stack: StackPlan::Private { program, redis, stages: false } })
}

/// The command line with the seed that was drawn.
fn reproduce(command: &str, arguments: &GateArguments, seed: u64) -> String {
    if arguments.run.seed.is_some() { command.to_owned() } else { format!("{command} --seed {seed}") }
}

/// The same with commits in place of references that move.
fn pinned(command: &str, request: &GateRequest) -> String {
    let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    for (flag, build) in [("--base", &request.base.build), ("--candidate", &request.candidate.build)] {
        let Some(revision) = &build.revision else { continue };
        for index in 0..words.len() {
            if words[index] == format!("{flag}={}", build.name) {
                words[index] = format!("{flag}={revision}");
            } else if index > 0 && words[index - 1] == flag && words[index] == build.name {
                words[index].clone_from(revision);
            }
        }
    }
    words.join(" ")
}

/// Everything a CI may want to keep.
fn write(folder: &Path, result: &GateResult) -> Result<(), StoreError> {
    result.write(&folder.join("gate.json"))?;
    write_text(&folder.join("gate.html"), &html::gate::render(result))?;
    write_text(&folder.join("gate.junit.xml"), &junit::render(result))?;
    write_text(&folder.join("gate.md"), &markdown::render(result))
}

/// The step's summary on GitHub. A gate is not lost for it.
fn append_step_summary(result: &GateResult) {
    let Some(path) = env::var_os(STEP_SUMMARY).filter(|path| !path.is_empty()) else { return };
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(markdown::render(result).as_bytes()));
    if let Err(error) = written {
        eprintln!(
            "lastmile: the step's summary could not be written to {}: {error}",
            Path::new(&path).display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reproduces_a_gate_names_commits() {
        let build = |name: &str, revision: Option<&str>| Side {
            build: Build { name: name.into(), revision: revision.map(Into::into), ..Build::default() },
            stack: StackPlan::Command { command: ServerCommand::default(), redis: None },
        };
        let request = GateRequest {
            plan: crate::plan::Plan {
                seed: 1,
                cases: vec![],
                slices: vec![],
                threads: 1,
                connecting: 1,
                cores: crate::cores::Cores::Shared,
                instruments: crate::plan::Instruments::default(),
            },
            conditions: vec![],
            base: build("main", Some("aaa")),
            candidate: build("HEAD", Some("bbb")),
            rules: crate::gate::settings::GateSettings::default().rules(),
            command: String::new(),
            reproduce: String::new(),
        };
        let command = "lastmile gate --base main --candidate=HEAD --out main";
        assert_eq!(pinned(command, &request), "lastmile gate --base aaa --candidate=bbb --out main");
    }
}
