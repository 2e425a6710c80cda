//! Gives the fuzz bodies random inputs for a time: `cargo run -p lastmile-fuzz-bodies --bin soak -- --seconds 60`.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::Parser;
use lastmile_fuzz_bodies::{Failure, TARGETS, run, seeds};

/// Random inputs for every fuzz target, each for its share of the time.
#[derive(Debug, Parser)]
struct Flags {
    /// Seconds for each target.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only this target.
    #[arg(long, value_parser = TARGETS.map(|target| target.name))]
    target: Option<String>,
    /// Number the random inputs follow from [default: the clock].
    #[arg(long)]
    random_seed: Option<u64>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let random_seed = flags.random_seed.unwrap_or_else(now);
    for target in
        TARGETS.iter().filter(|target| flags.target.as_deref().is_none_or(|name| name == target.name))
    {
        let seeds = match seeds(target) {
            Ok(seeds) if !seeds.is_empty() => seeds,
            other => {
                eprintln!("error: no seeds in fuzz/seeds/{}: {other:?}; restore them from git", target.name);
                return ExitCode::from(2);
            }
        };
        let end = Instant::now() + Duration::from_secs(flags.seconds);
        match run(target, &seeds, random_seed, |_| Instant::now() < end) {
            Ok(executions) => println!("{}: {executions} inputs, random seed {random_seed}", target.name),
            Err(failure) => {
                eprintln!("{failure}");
                keep(&failure);
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Writes a failing input where `cargo fuzz` puts its own. In fuzz/seeds it becomes part of every later run.
fn keep(failure: &Failure) {
    let folder = format!("{}/../artifacts/{}", env!("CARGO_MANIFEST_DIR"), failure.target);
    let path = format!("{folder}/soak-{}", std::process::id());
    match fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &failure.input)) {
        Ok(()) => {
            eprintln!("written to {path}; a copy in fuzz/seeds/{} is tried in every run", failure.target);
        }
        Err(error) => eprintln!("could not be written to {path}: {error}"),
    }
}
