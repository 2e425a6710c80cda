//! `lastmile capacity`: from flags or a file to the highest rate of each protocol that keeps an objective.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use lastmile_reports::schema::{Capacity, RunResult};
use lastmile_reports::{checks, store, terminal};

use crate::capacity::search::{Trial, Verdict};
use crate::capacity::{CapacityOutcome, CapacityWatcher, Limit, Step, search};
use crate::cli::CapacityArguments;
use crate::commands::prepare::{Prepared, SetupError, prepare, tell_left_out};
use crate::commands::run::{default_folder, write};
use crate::commands::terminal_options;
use crate::interrupt::Interrupt;
use crate::plan::Plan;
use crate::preflight::prepare_output;
use crate::progress::{Line, RunWatcher, Silent};
use crate::run::{RunError, RunRequest};
use crate::scenario::capacity::CapacitySettings;
use crate::scenario::settings::{LoadSettings, check_highest_rate};
use crate::scenario::{Pace, Problem, Scenario, ScenarioError};
use crate::schedule::Arrivals;

/// What a search left behind.
#[derive(Debug)]
pub struct Finished {
    /// Everything found; `None` where nothing was measured.
    pub result: Option<RunResult>,
    /// Where it was written.
    pub folder: Option<PathBuf>,
    /// Why it ended before its end.
    pub failure: Option<RunError>,
    /// What was found, a line a search.
    found: String,
}

impl Finished {
    /// Why the answer is none of the server's, for `--strict`: what ended a search is the generator, or the measurements at
    /// the rates found are INVALID. `None` where there is nothing to object to.
    pub fn objection(&self) -> Option<String> {
        let result = self.result.as_ref()?;
        let refused = result.capacity.iter().filter(|search| search.is_generator_limit);
        let refused: Vec<&str> = refused.map(|search| search.protocol.as_str()).collect();
        if !refused.is_empty() {
            return Some(format!("the generator ended the search of {}", refused.join(", ")));
        }
        let is_invalid = checks::verdict(result, &checks::judge(result)) == checks::Verdict::Invalid;
        is_invalid.then(|| result.objections.join("; "))
    }

    /// What to print: the table, what was found and where the report is, or the result itself.
    pub fn text(&self, as_json: bool) -> String {
        let Some(result) = &self.result else { return String::new() };
        if as_json {
            return store::to_json(result);
        }
        let mut text = terminal::render(result, &terminal_options());
        text.extend(["\n", &self.found]);
        if let Some(folder) = &self.folder {
            text.extend(["\nReport: ", &folder.join("report.html").to_string_lossy(), "\n"]);
        }
        text
    }
}

/// Searches for what the flags ask for.
///
/// # Errors
/// [`SetupError`] where nothing could be measured.
pub fn execute(
    arguments: &CapacityArguments,
    command: String,
    interrupt: &Interrupt,
) -> Result<Finished, SetupError> {
    let mut scenario = scenario(arguments)?;
    let wanted = scenario.capacity.wanted().map_err(ScenarioError::from)?;
    scenario.capacity = CapacitySettings::of(&wanted);
    // What a matrix says of rates is for runs.
    for matrix in &mut scenario.matrices {
        let arrivals = match matrix.pace {
            Pace::Open { arrivals, .. } => arrivals,
            Pace::Closed(_) => Arrivals::default(),
        };
        check_highest_rate(matrix, wanted.bounds.to).map_err(ScenarioError::from)?;
        matrix.pace = Pace::Open { rates: vec![wanted.bounds.from], arrivals };
    }
    let Prepared { plan, stack, conditions } = prepare(&mut scenario, arguments.server.program.as_deref())?;
    let folder = arguments.output.out.clone().unwrap_or_else(|| default_folder("capacity-"));
    prepare_output(&folder)?;
    tell_left_out(&conditions);
    let request = RunRequest { command, conditions, stack, scenario: scenario.to_json() };
    let watcher: &dyn CapacityWatcher = if io::stderr().is_terminal() { &Shown } else { &Unseen };
    let CapacityOutcome { result, limits, failure } = search(&plan, &wanted, &request, interrupt, watcher);
    let result = result.filter(|result| !result.capacity.is_empty());
    let mut finished = Finished { result, folder: None, failure, found: String::new() };
    match &finished.result {
        Some(result) => {
            write(&folder, result)?;
            finished.found = found(&result.capacity, &limits);
            finished.folder = Some(folder);
        }
        None => {
            // Made for this search, and nothing is in it.
            let _ = fs::remove_dir(&folder);
        }
    }
    Ok(finished)
}

