//! What a group of cases says, in plain sentences. A difference is claimed only where intervals carry it, and what is
//! encrypted is compared with what is encrypted.

use std::fmt::Write;

use crate::figures::{bytes, fixed, percent, time_us, times, whole};
use crate::schema::{CaseResult, SliceSummary};
use crate::statistics::{Distribution, Interval, RatioInterval, paired_ratio};

use super::series::interval_us;
use super::style::{is_encrypted, is_ordered, is_reliable};

/// A case with its distribution.
pub type Measured<'a> = (&'a CaseResult, &'a Distribution);

/// Figures whose intervals allow no larger difference than this are called equal within it.
const LARGEST_EQUALITY: f64 = 0.1;

/// The sentences for cases under one load.
pub fn sentences(cases: &[Measured<'_>]) -> Vec<String> {
    let own: Vec<Measured<'_>> = cases.iter().copied().filter(|(case, _)| !case.floor).collect();
    let classes = classes(&own);
    let mut sentences: Vec<String> = throughput(&own).into_iter().collect();
    for (quantile, name) in [(0.5, "p50"), (0.99, "p99")] {
        sentences.extend(classes.iter().filter_map(|class| latency(class, classes.len(), quantile, name)));
    }
    sentences.extend(encryption(&own));
    sentences.extend(floor(cases, &own));
    sentences.extend(accounting(cases));
    sentences.extend(cost(&classes, &PROCESSOR));
    sentences.extend(cost(&classes, &MEMORY));
    sentences
}

/// Cases that may be compared with each other.
struct Class<'a> {
    /// `Without encryption` or `Encrypted`.
    name: &'static str,
    cases: Vec<Measured<'a>>,
}

/// Whether a case's connections were encrypted.
fn encrypts(case: &CaseResult) -> bool {
    case.encrypted.unwrap_or_else(|| is_encrypted(&case.protocol))
}

fn classes<'a>(cases: &[Measured<'a>]) -> Vec<Class<'a>> {
    [("Without encryption", false), ("Encrypted", true)]
        .into_iter()
        .map(|(name, wanted)| Class {
            name,
            cases: cases.iter().copied().filter(|(case, _)| encrypts(case) == wanted).collect(),
        })
        .filter(|class| !class.cases.is_empty())
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

/// A case's name, a figure of it and the figure's interval.
type Ranked<'a> = (&'a str, f64, Interval);

/// Who is fastest at a quantile, who equals it, and by how much the others are slower.
fn latency(class: &Class<'_>, classes: usize, quantile: f64, name: &str) -> Option<String> {
    let mut ranked: Vec<Ranked<'_>> = class
        .cases
        .iter()
        .filter_map(|(case, distribution)| {
            let interval = interval_us(case, distribution, quantile)?;
            Some((case.protocol.as_str(), distribution.quantile_us(quantile)?, interval))
        })
        .filter(|(_, value_us, interval)| *value_us > 0.0 && interval.low_us > 0.0)
        .collect();
    ranked.sort_by(|left, right| left.1.total_cmp(&right.1));
    let (first, others) = ranked.split_first()?;
    if others.is_empty() {
        // Alone among others that are not comparable, a figure is in the table already.
        return (classes == 1).then(|| format!("{} has a {name} latency of {}.", first.0, time_us(first.1)));
    }
    let (equal, slower): (Vec<Ranked<'_>>, Vec<Ranked<'_>>) =
        others.iter().copied().partition(|other| other.2.overlaps(&first.2));
    let mut text = if equal.is_empty() {
        format!("{} has the lowest {name} latency, {}", first.0, time_us(first.1))
    } else {
        alike(first, &equal, name)
    };
    let ratios: Vec<String> = slower.iter().filter_map(|other| slower_by(first, other)).collect();
    if let Some((one, rest)) = ratios.split_first() {
        let lead = format!("{} takes {one}", slower[0].0);
        let others = slower[1..].iter().zip(rest).map(|((name, ..), ratio)| format!("{name} {ratio}"));
        let all: Vec<String> = std::iter::once(lead).chain(others).collect();
        let _ = write!(text, "; {} as long as {}", list(&all), first.0);
    }
    text.push('.');
    Some(if classes == 1 { text } else { format!("{}: {text}", class.name) })
}

