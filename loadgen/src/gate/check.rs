//! Whether a gate can come to a decision at all, told before anything is built or measured.

use std::time::Duration;

use lastmile_reports::gate::Metric;
use lastmile_reports::statistics::{Looks, samples_to_resolve, smallest_p};

use super::settings::Mode;
use super::{DUET_CORES, GateRequest};
use crate::environment::cores;
use crate::plan::{Case, Load};
use crate::schedule::Arrivals;

/// Why a gate can't begin.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateError {
    /// Too few cores for both at once.
    #[error(
        "--mode duet needs at least {DUET_CORES} cores for two servers at once, this machine has {cores}; use --mode paired{}",
        if *cores < 2 { "" } else { ", or --allow-few-cores to see what it says all the same" }
    )]
    Cores {
        /// How many there are.
        cores: u32,
    },
    /// Both get the same publishes, so that neither can be faster.
    #[error(
        "--mode duet publishes the same to both at once, and a closed loop would wait for the slower of them; \
         use --mode paired, or give a rate instead of messages in flight"
    )]
    ClosedDuet,
    /// A scenario that measures someone else's server.
    #[error(
        "a gate starts its servers afresh for every block and can't measure a running target; \
         say how it is started with --base-cmd and --candidate-cmd"
    )]
    Target,
    /// No protocol or no metric.
    #[error("there is nothing to judge: name protocols with --protocols and metrics with --metrics")]
    Nothing,
    /// A metric asked for by name that no block can have.
    #[error("{metric} can't be judged for {case}: {reason}")]
    Impossible {
        /// Its name.
        metric: &'static str,
        /// Where.
        case: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The test could never tell anything.
    #[error(
        "{pairs} pairs can't decide on {metrics} metrics at α = {alpha}: even if all agreed, it would not be sure; \
         give at least --pairs {needed}, or judge fewer with --metrics or --protocols"
    )]
    TooFew {
        /// Pairs at the first look.
        pairs: usize,
        /// Metrics of all cases.
        metrics: usize,
        /// The chance of a false alarm.
        alpha: f64,
        /// Pairs that would do.
        needed: usize,
    },
    /// Not even the first look fits.
    #[error(
        "{pairs} pairs are {blocks} blocks of about {block_s:.1} s, {needed_s:.0} s in all, and --budget is {budget_s:.0} s; \
         raise it, or give shorter blocks with --duration and --warmup, or fewer --pairs"
    )]
    Budget {
        /// Pairs at the first look.
        pairs: usize,
        /// Their blocks.
        blocks: usize,
        /// Seconds a block.
        block_s: f64,
        /// Seconds in all.
        needed_s: f64,
        /// Seconds there are.
        budget_s: f64,
    },
}

impl GateRequest {
    /// Whether it can come to a decision at all, before anything is measured.
    ///
    /// # Errors
    /// [`GateError`] says what to change.
    pub fn check(&self) -> Result<(), GateError> {
        if self.rules.mode == Mode::Duet {
            // Two are the least that have halves.
            if cores() < if self.rules.allow_few_cores { 2 } else { DUET_CORES } {
                return Err(GateError::Cores { cores: cores() });
            }
            if self.plan.cases.iter().any(|case| case.load.in_flight.is_some()) {
                return Err(GateError::ClosedDuet);
            }
        }
        self.check_metrics()?;
        let metrics = self.metrics();
        let looks = Looks::new(&self.rules.pairs, self.rules.alpha);
        let first = looks.all().first().copied().filter(|_| metrics > 0).ok_or(GateError::Nothing)?;
        let is_enough = |pairs: usize| smallest_p(pairs) * metrics as f64 <= first.alpha;
        if !is_enough(first.pairs) {
            let needed = (first.pairs..200).find(|pairs| is_enough(*pairs)).unwrap_or(200);
            let alpha = self.rules.alpha;
            return Err(GateError::TooFew { pairs: first.pairs, metrics, alpha, needed });
        }
        let budget = self.budget();
        let blocks = self.blocks_of(first.pairs);
        if budget.most_blocks().is_some_and(|most| most < blocks) {
            return Err(GateError::Budget {
                pairs: first.pairs,
                blocks,
                block_s: budget.block().as_secs_f64(),
                needed_s: (budget.block() * blocks as u32).as_secs_f64(),
                budget_s: self.rules.budget.unwrap_or_default().as_secs_f64(),
            });
        }
        Ok(())
    }

    /// Metrics of all cases that a block can have: a closed loop has no latency, the open one no highest rate.
    fn metrics(&self) -> usize {
        let of_case = |case: &Case| {
            let is_possible = |metric: Metric| wrong_loop(metric, &case.load).is_none();
            let thresholds = self.rules.thresholds.iter();
            thresholds.filter(|threshold| threshold.is_required || is_possible(threshold.metric)).count()
        };
        self.plan.cases.iter().map(of_case).sum()
    }

    /// Whether blocks can have what is asked for by name: better told now than after all of them.
    fn check_metrics(&self) -> Result<(), GateError> {
        let required: Vec<Metric> =
            self.rules.thresholds.iter().filter(|one| one.is_required).map(|one| one.metric).collect();
        for (index, case) in self.plan.cases.iter().enumerate() {
            let slice = self.plan.slices.iter().find(|slice| slice.case == index);
            let measured = slice.map_or(Duration::ZERO, |slice| slice.measured);
            for metric in &required {
                if let Some(reason) = impossible(*metric, &case.load, measured) {
                    let case = case.variant.to_string();
                    return Err(GateError::Impossible { metric: metric.name(), case, reason });
                }
            }
        }
        Ok(())
    }
}

/// Why a closed or an open loop, whichever this load is, can't have a metric.
fn wrong_loop(metric: Metric, load: &Load) -> Option<&'static str> {
    match (metric, load.in_flight.is_some()) {
        (Metric::Rate, false) => Some("an open loop's rate is what was asked for; close it with --in-flight"),
        (metric, true) if metric.is_latency() => {
            Some("a closed loop claims no latency; give a --rate instead of --in-flight")
        }
        _ => None,
    }
}

/// Why blocks under this load, of this length, can't have a metric.
fn impossible(metric: Metric, load: &Load, measured: Duration) -> Option<String> {
    if let Some(reason) = wrong_loop(metric, load) {
        return Some(reason.to_owned());
    }
    // How many a Poisson schedule has is known when it is drawn.
    let needed = samples_to_resolve(metric.quantile()?);
    let publishes = (load.messages_per_second * measured.as_secs_f64()).round() as u64;
    (load.arrivals == Arrivals::Constant && publishes < needed).then(|| {
        format!(
            "it needs {needed} publishes a block, and {} a second for {measured:?} are {publishes}; lengthen blocks with \
             --duration, or raise --rate",
            load.messages_per_second
        )
    })
}