/// What is to be measured and looked for, by flags, a file or an earlier result.
fn scenario(arguments: &CapacityArguments) -> Result<Scenario, ScenarioError> {
    if arguments.load.rate.is_some() || arguments.load.in_flight.is_some() {
        let text =
            "the rate is what a search finds; say with --from and --to where it is looked for".to_owned();
        return Err(Problem { key: "rate", text }.into());
    }
    let source = arguments.source.given();
    // Many short runs: a search takes some ten of them for each protocol.
    let defaults = LoadSettings {
        duration: Some(Duration::from_secs(3)),
        warmup: Some(Duration::from_secs(1)),
        ..LoadSettings::default()
    };
    let (load, run, server) = (&arguments.load, &arguments.run, &arguments.server.settings);
    let mut scenario = Scenario::load_above(&defaults, &source, load, run, server)?;
    scenario.capacity = arguments.capacity.clone().over(&scenario.capacity);
    // A floor is no server whose limit one would want to know, and a search of it takes as long as any.
    for &place in &scenario.unnamed {
        let protocols = &mut scenario.matrices[place].protocols;
        if protocols.iter().any(|variant| !variant.is_floor()) {
            protocols.retain(|variant| !variant.is_floor());
        }
    }
    Ok(scenario)
}

/// What was found, a line a search.
fn found(searches: &[Capacity], limits: &[Option<Limit>]) -> String {
    let mut text = String::new();
    for (search, limit) in searches.iter().zip(limits) {
        let Capacity { protocol, connections, objective, .. } = search;
        // Writing to a string does not fail.
        let _ = write!(text, "{protocol}, {connections} subscribers: ");
        let _ = match search.rate {
            Some(rate) if search.is_bounded => {
                write!(
                    text,
                    "{objective} holds at {rate} messages/s, where the search ends; raise --to to find its limit"
                )
            }
            Some(rate) => {
                let deliveries = rate * f64::from(*connections);
                write!(text, "{objective} holds up to {rate} messages/s ({deliveries:.0} deliveries/s)")
            }
            None => write!(text, "no rate was confirmed to keep {objective}"),
        };
        if let Some(Limit { rate, verdict, why }) = limit.as_ref().filter(|_| !search.is_bounded) {
            let _ = match verdict {
                Verdict::Refused => write!(
                    text,
                    "; at {rate} the run is INVALID ({why}): that is the generator's limit, the server's is not known"
                ),
                Verdict::Broken | Verdict::Kept => write!(text, "; at {rate} {why}"),
            };
        }
        text.push('\n');
    }
    text
}

/// On a terminal: the run under way, and a line for each that is over.
struct Shown;

impl CapacityWatcher for Shown {
    fn begins(&self, plan: &Plan, _trial: Trial) -> Box<dyn RunWatcher> {
        Box::new(Line::new(plan))
    }

    fn ended(&self, step: &Step<'_>) {
        let Step { trial, case, verdict, reasons } = step;
        let verdict = match (verdict, trial.is_confirmation) {
            (Verdict::Kept, true) => "kept again".to_owned(),
            (Verdict::Kept, false) => "kept".to_owned(),
            (Verdict::Broken, _) => format!("not kept: {}", reasons.join(", ")),
            (Verdict::Refused, _) => format!("refused, the run is INVALID: {}", reasons.join(", ")),
        };
        eprintln!("{} {} messages/s: {verdict}", case.protocol, trial.rate);
    }
}

/// Elsewhere: nothing.
struct Unseen;

impl CapacityWatcher for Unseen {
    fn begins(&self, _plan: &Plan, _trial: Trial) -> Box<dyn RunWatcher> {
        Box::new(Silent)
    }

    fn ended(&self, _step: &Step<'_>) {}
}
