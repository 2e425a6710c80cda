//! `lastmile history`: adding results, and asking what became of them over months.

use std::env;
use std::fmt::Write;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use lastmile_reports::checks::{self, Verdict};
use lastmile_reports::gate::{GateResult, Metric, Outcome, schema as gate_schema};
use lastmile_reports::history::{
    Change, GateSide, Series, changes_table, figures, fingerprint, gate_figures, gate_identity, identity,
    method,
};
use lastmile_reports::html;
use lastmile_reports::schema::{Environment, RunResult};
use lastmile_reports::statistics::Sensitivity;
use lastmile_reports::store::{self, StoreError};
use lastmile_reports::terminal;
use lastmile_reports::view::table::{Cell, Column, Row, Table};

use crate::cli::{
    HistoryAdd, HistoryArguments, HistoryCheck, HistoryExport, HistoryImport, HistoryList, HistoryReport,
    HistoryTask, SeriesSelection,
};
use crate::commands::terminal_options;
use crate::history::csv::{self, CsvError};
use crate::history::store::{HistoryError, HistoryStore, StoredRun};

/// A change for the worse was found.
pub const EXIT_CHANGED: u8 = 1;

/// Why a history command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HistoryCommandError {
    /// The database.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A result.
    #[error(transparent)]
    Result(#[from] StoreError),
    /// A CSV.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// A result that its own checks call INVALID has no place among the others.
    #[error("{} is INVALID ({reason}); measure again, or add it all the same with --allow-invalid", path.display())]
    Invalid {
        /// The result's file.
        path: PathBuf,
        /// What the checks say.
        reason: String,
    },
    /// A result without figures.
    #[error("{} holds no figure that a history keeps", path.display())]
    Empty {
        /// The result's file.
        path: PathBuf,
    },
    /// Nobody said which revision was measured.
    #[error("{} does not say which revision was measured{of}; give {flag}", path.display())]
    NoRevision {
        /// The result's file.
        path: PathBuf,
        /// Whose, where there are two.
        of: &'static str,
        /// What says it.
        flag: &'static str,
    },
    /// Nothing to look at.
    #[error(
        "the history has no run of branch {branch:?}{}; add some with: lastmile history add --db … result.json",
        known(known_branches)
    )]
    NoRuns {
        /// As asked for.
        branch: String,
        /// What there is.
        known_branches: Vec<String>,
    },
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No runtime for the database.
    #[error("this machine refused what the database needs: {0}")]
    System(io::Error),
}

fn known(branches: &[String]) -> String {
    if branches.is_empty() { String::new() } else { format!(", but of {}", branches.join(", ")) }
}

/// What to print, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For standard output.
    pub text: String,
    /// 0, or [`EXIT_CHANGED`].
    pub code: u8,
}

impl Answer {
    fn fine(text: String) -> Self {
        Self { text, code: 0 }
    }
}

/// Does what was asked.
///
/// # Errors
/// [`HistoryCommandError`] says what to do.
pub fn execute(arguments: &HistoryArguments) -> Result<Answer, HistoryCommandError> {
    match &arguments.task {
        HistoryTask::Add(task) => with_store(&task.db, |store| add(store, task)),
        HistoryTask::List(task) => with_store(&task.db, |store| list(store, task)),
        HistoryTask::Check(task) => with_store(&task.selection.db, |store| check(store, task)),
        HistoryTask::Report(task) => with_store(&task.selection.db, |store| report(store, task)),
        HistoryTask::Export(task) => with_store(&task.db, |store| export(store, task)),
        HistoryTask::Import(task) => with_store(&task.db, |store| import(store, task)),
    }
}

/// Opens the history, does one thing and closes it.
fn with_store<F: Future<Output = Result<Answer, HistoryCommandError>>>(
    url: &str,
    work: impl FnOnce(HistoryStore) -> F,
) -> Result<Answer, HistoryCommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(HistoryCommandError::System)?.block_on(async {
        let store = HistoryStore::open(url).await?;
        let answer = work(store.clone()).await;
        store.close().await;
        answer
    })
}

async fn add(store: HistoryStore, task: &HistoryAdd) -> Result<Answer, HistoryCommandError> {
    // All are read before any is added.
    let mut runs = Vec::new();
    for path in &task.results {
        runs.extend(runs_of(path, task)?.into_iter().map(|run| (path, run)));
    }
    let mut text = String::new();
    for (path, run) in &runs {
        let what = if store.add(run).await? { "added" } else { "was there already" };
        let revision = lastmile_reports::history::short_revision(&run.revision);
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "{}: {what}: {} figures of {revision} on {}, machine {}",
            path.display(),
            run.figures.len(),
            run.branch,
            run.machine
        );
    }
    Ok(Answer::fine(text))
}

