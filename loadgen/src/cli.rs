//! The command line: what can be asked for, and the sentences for what can't.

// The doc comments of the flags are their help text, where Markdown would be read as it is written.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::scenario::capacity::CapacitySettings;
use crate::scenario::settings::{LoadSettings, RunSettings, ServerSettings};
use crate::scenario::values::parse_rate;

/// How long from a Redis publish until a client has the message, over WebSocket, SSE and WebTransport.
#[derive(Debug, Parser)]
#[command(name = "lastmile", version, arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure the protocols and write a result and a report
    Run(Box<RunArguments>),
    /// Find the highest rate of each protocol that keeps an objective
    Capacity(Box<CapacityArguments>),
    /// Start a private Redis, the server and a publisher, and say where to look at them in a browser
    Demo(DemoArguments),
    /// Say what this machine lacks or limits, and what it means for a run
    Doctor(DoctorArguments),
    /// Draw the report of a result, or of several side by side
    Report(ReportArguments),
    /// Show a result in the terminal
    Show(ShowArguments),
}

/// Flags of `lastmile run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// A scenario file, such as scenarios/quick.toml; flags take the place of what it says
    #[arg(value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// Measure again what an earlier result.json was made from, with the same seed; flags take the place of its values
    #[arg(long, value_name = "RESULT", conflicts_with = "scenario")]
    pub repeat: Option<PathBuf>,

    /// What is measured.
    #[command(flatten, next_help_heading = "What is measured (lists make every combination)")]
    pub load: LoadSettings,

    /// What holds for the whole run.
    #[command(flatten, next_help_heading = "How")]
    pub run: RunSettings,

    /// What is under test.
    #[command(flatten, next_help_heading = "What is under test")]
    pub server: ServerSettings,

    /// The lastmile-server to start [default: LASTMILE_SERVER_BIN, else beside this program, else on PATH]
    #[arg(long, value_name = "PATH", conflicts_with = "target")]
    pub server_bin: Option<PathBuf>,

    /// Folder for result.json and report.html [default: results/ and the time]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Print the result as JSON instead of the table
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// Exit with code 3 where the self-checks call the result INVALID
    #[arg(long, help_heading = "Output")]
    pub strict: bool,
}

/// Flags of `lastmile capacity`.
#[derive(Debug, Clone, Args)]
pub struct CapacityArguments {
    /// A scenario file, whose rates are of no account; flags take the place of what it says
    #[arg(value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// Search again as an earlier result.json of a search was made; flags take the place of its values
    #[arg(long, value_name = "RESULT", conflicts_with = "scenario")]
    pub repeat: Option<PathBuf>,

    /// What is looked for.
    #[command(flatten, next_help_heading = "What is looked for")]
    pub capacity: CapacitySettings,

    /// What is measured.
    #[command(
        flatten,
        next_help_heading = "What is measured (a search for every combination, of 3s after 1s a rate)"
    )]
    pub load: LoadSettings,

    /// What holds for all of it.
    #[command(flatten, next_help_heading = "How")]
    pub run: RunSettings,

    /// What is under test.
    #[command(flatten, next_help_heading = "What is under test")]
    pub server: ServerSettings,

    /// The lastmile-server to start [default: LASTMILE_SERVER_BIN, else beside this program, else on PATH]
    #[arg(long, value_name = "PATH", conflicts_with = "target")]
    pub server_bin: Option<PathBuf>,

    /// Folder for result.json and report.html [default: results/ and the time]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Print the result as JSON instead of the table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

/// Flags of `lastmile demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Rounds published a second, of all games together
    #[arg(long, value_name = "PER_SECOND", default_value_t = 4.0, value_parser = parse_rate)]
    pub rate: f64,

    /// The lastmile-server to start [default: LASTMILE_SERVER_BIN, else beside this program, else on PATH]
    #[arg(long, value_name = "PATH")]
    pub server_bin: Option<PathBuf>,
}

/// Flags of `lastmile doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArguments {
    /// The lastmile-server a run would start
    #[arg(long, value_name = "PATH")]
    pub server_bin: Option<PathBuf>,
}

/// Flags of `lastmile report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArguments {
    /// The result to draw; several are drawn side by side
    #[arg(required = true, value_name = "RESULT")]
    pub results: Vec<PathBuf>,

    /// What to write: CSV has one row a case of every result
    #[arg(long, value_enum, default_value_t = ReportFormat::Html)]
    pub format: ReportFormat,

    /// Where to write it [default: report.html, or comparison.html for several, beside the first result]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `lastmile report` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One file for a browser.
    Html,
    /// For a pull request.
    Markdown,
    /// Verdict, checks, sentences and figures, for programs.
    Json,
    /// For a spreadsheet.
    Csv,
}

/// Flags of `lastmile show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArguments {
    /// The result to show; several are shown side by side
    #[arg(required = true, value_name = "RESULT")]
    pub results: Vec<PathBuf>,

    /// As Markdown
    #[arg(long)]
    pub markdown: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
