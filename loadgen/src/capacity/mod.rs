//! The highest rate that keeps an objective, for each protocol: a run a rate, each on a fresh stack.

pub mod objective;
pub mod search;

use std::time::Duration;

use lastmile_reports::checks::{self, Faults};
use lastmile_reports::schema::{Capacity, CapacityStep, CaseResult, RunResult};

use crate::interrupt::Interrupt;
use crate::plan::{Case, Load, Plan, Slice};
use crate::progress::RunWatcher;
use crate::run::{RunError, RunOutcome, RunRequest, run};
use objective::Objective;
use search::{Bounds, Found, Search, Trial, Verdict};

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What a rate has to keep.
    pub objective: Objective,
    /// Where it is looked for, and how closely.
    pub bounds: Bounds,
}

/// What came of a trial.
#[derive(Debug)]
pub struct Step<'a> {
    /// What was tried.
    pub trial: Trial,
    /// What was measured.
    pub case: &'a CaseResult,
    /// How it counts.
    pub verdict: Verdict,
    /// What it fell short of, or why it was refused; nothing where it kept the objective.
    pub reasons: &'a [String],
}

/// How a run counts, and why. What makes it INVALID by the generator's or the machine's doing refuses it, whatever else it
/// shows: a server that fell behind a generator that got no processor time has not failed. What it did not deliver as its
/// protocol promises is the server's, and breaks every objective.
fn judge(objective: &Objective, case: &CaseResult) -> (Verdict, Vec<String>) {
    let Faults { of_the_server, of_the_generator } = checks::faults(case);
    if !of_the_generator.is_empty() {
        return (Verdict::Refused, of_the_generator);
    }
    let mut shortfalls = objective.shortfalls(case);
    if shortfalls.is_empty() {
        shortfalls = of_the_server;
    }
    (if shortfalls.is_empty() { Verdict::Kept } else { Verdict::Broken }, shortfalls)
}

/// The rate that a search stays below, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// In messages a second.
    pub rate: f64,
    /// How it counts.
    pub verdict: Verdict,
    /// What it fell short of, or why it was refused.
    pub why: String,
}

/// Shows a search to whoever watches.
pub trait CapacityWatcher {
    /// A run begins that tries this.
    fn begins(&self, plan: &Plan, trial: Trial) -> Box<dyn RunWatcher>;
    /// It is over.
    fn ended(&self, step: &Step<'_>);
}

/// What searches came to.
#[derive(Debug)]
pub struct CapacityOutcome {
    /// Everything found; its cases are measurements at the rates found, the last of each.
    pub result: Option<RunResult>,
    /// What ended each search.
    pub limits: Vec<Option<Limit>>,
    /// Why it ended before its end.
    pub failure: Option<RunError>,
}

/// Searches for every case of a plan, whose rates are of no account.
pub fn search(
    plan: &Plan,
    wanted: &Wanted,
    request: &RunRequest,
    interrupt: &Interrupt,
    watcher: &dyn CapacityWatcher,
) -> CapacityOutcome {
    let mut outcome = CapacityOutcome { result: None, limits: Vec::new(), failure: None };
    let mut number = 0;
    for (index, case) in plan.cases.iter().enumerate() {
        let slices = || plan.slices.iter().filter(|slice| slice.case == index);
        let Some(&first) = slices().next() else { continue };
        // Every rate is tried in one piece: what several are there for, drift, is met by repeating and confirming.
        let slice = Slice { measured: slices().map(|slice| slice.measured).sum(), ..first };
        let mut hunt = Hunt::new(case, wanted);
        while let (Some(trial), false) = (hunt.search.next(), interrupt.is_asked()) {
            number += 1;
            let step_plan = step_plan(plan, case, slice, wanted, trial, number);
            let run_watcher = watcher.begins(&step_plan, trial);
            let RunOutcome { result, failure } = run(&step_plan, request, interrupt, run_watcher.as_ref());
            if failure.is_some() {
                outcome.failure = failure;
                break;
            }
            let is_whole = !interrupt.is_asked();
            let measured = outcome.take(result, plan);
            if let (Some(case), true) = (measured, is_whole) {
                hunt.take(trial, case, watcher);
            }
        }
        outcome.add(hunt);
        if outcome.failure.is_some() || interrupt.is_asked() {
            break;
        }
    }
    if let Some(result) = &mut outcome.result {
        result.interrupted |= interrupt.is_asked();
        // The verdict of the first run stands in it, which is not that of the cases shown.
        checks::stamp(result);
    }
    outcome
}

/// A run of one rate. Its window is as long as the quantiles of the objective need.
fn step_plan(plan: &Plan, case: &Case, slice: Slice, wanted: &Wanted, trial: Trial, number: u64) -> Plan {
    // A message more than needed: rounding must not leave one short. Poisson arrivals may be fewer than planned.
    let needed = (wanted.objective.messages_wanted() as f64 * 1.1 + 1.0) / trial.rate;
    let measured = slice.measured.max(Duration::from_secs_f64(needed));
    let load = Load { messages_per_second: trial.rate, in_flight: None, ..case.load.clone() };
    Plan {
        seed: plan.seed.wrapping_add(number),
        cases: vec![Case { load, ..case.clone() }],
        slices: vec![Slice { case: 0, measured, ..slice }],
        ..plan.clone()
    }
}

/// A search with what it measured.
struct Hunt<'a> {
    wanted: &'a Wanted,
    search: Search,
    capacity: Capacity,
    /// The last measurement of every rate.
    cases: Vec<CaseResult>,
    limit: Option<Limit>,
}

