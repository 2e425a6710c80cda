//! A run: all slices of a plan, one after the other, each on a stack of its own.

use std::sync::Arc;

use lastmile_reports::checks;
use lastmile_reports::histogram::HistogramError;
use lastmile_reports::schema::{CaseResult, RunResult, SCHEMA};

use crate::case::case_result;
use crate::environment::environment;
use crate::interrupt::Interrupt;
use crate::message::first_id;
use crate::plan::{Plan, Slice};
use crate::progress::RunWatcher;
use crate::slice::{SliceError, SliceOutcome, SliceRequest, measure};
use crate::stack::{Processes, StackError, StackPlan};
use crate::together::Seat;
use crate::variant::Variant;

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A stack could not be made.
    #[error("{protocol}: {source}")]
    Stack {
        /// What was to be measured.
        protocol: Variant,
        /// Why not.
        source: StackError,
    },
    /// A slice failed.
    #[error("{protocol}: {source}")]
    Slice {
        /// What was being measured.
        protocol: Variant,
        /// Why it failed.
        source: SliceError,
    },
    /// A result could not be put together.
    #[error(transparent)]
    Histogram(#[from] HistogramError),
}

impl RunError {
    /// Nothing was wrong with what was asked: something broke while it was measured.
    pub fn is_breakdown(&self) -> bool {
        match self {
            Self::Stack { .. } => false,
            Self::Histogram(_) => true,
            Self::Slice { source, .. } => matches!(
                source,
                SliceError::Process(_)
                    | SliceError::Publisher { .. }
                    | SliceError::RefusedPublish { .. }
                    | SliceError::System(_)
            ),
        }
    }
}

/// What a run is made with, beside its plan.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The command line, for the result.
    pub command: String,
    /// What the slices are made of.
    pub stack: StackPlan,
    /// What holds for every case, for the result.
    pub conditions: Vec<(String, String)>,
    /// What was asked for, for the result: [`crate::scenario::Scenario::to_json`].
    pub scenario: serde_json::Value,
}

/// What a run came to.
#[derive(Debug)]
pub struct RunOutcome {
    /// Everything measured.
    pub result: RunResult,
    /// Why it ended before its end.
    pub failure: Option<RunError>,
}

/// Measures a plan.
pub fn run(plan: &Plan, request: &RunRequest, interrupt: &Interrupt, watcher: &dyn RunWatcher) -> RunOutcome {
    run_beside(plan, request, None, interrupt, watcher)
}

/// The same, of a plan of one slice that others get the publishes of, too.
pub fn run_beside(
    plan: &Plan,
    request: &RunRequest,
    seat: Option<&Seat<'_>>,
    interrupt: &Interrupt,
    watcher: &dyn RunWatcher,
) -> RunOutcome {
    let started_at = now_rfc3339();
    let mut work = Progressing { server_version: None, outcomes: vec![Vec::new(); plan.cases.len()], seat };
    let mut failure = work.measure_all(plan, request, interrupt, watcher).err();
    watcher.finish();
    let cases = match work.cases(plan) {
        Ok(cases) => cases,
        Err(error) => {
            failure.get_or_insert(error.into());
            Vec::new()
        }
    };
    let private_redis = request.stack.has_private_redis();
    let mut result = RunResult {
        schema: SCHEMA.to_owned(),
        command: request.command.clone(),
        seed: plan.seed,
        started_at,
        interrupted: interrupt.is_asked(),
        environment: environment(work.server_version.as_deref(), private_redis),
        conditions: request.conditions.clone(),
        plan: Some(request.scenario.clone()),
        cases,
        capacity: Vec::new(),
        verdict: None,
        objections: Vec::new(),
    };
    checks::stamp(&mut result);
    RunOutcome { result, failure }
}

/// The current time in UTC, to the second.
pub fn now_rfc3339() -> String {
    let now = time::OffsetDateTime::now_utc();
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", now.hour(), now.minute(), now.second())
}

struct Progressing<'a> {
    server_version: Option<String>,
    seat: Option<&'a Seat<'a>>,
    /// Of each case, what its slices measured so far.
    outcomes: Vec<Vec<SliceOutcome>>,
}

impl Progressing<'_> {
    fn measure_all(
        &mut self,
        plan: &Plan,
        request: &RunRequest,
        interrupt: &Interrupt,
        watcher: &dyn RunWatcher,
    ) -> Result<(), RunError> {
        for (number, &slice) in plan.slices.iter().enumerate() {
            let protocol = plan.cases[slice.case].variant.to_string();
            watcher.slice_begins(&protocol, number + 1, plan.slices.len(), slice);
            match self.measure_one(plan, number, request, interrupt, watcher) {
                Ok(outcome) => self.outcomes[slice.case].push(outcome),
                // What was measured until then is kept, and that it was cut short stands in the result.
                Err(RunError::Slice { source: SliceError::Interrupted, .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            if interrupt.is_asked() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn measure_one(
        &mut self,
        plan: &Plan,
        number: usize,
        request: &RunRequest,
        interrupt: &Interrupt,
        watcher: &dyn RunWatcher,
    ) -> Result<SliceOutcome, RunError> {
        let slice = plan.slices[number];
        let case = &plan.cases[slice.case];
        let protocol = case.variant;
        let processes = Arc::<Processes>::default();
        interrupt.guard(&processes);
        let halves = plan.cores.halves();
        let server_cores = halves.map(|halves| halves.server);
        let made = request.stack.make(protocol, processes, &case.load.channels, server_cores);
        if interrupt.is_asked() {
            return Err(RunError::Slice { protocol, source: SliceError::Interrupted });
        }
        let stack = made.map_err(|source| RunError::Stack { protocol, source })?;
        self.server_version = self.server_version.take().or_else(|| stack.server_version.clone());
        let slice_request = SliceRequest {
            case,
            slice,
            first_id: first_id(plan.seed, number as u64),
            seed: plan.seed.wrapping_add(number as u64),
            threads: plan.threads,
            halves,
            connecting: plan.connecting,
            instruments: plan.instruments,
            seat: self.seat,
        };
        measure(&slice_request, &stack, interrupt, watcher)
            .map_err(|source| RunError::Slice { protocol, source })
    }

    /// The results of all cases that have an outcome.
    fn cases(&self, plan: &Plan) -> Result<Vec<CaseResult>, HistogramError> {
        let mut results = Vec::new();
        for (index, outcomes) in self.outcomes.iter().enumerate() {
            let slices: Vec<(u32, Slice)> =
                (0..).zip(plan.slices.iter().copied()).filter(|(_, slice)| slice.case == index).collect();
            if !outcomes.is_empty() {
                let mut result = case_result(&plan.cases[index], &slices, outcomes, plan.seed)?;
                result.interrupted |= outcomes.len() < slices.len();
                results.push(result);
            }
        }
        Ok(results)
    }
}
