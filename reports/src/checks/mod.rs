//! Whether a result may be believed, as far as the result itself can tell.
//!
//! Pure functions of the result: they judge what stands in it, so a stored result is judged as a fresh one is.

mod generator;
mod measured;

use std::fmt;

pub(crate) use self::generator::{
    LEAST_ACHIEVED, MOST_OWN_DELAY, MOST_STEAL, MOST_THREAD_SHARE, canary_tail, slip_limit_us,
};
pub use self::generator::{is_achieved, planned_rate};
use crate::schema::{CaseResult, RunResult};

/// What a result is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// No check has an objection.
    Valid,
    /// Something may have touched the figures; the reasons say what.
    Suspect,
    /// The figures don't measure what they claim to; the reasons say why.
    Invalid,
}

impl Verdict {
    /// As it heads a report.
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Suspect => "SUSPECT",
            Self::Invalid => "INVALID",
        }
    }
}

/// One check and what it found in every case.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Its name, a word or two.
    pub name: &'static str,
    /// What must hold.
    pub rule: &'static str,
    /// What was found, one entry a case in their order.
    pub outcomes: Vec<Outcome>,
}

/// What a check found in one case.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The rule holds.
    Holds,
    /// The result lacks what the rule is about; why.
    NotJudged(String),
    /// The rule is broken in a way that may have touched the figures; how.
    Suspect(Finding),
    /// The rule is broken in a way that takes the figures' meaning; how.
    Invalid(Finding),
}

/// How a rule is broken in one case.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// In words, with the figures.
    pub text: String,
    /// How far, so that many cases can be told in one line; `None` where no figure tells it.
    pub extent: Option<Extent>,
}

