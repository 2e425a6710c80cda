//! The command line: what can be asked for, and the sentences for what can't.

// The doc comments of the flags are their help text, where Markdown would be read as it is written.
#![allow(clippy::doc_markdown)]

mod history;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::history::{
    HistoryAdd, HistoryArguments, HistoryCheck, HistoryExport, HistoryImport, HistoryList, HistoryReport,
    HistoryTask, SeriesSelection,
};
use crate::gate::settings::GateSettings;
use crate::redis::RedisUrl;
use crate::scenario::Source;
use crate::scenario::capacity::CapacitySettings;
use crate::scenario::server::ServerSettings;
use crate::scenario::settings::{LoadSettings, RunSettings};
use crate::scenario::values::{parse_path, parse_rate};
use crate::variant::Variant;

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
    /// Hold one stored result against another, as far as two single runs can tell
    Compare(CompareArguments),
    /// Measure two builds in turn and decide whether the candidate got worse; the exit code tells
    Gate(Box<GateArguments>),
    /// Results over months: add them, look for changes of level, draw trends
    History(HistoryArguments),
}

/// Flags of `lastmile run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Where settings come from.
    #[command(flatten)]
    pub source: SourceArguments,

    /// What is measured.
    #[command(flatten, next_help_heading = "What is measured (lists make every combination)")]
    pub load: LoadSettings,

    /// What holds for the whole run.
    #[command(flatten, next_help_heading = "How")]
    pub run: RunSettings,

    /// What is under test.
    #[command(flatten, next_help_heading = "What is under test")]
    pub server: ServerArguments,

    /// What becomes of the result.
    #[command(flatten, next_help_heading = "Output")]
    pub output: OutputArguments,
}

/// Flags of `lastmile capacity`.
#[derive(Debug, Clone, Args)]
pub struct CapacityArguments {
    /// Where settings come from.
    #[command(flatten)]
    pub source: SourceArguments,

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
    pub server: ServerArguments,

    /// What becomes of the result.
    #[command(flatten, next_help_heading = "Output")]
    pub output: OutputArguments,
}

/// What flags are laid over.
#[derive(Debug, Clone, Args)]
pub struct SourceArguments {
    /// A scenario file, such as scenarios/quick.toml; flags take the place of what it says
    #[arg(value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// Measure again what an earlier result.json was made from, with the same seed; flags take the place of its values
    #[arg(long, value_name = "RESULT", conflicts_with = "scenario")]
    pub repeat: Option<PathBuf>,
}

impl SourceArguments {
    /// The one that was given, if any.
    pub fn given(&self) -> Source {
        match (&self.scenario, &self.repeat) {
            (_, Some(result)) => Source::Result(result.clone()),
            (Some(file), None) => Source::File(file.clone()),
            (None, None) => Source::Flags,
        }
    }
}

/// What is under test, and which program it is where it is ours.
#[derive(Debug, Clone, Args)]
pub struct ServerArguments {
    /// What a file can say, too.
    #[command(flatten)]
    pub settings: ServerSettings,

    /// The lastmile-server to start [default: LASTMILE_SERVER_BIN, else beside this program, else on PATH]
    #[arg(long = "server-bin", value_name = "PATH", conflicts_with = "target")]
    pub program: Option<PathBuf>,
}

/// What becomes of a result.
#[derive(Debug, Clone, Args)]
pub struct OutputArguments {
    /// Folder for result.json and report.html [default: results/ and the time]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Print the result as JSON instead of the table
    #[arg(long)]
    pub json: bool,

    /// Exit with code 3 where the self-checks call the result INVALID, or where it was the generator that ended a search
    #[arg(long)]
    pub strict: bool,
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

/// Flags of `lastmile compare`.
#[derive(Debug, Clone, Args)]
pub struct CompareArguments {
    /// The result the other is held against
    pub base: PathBuf,

    /// The result that is judged
    pub candidate: PathBuf,

    /// As Markdown
    #[arg(long)]
    pub markdown: bool,

