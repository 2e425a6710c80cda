//! `lastmile gate`: two builds measured in turn, block by block, until the decision is clear or the time is over.
//!
//! A block is a run of one slice: the same stack, publisher and checks as everywhere. What is decided from blocks is
//! decided in [`lastmile_reports::gate`].

pub mod budget;
pub mod build;
mod check;
mod measuring;
pub mod settings;
pub mod watch;

use std::time::{Duration, Instant};

use lastmile_reports::gate::decision::{judge, overall};
use lastmile_reports::gate::schema::SCHEMA;
use lastmile_reports::gate::{Block, Build, GateCase, GateResult, Judgement, Metric, Outcome, Role, summary};
use lastmile_reports::statistics::{Look, Looks};

use crate::environment::{cores, environment};
use crate::interrupt::{EXIT_INTERRUPTED, Interrupt};
use crate::plan::{Case, Plan};
use crate::progress::RunWatcher;
use crate::run::now_rfc3339;
use crate::stack::StackPlan;
use budget::Budget;
pub use check::GateError;
use measuring::{Measuring, Stop};
use settings::{GateRules, Mode};

/// One pair in so many has the base measured once more, for the noise floor.
const NOISE_EVERY: usize = 3;
/// Worthless pairs are replaced, up to one in so many.
const REPLACED: usize = 4;
/// Cores that a duet needs: two for each side, or server and clients of one would disturb each other more than the
/// other side does.
const DUET_CORES: u32 = 4;

/// One of the two, ready to be measured.
#[derive(Debug, Clone)]
pub struct Side {
    /// What it is.
    pub build: Build,
    /// What its blocks are made of.
    pub stack: StackPlan,
}

/// Everything a gate needs.
#[derive(Debug, Clone)]
pub struct GateRequest {
    /// What is measured; its slices tell the lengths of the blocks.
    pub plan: Plan,
    /// What holds for every block, in words for people.
    pub conditions: Vec<(String, String)>,
    /// What the candidate is held against.
    pub base: Side,
    /// What is judged.
    pub candidate: Side,
    /// How.
    pub rules: GateRules,
    /// The command line.
    pub command: String,
    /// The command line that does the same again.
    pub reproduce: String,
}

/// Shows a gate to whoever watches.
pub trait GateWatcher: RunWatcher {
    /// A block begins.
    fn block_begins(&self, pair: usize, pairs: usize, role: Role, left: Duration);
    /// Nothing more to show.
    fn gate_ends(&self);
}

impl GateRequest {
    fn budget(&self) -> Budget {
        let cases = self.plan.cases.len().max(1) as u32;
        Budget::new(self.rules.budget, self.plan.length() / cases)
    }

    /// Blocks of so many pairs, those of the noise floor too. Both of a duet take the time of one.
    fn blocks_of(&self, pairs: usize) -> usize {
        let of_pair = if self.rules.mode == Mode::Duet { 1 } else { 2 };
        (of_pair * pairs + pairs.div_ceil(NOISE_EVERY)) * self.plan.cases.len()
    }
}

/// Measures and decides.
pub fn gate(request: &GateRequest, interrupt: &Interrupt, watcher: &dyn GateWatcher) -> GateResult {
    let started_at = now_rfc3339();
    let begun = Instant::now();
    let mut work = Work {
        request,
        measuring: Measuring::new(request, interrupt, watcher, begun),
        budget: request.budget(),
        pairs: 0,
        judgements: Vec::new(),
        remarks: Vec::new(),
    };
    let stop = work.until_decided().err();
    watcher.gate_ends();
    let Work { measuring, judgements, remarks, .. } = work;
    let blocks = measuring.blocks;
    let plan = &request.plan;
    let cases: Vec<GateCase> = plan.cases.iter().enumerate().map(|case| gate_case(case, plan)).collect();
    let decision = decide(&blocks, &cases, &judgements, stop.as_ref());
    let private_redis = request.base.stack.has_private_redis();
    let duet = (request.rules.mode == Mode::Duet).then(|| duet_in_words(cores()));
    let few_cores = duet.as_ref().filter(|_| cores() < DUET_CORES).map(|(_, words)| {
        format!(
            "Measured with --allow-few-cores: {words}; a duet needs {DUET_CORES} cores, and with fewer its noise is that of the \
             sharing."
        )
    });
    let build = |side: &Side, version: Option<String>| Build { version, ..side.build.clone() };
    GateResult {
        schema: SCHEMA.to_owned(),
        command: request.command.clone(),
        reproduce: request.reproduce.clone(),
        seed: request.plan.seed,
        started_at,
        elapsed_s: begun.elapsed().as_secs_f64(),
        environment: environment(None, private_redis),
        conditions: request.conditions.iter().cloned().chain(duet).collect(),
        mode: request.rules.mode.name().to_owned(),
        base: build(&request.base, measuring.versions.0),
        candidate: build(&request.candidate, measuring.versions.1),
        alpha: request.rules.alpha,
        looks: request.rules.pairs.clone(),
        budget_s: request.rules.budget.map(|budget| budget.as_secs_f64()),
        cases,
        thresholds: request.rules.thresholds.clone(),
        judgements,
        outcome: decision.outcome,
        messages: decision.messages,
        remarks: few_cores.into_iter().chain(remarks).chain(decision.remarks).collect(),
        failure: stop.as_ref().map(ToString::to_string),
        exit_code: decision.exit_code,
        blocks,
    }
}

