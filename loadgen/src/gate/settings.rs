//! What a gate is told, by flags or by `[gate]` in a scenario.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lastmile_reports::gate::{Metric, Threshold};

use crate::scenario::values::parse_duration;

/// Numbers of pairs after which it is looked, unless told otherwise.
const DEFAULT_PAIRS: [usize; 3] = [12, 20, 30];
/// Chance of a false alarm, unless told otherwise.
const DEFAULT_ALPHA: f64 = 0.01;
/// Numbers of pairs that can be asked for: an interval of 95 % needs 6.
pub const PAIRS: RangeInclusive<i64> = 6..=500;
/// Chances of a false alarm that can be asked for.
pub const ALPHA: RangeInclusive<f64> = 0.000_01..=0.2;

/// How a gate decides.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct GateSettings {
    /// How much worse a metric may get, and from which absolute change on it counts: p99=10%, p50=5%/20us. Metrics:
    /// p50, p99, p99.9, complete-p99, cpu, memory, rate
    /// [default: p50=5%, p99=10%, p99.9=20%, complete-p99=10%, cpu=5%, memory=10%, rate=5%]
    #[arg(long, value_name = "METRIC=PERCENT", value_delimiter = ',', value_parser = Threshold::parse)]
    pub threshold: Vec<Threshold>,

    /// Judge these metrics and no others
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_metric)]
    pub metrics: Option<Vec<Metric>>,

    /// Pairs of blocks after which it is looked; what is not clear by then is measured further [default: 12,20,30]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_pairs)]
    pub pairs: Option<Vec<usize>>,

    /// Chance of a false alarm that is allowed, over all metrics and looks [default: 0.01]
    #[arg(long, value_name = "CHANCE", value_parser = parse_alpha)]
    pub alpha: Option<f64>,

    /// Time it may take, builds not counted: 10m. What does not fit is not begun
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub budget: Option<Duration>,

    /// Blocks of base and candidate in turn, or both at once on cores of their own (needs at least 4)
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,

    /// A duet on 2 or 3 cores all the same: server and clients of a side share a core, and the result says so
    #[arg(long)]
    pub allow_few_cores: bool,
}

/// How base and candidate are brought together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// In turn, in random order within each pair.
    #[default]
    Paired,
    /// At once, with the same publishes, on disjoint cores that are swapped from pair to pair.
    Duet,
}

impl Mode {
    /// As in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paired => "paired",
            Self::Duet => "duet",
        }
    }
}

/// The same with nothing left open.
#[derive(Debug, Clone, PartialEq)]
pub struct GateRules {
    /// What is judged.
    pub thresholds: Vec<Threshold>,
    /// Numbers of pairs, ascending.
    pub pairs: Vec<usize>,
    /// Chance of a false alarm.
    pub alpha: f64,
    /// Time it may take.
    pub budget: Option<Duration>,
    /// How builds are brought together.
    pub mode: Mode,
    /// A duet has fewer cores than it needs, and is wanted all the same.
    pub allow_few_cores: bool,
}

impl GateSettings {
    /// These settings, and those `below` where these say nothing. Thresholds are overlaid metric by metric.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        let of_below = below.threshold.iter();
        let kept = of_below.filter(|one| !self.threshold.iter().any(|own| own.metric == one.metric)).copied();
        Self {
            threshold: kept.chain(self.threshold.iter().copied()).collect(),
            metrics: self.metrics.or_else(|| below.metrics.clone()),
            pairs: self.pairs.or_else(|| below.pairs.clone()),
            alpha: self.alpha.or(below.alpha),
            budget: self.budget.or(below.budget),
            mode: self.mode.or(below.mode),
            allow_few_cores: self.allow_few_cores || below.allow_few_cores,
        }
    }

    /// The rules they come to.
    pub fn rules(&self) -> GateRules {
        let is_judged =
            |metric: &Metric| self.metrics.as_ref().is_none_or(|metrics| metrics.contains(metric));
        let threshold = |metric: Metric| {
            let given = self.threshold.iter().rev().find(|threshold| threshold.metric == metric);
            let named = self.metrics.is_some();
            let default = Threshold { is_required: named, ..Threshold::of(metric) };
            given.copied().unwrap_or(default)
        };
        let mut pairs = self.pairs.clone().unwrap_or_else(|| DEFAULT_PAIRS.into());
        pairs.sort_unstable();
        pairs.dedup();
        GateRules {
            thresholds: Metric::ALL.into_iter().filter(is_judged).map(threshold).collect(),
            pairs,
            alpha: self.alpha.unwrap_or(DEFAULT_ALPHA),
            budget: self.budget,
            mode: self.mode.unwrap_or_default(),
            allow_few_cores: self.allow_few_cores,
        }
    }
}

/// A metric by its name.
///
/// # Errors
/// A sentence with all names.
pub fn parse_metric(text: &str) -> Result<Metric, String> {
    let known = || Metric::ALL.map(Metric::name).join(", ");
    Metric::named(text.trim()).ok_or_else(|| format!("{text:?} is no metric; known are {}", known()))
}

/// A number of pairs: an interval of 95 % needs 6.
///
/// # Errors
/// What to give instead.
pub fn parse_pairs(text: &str) -> Result<usize, String> {
    let pairs = text.trim().parse::<i64>().ok().filter(|pairs| PAIRS.contains(pairs));
    pairs
        .map(|pairs| pairs as usize)
        .ok_or_else(|| format!("give {} to {} pairs", PAIRS.start(), PAIRS.end()))
}

/// A chance of a false alarm.
///
/// # Errors
/// What to give instead.
pub fn parse_alpha(text: &str) -> Result<f64, String> {
    let alpha = text.trim().parse().ok().filter(|alpha| ALPHA.contains(alpha));
    alpha.ok_or_else(|| "give a chance from 0.00001 to 0.2, such as 0.01".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_lie_over_a_file_metric_by_metric() {
        let threshold = |text: &str| Threshold::parse(text).unwrap();
        let file = GateSettings {
            threshold: vec![threshold("p50=3%"), threshold("cpu=2%")],
            alpha: Some(0.05),
            ..GateSettings::default()
        };
        let flags = GateSettings { threshold: vec![threshold("cpu=9%")], ..GateSettings::default() };
        let rules = flags.over(&file).rules();
        let change =
            |metric: Metric| rules.thresholds.iter().find(|one| one.metric == metric).unwrap().change;
        assert!((change(Metric::P50) - 0.03).abs() < 1e-12 && (change(Metric::Cpu) - 0.09).abs() < 1e-12);
        assert!((change(Metric::P99) - 0.10).abs() < 1e-12, "the default");
        assert!((rules.alpha - 0.05).abs() < 1e-12);
        assert_eq!(rules.pairs, [12, 20, 30]);
    }

    #[test]
    fn only_metrics_asked_for_are_judged_and_then_they_must_be() {
        let settings = GateSettings { metrics: Some(vec![Metric::Cpu]), ..GateSettings::default() };
        let rules = settings.rules();
        assert_eq!(rules.thresholds.len(), 1);
        assert!(rules.thresholds[0].is_required);
    }

    #[test]
    fn bad_values_are_told() {
        assert!(parse_pairs("5").is_err() && parse_pairs("x").is_err());
        assert!(parse_alpha("0").is_err() && parse_alpha("nan").is_err());
        assert!(parse_metric("p42").unwrap_err().contains("complete-p99"));
    }
}