    /// Write the HTML report here, too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Flags of `lastmile gate`.
#[derive(Debug, Clone, Args)]
pub struct GateArguments {
    /// A scenario file, with a gate table in it or without; flags take the place of what it says
    #[arg(value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// What the candidate is held against: a lastmile-server, or a git reference to build one from
    #[arg(long, value_name = "PROGRAM|REF", required_unless_present = "base_cmd", help_heading = "Builds")]
    pub base: Option<String>,

    /// What is judged: a lastmile-server, or a git reference to build one from
    #[arg(
        long,
        value_name = "PROGRAM|REF",
        required_unless_present = "candidate_cmd",
        help_heading = "Builds"
    )]
    pub candidate: Option<String>,

    /// Any other server as the base: a command that stays in the foreground and listens on 127.0.0.1 at {port} (or
    /// $PORT), with its messages from {redis} (or $REDIS_URL)
    #[arg(long, value_name = "COMMAND", conflicts_with = "base", help_heading = "Builds")]
    pub base_cmd: Option<String>,

    /// Any other server as the candidate
    #[arg(long, value_name = "COMMAND", conflicts_with = "candidate", help_heading = "Builds")]
    pub candidate_cmd: Option<String>,

    /// Further flags of the base, split as a shell does: '--shards 2'
    #[arg(
        long,
        value_name = "FLAGS",
        conflicts_with = "base_cmd",
        allow_hyphen_values = true,
        value_parser = Words::parse,
        help_heading = "Builds"
    )]
    pub base_args: Option<Words>,

    /// Further flags of the candidate
    #[arg(
        long,
        value_name = "FLAGS",
        conflicts_with = "candidate_cmd",
        allow_hyphen_values = true,
        value_parser = Words::parse,
        help_heading = "Builds"
    )]
    pub candidate_args: Option<Words>,

    /// What builds a git reference, in its worktree [default: cargo build --release --locked -p lastmile-server]
    #[arg(long, value_name = "COMMAND", requires = "build_output", help_heading = "Builds")]
    pub build_cmd: Option<String>,

    /// The program that the build leaves, relative to its worktree
    #[arg(long, value_name = "PATH", requires = "build_cmd", help_heading = "Builds")]
    pub build_output: Option<PathBuf>,

    /// Where finished builds are kept [default: lastmile/builds in the user's cache folder]
    #[arg(long, value_name = "DIR", help_heading = "Builds")]
    pub cache: Option<PathBuf>,

    /// How it decides.
    #[command(flatten, next_help_heading = "Decision")]
    pub gate: GateSettings,

    /// What is measured.
    #[command(flatten, next_help_heading = "What a block measures (by default ws for 3s after 500ms)")]
    pub load: LoadSettings,

    /// What holds for all blocks.
    #[command(flatten, next_help_heading = "How")]
    pub run: RunSettings,

    /// Your Redis instead of a private one for each block
    #[arg(long, value_name = "URL", value_parser = |text: &str| text.parse::<RedisUrl>(), help_heading = "How")]
    pub redis: Option<RedisUrl>,

    /// Path of the commands' WebSocket [default: that of lastmile-server]
    #[arg(long, value_name = "PATH", value_parser = parse_path, help_heading = "How")]
    pub ws_path: Option<String>,

    /// Path of the commands' event stream [default: that of lastmile-server]
    #[arg(long, value_name = "PATH", value_parser = parse_path, help_heading = "How")]
    pub sse_path: Option<String>,

    /// Folder for gate.json, gate.html, gate.md and gate.junit.xml [default: results/gate- and the time]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: Option<PathBuf>,

    /// Print the result as JSON instead of the table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}

impl GateArguments {
    /// What a block measures unless told otherwise: short, for there are many, and as long as p99 needs.
    pub fn default_load() -> LoadSettings {
        LoadSettings {
            protocols: Some(vec![Variant::WS]),
            duration: Some(Duration::from_secs(3)),
            warmup: Some(Duration::from_millis(500)),
            ..LoadSettings::default()
        }
    }
}

/// Flags in one argument, as they are written in a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(pub Vec<String>);

impl Words {
    /// Splits them.
    ///
    /// # Errors
    /// What to give instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = shlex::split(text);
        words.map(Self).ok_or_else(|| format!("{text:?} has a quotation mark without its second"))
    }
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
