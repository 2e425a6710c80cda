//! The `lastmile` command: flags in, exit code out; everything else is the library.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Parser;
use lastmile::cli::{CapacityArguments, Command, CommandLine, DemoArguments, GateArguments, RunArguments};
use lastmile::commands::doctor::{Severity, examine, table};
use lastmile::commands::{
    EXIT_BREAKDOWN, EXIT_INVALID, EXIT_USAGE, capacity, compare, demo, gate, history, report, run,
};
use lastmile::interrupt::{EXIT_INTERRUPTED, Interrupt};

fn main() -> ExitCode {
    match execute(CommandLine::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // Each error tells its cause in its own sentence.
            eprintln!("lastmile: {error}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(arguments) => measure(&arguments),
        Command::Capacity(arguments) => find_capacity(&arguments),
        Command::Demo(arguments) => demonstrate(&arguments),
        Command::Doctor(arguments) => {
            let findings = examine(&arguments);
            print!("{}", table(&findings));
            let prevents = findings.iter().any(|finding| finding.severity == Severity::Prevents);
            Ok(if prevents { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS })
        }
        Command::Report(arguments) => {
            println!("{}", report::report(&arguments)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Show(arguments) => {
            print!("{}", report::show(&arguments)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Compare(arguments) => {
            print!("{}", compare::execute(&arguments)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Gate(arguments) => hold(&arguments),
        Command::History(arguments) => {
            let answer = history::execute(&arguments)?;
            print!("{}", answer.text);
            Ok(ExitCode::from(answer.code))
        }
    }
}

fn measure(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen().map_err(|error| anyhow!("can't listen to signals: {error}"))?;
    let finished = run::execute(arguments, command_line(), &interrupt)?;
    if finished.folder.is_some() || arguments.output.json {
        print!("{}", finished.text(arguments.output.json));
    }
    if let Some(failure) = &finished.failure {
        eprintln!("lastmile: {failure}");
        return Ok(ExitCode::from(if failure.is_breakdown() { EXIT_BREAKDOWN } else { EXIT_USAGE }));
    }
    if interrupt.is_asked() {
        eprintln!("lastmile: interrupted; what was measured until then was kept");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    if arguments.output.strict && finished.is_invalid() {
        eprintln!("lastmile: the result is INVALID, and --strict was asked for: {}", finished.objections());
        return Ok(ExitCode::from(EXIT_INVALID));
    }
    Ok(ExitCode::SUCCESS)
}

fn find_capacity(arguments: &CapacityArguments) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen().map_err(|error| anyhow!("can't listen to signals: {error}"))?;
    let finished = capacity::execute(arguments, command_line(), &interrupt)?;
    print!("{}", finished.text(arguments.output.json));
    if let Some(failure) = &finished.failure {
        eprintln!("lastmile: {failure}");
        return Ok(ExitCode::from(if failure.is_breakdown() { EXIT_BREAKDOWN } else { EXIT_USAGE }));
    }
    if interrupt.is_asked() {
        eprintln!("lastmile: interrupted; what was found until then was kept");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    if let (true, Some(objection)) = (arguments.output.strict, finished.objection()) {
        eprintln!("lastmile: the answer is not the server's, and --strict was asked for: {objection}");
        return Ok(ExitCode::from(EXIT_INVALID));
    }
    Ok(ExitCode::SUCCESS)
}

/// The exit code is the decision.
fn hold(arguments: &GateArguments) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen().map_err(|error| anyhow!("can't listen to signals: {error}"))?;
    let finished = gate::execute(arguments, command_line(), &interrupt)?;
    print!("{}", finished.text(arguments.json));
    if let Some(failure) = &finished.result.failure {
        eprintln!("lastmile: {failure}");
    }
    Ok(ExitCode::from(finished.result.exit_code))
}

fn demonstrate(arguments: &DemoArguments) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::listen().map_err(|error| anyhow!("can't listen to signals: {error}"))?;
    match demo::execute(arguments, &interrupt) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is_breakdown() => {
            eprintln!("lastmile: {error}");
            Ok(ExitCode::from(EXIT_BREAKDOWN))
        }
        Err(error) => Err(error.into()),
    }
}

/// This command line, ready to be pasted into a shell.
fn command_line() -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+".contains(character);
    let quoted = std::env::args().map(|word| {
        if !word.is_empty() && word.chars().all(is_plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
