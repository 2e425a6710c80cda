//! Whether a result may be believed, as far as the result itself can tell.
//!
//! Pure functions of the result: they judge what stands in it, so a stored result is judged as a fresh one is.

use std::fmt;

use crate::figures::{ABSENT, fixed, percent, plain, time_us, whole};
use crate::schema::{CaseResult, Health, RunResult, ThreadUse};
use crate::statistics::{halves, mann_kendall_p, resolves, samples_to_resolve};
use crate::view::style::{is_ordered, is_reliable};

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
    ("deliveries", "something was expected and something arrived", deliveries),
    ("accounting", "no corrupt message; what promises it loses, repeats and reorders nothing", accounting),
    ("achieved rate", "at least 99 % of the planned rate was published", achieved_rate),
    ("schedule", "the publisher's slip at p99 is within 5 % of the median latency, or 100 µs", schedule),
    (
        "generator headroom",
        "no generator thread uses more than 80 % of a core, and a 1 ms timer beside them is late by at most 10 % of the \
         measured p99 (at p99.9)",
        generator_headroom,
    ),
    (
        "client queueing",
        "from the kernel's receipt to the client's hands at p99 within 10 % of the measured p99",
        client_queueing,
    ),
    (
        "host",
        "at most 1 % of the processor time stolen, no datagram dropped for a full buffer, no throttling",
        host,
    ),
    (
        "generator cost",
        "a receipt costs the generator less CPU than its delivery costs the server",
        generator_cost,
    ),
    (
        "steady state",
        "the median of each second does not trend and its halves differ by at most 10 %",
        steady_state,
    ),
    ("samples", "no quantile is told that the publishes don't resolve", samples),
    ("range", "every latency could be recorded", range),
    ("completeness", "no interrupt and no errors", completeness),
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

fn deliveries(case: &CaseResult) -> Outcome {
    match (case.accounting.expected, case.accounting.delivered) {
        (0, _) => Outcome::Invalid("nothing was expected, so nothing was measured".to_owned().into()),
        (expected, 0) => {
            Outcome::Invalid(format!("none of {} expected deliveries arrived", whole(expected)).into())
        }
        _ => Outcome::Holds,
    }
}

fn accounting(case: &CaseResult) -> Outcome {
    let books = &case.accounting;
    if books.delivered.checked_add(books.lost) != Some(books.expected) {
        let text = format!(
            "the books don't balance: {} delivered and {} lost of {} expected",
            whole(books.delivered),
            whole(books.lost),
            whole(books.expected)
        );
        return Outcome::Invalid(text.into());
    }
    let reliable = is_reliable(&case.protocol);
    let faults: Vec<(u64, &str)> = [
        (books.corrupt, "corrupt", true),
        (books.lost, "lost", reliable),
        (books.duplicated, "duplicated", reliable),
        (books.reordered, "reordered", is_ordered(&case.protocol)),
    ]
    .into_iter()
    .filter(|(count, _, counts)| *counts && *count > 0)
    .map(|(count, what, _)| (count, what))
    .collect();
    if faults.is_empty() {
        return Outcome::Holds;
    }
    let told = |(count, what): &(u64, &str)| {
        format!("{} {what} ({})", whole(*count), percent(*count, books.expected))
    };
    let text = faults.iter().map(told).collect::<Vec<_>>().join(", ");
    let all: f64 = faults.iter().map(|(count, _)| *count as f64).sum();
    let share = all / books.expected as f64;
    Outcome::Invalid(Finding::with_extent(
        text,
        share,
        "",
        "of the deliveries lost, repeated, reordered or corrupt",
    ))
}

/// What a closed loop has no answer to: it has no schedule, and claims no latency.
fn no_schedule(case: &CaseResult) -> Option<Outcome> {
    case.in_flight
        .map(|_| Outcome::NotJudged("a closed loop has no schedule and claims no latency".to_owned()))
}

