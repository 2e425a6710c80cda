//! The decision: from paired figures to regression, pass, inconclusive or invalid. Pure.
//!
//! Per metric, over the logarithms of the ratios of all pairs: the exact one-sided signed-rank test, the
//! Hodges–Lehmann estimate with its 95 % interval, Holm over all metrics of the gate, and a level that is shared among
//! the looks. The noise floor comes from pairs of the base with itself and from how far the others lie apart.

use serde::{Deserialize, Serialize};

use crate::statistics::{Look, Shift, holm, median, shift, signed_rank_p, smallest_p};

use super::metric::{Metric, Threshold};

/// Confidence of the intervals.
pub const CONFIDENCE: f64 = 0.95;
/// The 95 % points of the normal distribution, two-sided and one-sided.
const Z_TWO_SIDED: f64 = 1.959_964;
const Z_ONE_SIDED: f64 = 1.644_854;
/// Fewest pairs of the base with itself that tell a noise floor.
const FEWEST_NOISE_PAIRS: usize = 3;

/// What came of a gate, or of one of its metrics. The order is that of their weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Not worse than the threshold allows, and sure of it.
    Pass,
    /// Neither is sure.
    Inconclusive,
    /// What was measured can't carry a decision.
    Invalid,
    /// Worse than the threshold allows, and sure of it.
    Regression,
}

impl Outcome {
    /// As it heads a report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Invalid => "INVALID",
            Self::Regression => "REGRESSION",
        }
    }

    /// The exit code that tells it to a script.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Regression => 1,
            Self::Invalid => 3,
            Self::Inconclusive => 4,
        }
    }
}

/// One metric of one case, as measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The case it belongs to.
    pub case: usize,
    /// How much worse it may get.
    pub threshold: Threshold,
    /// Base and candidate, pair by pair.
    pub pairs: Vec<(f64, f64)>,
    /// Base and base again, pair by pair.
    pub noise: Vec<(f64, f64)>,
}

/// What is said about one metric of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// Index of its case.
    pub case: usize,
    /// The threshold it was held against.
    pub threshold: Threshold,
    /// The decision.
    pub outcome: Outcome,
    /// Why, in words for people, where the figures don't say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Pairs it rests on.
    pub pairs: usize,
    /// Median of the base's figures, in the metric's unit.
    pub base: Option<f64>,
    /// Median of the candidate's.
    pub candidate: Option<f64>,
    /// Estimated relative change; above 0 is worse, for every metric.
    pub change: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// Exact one-sided p-value of "not worse".
    pub p: Option<f64>,
    /// The same after Holm's adjustment over all metrics of the gate.
    pub p_adjusted: Option<f64>,
    /// The level it was held against.
    pub alpha: f64,
    /// The change that so many pairs of equal builds show by noise alone.
    pub noise_floor: Option<f64>,
    /// The changes of the single pairs, in the order measured.
    #[serde(default)]
    pub changes: Vec<f64>,
    /// The same of the base with itself.
    #[serde(default)]
    pub noise_changes: Vec<f64>,
}

impl Judgement {
    /// The least threshold at which so many pairs of equal builds pass in 95 of 100 gates: the upper bound lies half an
    /// interval above an estimate that itself errs by a quarter of one.
    pub fn least_threshold(&self) -> Option<f64> {
        let half_width = self.noise_floor?.ln_1p();
        Some((half_width * (1.0 + Z_ONE_SIDED / Z_TWO_SIDED)).exp_m1())
    }
}

/// Judges all metrics at a look. At the last one nothing more is to be measured, so that what can't be told finely
/// enough is refused instead of being postponed.
pub fn judge(series: &[Series], look: Look, is_last: bool) -> Vec<Judgement> {
    let drafts: Vec<Draft> = series.iter().map(Draft::of).collect();
    // What can't be judged takes no part in the family.
    let p_values: Vec<f64> = drafts.iter().filter_map(|draft| draft.p).collect();
    let mut adjusted = holm(&p_values).into_iter();
    let family = p_values.len();
    drafts
        .into_iter()
        .map(|draft| {
            let p_adjusted = draft.p.and_then(|_| adjusted.next());
            draft.judgement(p_adjusted, look, is_last, family)
        })
        .collect()
}

