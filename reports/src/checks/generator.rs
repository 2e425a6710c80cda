//! Checks of what measures: the schedule, the generator's threads, the host.

use super::{Extent, Finding, Outcome, no_schedule};
use crate::figures::{ABSENT, fixed, plain, time_us, whole};
use crate::schema::{CaseResult, Health, ThreadUse};

/// Least part of the planned rate that must be published.
pub(crate) const LEAST_ACHIEVED: f64 = 0.99;
/// Largest part of the median latency that the publisher's slip may be, at its p99, …
pub(super) const MOST_SLIP: f64 = 0.05;
/// … and the slip in microseconds that is nobody's concern.
pub(super) const FREE_SLIP_US: f64 = 100.0;
/// Largest share of a core, used or waited for, that leaves a generator thread room.
pub(crate) const MOST_THREAD_SHARE: f64 = 0.8;
/// Largest part of the measured p99 that the generator's own delays may make up.
pub(crate) const MOST_OWN_DELAY: f64 = 0.1;
/// Largest share of the machine's processor time that may be stolen.
pub(crate) const MOST_STEAL: f64 = 0.01;
const OF_P99: &str = "of the measured p99";

pub(super) fn achieved_rate(case: &CaseResult) -> Outcome {
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

pub(super) fn schedule(case: &CaseResult) -> Outcome {
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

/// The largest slip in microseconds, at its p99, beside a median latency.
pub(crate) fn slip_limit_us(median_us: f64) -> f64 {
    (MOST_SLIP * median_us).max(FREE_SLIP_US)
}

pub(super) fn generator_headroom(case: &CaseResult) -> Outcome {
    let Some(health) = &case.health else {
        return Outcome::NotJudged("the generator did not watch itself".to_owned());
    };
    let faults: Vec<String> = health.threads.iter().filter_map(too_busy).collect();
    if case.in_flight.is_some() {
        // At saturation something must be busy; which of both it was decides whose throughput was measured.
        let said =
            |faults: &[String]| format!("{}: the throughput may be the generator's", faults.join(", "));
        return if faults.is_empty() { Outcome::Holds } else { Outcome::Suspect(said(&faults).into()) };
    }
    if !faults.is_empty() {
        return Outcome::Invalid(faults.join(", ").into());
    }
    let Some((tail, latency_us)) = canary_tail(health).zip(case.latency_us.p99) else {
        return Outcome::NotJudged("the measured p99 is not resolved".to_owned());
    };
    let told = |(name, delay_us): (&str, f64)| {
        let text = format!(
            "a 1 ms timer of the generator was late by {} at {name}, the measured p99 is {}",
            time_us(delay_us),
            time_us(latency_us)
        );
        let before = format!("a 1 ms timer late at {name} by");
        Finding::with_extent(text, delay_us / latency_us, &before, OF_P99)
    };
    let is_late = |(_, delay_us): &(&str, f64)| *delay_us > MOST_OWN_DELAY * latency_us;
    // What happens to one wake-up in a hundred is in the measured p99, what happens to one in a thousand is beyond it.
    let alike = health.canary_us.and_then(|canary| canary.p99).map_or(tail, |delay_us| ("p99", delay_us));
    match (Some(alike).filter(is_late), Some(tail).filter(is_late)) {
        (Some(late), _) => Outcome::Invalid(told(late)),
        (None, Some(late)) => Outcome::Suspect(told(late)),
        (None, None) => Outcome::Holds,
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

pub(super) fn client_queueing(case: &CaseResult) -> Outcome {
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

pub(super) fn host(case: &CaseResult) -> Outcome {
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

pub(super) fn generator_cost(case: &CaseResult) -> Outcome {
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
