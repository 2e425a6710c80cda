//! Checks of what was measured: the books, and whether the figures rest on enough.

use super::{Finding, Outcome, no_schedule};
use crate::figures::{percent, plain, time_us, whole};
use crate::schema::CaseResult;
use crate::statistics::{halves, mann_kendall_p, resolves, samples_to_resolve};
use crate::view::style::{is_ordered, is_reliable};

pub(super) fn deliveries(case: &CaseResult) -> Outcome {
    match (case.accounting.expected, case.accounting.delivered) {
        (0, _) => Outcome::Invalid("nothing was expected, so nothing was measured".to_owned().into()),
        (expected, 0) => {
            Outcome::Invalid(format!("none of {} expected deliveries arrived", whole(expected)).into())
        }
        _ => Outcome::Holds,
    }
}

pub(super) fn accounting(case: &CaseResult) -> Outcome {
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

/// Largest part by which the halves' medians may differ while they trend.
pub(super) const MOST_DRIFT: f64 = 0.1;

pub(super) fn steady_state(case: &CaseResult) -> Outcome {
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

/// Guards against results of other hands: ours never tell such a quantile.
pub(super) fn samples(case: &CaseResult) -> Outcome {
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

pub(super) fn range(case: &CaseResult) -> Outcome {
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

pub(super) fn completeness(case: &CaseResult) -> Outcome {
    let errors = case.errors.iter().map(|(text, count)| format!("{text} ({}×)", whole(*count)));
    let interrupt = case.interrupted.then(|| format!("interrupted after {} s", plain(case.duration_s)));
    let faults: Vec<String> = interrupt.into_iter().chain(errors).collect();
    if faults.is_empty() { Outcome::Holds } else { Outcome::Suspect(faults.join("; ").into()) }
}