/// Cases whose intervals overlap: equal within what the intervals allow, or not to be told apart.
fn alike(first: &Ranked<'_>, equal: &[Ranked<'_>], quantile: &str) -> String {
    let all = || std::iter::once(first).chain(equal);
    let named: Vec<String> =
        all().map(|(name, value_us, _)| format!("{name} ({})", time_us(*value_us))).collect();
    let low = all().map(|(.., interval)| interval.low_us).fold(f64::INFINITY, f64::min);
    let high = all().map(|(.., interval)| interval.high_us).fold(0.0, f64::max);
    let apart = high / low - 1.0;
    if apart <= LARGEST_EQUALITY {
        return format!(
            "at {quantile}, {} are equal within {} %",
            list(&named),
            (apart * 100.0).ceil().max(1.0)
        );
    }
    format!("at {quantile}, {} can't be told apart: their 95 % intervals overlap", list(&named))
}

/// `1.6 × (1.5–1.7)`.
fn slower_by(first: &Ranked<'_>, other: &Ranked<'_>) -> Option<String> {
    let ratio = RatioInterval {
        value: other.1 / first.1,
        low: other.2.low_us / first.2.high_us,
        high: other.2.high_us / first.2.low_us,
    };
    ratio_text(&ratio)
}

/// A ratio with its interval, all with the same decimals: as many as it takes to see that the bound is above 1.
fn ratio_text(ratio: &RatioInterval) -> Option<String> {
    let value = times(ratio.value, 1.0)?;
    let usual = value.split(' ').next()?.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let is_seen =
        |decimals: &usize| ratio.low <= 1.0 || (ratio.low - 1.0) * 10_f64.powi(*decimals as i32) >= 0.5;
    let decimals = (usual..3).find(is_seen).unwrap_or(3);
    let [value, low, high] = [ratio.value, ratio.low, ratio.high].map(|value| fixed(value, decimals));
    Some(format!("{value} × ({low}–{high})"))
}

/// What encryption adds, where a protocol was measured with and without.
fn encryption(cases: &[Measured<'_>]) -> Option<String> {
    let added: Vec<String> = cases
        .iter()
        .filter_map(|(case, distribution)| {
            let twin = case.protocol.replacen("wss", "ws", 1).replacen("sse-tls", "sse", 1);
            let (plain, plain_distribution) =
                cases.iter().find(|(other, _)| other.protocol == twin && other.protocol != case.protocol)?;
            let of = |case: &CaseResult, distribution: &Distribution| {
                let value_us = distribution.quantile_us(0.5).filter(|value_us| *value_us > 0.0)?;
                Some((
                    value_us,
                    interval_us(case, distribution, 0.5).filter(|interval| interval.low_us > 0.0)?,
                ))
            };
            let (base_us, base) = of(plain, plain_distribution)?;
            let (with_us, with) = of(case, distribution)?;
            let percent = |ratio: f64| fixed((ratio - 1.0) * 100.0, 0);
            (with.low_us > base.high_us).then(|| {
                format!(
                    "{} % ({}–{}) to {}",
                    percent(with_us / base_us),
                    percent(with.low_us / base.high_us),
                    percent(with.high_us / base.low_us),
                    plain.protocol
                )
            })
        })
        .collect();
    (!added.is_empty()).then(|| format!("Encryption adds {} at p50.", list(&added)))
}

/// How much of the best latency is the machine's own.
fn floor(cases: &[Measured<'_>], own: &[Measured<'_>]) -> Option<String> {
    let median = |(case, distribution): &Measured<'_>| {
        Some((distribution.quantile_us(0.5)?, interval_us(case, distribution, 0.5)?))
    };
    let (floor, (floor_us, floor_interval)) = cases
        .iter()
        .filter(|(case, _)| case.floor && case.protocol.starts_with("tcp"))
        .find_map(|measured| Some((measured.0, median(measured)?)))?;
    let comparable = own.iter().filter(|(case, _)| encrypts(case) == encrypts(floor));
    let (best, (best_us, best_interval)) = comparable
        .filter_map(|measured| Some((measured.0, median(measured)?)))
        .min_by(|left, right| left.1.0.total_cmp(&right.1.0))?;
    (best_interval.low_us > floor_interval.high_us).then(|| {
        format!(
            "The same fan-out over bare TCP takes {} at p50 on this machine: {} adds {} ({}–{}).",
            time_us(floor_us),
            best.protocol,
            time_us(best_us - floor_us),
            time_us(best_interval.low_us - floor_interval.high_us),
            time_us(best_interval.high_us - floor_interval.low_us)
        )
    })
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
    let breaks_promise = books.corrupt > 0
        || (is_reliable(&case.protocol) && books.lost + books.duplicated > 0)
        || (is_ordered(&case.protocol) && books.reordered > 0);
    let promise = if breaks_promise { "" } else { ", which it does not promise to avoid" };
    (!faults.is_empty()).then(|| {
        format!("{} {} of {} deliveries{promise}", case.protocol, list(&faults), whole(books.expected))
    })
}