/// The outcome of a whole gate: that of its gravest metric. Nothing to judge is no pass.
pub fn overall(judgements: &[Judgement]) -> Outcome {
    judgements.iter().map(|judgement| judgement.outcome).max().unwrap_or(Outcome::Invalid)
}

/// A metric before Holm's adjustment, which needs all of them.
struct Draft<'a> {
    series: &'a Series,
    ratios: Vec<f64>,
    noise: Vec<f64>,
    /// Why it can't be judged.
    fault: Option<String>,
    p: Option<f64>,
    shift: Option<Shift>,
}

impl<'a> Draft<'a> {
    fn of(series: &'a Series) -> Self {
        let metric = series.threshold.metric;
        let logarithms = |pairs: &[(f64, f64)]| -> Vec<f64> {
            pairs.iter().map(|pair| log_ratio(metric, *pair)).collect()
        };
        let ratios = logarithms(&series.pairs);
        let fault = fault_in(&series.pairs, &ratios);
        let (p, shift) = match fault {
            None => (Some(signed_rank_p(&ratios)), shift(&ratios, CONFIDENCE)),
            Some(_) => (None, None),
        };
        let noise = logarithms(&series.noise).into_iter().filter(|ratio| ratio.is_finite()).collect();
        Self { series, ratios, noise, fault, p, shift }
    }

    fn judgement(self, p_adjusted: Option<f64>, look: Look, is_last: bool, family: usize) -> Judgement {
        let threshold = self.series.threshold;
        let middle = |side: fn(&(f64, f64)) -> f64| {
            median(&self.series.pairs.iter().map(side).collect::<Vec<f64>>())
                .filter(|value| value.is_finite())
        };
        let base = middle(|pair| pair.0);
        let noise_floor = self.shift.and_then(|shift| noise_floor(&self.noise, &self.ratios, shift.estimate));
        let (outcome, reason) = match (&self.fault, self.shift, p_adjusted) {
            (Some(fault), ..) => (Outcome::Invalid, Some(fault.clone())),
            (None, Some(shift), Some(p)) => {
                let question = Question { threshold, base, noise_floor, look, is_last, family };
                question.decide(shift, p, self.ratios.len())
            }
            _ => (Outcome::Invalid, Some("it could not be computed".to_owned())),
        };
        let changes = |ratios: &[f64]| {
            ratios.iter().filter(|ratio| ratio.is_finite()).map(|ratio| ratio.exp_m1()).collect()
        };
        Judgement {
            case: self.series.case,
            threshold,
            outcome,
            reason,
            pairs: self.ratios.len(),
            base,
            candidate: middle(|pair| pair.1),
            change: self.shift.map(|shift| shift.estimate.exp_m1()),
            interval: self.shift.map(|shift| (shift.low.exp_m1(), shift.high.exp_m1())),
            p: self.p,
            p_adjusted,
            alpha: look.alpha,
            noise_floor,
            changes: changes(&self.ratios),
            noise_changes: changes(&self.noise),
        }
    }
}

/// Why pairs can't be judged.
fn fault_in(pairs: &[(f64, f64)], ratios: &[f64]) -> Option<String> {
    if pairs.is_empty() {
        return Some("no pair of blocks has this figure".to_owned());
    }
    let absurd = ratios.iter().filter(|ratio| !ratio.is_finite()).count();
    if absurd > 0 {
        return Some(format!(
            "{absurd} of {} pairs have a figure that is zero or less: no ratio can be taken",
            pairs.len()
        ));
    }
    let varies = |side: fn(&(f64, f64)) -> f64| {
        pairs.iter().any(|pair| side(pair).to_bits() != side(&pairs[0]).to_bits())
    };
    if pairs.len() > 1 && !varies(|pair| pair.0) && !varies(|pair| pair.1) {
        return Some(
            "zero variance: every block gave exactly the same figure, which no measurement does".to_owned(),
        );
    }
    None
}

/// Above zero is worse.
fn log_ratio(metric: Metric, (base, other): (f64, f64)) -> f64 {
    if base <= 0.0 || other <= 0.0 {
        return f64::NAN;
    }
    if metric.is_better_when_larger() { (base / other).ln() } else { (other / base).ln() }
}