fn achieved_rate(case: &CaseResult) -> Outcome {
    if let Some(outcome) = no_schedule(case) {
        return outcome;
    }
    let Some(achieved) = case.achieved_rate else {
        return Outcome::NotJudged("the achieved rate is not in the result".to_owned());
    };
    if !is_achieved(case) {
        let text = format!("{} of {} messages/s were published", fixed(achieved, 1), plain(case.rate));
        let missing = 1.0 - achieved / planned_rate(case);
        return Outcome::Invalid(Finding::with_extent(text, missing, "", "of the plan not published"));
    }
    Outcome::Holds
}

/// Whether at least 99 % of what was planned was published in time, as far as the result tells it.
pub fn is_achieved(case: &CaseResult) -> bool {
    let Some(achieved) = case.achieved_rate else { return true };
    match planned_messages(case) {
        Some(_) => achieved >= LEAST_ACHIEVED * planned_rate(case),
        // The rate alone does not tell how many messages a window had: one more or less, by where it begins. That is more
        // than a hundredth only of windows that have fewer than a hundred.
        None if case.duration_s > 0.0 => {
            achieved >= (LEAST_ACHIEVED * case.rate).min(case.rate - 1.0 / case.duration_s)
        }
        None => achieved >= LEAST_ACHIEVED * case.rate,
    }
}

/// Messages a second that the schedule had for the window, where the result tells how many they were; else the rate as it
/// was asked for. A window of 1.3 s has 6 messages of a rate of 5, and Poisson arrivals are no fixed number at all.
pub fn planned_rate(case: &CaseResult) -> f64 {
    planned_messages(case).map_or(case.rate, |planned| planned as f64 / case.duration_s)
}

/// `None` where the result does not tell it, or only a part of the window was measured.
fn planned_messages(case: &CaseResult) -> Option<u64> {
    let planned = case.timeline.iter().map(|point| point.planned).sum::<Option<u64>>();
    planned.filter(|planned| *planned > 0 && !case.interrupted && case.duration_s > 0.0)
}

fn schedule(case: &CaseResult) -> Outcome {
    if let Some(outcome) = no_schedule(case) {
        return outcome;
    }
    let (Some(slip_us), Some(median_us)) =
        (case.schedule_slip_us.and_then(|slip| slip.p99), case.latency_us.p50)
    else {
        return Outcome::NotJudged("the p99 of the slip is not resolved".to_owned());
    };
    if slip_us > slip_limit_us(median_us) {
        let text =
            format!("p99 of the slip is {} at a median latency of {}", time_us(slip_us), time_us(median_us));
        let share = slip_us / median_us;
        return Outcome::Invalid(Finding::with_extent(
            text,
            share,
            "a slip at p99 of",
            "of the median latency",
        ));
    }
    Outcome::Holds
}

/// Least part of the planned rate that must be published.
pub(crate) const LEAST_ACHIEVED: f64 = 0.99;
/// Largest part of the median latency that the publisher's slip may be, at its p99, …
const MOST_SLIP: f64 = 0.05;
/// … and the slip in microseconds that is nobody's concern.
const FREE_SLIP_US: f64 = 100.0;

/// The largest slip in microseconds, at its p99, beside a median latency.
pub(crate) fn slip_limit_us(median_us: f64) -> f64 {
    (MOST_SLIP * median_us).max(FREE_SLIP_US)
}

const OF_P99: &str = "of the measured p99";

/// Largest share of a core, used or waited for, that leaves a generator thread room.
pub(crate) const MOST_THREAD_SHARE: f64 = 0.8;
/// Largest part of the measured p99 that the generator's own delays may make up.
pub(crate) const MOST_OWN_DELAY: f64 = 0.1;
/// Largest share of the machine's processor time that may be stolen.
pub(crate) const MOST_STEAL: f64 = 0.01;

