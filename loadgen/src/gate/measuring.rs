//! Blocks: each a run of one slice on a fresh stack, in random order within its pair.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lastmile_processes::RedisOptions;
use lastmile_reports::checks::{self, Outcome};
use lastmile_reports::gate::{Block, Metric, Role};
use lastmile_reports::schema::RunResult;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rustix::thread::sched_getaffinity;

use crate::cores::{halves, keep_this_thread_to};
use crate::interrupt::Interrupt;
use crate::plan::{Plan, Slice};
use crate::progress::Silent;
use crate::redis::RedisUrl;
use crate::run::{RunError, RunOutcome, RunRequest, run, run_beside};
use crate::slice::SliceError;
use crate::stack::{Processes, StackPlan};
use crate::together::Together;

use super::budget::Budget;
use super::settings::Mode;
use super::{GateRequest, GateWatcher};

/// Checks of a run whose failing makes a block worthless. The others object to lateness of the machine or the
/// generator: that falls on both builds alike and is part of the noise floor, so it is told and not thrown away.
const WORTHLESS: [&str; 4] = ["deliveries", "accounting", "achieved rate", "range"];

/// Why a gate ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Something never worked.
    Setup(String),
    /// Something broke that had worked.
    Broken(String),
    /// The user wanted it to.
    Interrupted,
}

impl fmt::Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(text) | Self::Broken(text) => formatter.write_str(text),
            Self::Interrupted => formatter.write_str("Interrupted; what was measured until then was kept."),
        }
    }
}

/// Where a gate is, for whoever watches.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Pair that is measured, from 0.
    pub pair: usize,
    /// Pairs until the next look.
    pub pairs: usize,
    /// Time until then.
    pub left: Duration,
}

/// Measures blocks and keeps them.
pub struct Measuring<'a> {
    request: &'a GateRequest,
    interrupt: &'a Interrupt,
    watcher: &'a dyn GateWatcher,
    begun: Instant,
    random: SmallRng,
    next_pair: usize,
    /// All blocks, in the order measured.
    pub blocks: Vec<Block>,
    /// What base and candidate say of themselves.
    pub versions: (Option<String>, Option<String>),
}

impl<'a> Measuring<'a> {
    /// Nothing measured yet.
    pub fn new(
        request: &'a GateRequest,
        interrupt: &'a Interrupt,
        watcher: &'a dyn GateWatcher,
        begun: Instant,
    ) -> Self {
        let random = SmallRng::seed_from_u64(request.plan.seed);
        Self {
            request,
            interrupt,
            watcher,
            begun,
            random,
            next_pair: 0,
            blocks: Vec::new(),
            versions: (None, None),
        }
    }

    /// Pairs of base and candidate whose blocks are all sound, in every case.
    pub fn sound_pairs(&self) -> usize {
        let is_sound = |pair: &usize| {
            let of = |role: Role| {
                self.blocks.iter().filter(move |block| block.pair == *pair && block.role == role)
            };
            of(Role::Candidate).count() > 0
                && of(Role::Base).chain(of(Role::Candidate)).all(|block| block.faults.is_empty())
        };
        (0..self.next_pair).filter(is_sound).count()
    }

    /// Measures a pair of every case, and with it the base once more where it is time to.
    pub fn pair(&mut self, progress: Progress, with_noise: bool, budget: &mut Budget) -> Result<(), Stop> {
        match self.request.rules.mode {
            Mode::Paired => {
                let noise = with_noise.then_some(Role::BaseAgain);
                let roles: Vec<Role> = [Role::Base, Role::Candidate].into_iter().chain(noise).collect();
                self.of_every_case(|own, case, seed| own.in_turn(case, seed, &roles, progress, budget))
            }
            Mode::Duet => {
                self.of_every_case(|own, case, seed| {
                    own.at_once(case, seed, Role::Candidate, progress, budget)
                })?;
                // The noise of a duet is that of two equal servers at once: a pair of its own, without a candidate.
                if with_noise {
                    self.of_every_case(|own, case, seed| {
                        own.at_once(case, seed, Role::BaseAgain, progress, budget)
                    })?;
                }
                Ok(())
            }
        }
    }

