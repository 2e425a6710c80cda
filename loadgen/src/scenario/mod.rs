//! What a run measures, as flags or a file say it: matrices of cases, and what holds for all of them.
//!
//! [`Scenario::load`] makes one from a file, from the plan a result keeps, or from nothing, with flags laid over it;
//! [`Scenario::to_json`] is what a result keeps. So a file, the flags and `--repeat` lead to the same plan by one way.

pub mod capacity;
pub mod document;
mod reading;
pub mod server;
pub mod settings;
pub mod values;
mod writing;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lastmile_reports::store::{self, StoreError};
use lastmile_wire::request::Topic;

use crate::adapter::Adapter;
use crate::cores::Cores;
use crate::environment::cores;
use crate::gate::settings::GateSettings;
use crate::plan::Instruments;
use crate::schedule::Arrivals;
use crate::variant::Variant;
use capacity::CapacitySettings;
use document::Mistake;
use reading::Draft;
use server::ServerSettings;
use settings::{LoadSettings, RunSettings};

/// Connections in the middle of being opened, unless told otherwise.
const CONNECTING: u16 = 128;

/// Everything a run was told, with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What it is called.
    pub title: Option<String>,
    /// What is measured.
    pub matrices: Vec<Matrix>,
    /// Places of the matrices whose protocols nobody named: they have those that may be there, and what turns out not to be is
    /// left out.
    pub unnamed: Vec<usize>,
    /// Seed of everything drawn at random.
    pub seed: u64,
    /// Threads that drive subscribers.
    pub threads: u16,
    /// Connections in the middle of being opened, at most.
    pub connecting: u16,
    /// How server and subscribers share the cores.
    pub cores: Cores,
    /// How closely the run looks.
    pub instruments: Instruments,
    /// Slices each case is measured in; `None` for as many as suit its duration.
    pub slices: Option<u16>,
    /// What is under test.
    pub server: ServerSettings,
    /// What a search for capacity looks for; nothing where no search is described.
    pub capacity: CapacitySettings,
    /// How two builds are held against each other, where a gate measures it.
    pub gate: GateSettings,
}

/// Every combination of these values is a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    /// Protocols and their variants.
    pub protocols: Vec<Variant>,
    /// Subscribers.
    pub connections: Vec<u32>,
    /// When messages are published.
    pub pace: Pace,
    /// Bytes of a message.
    pub payloads: Vec<u32>,
    /// Games that subscribers are spread over.
    pub games: Vec<u32>,
    /// What is subscribed to where there is one game.
    pub topic: Topic,
    /// Length of the measured window.
    pub duration: Duration,
    /// What is published before it.
    pub warmup: Duration,
}

/// When messages are published.
#[derive(Debug, Clone, PartialEq)]
pub enum Pace {
    /// By a schedule that never waits.
    Open {
        /// Messages a second.
        rates: Vec<f64>,
        /// How they are spaced.
        arrivals: Arrivals,
    },
    /// So many are kept published that have not reached everyone.
    Closed(Vec<u32>),
}

impl Pace {
    /// How many values it has.
    fn len(&self) -> usize {
        match self {
            Self::Open { rates, .. } => rates.len(),
            Self::Closed(messages) => messages.len(),
        }
    }
}

impl Matrix {
    /// How many cases it makes.
    pub fn case_count(&self) -> usize {
        let lists = [
            self.protocols.len(),
            self.connections.len(),
            self.pace.len(),
            self.payloads.len(),
            self.games.len(),
        ];
        lists.into_iter().fold(1, usize::saturating_mul)
    }
}

/// Values that don't go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Problem {
    /// The key of the value at fault.
    pub key: &'static str,
    /// What is wrong, and what to do.
    pub text: String,
}