/// Half the width of the interval that so many pairs of equal builds would have: from the pairs of the base with itself,
/// whose middle is zero, and from the others around their own middle, for noise does not know whose block it disturbs. A
/// few pairs alone would tell the width only to within a factor of two; and the few that something else disturbed move
/// this width as little as they move the estimate.
fn noise_floor(noise: &[f64], ratios: &[f64], estimate: f64) -> Option<f64> {
    if noise.len() < FEWEST_NOISE_PAIRS || ratios.is_empty() {
        return None;
    }
    let around = ratios.iter().map(|ratio| ratio - estimate);
    let pooled: Vec<f64> = noise.iter().copied().chain(around).collect();
    let width = shift(&pooled, CONFIDENCE).map(|shift| shift.high - shift.low)?;
    Some((width / 2.0 * (pooled.len() as f64 / ratios.len() as f64).sqrt()).exp_m1())
}

/// One metric's figures held against what was asked.
struct Question {
    threshold: Threshold,
    base: Option<f64>,
    noise_floor: Option<f64>,
    look: Look,
    is_last: bool,
    family: usize,
}

impl Question {
    fn decide(&self, shift: Shift, p_adjusted: f64, pairs: usize) -> (Outcome, Option<String>) {
        let limit = self.threshold.limit(self.base);
        let floor = self.noise_floor.unwrap_or(0.0);
        let (change, high) = (shift.estimate.exp_m1(), shift.high.exp_m1());
        if smallest_p(pairs) * self.family as f64 > self.look.alpha || shift.confidence < CONFIDENCE {
            return (Outcome::Invalid, Some(self.too_few(pairs)));
        }
        if p_adjusted < self.look.alpha && change >= limit.max(floor) {
            return (Outcome::Regression, None);
        }
        if floor > limit {
            let reason = format!(
                "refused: {pairs} pairs of equal builds differ by up to {} here, so a threshold of {} can't be held; \
                 measure longer blocks or raise the threshold",
                percent(floor),
                percent(limit)
            );
            return (if self.is_last { Outcome::Invalid } else { Outcome::Inconclusive }, Some(reason));
        }
        if high < limit { (Outcome::Pass, None) } else { (Outcome::Inconclusive, None) }
    }

    fn too_few(&self, pairs: usize) -> String {
        let needed = (1..=64)
            .find(|count| *count >= 6 && smallest_p(*count) * self.family as f64 <= self.look.alpha)
            .unwrap_or(64);
        format!(
            "{pairs} pairs are too few: even if all agreed, the test could not tell; at least {needed} are needed"
        )
    }
}