/// How far a rule is broken: the larger, the worse.
#[derive(Debug, Clone, PartialEq)]
pub struct Extent {
    /// The share, 1 for the whole.
    pub share: f64,
    /// What the share is of, as the words before and behind the figure: `late by`, `of the measured p99`.
    pub words: (String, &'static str),
}

impl Finding {
    /// Words with the share that tells how bad it is, and the words around that.
    fn with_extent(text: String, share: f64, before: &str, behind: &'static str) -> Self {
        let words = (before.to_owned(), behind);
        Self { text, extent: share.is_finite().then_some(Extent { share, words }) }
    }
}

impl From<String> for Finding {
    fn from(text: String) -> Self {
        Self { text, extent: None }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A check's name, its rule and how it judges one case.
type Rule = (&'static str, &'static str, fn(&CaseResult) -> Outcome);

/// All checks, in the order of their weight.
const RULES: [Rule; 12] = [
    ("deliveries", "something was expected and something arrived", measured::deliveries),
    (
        "accounting",
        "no corrupt message; what promises it loses, repeats and reorders nothing",
        measured::accounting,
    ),
    ("achieved rate", "at least 99 % of the planned rate was published", generator::achieved_rate),
    (
        "schedule",
        "the publisher's slip at p99 is within 5 % of the median latency, or 100 µs",
        generator::schedule,
    ),
    (
        "generator headroom",
        "no generator thread uses or waits for a core more than 80 % of the time, and a 1 ms timer beside them is late by at most 10 % of the \
         measured p99 (at p99; SUSPECT where it is at p99.9)",
        generator::generator_headroom,
    ),
    (
        "client queueing",
        "from the kernel's receipt to the client's hands at p99 within 10 % of the measured p99",
        generator::client_queueing,
    ),
    (
        "host",
        "at most 1 % of the processor time stolen, no datagram dropped for a full buffer, no throttling",
        generator::host,
    ),
    (
        "generator cost",
        "a receipt costs the generator less CPU than its delivery costs the server",
        generator::generator_cost,
    ),
    (
        "steady state",
        "the median of each second does not trend and its halves differ by at most 10 %",
        measured::steady_state,
    ),
    ("samples", "no quantile is told that the publishes don't resolve", measured::samples),
    ("range", "every latency could be recorded", measured::range),
    ("completeness", "no interrupt and no errors", measured::completeness),
];

/// Runs all checks over a result.
pub fn judge(result: &RunResult) -> Vec<Check> {
    RULES
        .iter()
        .map(|(name, rule, judge)| Check { name, rule, outcomes: result.cases.iter().map(judge).collect() })
        .collect()
}

/// The worst of all outcomes. A result without cases measured nothing and is invalid.
pub fn verdict(result: &RunResult, checks: &[Check]) -> Verdict {
    if result.cases.is_empty() {
        return Verdict::Invalid;
    }
    let of_cases = checks.iter().flat_map(|check| &check.outcomes).map(|outcome| match outcome {
        Outcome::Holds | Outcome::NotJudged(_) => Verdict::Valid,
        Outcome::Suspect(_) => Verdict::Suspect,
        Outcome::Invalid(_) => Verdict::Invalid,
    });
    let of_run = if result.interrupted { Verdict::Suspect } else { Verdict::Valid };
    of_cases.fold(of_run, Verdict::max)
}

/// What takes a case's meaning away, by whose doing, each as 'check: what was found'.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of what is measured: it did not deliver what it promises.
    pub of_the_server: Vec<String>,
    /// Of what measures, or of the machine: whatever the server did, this run does not tell it.
    pub of_the_generator: Vec<String>,
}

/// Checks that speak of what is measured. All others speak of what measures, and of the machine.
const OF_THE_SERVER: [&str; 2] = ["deliveries", "accounting"];

/// Everything that makes a case INVALID.
pub fn faults(case: &CaseResult) -> Faults {
    let mut faults = Faults::default();
    for (name, _, judge) in RULES {
        let Outcome::Invalid(finding) = judge(case) else { continue };
        let whose = if OF_THE_SERVER.contains(&name) {
            &mut faults.of_the_server
        } else {
            &mut faults.of_the_generator
        };
        whose.push(format!("{name}: {}", finding.text));
    }
    faults
}

/// Writes into a result what its checks say of it.
pub fn stamp(result: &mut RunResult) {
    let checks = judge(result);
    result.verdict = Some(verdict(result, &checks).word().to_owned());
    result.objections = checks
        .iter()
        .flat_map(|check| {
            check.outcomes.iter().zip(&result.cases).map(move |(outcome, case)| (check, outcome, case))
        })
        .filter_map(|(check, outcome, case)| match outcome {
            Outcome::Suspect(finding) | Outcome::Invalid(finding) => {
                Some(format!("{}: {}: {finding}", case.protocol, check.name))
            }
            Outcome::Holds | Outcome::NotJudged(_) => None,
        })
        .collect();
}

/// What a closed loop has no answer to: it has no schedule, and claims no latency.
fn no_schedule(case: &CaseResult) -> Option<Outcome> {
    case.in_flight
        .map(|_| Outcome::NotJudged("a closed loop has no schedule and claims no latency".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::generator::{FREE_SLIP_US, MOST_SLIP};
    use super::measured::MOST_DRIFT;
    use super::*;
    use crate::figures::{fixed, time_us};

    #[test]
    fn the_rules_tell_the_limits_that_are_applied() {
        let rule = |name: &str| RULES.iter().find(|(other, ..)| *other == name).expect("a rule").1;
        let part = |share: f64| format!("{} %", fixed(100.0 * share, 0));
        for (name, told) in [
            ("achieved rate", part(LEAST_ACHIEVED)),
            ("schedule", part(MOST_SLIP)),
            ("schedule", time_us(FREE_SLIP_US)),
            ("generator headroom", part(MOST_THREAD_SHARE)),
            ("generator headroom", part(MOST_OWN_DELAY)),
            ("client queueing", part(MOST_OWN_DELAY)),
            ("host", part(MOST_STEAL)),
            ("steady state", part(MOST_DRIFT)),
        ] {
            assert!(rule(name).contains(&told), "{name}: {told} in {:?}", rule(name));
        }
    }
}