/// Where settings come from, below those of the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: the flags and the defaults are all there is.
    Flags,
    /// A scenario file.
    File(PathBuf),
    /// The plan that a result keeps.
    Result(PathBuf),
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A file can't be read.
    #[error("{} can't be read: {source}; name a scenario file such as scenarios/quick.toml", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The description of a target can't be read.
    #[error("--target {} can't be read: {source}; name a description such as scenarios/targets/ws.toml, or http://HOST:PORT", path.display())]
    Description {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has a mistake.
    #[error(transparent)]
    Mistake(#[from] Mistake),
    /// Flags don't go together, with each other or with what they are laid over.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// No result can be read.
    #[error(transparent)]
    Result(#[from] StoreError),
    /// A result of before plans were kept.
    #[error(
        "{} holds no plan: the version of lastmile that wrote it kept none; its command was: {command}",
        path.display()
    )]
    NoPlan {
        /// Which.
        path: PathBuf,
        /// What it was made with.
        command: String,
    },
}

impl Scenario {
    /// The scenario of a source, with flags laid over it.
    ///
    /// # Errors
    /// [`ScenarioError`], with the line where a file is at fault.
    pub fn load(
        source: &Source,
        load: &LoadSettings,
        run: &RunSettings,
        server: &ServerSettings,
    ) -> Result<Self, ScenarioError> {
        Self::load_above(&LoadSettings::default(), source, load, run, server)
    }

    /// The same, with other defaults of what neither the source nor the flags say.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_above(
        defaults: &LoadSettings,
        source: &Source,
        load: &LoadSettings,
        run: &RunSettings,
        server: &ServerSettings,
    ) -> Result<Self, ScenarioError> {
        let server = &server.clone().read_adapter(Path::new(""))?;
        let (path, text) = match source {
            Source::Flags => {
                let draft = Draft::default().above(&of_adapter(defaults, server.adapter.as_deref()));
                return draft.finish(load, run, server).map_err(ScenarioError::from);
            }
            Source::File(path) => {
                let failed = |source| ScenarioError::File { path: path.clone(), source };
                (path.display().to_string(), fs::read_to_string(path).map_err(failed)?)
            }
            Source::Result(path) => (format!("the plan in {}", path.display()), plan_of_result(path)?),
        };
        let folder = match source {
            Source::File(path) => path.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        let draft = Draft::read(&path, &text)?.with_adapter(folder)?;
        let adapter = server.adapter.as_deref().or(draft.adapter());
        let defaults = of_adapter(defaults, adapter);
        let draft = draft.above(&defaults);
        draft.finish(load, run, server).map_err(|problem| {
            // The file may be at fault by itself: then it is told where.
            let alone =
                draft.finish(&LoadSettings::default(), &RunSettings::default(), &ServerSettings::default());
            match alone {
                Err(problem) => draft.mistake(&path, &text, problem).into(),
                Ok(_) => problem.into(),
            }
        })
    }

    /// The scenario that a text of a scenario file describes.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(path: &str, text: &str) -> Result<Self, Mistake> {
        let draft = Draft::read(path, text)?;
        let alone =
            draft.finish(&LoadSettings::default(), &RunSettings::default(), &ServerSettings::default());
        alone.map_err(|problem| draft.mistake(path, text, problem))
    }
}

/// The plan that a result keeps, as the text of a scenario file.
fn plan_of_result(path: &Path) -> Result<String, ScenarioError> {
    let result = store::read(path)?;
    let no_plan = || ScenarioError::NoPlan { path: path.to_owned(), command: result.command.clone() };
    let plan = result.plan.as_ref().ok_or_else(no_plan)?;
    toml::to_string(plan).map_err(|_| no_plan())
}

/// What is measured of a described server, unless told otherwise, are the protocols of its description.
fn of_adapter(defaults: &LoadSettings, adapter: Option<&Adapter>) -> LoadSettings {
    let protocols = adapter.map(Adapter::variants);
    LoadSettings { protocols, ..LoadSettings::default() }.over(defaults)
}

/// Apart, unless told otherwise, where we start the server; where somebody else does, it may be anywhere.
fn default_cores(server: &ServerSettings) -> Cores {
    let is_started = |adapter: &Adapter| adapter.start.is_some();
    let is_ours = server.target.is_empty() || server.adapter.as_deref().is_some_and(is_started);
    if is_ours { Cores::Apart } else { Cores::Shared }
}

/// Threads that drive subscribers, unless told otherwise.
fn default_threads() -> u16 {
    (cores() / 2).clamp(1, 1024) as u16
}
