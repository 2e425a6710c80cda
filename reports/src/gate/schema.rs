//! The result of a gate, as written to `gate.json`: the same rules of change as for [`crate::schema`].
//! `reports/schema/gate.schema.json` says the same for other tools.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::schema::{Accounting, Environment};
use crate::store::{StoreError, write_text};

use super::decision::{Judgement, Outcome};
use super::metric::{Metric, Threshold};

/// The schema's name and version, the value of [`GateResult::schema`].
pub const SCHEMA: &str = "lastmile.gate/1";

/// The JSON Schema of `gate.json`.
pub const GATE_JSON_SCHEMA: &str = include_str!("../../schema/gate.schema.json");

/// One gate: two builds, what was measured of them, and what it means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// Name and version of this schema, [`SCHEMA`].
    pub schema: String,
    /// The exact command line, ready to be pasted into a shell.
    pub command: String,
    /// The command that repeats this gate with the same order and payloads.
    pub reproduce: String,
    /// Seed of the order within the pairs, the payloads and the identifiers.
    pub seed: u64,
    /// When it started, RFC 3339 in UTC.
    pub started_at: String,
    /// How long it took in seconds, builds not counted.
    #[serde(default)]
    pub elapsed_s: f64,
    /// Where it ran and with what.
    pub environment: Environment,
    /// Conditions that hold for every block, as `name: value` pairs for people.
    #[serde(default)]
    pub conditions: Vec<(String, String)>,
    /// `paired` or `duet`.
    pub mode: String,
    /// What the candidate is held against.
    pub base: Build,
    /// What is judged.
    pub candidate: Build,
    /// The chance of a false alarm that is allowed, over all metrics and looks.
    pub alpha: f64,
    /// Numbers of pairs after which it was to be looked.
    pub looks: Vec<usize>,
    /// Time it was to keep to, in seconds.
    #[serde(default)]
    pub budget_s: Option<f64>,
    /// What was measured: a protocol under a load each.
    pub cases: Vec<GateCase>,
    /// What was asked of the metrics.
    pub thresholds: Vec<Threshold>,
    /// The decision of every metric of every case, at the last look.
    pub judgements: Vec<Judgement>,
    /// The decision.
    pub outcome: Outcome,
    /// What happened, a sentence each, the most important first.
    pub messages: Vec<String>,
    /// What a reader should know, though it decides nothing.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// Why it ended before its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The exit code it ended with.
    pub exit_code: u8,
    /// Every block, in the order measured.
    pub blocks: Vec<Block>,
}

/// One of the two builds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// As it was asked for: a program, a git reference, a command.
    pub name: String,
    /// The revision it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The program or the command that was run.
    pub program: String,
    /// Flags it got beside those that every server gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A protocol under a load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GateCase {
    /// As in results of runs.
    pub protocol: String,
    /// The load, in words for people.
    pub load: String,
}

/// Which build a block measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The base.
    Base,
    /// The candidate.
    Candidate,
    /// The base once more, for the noise floor.
    BaseAgain,
}

/// One block: a fresh server, a warm-up, a measured window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Index of its case.
    pub case: usize,
    /// The pair it belongs to, from 0.
    pub pair: usize,
    /// What it measured.
    pub role: Role,
    /// Seconds since the gate began.
    pub at_s: f64,
    /// Its figures.
    pub values: Vec<(Metric, f64)>,
    /// What became of its deliveries.
    pub accounting: Accounting,
    /// What makes it worthless.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// What the checks of a run object to without making it worthless for a comparison.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<String>,
}

impl Block {
    /// A figure of it.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.values.iter().find(|(name, _)| *name == metric).map(|(_, value)| *value)
    }
}

impl GateResult {
    /// As JSON, a line a field.
    pub fn to_json(&self) -> String {
        // Strings, numbers that are finite and lists of them: nothing JSON can't say.
        serde_json::to_string_pretty(self).expect("a gate's result has a JSON form") + "\n"
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`StoreError`] where the file can't be read, is not JSON, has another schema or lacks a field.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let text =
            fs::read_to_string(path).map_err(|source| StoreError::Read { path: path.into(), source })?;
        let value: serde_json::Value = serde_json::from_str(&text)
            .map_err(|source| StoreError::NotJson { path: path.into(), source })?;
        let found = value.get("schema").map_or_else(|| "none".to_owned(), ToString::to_string);
        if found != format!("{SCHEMA:?}") {
            return Err(StoreError::OtherSchema { path: path.into(), found, expected: SCHEMA });
        }
        serde_json::from_value(value).map_err(|source| StoreError::Malformed { path: path.into(), source })
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        write_text(path, &self.to_json())
    }
}