    /// A pair of every case, in random order. Payloads and schedules are the same for all blocks of a pair.
    fn of_every_case(
        &mut self,
        mut measure: impl FnMut(&mut Self, usize, u64) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut cases: Vec<usize> = (0..self.request.plan.cases.len()).collect();
        cases.shuffle(&mut self.random);
        for case in cases {
            let seed: u64 = self.random.random::<u32>().into();
            measure(self, case, seed)?;
        }
        self.next_pair += 1;
        Ok(())
    }

    /// Blocks one after the other, in random order.
    fn in_turn(
        &mut self,
        case: usize,
        seed: u64,
        roles: &[Role],
        progress: Progress,
        budget: &mut Budget,
    ) -> Result<(), Stop> {
        let mut roles = roles.to_vec();
        roles.shuffle(&mut self.random);
        for role in roles {
            let begun = Instant::now();
            self.watcher.block_begins(progress.pair, progress.pairs, role, progress.left);
            let (plan, run_request) = block(self.request, case, role, seed, None);
            let outcome = run(&plan, &run_request, self.interrupt, self.watcher);
            self.keep(case, role, begun, outcome)?;
            budget.spend(begun.elapsed());
        }
        Ok(())
    }

    /// The base and another at once, each on half of the cores, which is drawn; both get the same publishes from the
    /// same Redis. Redis and the publisher keep to no half.
    fn at_once(
        &mut self,
        case: usize,
        seed: u64,
        other: Role,
        progress: Progress,
        budget: &mut Budget,
    ) -> Result<(), Stop> {
        let begun = Instant::now();
        self.watcher.block_begins(progress.pair, progress.pairs, other, progress.left);
        let refused = |error: std::io::Error| Stop::Setup(format!("cores can't be shared out: {error}"));
        let all = sched_getaffinity(None).map_err(|error| refused(error.into()))?;
        let mut halves = halves(&all);
        if self.random.random() {
            halves.swap(0, 1);
        }
        let (request, interrupt) = (self.request, self.interrupt);
        let processes = Arc::<Processes>::default();
        interrupt.guard(&processes);
        let redis = redis_of_both(request, &processes)?;
        let together = Together::new(2, all);
        let sides = [(Role::Base, together.seat(), halves[0]), (other, together.seat(), halves[1])];
        let mut outcomes = thread::scope(|scope| {
            let threads = sides.map(|(role, seat, half)| {
                let (plan, run_request) = block(request, case, role, seed, redis.clone());
                let thread = scope.spawn(move || {
                    // Threads and processes made from here on inherit it.
                    keep_this_thread_to(Some(&half));
                    run_beside(&plan, &run_request, Some(&seat), interrupt, &Silent)
                });
                (role, thread)
            });
            threads.map(|(role, thread)| (role, thread.join()))
        });
        // The one that failed of itself says why; the other was only left alone or cut short by it.
        outcomes.sort_by_key(|(_, outcome)| match outcome {
            Ok(RunOutcome { failure: None, .. }) => 1,
            Ok(RunOutcome {
                failure: Some(RunError::Slice { source: SliceError::Abandoned, .. }), ..
            }) => 2,
            _ => 0,
        });
        for (role, outcome) in outcomes {
            let outcome =
                outcome.map_err(|_| Stop::Broken(format!("{}: its thread panicked.", words(role))))?;
            self.keep(case, role, begun, outcome)?;
        }
        budget.spend(begun.elapsed());
        Ok(())
    }

    /// Keeps what a block measured, or says why the gate ends here.
    fn keep(&mut self, case: usize, role: Role, begun: Instant, outcome: RunOutcome) -> Result<(), Stop> {
        let RunOutcome { result, failure } = outcome;
        if self.interrupt.is_asked() {
            return Err(Stop::Interrupted);
        }
        if let Some(failure) = failure {
            let had_worked = self.blocks.iter().any(|block| is_base(block.role) == is_base(role));
            let number = self.blocks.iter().filter(|block| is_base(block.role) == is_base(role)).count() + 1;
            let failure_text = failure.to_string();
            let text = format!(
                "{} failed in its block {number} (pair {}): {failure_text}{}",
                words(role),
                self.next_pair + 1,
                advice(&failure_text).unwrap_or_default()
            );
            return Err(if had_worked || failure.is_breakdown() {
                Stop::Broken(text)
            } else {
                Stop::Setup(text)
            });
        }
        let Some(measured) = result.cases.first() else {
            return Err(Stop::Broken(format!("{} measured nothing.", words(role))));
        };
        let version = result.environment.versions.iter().find(|(name, _)| name == "lastmile-server");
        let version = version.map(|(_, version)| version.clone());
        let said = if is_base(role) { &mut self.versions.0 } else { &mut self.versions.1 };
        *said = said.take().or(version);
        let (faults, objections) = judged(&result);
        self.blocks.push(Block {
            case,
            pair: self.next_pair,
            role,
            at_s: begun.duration_since(self.begun).as_secs_f64(),
            values: Metric::ALL
                .into_iter()
                .filter_map(|metric| Some((metric, metric.of(measured)?)))
                .collect(),
            accounting: measured.accounting,
            faults,
            objections,
        });
        Ok(())
    }
}

