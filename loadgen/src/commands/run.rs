//! `lastmile run`: from flags to a plan, through the preflight, to result and report.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lastmile_reports::checks::{self, Verdict};
use lastmile_reports::schema::RunResult;
use lastmile_reports::view::Report;
use lastmile_reports::view::objections::ObjectionGroup;
use lastmile_reports::{html, store, terminal};

use crate::cli::RunArguments;
use crate::commands::prepare::{Prepared, SetupError, prepare, tell_left_out};
use crate::commands::terminal_options;
use crate::interrupt::Interrupt;
use crate::preflight::{PreflightError, prepare_output};
use crate::progress::{Line, RunWatcher, Silent};
use crate::run::{RunError, RunOutcome, RunRequest, run};
use crate::scenario::{Problem, Scenario, ScenarioError};

/// Where results go by default, and the name of the newest among them.
const RESULTS: &str = "results";
const LATEST: &str = "latest";

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    /// Everything measured.
    pub result: RunResult,
    /// Where it was written; `None` where there was nothing to write.
    pub folder: Option<PathBuf>,
    /// Why it ended before its end.
    pub failure: Option<RunError>,
}

impl Finished {
    /// The self-checks say that the figures don't measure what they claim to.
    pub fn is_invalid(&self) -> bool {
        checks::verdict(&self.result, &checks::judge(&self.result)) == Verdict::Invalid
    }

    /// What the self-checks object to, in one line.
    pub fn objections(&self) -> String {
        match Report::of(&self.result).objections.as_slice() {
            [] => "nothing was measured".to_owned(),
            groups => groups.iter().map(ObjectionGroup::line).collect::<Vec<_>>().join("; "),
        }
    }

    /// What to print: the table and where the report is, or the result itself.
    pub fn text(&self, as_json: bool) -> String {
        if as_json {
            return store::to_json(&self.result);
        }
        let mut text = terminal::render(&self.result, &terminal_options());
        if let Some(folder) = &self.folder {
            text.extend(["\nReport: ", &folder.join("report.html").to_string_lossy(), "\n"]);
        }
        text
    }
}

/// Runs what the flags ask for.
///
/// # Errors
/// [`SetupError`] where nothing could be measured.
pub fn execute(
    arguments: &RunArguments,
    command: String,
    interrupt: &Interrupt,
) -> Result<Finished, SetupError> {
    let mut scenario = scenario(arguments)?;
    let prepared = prepare(&mut scenario, arguments.server.program.as_deref())?;
    let folder = arguments.output.out.clone().unwrap_or_else(|| default_folder(""));
    prepare_output(&folder)?;

    let Prepared { plan, stack, conditions } = prepared;
    tell_left_out(&conditions);
    let request = RunRequest { command, conditions, stack, scenario: scenario.to_json() };
    let watcher: Box<dyn RunWatcher> =
        if io::stderr().is_terminal() { Box::new(Line::new(&plan)) } else { Box::new(Silent) };
    let RunOutcome { result, failure } = run(&plan, &request, interrupt, watcher.as_ref());
    let has_result = !result.cases.is_empty();
    if has_result {
        write(&folder, &result)?;
    } else {
        // Made for this run, and nothing is in it.
        let _ = fs::remove_dir(&folder);
    }
    Ok(Finished { result, folder: has_result.then_some(folder), failure })
}

/// What is to be measured, by flags, a file or an earlier result.
fn scenario(arguments: &RunArguments) -> Result<Scenario, ScenarioError> {
    let source = arguments.source.given();
    let scenario = Scenario::load(&source, &arguments.load, &arguments.run, &arguments.server.settings)?;
    if scenario.capacity.is_empty() {
        return Ok(scenario);
    }
    let text =
        "this describes a search for capacity: use lastmile capacity instead of lastmile run".to_owned();
    Err(Problem { key: "capacity", text }.into())
}

/// A folder named after the current time that does not exist yet.
pub fn default_folder(prefix: &str) -> PathBuf {
    let now = time::OffsetDateTime::now_utc();
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]-[minute]-[second]Z");
    let name = now.format(format).unwrap_or_else(|_| now.unix_timestamp().to_string());
    let name = format!("{prefix}{name}");
    let folder = Path::new(RESULTS).join(&name);
    let others = (2..).map(|number| Path::new(RESULTS).join(format!("{name}-{number}")));
    std::iter::once(folder.clone()).chain(others.take(1000)).find(|path| !path.exists()).unwrap_or(folder)
}

/// Writes result and report, and has `results/latest` lead to them where they are in `results`.
///
/// # Errors
/// [`PreflightError::Output`] where a file can't be written.
pub fn write(folder: &Path, result: &RunResult) -> Result<(), SetupError> {
    let failed = |error: store::StoreError| PreflightError::Output {
        path: folder.into(),
        source: io::Error::other(error),
    };
    store::write(&folder.join("result.json"), result).map_err(failed)?;
    store::write_text(&folder.join("report.html"), &html::render(result)).map_err(failed)?;
    // A convenience; a run is not lost for it.
    let _ = point_latest_at(folder);
    Ok(())
}

/// `results/latest` leads to the newest result in `results`, at every moment to one. What lies elsewhere belongs to whoever
/// asked for that place, and may be gone soon.
fn point_latest_at(folder: &Path) -> io::Result<()> {
    let results = Path::new(RESULTS);
    let Ok(target) = folder.strip_prefix(results) else { return Ok(()) };
    let beside = results.join(format!(".{LATEST}.{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    symlink(target, &beside)?;
    fs::rename(&beside, results.join(LATEST)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}
