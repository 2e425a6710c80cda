//! The flags of `lastmile history`.

// The doc comments of the flags are their help text, where Markdown would be read as it is written.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::gate::settings::parse_alpha;

/// Flags of `lastmile history`.
#[derive(Debug, Clone, Args)]
pub struct HistoryArguments {
    /// What to do with it.
    #[command(subcommand)]
    pub task: HistoryTask,
}

/// What can be done with a history.
#[derive(Debug, Clone, Subcommand)]
pub enum HistoryTask {
    /// Add results of runs, and both sides of gates
    Add(HistoryAdd),
    /// List the runs
    List(HistoryList),
    /// Look for changes of level in every series; exit code 1 where a recent one is for the worse
    Check(HistoryCheck),
    /// Draw every series, and where its level changed, as an HTML page
    Report(HistoryReport),
    /// Write every series as CSV, with the configuration that Apache Otava reads it by
    Export(HistoryExport),
    /// Add runs from CSV, of an export or of other tools
    Import(HistoryImport),
}

/// Flags of `lastmile history add`.
#[derive(Debug, Clone, Args)]
pub struct HistoryAdd {
    /// Where the history is: sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long, value_name = "URL", env = "LASTMILE_HISTORY", hide_env_values = true)]
    pub db: String,

    /// The results to add: result.json of runs, gate.json of gates
    #[arg(required = true, value_name = "RESULT")]
    pub results: Vec<PathBuf>,

    /// The branch measured [default: as the CI says, else the current one]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,

    /// The revision measured [default: as the CI says, else the one in the result; of a gate, that of the candidate]
    #[arg(long, value_name = "COMMIT")]
    pub revision: Option<String>,

    /// The branch of a gate's base [default: the one the CI says the change goes into, else the candidate's]
    #[arg(long, value_name = "NAME")]
    pub base_branch: Option<String>,

    /// The revision of a gate's base, where the result does not say
    #[arg(long, value_name = "COMMIT")]
    pub base_revision: Option<String>,

    /// Also results that their own checks call INVALID
    #[arg(long)]
    pub allow_invalid: bool,
}

/// Flags of `lastmile history list`.
#[derive(Debug, Clone, Args)]
pub struct HistoryList {
    /// Where the history is
    #[arg(long, value_name = "URL", env = "LASTMILE_HISTORY", hide_env_values = true)]
    pub db: String,

    /// Only runs of this branch
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,
}

/// Which series are looked at, and how closely.
#[derive(Debug, Clone, Args)]
pub struct SeriesSelection {
    /// Where the history is
    #[arg(long, value_name = "URL", env = "LASTMILE_HISTORY", hide_env_values = true)]
    pub db: String,

    /// The branch [default: as the CI says, else the current one]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,

    /// Only the machine whose fingerprint begins so
    #[arg(long, value_name = "FINGERPRINT")]
    pub machine: Option<String>,

    /// Largest p-value of a change
    #[arg(long, value_name = "CHANCE", default_value_t = 0.001, value_parser = parse_alpha)]
    pub p: f64,

    /// Smallest change that is told, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 2.0, value_parser = parse_percent)]
    pub change: f64,
}

impl SeriesSelection {
    /// All of a history, as closely as is usual.
    pub fn of(db: &str) -> Self {
        Self { db: db.to_owned(), branch: None, machine: None, p: 0.001, change: 2.0 }
    }
}

/// Flags of `lastmile history check`.
#[derive(Debug, Clone, Args)]
pub struct HistoryCheck {
    /// Which series.
    #[command(flatten)]
    pub selection: SeriesSelection,

    /// A change is an alarm while its first run is among the last so many
    #[arg(long, value_name = "RUNS", default_value_t = 20)]
    pub recent: usize,
}

/// Flags of `lastmile history report`.
#[derive(Debug, Clone, Args)]
pub struct HistoryReport {
    /// Which series.
    #[command(flatten)]
    pub selection: SeriesSelection,

    /// Where to write the page
    #[arg(short, long, value_name = "FILE", default_value = "history.html")]
    pub output: PathBuf,
}

/// Flags of `lastmile history export`.
#[derive(Debug, Clone, Args)]
pub struct HistoryExport {
    /// Where the history is
    #[arg(long, value_name = "URL", env = "LASTMILE_HISTORY", hide_env_values = true)]
    pub db: String,

    /// The branch [default: as the CI says, else the current one]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,

    /// Folder for the files
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Flags of `lastmile history import`.
#[derive(Debug, Clone, Args)]
pub struct HistoryImport {
    /// Where the history is
    #[arg(long, value_name = "URL", env = "LASTMILE_HISTORY", hide_env_values = true)]
    pub db: String,

    /// Files with the columns time, revision or commit, perhaps branch, machine and case, and one for each metric
    #[arg(required = true, value_name = "CSV")]
    pub files: Vec<PathBuf>,

    /// The branch of runs that don't say [default: main]
    #[arg(long, value_name = "NAME")]
    pub branch: Option<String>,

    /// The machine of runs that don't say: figures of different machines must have different names
    #[arg(long, value_name = "NAME", default_value = "imported")]
    pub machine: String,
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').trim().parse::<f64>().ok();
    percent
        .filter(|percent| (0.0..=1000.0).contains(percent))
        .ok_or_else(|| "give per cent, from 0 to 1000".to_owned())
}