impl<'a> Hunt<'a> {
    fn new(case: &Case, wanted: &'a Wanted) -> Self {
        let capacity = Capacity {
            protocol: case.variant.to_string(),
            connections: case.load.connections as u32,
            objective: wanted.objective.to_string(),
            rate: None,
            is_bounded: false,
            is_generator_limit: false,
            steps: Vec::new(),
        };
        Self { wanted, search: Search::new(wanted.bounds), capacity, cases: Vec::new(), limit: None }
    }

    fn take(&mut self, trial: Trial, case: CaseResult, watcher: &dyn CapacityWatcher) {
        let (verdict, reasons) = judge(&self.wanted.objective, &case);
        self.capacity.steps.push(CapacityStep {
            rate: trial.rate,
            achieved_rate: case.achieved_rate.unwrap_or_default(),
            latency_us: case.latency_us,
            lost: case.accounting.lost,
            kept: verdict == Verdict::Kept,
            is_confirmation: trial.is_confirmation,
            refused: if verdict == Verdict::Refused { reasons.clone() } else { Vec::new() },
        });
        watcher.ended(&Step { trial, case: &case, verdict, reasons: &reasons });
        self.search.tell(trial, verdict);
        if verdict != Verdict::Kept && self.search.limit() == Some(trial.rate) {
            self.limit = Some(Limit { rate: trial.rate, verdict, why: reasons.join(", ") });
        }
        self.cases.retain(|other| (other.rate - case.rate).abs() > f64::EPSILON * case.rate);
        self.cases.push(case);
    }
}

impl CapacityOutcome {
    /// Keeps what all runs share, and gives the case that this one measured.
    fn take(&mut self, mut result: RunResult, plan: &Plan) -> Option<CaseResult> {
        let case = result.cases.pop();
        self.result.get_or_insert(RunResult { seed: plan.seed, ..result });
        case
    }

    fn add(&mut self, hunt: Hunt<'_>) {
        let found = hunt.search.found();
        let Some(result) = self.result.as_mut().filter(|_| !hunt.capacity.steps.is_empty()) else { return };
        // Where nothing was found, the lowest rate shows best why.
        let lowest = || hunt.cases.iter().map(|case| case.rate).min_by(f64::total_cmp);
        if let Some(rate) = found.rate.or_else(lowest) {
            let shown = hunt.cases.into_iter().find(|case| (case.rate - rate).abs() <= f64::EPSILON * rate);
            result.cases.extend(shown);
        }
        let Found { rate, is_bounded, is_generator_limit } = found;
        result.capacity.push(Capacity { rate, is_bounded, is_generator_limit, ..hunt.capacity });
        self.limits.push(hunt.limit);
    }
}