/// What to do about a server that does not know a flag it was started with.
fn advice(failure: &str) -> Option<String> {
    let (flag, _) = failure.split_once("unexpected argument '")?.1.split_once('\'')?;
    let needed_by = match flag {
        "--games" => "more than one game (--games)",
        "--tls" => "the encrypted protocols (--protocols, --tls)",
        "--tcp-listen" => "the floor tcp (--protocols)",
        _ => "--base-args and --candidate-args",
    };
    Some(format!(
        "\nThat build does not know {flag}, needed for {needed_by}: measure without that, or name a build that knows it."
    ))
}

fn is_base(role: Role) -> bool {
    role != Role::Candidate
}

/// Who it is, as a sentence begins.
fn words(role: Role) -> &'static str {
    if is_base(role) { "The base" } else { "The candidate" }
}

/// What the checks of a run make of a block: what makes it worthless, and what else they object to.
fn judged(result: &RunResult) -> (Vec<String>, Vec<String>) {
    let (mut faults, mut objections) = (Vec::new(), Vec::new());
    for check in checks::judge(result) {
        for outcome in check.outcomes {
            match outcome {
                Outcome::Invalid(text) if WORTHLESS.contains(&check.name) => {
                    faults.push(format!("{}: {text}", check.name));
                }
                Outcome::Invalid(text) | Outcome::Suspect(text) => {
                    objections.push(format!("{}: {text}", check.name));
                }
                Outcome::Holds | Outcome::NotJudged(_) => {}
            }
        }
    }
    (faults, objections)
}

/// The Redis that both sides of a duet get their messages from: started for this block, unless the user named one.
fn redis_of_both(request: &GateRequest, processes: &Processes) -> Result<Option<RedisUrl>, Stop> {
    let sides = [&request.base.stack, &request.candidate.stack];
    if !sides.iter().any(|stack| stack.has_private_redis()) {
        return Ok(None);
    }
    // Few clients of other languages know Unix sockets.
    let tcp = sides.iter().any(|stack| matches!(stack, StackPlan::Command { .. }));
    let refused = |why: &dyn fmt::Display| Stop::Setup(format!("A Redis for both could not be had: {why}"));
    let url = processes.start_redis(RedisOptions { tcp, ..RedisOptions::default() });
    let url = url.map_err(|error| refused(&error))?;
    Ok(Some(url.parse().map_err(|error: crate::redis::RedisUrlError| refused(&error))?))
}

/// One block: a plan of one slice, and what it is measured with. In a duet, `redis` is that of both.
fn block(
    request: &GateRequest,
    case: usize,
    role: Role,
    seed: u64,
    redis: Option<RedisUrl>,
) -> (Plan, RunRequest) {
    let side = if is_base(role) { &request.base } else { &request.candidate };
    let whole = &request.plan;
    // Slices of a case are alike; a block is one of them.
    let slices = whole.slices.iter().filter(|slice| slice.case == case).take(1);
    let plan = Plan {
        seed,
        cases: vec![whole.cases[case].clone()],
        slices: slices.map(|slice| Slice { case: 0, ..*slice }).collect(),
        ..whole.clone()
    };
    let stack = side.stack.clone();
    let run_request = RunRequest {
        command: request.command.clone(),
        stack: match redis {
            Some(url) => stack.with_redis(url),
            None => stack,
        },
        conditions: request.conditions.clone(),
        scenario: serde_json::Value::Null,
    };
    (plan, run_request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_build_is_told_by_the_flag_it_does_not_know() {
        let said = "ws: lastmile-server ended with exit status: 2: error: unexpected argument '--games' found\n\nUsage";
        assert!(advice(said).unwrap().contains("does not know --games, needed for more than one game"));
        assert_eq!(advice("ws: lastmile-server ended with exit status: 1"), None);
    }
}