fn generator_headroom(case: &CaseResult) -> Outcome {
    let Some(health) = &case.health else {
        return Outcome::NotJudged("the generator did not watch itself".to_owned());
    };
    let mut faults: Vec<String> = health.threads.iter().filter_map(too_busy).collect();
    if case.in_flight.is_some() {
        // At saturation something must be busy; which of both it was decides whose throughput was measured.
        let said =
            |faults: &[String]| format!("{}: the throughput may be the generator's", faults.join(", "));
        return if faults.is_empty() { Outcome::Holds } else { Outcome::Suspect(said(&faults).into()) };
    }
    let canary = canary_tail(health).zip(case.latency_us.p99);
    let late = canary.filter(|((_, delay_us), latency_us)| *delay_us > MOST_OWN_DELAY * latency_us);
    match (late, canary) {
        (Some(((name, delay_us), latency_us)), _) => {
            let is_alone = faults.is_empty();
            faults.push(format!(
                "a 1 ms timer of the generator was late by {} at {name}, the measured p99 is {}",
                time_us(delay_us),
                time_us(latency_us)
            ));
            let text = faults.join(", ");
            Outcome::Invalid(if is_alone {
                let before = format!("a 1 ms timer late at {name} by");
                Finding::with_extent(text, delay_us / latency_us, &before, OF_P99)
            } else {
                text.into()
            })
        }
        (None, _) if !faults.is_empty() => Outcome::Invalid(faults.join(", ").into()),
        (None, Some(_)) => Outcome::Holds,
        (None, None) => Outcome::NotJudged("the measured p99 is not resolved".to_owned()),
    }
}

/// What is wrong with a thread that had no room left: time spent waiting for a core is time it would have used.
fn too_busy(thread: &ThreadUse) -> Option<String> {
    let wanted = thread.cpu_share + thread.waited_share;
    let percent = |share: f64| fixed(100.0 * share, 0);
    match () {
        () if thread.spins || wanted <= MOST_THREAD_SHARE => None,
        () if thread.cpu_share > MOST_THREAD_SHARE => {
            Some(format!("thread {:?} used {} % of a core", thread.name, percent(thread.cpu_share)))
        }
        () => Some(format!(
            "thread {:?} used {} % of a core and waited {} % of the time for one",
            thread.name,
            percent(thread.cpu_share),
            percent(thread.waited_share)
        )),
    }
}

/// The canary's p99.9, or the highest quantile below it that it resolves: no more than that, so a cautious judgement.
pub(crate) fn canary_tail(health: &Health) -> Option<(&'static str, f64)> {
    let canary = health.canary_us.as_ref()?;
    let tails = [("p99.9", canary.p99_9), ("p99", canary.p99), ("p90", canary.p90), ("p50", canary.p50)];
    tails.into_iter().find_map(|(name, value)| Some((name, value?)))
}

fn client_queueing(case: &CaseResult) -> Outcome {
    let Some((queueing, kernel)) =
        case.health.as_ref().and_then(|health| health.kernel_to_client_us.zip(health.kernel_latency_us))
    else {
        return Outcome::NotJudged("kernel timestamps were not taken (--timestamps kernel)".to_owned());
    };
    match (queueing.p99, case.latency_us.p99) {
        (Some(queueing_us), Some(latency_us)) if queueing_us > MOST_OWN_DELAY * latency_us => {
            let stamped = kernel.p99.map_or_else(|| ABSENT.to_owned(), time_us);
            let text = format!(
                "p99 from kernel to client is {}, the measured p99 {} ({stamped} by the kernel's receipt)",
                time_us(queueing_us),
                time_us(latency_us)
            );
            Outcome::Suspect(Finding::with_extent(
                text,
                queueing_us / latency_us,
                "kernel to client takes",
                OF_P99,
            ))
        }
        (Some(_), Some(_)) => Outcome::Holds,
        _ => Outcome::NotJudged("the p99 is not resolved".to_owned()),
    }
}

