//! What a group of cases says, in plain sentences. A difference is claimed only where intervals carry it.

use crate::figures::{bytes, percent, time_us, times, whole};
use crate::schema::CaseResult;
use crate::statistics::{Distribution, Interval};

use super::series::samples;
use super::style::is_reliable;

/// A case with its distribution.
pub type Measured<'a> = (&'a CaseResult, &'a Distribution);

/// The sentences for cases under one load.
pub fn sentences(cases: &[Measured<'_>]) -> Vec<String> {
    [
        throughput(cases),
        latency(cases, 0.5, "p50"),
        latency(cases, 0.99, "p99"),
        accounting(cases),
        processor(cases),
        memory(cases),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a closed loop reached, and that it says nothing of latency.
fn throughput(cases: &[Measured<'_>]) -> Option<String> {
    let reached: Vec<String> = cases
        .iter()
        .filter(|(case, _)| case.in_flight.is_some())
        .map(|(case, _)| format!("{} {} deliveries/s", case.protocol, whole(case.deliveries_per_s as u64)))
        .collect();
    let messages = cases.iter().find_map(|(case, _)| case.in_flight)?;
    let loop_name = format!("closed loop, {} in flight", whole(u64::from(messages)));
    Some(format!("Throughput at saturation ({loop_name}): {}; no latency is claimed.", list(&reached)))
}

/// Who is fastest at a quantile, who equals it, and by how much the others are slower.
fn latency(cases: &[Measured<'_>], quantile: f64, name: &str) -> Option<String> {
    let mut ranked: Vec<(&str, f64, Interval)> = cases
        .iter()
        .filter_map(|(case, distribution)| {
            let interval = distribution.interval_us(quantile, samples(case))?;
            Some((case.protocol.as_str(), distribution.quantile_us(quantile)?, interval))
        })
        .collect();
    ranked.sort_by(|left, right| left.1.total_cmp(&right.1));
    let ((first, first_us, first_interval), others) = ranked.split_first()?;
    if others.is_empty() {
        return Some(format!("{first} has a {name} latency of {}.", time_us(*first_us)));
    }
    let (equal, slower): (Vec<_>, Vec<_>) = others.iter().partition(|other| other.2.overlaps(first_interval));
    let mut text = if equal.is_empty() {
        format!("{first} has the lowest {name} latency, {}", time_us(*first_us))
    } else {
        let names: Vec<String> = std::iter::once(format!("{first} ({})", time_us(*first_us)))
            .chain(equal.iter().map(|(name, value_us, _)| format!("{name} ({})", time_us(*value_us))))
            .collect();
        format!("At {name}, {} can't be told apart: their 95 % intervals overlap", list(&names))
    };
    let ratios: Vec<String> = slower
        .iter()
        .filter_map(|(name, value_us, _)| Some((name, times(*value_us, *first_us)?)))
        .enumerate()
        .map(|(index, (name, ratio))| match index {
            0 => format!("{name} takes {ratio} as long as {first}"),
            _ => format!("{name} {ratio}"),
        })
        .collect();
    if !ratios.is_empty() {
        text.push_str("; ");
        text.push_str(&list(&ratios));
    }
    text.push('.');
    Some(text)
}

/// Whether everything arrived, and what did not.
fn accounting(cases: &[Measured<'_>]) -> Option<String> {
    let sum = |count: fn(&CaseResult) -> u64| cases.iter().map(|(case, _)| count(case)).sum::<u64>();
    let expected = sum(|case| case.accounting.expected);
    if expected == 0 {
        return None;
    }
    let faulty: Vec<String> = cases.iter().filter_map(|(case, _)| faults(case)).collect();
    if faulty.is_empty() {
        return Some(format!(
            "All {} expected deliveries arrived intact, once and in order.",
            whole(expected)
        ));
    }
    let rest =
        if faulty.len() == cases.len() { "" } else { "; everything else arrived intact, once and in order" };
    Some(format!("{}{rest}.", faulty.join("; ")))
}

/// The faults of one case in words, `None` where it has none.
fn faults(case: &CaseResult) -> Option<String> {
    let books = &case.accounting;
    let faults: Vec<String> = [
        (books.lost, "lost"),
        (books.duplicated, "duplicated"),
        (books.reordered, "reordered"),
        (books.corrupt, "corrupted"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{what} {} ({})", whole(count), percent(count, books.expected)))
    .collect();
    let promise = if is_reliable(&case.protocol) { "" } else { ", which it does not promise to avoid" };
    (!faults.is_empty()).then(|| {
        format!("{} {} of {} deliveries{promise}", case.protocol, list(&faults), whole(books.expected))
    })
}

/// What a delivery costs the server, relative to the cheapest.
fn processor(cases: &[Measured<'_>]) -> Option<String> {
    cost(
        cases,
        |case| case.server.cpu_us_per_delivery,
        |name, cheapest_us| {
            format!(
                "In this run a delivery cost the server least over {name}, {} of CPU",
                time_us(cheapest_us)
            )
        },
    )
}

/// What a connection costs the server, relative to the cheapest.
fn memory(cases: &[Measured<'_>]) -> Option<String> {
    cost(
        cases,
        |case| case.server.rss_bytes_per_connection.filter(|bytes| *bytes >= 1.0),
        |name, least| format!("A connection held least server memory over {name}, {}", bytes(least)),
    )
}

/// A cost that has no interval: told as what was measured, not as who wins.
fn cost(
    cases: &[Measured<'_>],
    figure: fn(&CaseResult) -> Option<f64>,
    lead: impl Fn(&str, f64) -> String,
) -> Option<String> {
    let mut ranked: Vec<(&str, f64)> =
        cases.iter().filter_map(|(case, _)| Some((case.protocol.as_str(), figure(case)?))).collect();
    ranked.sort_by(|left, right| left.1.total_cmp(&right.1));
    let ((name, least), others) = ranked.split_first()?;
    if others.is_empty() {
        return None;
    }
    let ratios: Vec<String> = others
        .iter()
        .filter_map(|(name, value)| Some(format!("{} over {name}", times(*value, *least)?)))
        .collect();
    Some(format!("{}; {}.", lead(name, *least), list(&ratios)))
}

/// Words as a list: `a, b and c`.
fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