/// How a duet is played on so many cores, as a condition for people.
fn duet_in_words(cores: u32) -> (String, String) {
    let (one, other) = (cores / 2, cores - cores / 2);
    let words = format!(
        "one Redis and one publisher for both, each server with its clients on cores of its own ({one} and {other} of {cores}), swapped at random"
    );
    ("duet".to_owned(), words)
}

/// The protocol and the load of a case, for people.
fn gate_case((index, case): (usize, &Case), plan: &Plan) -> GateCase {
    let load = &case.load;
    let block = plan.slices.iter().find(|slice| slice.case == index);
    let block = block.map_or_else(String::new, |slice| {
        format!(", blocks of {:?} after {:?}", slice.measured, slice.warmup)
    });
    let pace = match load.in_flight {
        Some(messages) => format!("closed loop with {messages} in flight"),
        None => format!("{} messages/s ({:?})", load.messages_per_second, load.arrivals).to_lowercase(),
    };
    GateCase {
        protocol: case.variant.to_string(),
        load: format!(
            "{} subscribers, {pace}, {} B, {}{block}",
            load.connections,
            load.payload_bytes,
            load.topic()
        ),
    }
}

struct Work<'a> {
    request: &'a GateRequest,
    measuring: Measuring<'a>,
    budget: Budget,
    /// Pairs measured, worthless ones too.
    pairs: usize,
    judgements: Vec<Judgement>,
    remarks: Vec<String>,
}

impl Work<'_> {
    fn until_decided(&mut self) -> Result<(), Stop> {
        let looks = Looks::new(&self.request.rules.pairs, self.request.rules.alpha);
        for (index, look) in looks.all().iter().enumerate() {
            let measured = self.measure_until(look.pairs);
            let next = looks.all().get(index + 1);
            let is_last = measured.is_err() || next.is_none_or(|next| !self.fits(next.pairs));
            // Also of what was measured until something broke.
            let outcome = self.look(*look, is_last);
            measured?;
            if outcome != Outcome::Inconclusive {
                return Ok(());
            }
            if let (true, Some(next)) = (is_last, next) {
                self.remarks.push(format!(
                    "The time that is left of the budget does not hold the {} pairs of the next look.",
                    next.pairs
                ));
                return Ok(());
            }
        }
        Ok(())
    }

    fn fits(&self, pairs: usize) -> bool {
        let more = self.request.blocks_of(pairs).saturating_sub(self.request.blocks_of(self.pairs));
        self.budget.holds(more)
    }

    /// Measures until so many pairs are sound, replacing a part of those that are not.
    fn measure_until(&mut self, pairs: usize) -> Result<(), Stop> {
        let most = pairs + pairs / REPLACED;
        while self.measuring.sound_pairs() < pairs && self.pairs < most {
            // Planned by, and kept also where blocks take longer than the first ones did.
            if self.pairs >= 6 && !self.fits(self.pairs + 1) {
                self.remarks.push(format!("The budget was over after {} pairs.", self.pairs));
                return Ok(());
            }
            let left = self.budget.block()
                * (self.request.blocks_of(pairs).saturating_sub(self.request.blocks_of(self.pairs))) as u32;
            let with_noise = self.pairs.is_multiple_of(NOISE_EVERY);
            let progress = measuring::Progress { pair: self.pairs, pairs, left };
            self.measuring.pair(progress, with_noise, &mut self.budget)?;
            self.pairs += 1;
        }
        Ok(())
    }

    fn look(&mut self, look: Look, is_last: bool) -> Outcome {
        let cases = self.request.plan.cases.len();
        let (series, absent) = summary::series(&self.measuring.blocks, cases, &self.request.rules.thresholds);
        self.judgements = judge(&series, look, is_last);
        if is_last {
            self.remarks.extend(not_judged(&absent, &self.request.plan.cases));
        }
        overall(&self.judgements)
    }
}

/// Which metrics no block had, in one sentence a case.
fn not_judged(absent: &[(usize, Metric)], cases: &[Case]) -> Option<String> {
    // What a case can't have by its nature is not worth a word.
    let is_worth = |case: &Case, metric: Metric| match metric {
        Metric::Rate => case.load.in_flight.is_some(),
        metric if metric.is_latency() => case.load.in_flight.is_none(),
        _ => true,
    };
    let names: Vec<String> = absent
        .iter()
        .filter(|(case, metric)| is_worth(&cases[*case], *metric))
        .map(|(case, metric)| format!("{} {}", cases[*case].variant, metric.name()))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "Not judged, for the blocks don't resolve or observe it: {} (longer blocks: --duration).",
            names.join(", ")
        )
    })
}