fn host(case: &CaseResult) -> Outcome {
    let Some(health) = &case.health else {
        return Outcome::NotJudged("the host was not watched".to_owned());
    };
    let mut faults = Vec::new();
    let stolen = health.steal_share.filter(|&share| share > MOST_STEAL);
    if let Some(share) = stolen {
        faults.push(format!(
            "{} % of the processor time was stolen by the hypervisor",
            fixed(100.0 * share, 1)
        ));
    }
    if let Some(drops) = health.receive_buffer_drops.filter(|&drops| drops > 0) {
        faults.push(format!("{} datagrams were dropped for a full receive buffer", whole(drops)));
    }
    if let Some(periods) = health.throttled_periods.filter(|&periods| periods > 0) {
        faults.push(format!("the control group was throttled {} times", whole(periods)));
    }
    match (faults.is_empty(), health.steal_share, health.receive_buffer_drops) {
        (false, ..) => {
            let words = || (String::new(), "of the processor time stolen");
            let extent = stolen.map(|share| Extent { share, words: words() });
            Outcome::Suspect(Finding { text: faults.join(", "), extent })
        }
        (true, None, None) => Outcome::NotJudged("the host could not be watched".to_owned()),
        (true, ..) => Outcome::Holds,
    }
}

/// Guards against results of other hands: ours never tell such a quantile.
fn samples(case: &CaseResult) -> Outcome {
    let told = [
        ("p50", 0.5, case.latency_us.p50),
        ("p90", 0.9, case.latency_us.p90),
        ("p99", 0.99, case.latency_us.p99),
        ("p99.9", 0.999, case.latency_us.p99_9),
    ];
    let unfounded = told
        .into_iter()
        .filter(|(_, quantile, value)| value.is_some() && !resolves(*quantile, case.published));
    let faults: Vec<String> = unfounded
        .map(|(name, quantile, _)| format!("{name} needs {} publishes", whole(samples_to_resolve(quantile))))
        .collect();
    if faults.is_empty() {
        return Outcome::Holds;
    }
    Outcome::Invalid(format!("{} were published, but {}", whole(case.published), faults.join(", ")).into())
}

fn generator_cost(case: &CaseResult) -> Outcome {
    match (case.generator.cpu_us_per_delivery, case.server.cpu_us_per_delivery) {
        (Some(generator_us), Some(server_us)) if generator_us >= server_us => {
            let text = format!(
                "a receipt cost the generator {}, its delivery the server {}",
                time_us(generator_us),
                time_us(server_us)
            );
            let share = generator_us / server_us;
            Outcome::Suspect(Finding::with_extent(
                text,
                share,
                "a receipt at",
                "of what its delivery cost the server",
            ))
        }
        (Some(_), Some(_)) => Outcome::Holds,
        _ => Outcome::NotJudged("a process could not be observed".to_owned()),
    }
}

/// Largest part by which the halves' medians may differ while they trend.
const MOST_DRIFT: f64 = 0.1;

fn steady_state(case: &CaseResult) -> Outcome {
    if let Some(outcome) = no_schedule(case) {
        return outcome;
    }
    let medians: Vec<f64> = case.timeline.iter().filter_map(|point| point.p50_us).collect();
    let Some((p, (first, second))) = mann_kendall_p(&medians).zip(halves(&medians)) else {
        return Outcome::NotJudged("fewer than 8 seconds were measured".to_owned());
    };
    if p < 0.01 && (second - first).abs() > MOST_DRIFT * first.min(second) {
        let text = format!(
            "the median went from {} in the first half to {} in the second",
            time_us(first),
            time_us(second)
        );
        let apart = (second - first).abs() / first.min(second);
        return Outcome::Suspect(Finding::with_extent(
            text,
            apart,
            "the median apart by",
            "between the halves",
        ));
    }
    Outcome::Holds
}

fn range(case: &CaseResult) -> Outcome {
    match case.out_of_range {
        0 => Outcome::Holds,
        count => {
            let text = format!("{} latencies were negative or beyond 600 s", whole(count));
            let share = count as f64 / case.accounting.expected as f64;
            Outcome::Suspect(Finding::with_extent(
                text,
                share,
                "",
                "of the latencies negative or beyond 600 s",
            ))
        }
    }
}

fn completeness(case: &CaseResult) -> Outcome {
    let errors = case.errors.iter().map(|(text, count)| format!("{text} ({}×)", whole(*count)));
    let interrupt = case.interrupted.then(|| format!("interrupted after {} s", plain(case.duration_s)));
    let faults: Vec<String> = interrupt.into_iter().chain(errors).collect();
    if faults.is_empty() { Outcome::Holds } else { Outcome::Suspect(faults.join("; ").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