fn percent(share: f64) -> String {
    format!("{} %", crate::figures::short(share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Looks;

    fn first_look() -> Look {
        Looks::new(&[12, 20, 30], 0.01).all()[0]
    }

    /// Pairs around a ratio, with a few per cent of noise that has no pattern.
    fn pairs(ratio: f64, noise: f64) -> Vec<(f64, f64)> {
        let wobble = |number: usize| 1.0 + noise * ((number % 23) as f64 / 11.0 - 1.0);
        let pair = |index: usize| (1_000.0 * wobble(index * 37), 1_000.0 * ratio * wobble(index * 16 + 9));
        (0..12).map(pair).collect()
    }

    fn series(metric: Metric, pairs: Vec<(f64, f64)>, noise: Vec<(f64, f64)>) -> Series {
        Series { case: 0, threshold: Threshold::of(metric), pairs, noise }
    }

    fn judged(series: Series) -> Judgement {
        judge(&[series], first_look(), true).remove(0)
    }

    #[test]
    fn what_is_worse_and_what_is_not() {
        let quiet = pairs(1.0, 0.005)[..4].to_vec();
        let worse = judged(series(Metric::Cpu, pairs(1.3, 0.02), quiet.clone()));
        assert_eq!(worse.outcome, Outcome::Regression);
        assert!((worse.change.unwrap() - 0.3).abs() < 0.05, "{worse:?}");
        let same = judged(series(Metric::Cpu, pairs(1.0, 0.02), quiet.clone()));
        assert_eq!(same.outcome, Outcome::Pass, "{same:?}");
        let better = judged(series(Metric::Cpu, pairs(0.7, 0.02), quiet.clone()));
        assert_eq!(better.outcome, Outcome::Pass);
        let unsure = judged(series(Metric::Cpu, pairs(1.04, 0.05), quiet));
        assert_eq!(unsure.outcome, Outcome::Inconclusive, "{unsure:?}");
    }

    #[test]
    fn a_lower_rate_is_worse() {
        let judgement = judged(series(Metric::Rate, pairs(0.8, 0.01), Vec::new()));
        assert_eq!(judgement.outcome, Outcome::Regression);
        assert!(judgement.change.unwrap() > 0.2);
    }

    #[test]
    fn a_change_nobody_notices_is_no_regression() {
        // 30 % of 30 µs are 9 µs.
        let tiny = pairs(1.3, 0.01).into_iter().map(|(base, other)| (base * 0.03, other * 0.03)).collect();
        assert_eq!(judged(series(Metric::P50, tiny, Vec::new())).outcome, Outcome::Pass);
    }

    #[test]
    fn a_gate_finer_than_the_noise_floor_is_refused_but_what_is_beyond_it_is_told() {
        let loud = pairs(1.0, 0.25)[..4].to_vec();
        let refused = judged(series(Metric::Cpu, pairs(1.0, 0.25), loud.clone()));
        assert_eq!(refused.outcome, Outcome::Invalid, "{refused:?}");
        let reason = refused.reason.as_deref().unwrap();
        assert!(reason.starts_with("refused: 12 pairs of equal builds differ by up to"), "{reason}");
        let earlier = judge(&[series(Metric::Cpu, pairs(1.0, 0.25), loud.clone())], first_look(), false);
        assert_eq!(earlier[0].outcome, Outcome::Inconclusive, "more pairs lower the floor");
        assert_eq!(judged(series(Metric::Cpu, pairs(2.5, 0.25), loud.clone())).outcome, Outcome::Regression);
        // What it says can be held is held.
        let change = refused.least_threshold().unwrap();
        assert!(change > refused.noise_floor.unwrap());
        let threshold = Threshold { change, ..Threshold::of(Metric::Cpu) };
        let held = Series { threshold, ..series(Metric::Cpu, pairs(1.0, 0.25), loud) };
        assert_eq!(judged(held).outcome, Outcome::Pass);
    }

    #[test]
    fn a_single_disturbed_pair_does_not_raise_the_noise_floor_much() {
        let quiet = pairs(1.0, 0.02);
        let floor =
            |noise: Vec<(f64, f64)>| judged(series(Metric::Cpu, quiet.clone(), noise)).noise_floor.unwrap();
        let undisturbed = floor(quiet[..4].to_vec());
        let disturbed = floor([&quiet[..3], &[(1_000.0, 1_500.0)]].concat());
        assert!(disturbed < 1.5 * undisturbed, "{undisturbed} {disturbed}");
        assert!(undisturbed > 0.005 && undisturbed < 0.03, "{undisturbed}");
    }

    #[test]
    fn what_can_not_be_judged_says_why_and_never_passes() {
        let same = judged(series(Metric::P50, vec![(500.0, 500.0); 12], Vec::new()));
        assert_eq!(same.outcome, Outcome::Invalid);
        assert!(same.reason.unwrap().contains("zero variance"));
        let zero = judged(series(Metric::Memory, vec![(0.0, 500.0), (10.0, 10.0)], Vec::new()));
        assert!(zero.reason.unwrap().contains("1 of 2 pairs"));
        let none = judged(series(Metric::Memory, Vec::new(), Vec::new()));
        assert_eq!(none.outcome, Outcome::Invalid);
        let few = judged(series(Metric::P50, pairs(1.0, 0.01)[..5].to_vec(), Vec::new()));
        assert!(few.reason.unwrap().contains("at least 8 are needed"));
        assert_eq!(overall(&[]), Outcome::Invalid);
    }

    #[test]
    fn every_metric_of_a_gate_raises_the_bar_for_the_others() {
        // One pair against eleven: p = 0.0005 alone, 0.0005 · 20 among twenty.
        let mut ratio = pairs(1.2, 0.01);
        ratio[3].1 = ratio[3].0 * 0.999;
        let lonely = judge(&[series(Metric::Cpu, ratio.clone(), Vec::new())], first_look(), true);
        assert_eq!(lonely[0].outcome, Outcome::Regression);
        let mut family = vec![series(Metric::Cpu, ratio, Vec::new())];
        family.extend((0..19).map(|_| series(Metric::P99, pairs(1.0, 0.05), Vec::new())));
        let judgements = judge(&family, first_look(), true);
        assert!(judgements[0].p_adjusted.unwrap() > 0.005);
        assert_ne!(judgements[0].outcome, Outcome::Regression);
    }
}