/// A result as the history keeps it: a run, or both sides of a gate.
fn runs_of(path: &Path, task: &HistoryAdd) -> Result<Vec<StoredRun>, HistoryCommandError> {
    if store::schema_of(path)?.as_deref() != Some(gate_schema::SCHEMA) {
        return Ok(vec![run_of(path, &store::read(path)?, task)?]);
    }
    let result = GateResult::read(path)?;
    let sides = [GateSide::Base, GateSide::Candidate];
    sides.into_iter().map(|side| run_of_gate(path, &result, side, task)).collect()
}

/// One side of a gate.
fn run_of_gate(
    path: &Path,
    result: &GateResult,
    side: GateSide,
    task: &HistoryAdd,
) -> Result<StoredRun, HistoryCommandError> {
    if result.outcome == Outcome::Invalid && !task.allow_invalid {
        let reason = result.messages.join(" ");
        return Err(HistoryCommandError::Invalid { path: path.to_owned(), reason });
    }
    let branch = task.branch.clone().unwrap_or_else(current_branch);
    let (branch, revision, of, flag) = match side {
        GateSide::Base => (
            task.base_branch.clone().or_else(target_branch).unwrap_or(branch),
            task.base_revision.clone().or_else(|| result.base.revision.clone()),
            " as the base",
            "--base-revision",
        ),
        GateSide::Candidate => (
            branch,
            task.revision.clone().or_else(|| result.candidate.revision.clone()),
            " as the candidate",
            "--revision",
        ),
    };
    Ok(StoredRun {
        id: gate_identity(result, side),
        machine: fingerprint(&result.environment),
        machine_description: description(&result.environment),
        branch,
        revision: revision.ok_or_else(|| HistoryCommandError::NoRevision {
            path: path.to_owned(),
            of,
            flag,
        })?,
        measured_at: result.started_at.clone(),
        verdict: result.outcome.word().to_owned(),
        figures: kept(path, gate_figures(result, side))?,
    })
}

/// Figures with the names of their metrics; there are some.
fn kept(
    path: &Path,
    figures: Vec<(String, Metric, f64)>,
) -> Result<Vec<(String, String, f64)>, HistoryCommandError> {
    if figures.is_empty() {
        return Err(HistoryCommandError::Empty { path: path.to_owned() });
    }
    Ok(figures.into_iter().map(|(case, metric, value)| (case, metric.name().to_owned(), value)).collect())
}

/// A run.
fn run_of(path: &Path, result: &RunResult, task: &HistoryAdd) -> Result<StoredRun, HistoryCommandError> {
    let checks = checks::judge(result);
    let verdict = checks::verdict(result, &checks);
    if verdict == Verdict::Invalid && !task.allow_invalid {
        let reason = if result.objections.is_empty() {
            "see its report".to_owned()
        } else {
            result.objections.join("; ")
        };
        return Err(HistoryCommandError::Invalid { path: path.to_owned(), reason });
    }
    let figures = kept(path, figures(result))?;
    let revision =
        task.revision.clone().or_else(|| variable("GITHUB_SHA")).or_else(|| variable("CI_COMMIT_SHA"));
    let revision = revision.or_else(|| result.environment.git_revision.clone());
    Ok(StoredRun {
        id: identity(result),
        machine: fingerprint(&result.environment),
        machine_description: description(&result.environment),
        branch: task.branch.clone().unwrap_or_else(current_branch),
        revision: revision.ok_or_else(|| HistoryCommandError::NoRevision {
            path: path.to_owned(),
            of: "",
            flag: "--revision",
        })?,
        measured_at: result.started_at.clone(),
        verdict: verdict.word().to_owned(),
        figures,
    })
}

fn description(environment: &Environment) -> String {
    format!("{}, {} cores, {}", environment.cpu, environment.cores, environment.kernel)
}

/// As the CI says, else as git does.
fn current_branch() -> String {
    let asked = || {
        let output = Command::new("git").args(["rev-parse", "--abbrev-ref", "HEAD"]).output().ok()?;
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        // A checkout of a commit is on no branch.
        (output.status.success() && !name.is_empty() && name != "HEAD").then_some(name)
    };
    variable("GITHUB_HEAD_REF")
        .or_else(|| variable("GITHUB_REF_NAME"))
        .or_else(|| variable("CI_COMMIT_REF_NAME"))
        .or_else(asked)
        .unwrap_or_else(|| "main".to_owned())
}