/// A cost of the server, as it is told.
struct Cost {
    lead: &'static str,
    figure: fn(&CaseResult) -> Option<f64>,
    of_slice: fn(&SliceSummary) -> Option<f64>,
    text: fn(f64) -> String,
}

const PROCESSOR: Cost = Cost {
    lead: "Server CPU for a delivery",
    figure: |case| case.server.cpu_us_per_delivery.filter(|us| *us > 0.0),
    of_slice: |slice| slice.server_cpu_us_per_delivery,
    text: time_us,
};

const MEMORY: Cost = Cost {
    lead: "Server memory for a connection",
    figure: |case| case.server.rss_bytes_per_connection.filter(|bytes| *bytes >= 1.0),
    of_slice: |slice| slice.server_rss_bytes_per_connection,
    text: bytes,
};

/// A cost, relative to the cheapest of its class, a sentence for each class. With slices the ratio has an interval, and is
/// told where that leaves no room for equality; without, the figures of this run are told as such.
fn cost(classes: &[Class<'_>], cost: &Cost) -> Vec<String> {
    let of_class = |class: &Class<'_>| {
        let kind =
            if classes.len() == 1 { String::new() } else { format!(", {}", class.name.to_lowercase()) };
        Some(format!("{}{kind}: {}.", cost.lead, cost_of_class(&class.cases, cost)?))
    };
    classes.iter().filter_map(of_class).collect()
}

fn cost_of_class(cases: &[Measured<'_>], cost: &Cost) -> Option<String> {
    let mut ranked: Vec<(&CaseResult, f64)> =
        cases.iter().filter_map(|(case, _)| Some((*case, (cost.figure)(case)?))).collect();
    ranked.sort_by(|left, right| left.1.total_cmp(&right.1));
    let ((cheapest, least), others) = ranked.split_first()?;
    if others.is_empty() {
        return None;
    }
    let slices = |case: &CaseResult| -> Vec<f64> { case.slices.iter().filter_map(cost.of_slice).collect() };
    let mut dearer = vec![format!("{} {}", cheapest.protocol, (cost.text)(*least))];
    let (mut same, mut unclear): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut within = 0.0_f64;
    for (case, value) in others {
        let name = &case.protocol;
        let Some(ratio) = paired_ratio(&slices(cheapest), &slices(case)) else {
            dearer.extend(times(*value, *least).map(|ratio| format!("{name} {ratio} in this run")));
            continue;
        };
        let apart = (ratio.high - 1.0).max(1.0 - ratio.low);
        if ratio.low > 1.0 {
            dearer.extend(ratio_text(&ratio).map(|text| format!("{name} {text}")));
        } else if apart <= LARGEST_EQUALITY {
            same.push(name.clone());
            within = within.max(apart);
        } else if apart.is_finite() {
            unclear.push(name.clone());
        }
    }
    let mut text = list(&dearer);
    if !same.is_empty() {
        let verb = if same.len() == 1 { "takes" } else { "take" };
        let within = (within * 100.0).ceil().max(1.0);
        let _ = write!(text, "; {} {verb} the same within {within} %", list(&same));
    }
    if !unclear.is_empty() {
        let _ = write!(text, "; {} can't be told apart from {}", list(&unclear), cheapest.protocol);
    }
    Some(text)
}

/// Words as a list: `a, b and c`.
pub(super) fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranked(name: &str, value_us: f64, share: f64) -> Ranked<'_> {
        (name, value_us, Interval { low_us: value_us * (1.0 - share), high_us: value_us * (1.0 + share) })
    }

    #[test]
    fn equality_is_claimed_only_as_far_as_intervals_carry_it() {
        let text = alike(&ranked("ws", 1_000.0, 0.01), &[ranked("sse", 1_010.0, 0.01)], "p50");
        assert_eq!(text, "at p50, ws (1.00 ms) and sse (1.01 ms) are equal within 4 %");
        let text = alike(&ranked("ws", 1_000.0, 0.1), &[ranked("sse", 1_010.0, 0.1)], "p50");
        assert!(text.ends_with("can't be told apart: their 95 % intervals overlap"), "{text}");
    }

    #[test]
    fn ratios_carry_their_interval() {
        let text = slower_by(&ranked("ws", 1_000.0, 0.01), &ranked("wt", 1_600.0, 0.05));
        assert_eq!(text.as_deref(), Some("1.6 × (1.5–1.7)"));
        let ratio = |low: f64| ratio_text(&RatioInterval { value: 1.41, low, high: 1.93 });
        assert_eq!(ratio(1.2).as_deref(), Some("1.4 × (1.2–1.9)"));
        assert_eq!(ratio(1.02).as_deref(), Some("1.41 × (1.02–1.93)"), "a bound above 1 reads as such");
    }
}