struct Decision {
    outcome: Outcome,
    messages: Vec<String>,
    remarks: Vec<String>,
    exit_code: u8,
}

/// The decision out of everything that speaks for one.
fn decide(blocks: &[Block], cases: &[GateCase], judgements: &[Judgement], stop: Option<&Stop>) -> Decision {
    let faults = summary::faults(blocks, cases);
    let of_faults = faults.iter().map(|(outcome, _)| *outcome).max().unwrap_or(Outcome::Pass);
    let of_metrics = overall(judgements);
    // A measurement that broke decides nothing, also where its metrics look bad: they are told all the same.
    let outcome = if stop.is_some() { Outcome::Invalid } else { of_metrics.max(of_faults) };
    let mut messages: Vec<String> = stop.iter().map(ToString::to_string).collect();
    let worth_telling = |wanted: Outcome| wanted != Outcome::Pass && wanted <= outcome.max(of_metrics);
    for wanted in [Outcome::Regression, Outcome::Invalid, Outcome::Inconclusive] {
        messages
            .extend(faults.iter().filter(|(outcome, _)| *outcome == wanted).map(|(_, text)| text.clone()));
        let said = judgements.iter().filter(|judgement| judgement.outcome == wanted && worth_telling(wanted));
        messages.extend(said.map(|judgement| summary::sentence(judgement, cases)));
    }
    if outcome == Outcome::Pass {
        messages.push(summary::passed(judgements, cases));
    }
    let mut remarks: Vec<String> =
        faults.into_iter().filter(|(outcome, _)| *outcome == Outcome::Pass).map(|(_, text)| text).collect();
    if matches!(outcome, Outcome::Inconclusive | Outcome::Invalid) {
        remarks.extend(summary::holdable(judgements));
    }
    remarks.extend(summary::objections(blocks));
    let exit_code = match stop {
        Some(Stop::Setup(_)) => crate::commands::EXIT_USAGE,
        Some(Stop::Interrupted) => EXIT_INTERRUPTED,
        Some(Stop::Broken(_)) | None => outcome.exit_code(),
    };
    Decision { outcome, messages, remarks, exit_code }
}

#[cfg(test)]
mod tests {
    use lastmile_reports::gate::Threshold;

    use super::*;

    fn judgement(outcome: Outcome) -> Judgement {
        Judgement {
            case: 0,
            threshold: Threshold::of(Metric::Cpu),
            outcome,
            reason: None,
            pairs: 12,
            base: Some(7.0),
            candidate: Some(9.1),
            change: Some(0.3),
            interval: Some((0.28, 0.32)),
            p: Some(0.0002),
            p_adjusted: Some(0.001),
            alpha: 0.005,
            noise_floor: Some(0.02),
            changes: Vec::new(),
            noise_changes: Vec::new(),
        }
    }

    fn cases() -> Vec<GateCase> {
        vec![GateCase { protocol: "ws".into(), load: String::new() }]
    }

    #[test]
    fn what_broke_never_passes_and_still_tells_what_was_seen() {
        let broken = Stop::Broken("the candidate ended in block 3".into());
        let decision = decide(&[], &cases(), &[judgement(Outcome::Pass)], Some(&broken));
        assert_eq!((decision.outcome, decision.exit_code), (Outcome::Invalid, 3));
        assert!(decision.messages[0].contains("block 3"));
        let decision = decide(&[], &cases(), &[judgement(Outcome::Regression)], Some(&broken));
        assert_eq!(decision.exit_code, 3);
        assert!(decision.messages[1].contains("30 % more"), "{:?}", decision.messages);
        let setup = Stop::Setup("the base did not start".into());
        assert_eq!(decide(&[], &cases(), &[], Some(&setup)).exit_code, 2);
        assert_eq!(decide(&[], &cases(), &[], Some(&Stop::Interrupted)).exit_code, 130);
    }

    #[test]
    fn the_gravest_metric_decides_and_is_told_first() {
        let judgements =
            [judgement(Outcome::Inconclusive), judgement(Outcome::Regression), judgement(Outcome::Pass)];
        let decision = decide(&[], &cases(), &judgements, None);
        assert_eq!((decision.outcome, decision.exit_code), (Outcome::Regression, 1));
        assert!(decision.messages[0].contains("allowed are 5 %"), "{:?}", decision.messages);
        assert_eq!(decision.messages.len(), 2);
        let decision = decide(&[], &cases(), &[judgement(Outcome::Pass)], None);
        assert_eq!((decision.exit_code, decision.messages.len()), (0, 1));
        assert_eq!(decide(&[], &cases(), &[judgement(Outcome::Inconclusive)], None).exit_code, 4);
        assert_eq!(decide(&[], &cases(), &[], None).exit_code, 3, "nothing measured is no pass");
    }
}