/// The branch a change goes into, as the CI says.
fn target_branch() -> Option<String> {
    variable("GITHUB_BASE_REF").or_else(|| variable("CI_MERGE_REQUEST_TARGET_BRANCH_NAME"))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

async fn list(store: HistoryStore, task: &HistoryList) -> Result<Answer, HistoryCommandError> {
    let runs = store.runs(task.branch.as_deref()).await?;
    let columns = vec![
        Column::words("measured", "When"),
        Column::words("branch", "The branch measured"),
        Column::words("revision", "The revision measured"),
        Column::words("verdict", "What its own checks say"),
        Column::words("machine", "Fingerprint of the machine"),
        Column::words("what it is", "The machine"),
    ];
    let rows = runs.iter().map(|run| {
        let revision = lastmile_reports::history::short_revision(&run.revision);
        let texts =
            [&run.measured_at, &run.branch, &revision, &run.verdict, &run.machine, &run.machine_description];
        Row { slot: None, cells: texts.map(Cell::plain).into() }
    });
    let table = Table { caption: "Runs".to_owned(), columns, rows: rows.collect() };
    Ok(Answer::fine(terminal::render_table(&table, &terminal_options())))
}

/// The series that were asked for; there are some.
async fn selected(
    store: &HistoryStore,
    selection: &SeriesSelection,
) -> Result<Vec<Series>, HistoryCommandError> {
    let branch = selection.branch.clone().unwrap_or_else(current_branch);
    let mut series = store.series(&branch).await?;
    if series.is_empty() {
        let mut known_branches: Vec<String> =
            store.runs(None).await?.into_iter().map(|run| run.branch).collect();
        known_branches.sort();
        known_branches.dedup();
        return Err(HistoryCommandError::NoRuns { branch, known_branches });
    }
    if let Some(machine) = &selection.machine {
        series.retain(|series| series.machine.starts_with(machine.as_str()));
    }
    Ok(series)
}

fn sensitivity(selection: &SeriesSelection) -> Sensitivity {
    Sensitivity { p: selection.p, change: selection.change / 100.0 }
}

async fn check(store: HistoryStore, task: &HistoryCheck) -> Result<Answer, HistoryCommandError> {
    let series = selected(&store, &task.selection).await?;
    let sensitivity = sensitivity(&task.selection);
    let changes: Vec<Change<'_>> = series.iter().flat_map(|series| series.changes(sensitivity)).collect();
    let alarming: Vec<&Change<'_>> =
        changes.iter().filter(|change| change.is_worse() && change.is_recent(task.recent)).collect();
    let mut text = String::new();
    if !changes.is_empty() {
        text.push_str(&terminal::render_table(&changes_table(&changes), &terminal_options()));
        text.push('\n');
    }
    let machines = {
        let mut machines: Vec<&str> = series.iter().map(|series| series.machine.as_str()).collect();
        machines.dedup();
        machines.len()
    };
    let longest = series.iter().map(|series| series.points.len()).max().unwrap_or(0);
    let _ = writeln!(
        text,
        "{} series of {machines} machine(s), up to {longest} runs each: {} changes of level, {} for the worse within the last {} \
         runs. {}.",
        series.len(),
        changes.len(),
        alarming.len(),
        task.recent,
        method(sensitivity)
    );
    for change in &alarming {
        let _ = writeln!(text, "- {}", change.sentence());
    }
    Ok(Answer { text, code: if alarming.is_empty() { 0 } else { EXIT_CHANGED } })
}

async fn report(store: HistoryStore, task: &HistoryReport) -> Result<Answer, HistoryCommandError> {
    let series = selected(&store, &task.selection).await?;
    let branch = series.first().map_or_else(String::new, |series| series.branch.clone());
    let page = html::trend::render(&branch, &series, sensitivity(&task.selection));
    store::write_text(&task.output, &page)?;
    Ok(Answer::fine(format!("{}\n", task.output.display())))
}

async fn export(store: HistoryStore, task: &HistoryExport) -> Result<Answer, HistoryCommandError> {
    let selection = SeriesSelection { branch: task.branch.clone(), ..SeriesSelection::of(&task.db) };
    let series = selected(&store, &selection).await?;
    fs::create_dir_all(&task.out)
        .map_err(|source| HistoryCommandError::File { path: task.out.clone(), source })?;
    let mut text = String::new();
    for file in csv::export(&series) {
        let path = task.out.join(&file.name);
        store::write_text(&path, &file.content)?;
        let _ = writeln!(text, "{}", path.display());
    }
    Ok(Answer::fine(text))
}

async fn import(store: HistoryStore, task: &HistoryImport) -> Result<Answer, HistoryCommandError> {
    let mut runs = Vec::new();
    for path in &task.files {
        let failed = |source| HistoryCommandError::File { path: path.clone(), source };
        let text = fs::read_to_string(path).map_err(failed)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let defaults = StoredRun {
            branch: task.branch.clone().unwrap_or_else(|| "main".to_owned()),
            machine: task.machine.clone(),
            machine_description: format!("imported as {}", task.machine),
            ..StoredRun::default()
        };
        runs.extend(csv::import(&path.display().to_string(), &text, &defaults, &name)?);
    }
    let mut added = 0;
    for run in &runs {
        added += usize::from(store.add(run).await?);
    }
    Ok(Answer::fine(format!("{added} runs added, {} were there already\n", runs.len() - added)))
}
