//! From what slices measured to the result of a case: everything is added up, nothing averaged.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use lastmile_reports::histogram::{HistogramError, encode, new_latency_histogram};
use lastmile_reports::schema::{
    Accounting, CaseResult, Health, LatencySummary, ProcessCost, SliceSummary, TimelinePoint,
};

use crate::kernel_time::KernelRecording;
use crate::observation::{Cost, Costs, Wellbeing, behind_each_other};
use crate::plan::{Case, Slice};
use crate::receipt_log::PerMessage;
use crate::recorder::add_histogram;
use crate::slice::SliceOutcome;
use crate::stages::Stages;

/// The result of a case from the outcomes of its slices, at least one. `slices` are those planned, each with its place
/// in the run. `seed` is that of the intervals' draws.
///
/// # Errors
/// [`HistogramError`] where a histogram can't be written.
pub fn case_result(
    case: &Case,
    slices: &[(u32, Slice)],
    outcomes: &[SliceOutcome],
    seed: u64,
) -> Result<CaseResult, HistogramError> {
    let sum = |count: fn(&SliceOutcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    let seconds = |length: fn(&SliceOutcome) -> Duration| {
        outcomes.iter().map(|outcome| length(outcome).as_secs_f64()).sum::<f64>()
    };
    let is_closed_loop = case.load.in_flight.is_some();
    let latency = merged(outcomes, |outcome| outcome.recording.latency());
    let service = merged(outcomes, |outcome| outcome.recording.service_latency.clone());
    let slip = merged(outcomes, |outcome| outcome.published.slip.clone());
    let connect = merged(outcomes, |outcome| outcome.recording.connect.clone());
    let messages = sum(|outcome| outcome.measured_messages);
    let delivered = sum(|outcome| outcome.recording.delivered);
    let expected = sum(|outcome| outcome.expected);
    let cost = |of: fn(&Costs) -> Option<Cost>| process_cost(outcomes, of, delivered);
    let mut per_message = PerMessage::default();
    let mut wellbeing = Wellbeing::default();
    let mut stages = Stages::default();
    for outcome in outcomes {
        per_message.merge(&outcome.per_message);
        wellbeing.merge(&outcome.wellbeing);
        outcome.stages.iter().for_each(|of_slice| stages.merge(of_slice));
    }
    Ok(CaseResult {
        protocol: case.variant.to_string(),
        encrypted: Some(case.variant.is_encrypted()),
        floor: case.variant.is_floor(),
        topic: case.load.topic(),
        connections: case.load.connections as u32,
        rate: if is_closed_loop { 0.0 } else { case.load.messages_per_second },
        in_flight: case.load.in_flight,
        achieved_rate: Some(messages as f64 / seconds(|outcome| outcome.sending)),
        payload_bytes: case.load.payload_bytes as u32,
        duration_s: seconds(|outcome| outcome.measured),
        warmup_s: slices.first().map_or(0.0, |(_, slice)| slice.warmup.as_secs_f64()),
        published: messages,
        interrupted: outcomes.iter().any(|outcome| outcome.is_interrupted),
        latency_us: LatencySummary::from_histogram(&latency, messages),
        service_latency_us: LatencySummary::from_histogram(&service, messages),
        latency_intervals: per_message.blocks.intervals(seed),
        spread: per_message.spread.summary(),
        stages: stages.summary(),
        slices: slices.iter().zip(outcomes).map(|((order, _), outcome)| summary(*order, outcome)).collect(),
        health: Some(with_kernel_times(wellbeing.health(), outcomes)),
        schedule_slip_us: (!is_closed_loop).then(|| LatencySummary::from_histogram(&slip, messages)),
        connect_us: Some(LatencySummary::from_histogram(&connect, connect.len())),
        attaching_s: Some(seconds(|outcome| outcome.attaching) / outcomes.len() as f64),
        accounting: Accounting {
            expected,
            delivered,
            lost: expected.saturating_sub(delivered),
            duplicated: sum(|outcome| outcome.recording.duplicated),
            reordered: sum(|outcome| outcome.recording.reordered),
            corrupt: sum(|outcome| outcome.recording.corrupt),
        },
        deliveries_per_s: delivered as f64 / seconds(|outcome| outcome.receiving),
        server: cost(|costs| costs.server).unwrap_or_default(),
        redis: cost(|costs| costs.redis),
        generator: generator_cost(outcomes, delivered),
        histogram: if is_closed_loop { String::new() } else { encode(&latency)? },
        service_histogram: if is_closed_loop { None } else { Some(encode(&service)?) },
        timeline: timeline(outcomes),
        resources: behind_each_other(
            outcomes.iter().map(|outcome| (&outcome.resources[..], outcome.messages_by_second.len())),
        ),
        out_of_range: sum(|outcome| outcome.recording.out_of_range + outcome.published.out_of_range)
            + stages.out_of_range,
        errors: errors(outcomes),
    })
}

fn merged(outcomes: &[SliceOutcome], of: impl Fn(&SliceOutcome) -> Histogram<u64>) -> Histogram<u64> {
    let mut sum = new_latency_histogram();
    for outcome in outcomes {
        add_histogram(&mut sum, &of(outcome));
    }
    sum
}

/// What the kernel's stamps say, where any were taken.
fn with_kernel_times(health: Health, outcomes: &[SliceOutcome]) -> Health {
    let mut kernel = KernelRecording::default();
    let mut messages = 0;
    for outcome in outcomes {
        if let Some(of_slice) = &outcome.recording.kernel {
            kernel.merge(of_slice);
            messages += outcome.measured_messages;
        }
    }
    let summary = |histogram: &Histogram<u64>| {
        (!histogram.is_empty()).then(|| LatencySummary::from_histogram(histogram, messages))
    };
    Health {
        kernel_latency_us: summary(&kernel.latency),
        kernel_to_client_us: summary(&kernel.to_client),
        ..health
    }
}

/// What one slice measured.
fn summary(order: u32, outcome: &SliceOutcome) -> SliceSummary {
    let expected = outcome.expected;
    let delivered = outcome.recording.delivered;
    let server = process_cost(std::slice::from_ref(outcome), |costs| costs.server, delivered);
    let server = server.unwrap_or_default();
    SliceSummary {
        order,
        published: outcome.measured_messages,
        delivered,
        lost: expected.saturating_sub(delivered),
        latency_us: LatencySummary::from_histogram(&outcome.recording.latency(), outcome.measured_messages),
        complete_p99_us: outcome.per_message.spread.summary().and_then(|spread| spread.last_us.p99),
        server_cpu_us_per_delivery: server.cpu_us_per_delivery,
        server_rss_bytes_per_connection: server.rss_bytes_per_connection,
    }
}

/// This program is the same process in all slices: memory that one has given back, the next uses again. What
/// subscribers take shows where it grew most.
fn generator_cost(outcomes: &[SliceOutcome], delivered: u64) -> ProcessCost {
    let all = process_cost(outcomes, |costs| costs.generator, delivered).unwrap_or_default();
    let of_slice = |outcome: &SliceOutcome| {
        process_cost(std::slice::from_ref(outcome), |costs| costs.generator, 0)?.rss_bytes_per_connection
    };
    let rss_bytes_per_connection = outcomes.iter().filter_map(of_slice).reduce(f64::max);
    ProcessCost { rss_bytes_per_connection, ..all }
}

/// `None` where no slice could observe the process.
fn process_cost(
    outcomes: &[SliceOutcome],
    of: fn(&Costs) -> Option<Cost>,
    delivered: u64,
) -> Option<ProcessCost> {
    let costs: Vec<(Cost, u64)> =
        outcomes.iter().filter_map(|outcome| Some((of(&outcome.costs)?, outcome.connections))).collect();
    let cpu_ns: u64 = costs.iter().map(|(cost, _)| cost.cpu_ns).sum();
    let grown_bytes: i64 = costs.iter().map(|(cost, _)| cost.grown_bytes).sum();
    let attaching_ns: u64 = costs.iter().map(|(cost, _)| cost.attaching_cpu_ns).sum();
    let connections: u64 = costs.iter().map(|(_, connections)| connections).sum();
    let per = |part: f64, whole: u64| (whole > 0).then(|| part / whole as f64);
    Some(ProcessCost {
        cpu_us_per_delivery: per(cpu_ns as f64 / 1_000.0, delivered),
        rss_bytes_per_connection: per(grown_bytes as f64, connections),
        cpu_s: Some(cpu_ns as f64 / 1e9),
        // Of one slice, as `attaching_s` is: every slice attaches all subscribers anew.
        attaching_cpu_s: per(attaching_ns as f64 / 1e9, costs.len() as u64),
        rss_bytes: Some(costs.iter().map(|(cost, _)| cost.resident_bytes).max()?),
    })
}

/// The seconds of all slices behind each other.
fn timeline(outcomes: &[SliceOutcome]) -> Vec<TimelinePoint> {
    let seconds = outcomes.iter().flat_map(|outcome| {
        let recording = &outcome.recording;
        let delivered = recording.delivered_by_second.iter().zip(&recording.latency_by_second);
        let planned = outcome.planned_by_second.iter().copied().map(Some).chain(std::iter::repeat(None));
        outcome.messages_by_second.iter().zip(planned).zip(delivered)
    });
    let points = seconds.enumerate().map(|(second, ((&published, planned), (&delivered, latency)))| {
        let us = |ns: u64| (!latency.is_empty()).then_some(ns as f64 / 1_000.0);
        TimelinePoint {
            second: second as u32,
            planned,
            published,
            delivered,
            buckets: magnitudes(latency),
            p50_us: us(latency.value_at_quantile(0.5)),
            p99_us: us(latency.value_at_quantile(0.99)),
            max_us: us(latency.max()),
        }
    });
    points.filter(|point| point.published > 0 || point.delivered > 0).collect()
}

/// The counts of a histogram by magnitude: four buckets for each doubling of microseconds.
fn magnitudes(latency: &Histogram<u64>) -> Vec<(i16, u64)> {
    let mut buckets: Vec<(i16, u64)> = Vec::new();
    for step in latency.iter_recorded() {
        // A latency of nothing has no magnitude; it counts as the smallest there is.
        let us = step.value_iterated_to().max(1) as f64 / 1_000.0;
        let bucket = (4.0 * us.log2()).floor() as i16;
        let count = step.count_since_last_iteration();
        match buckets.last_mut() {
            Some((last, counted)) if *last == bucket => *counted += count,
            _ => buckets.push((bucket, count)),
        }
    }
    buckets
}

fn errors(outcomes: &[SliceOutcome]) -> Vec<(String, u64)> {
    let mut errors = BTreeMap::new();
    for outcome in outcomes {
        for (error, count) in &outcome.recording.errors {
            *errors.entry(error.clone()).or_default() += count;
        }
        if let Some(kernel) = outcome.recording.kernel.as_ref().filter(|kernel| kernel.unstamped > 0)
            && !kernel.latency.is_empty()
        {
            let error = "the kernel gave no timestamp with a receipt (kernel figures are without it)";
            *errors.entry(error.to_owned()).or_default() += kernel.unstamped;
        }
        if let Some(stages) = outcome.stages.as_ref().filter(|stages| stages.forgotten > 0) {
            let error = "the server no longer remembered the stages of a message";
            *errors.entry(error.to_owned()).or_default() += stages.forgotten;
        }
        let unheard = outcome.published.replies.without_subscriber;
        if unheard > 0 {
            let error = "Redis had no subscriber for a publish (the server was not listening)";
            *errors.entry(error.to_owned()).or_default() += unheard;
        }
        if outcome.published.given_up > 0 {
            let error =
                "a message had not reached every subscriber after 1 s; the closed loop went on without it";
            *errors.entry(error.to_owned()).or_default() += outcome.published.given_up;
        }
    }
    errors.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_are_quarters_of_a_doubling_and_lose_nothing() {
        let mut latency = new_latency_histogram();
        for (us, count) in [(1, 5), (100, 7), (110, 1), (119, 2), (800, 3)] {
            latency.record_n(us * 1_000, count).unwrap();
        }
        latency.record(0).unwrap();
        // 2^(26/4) = 90.5 µs, 2^(27/4) = 107.6 µs, 2^(28/4) = 128 µs.
        let found = magnitudes(&latency);
        assert_eq!(found[0].1, 1);
        assert_eq!(found[1..], [(0, 5), (26, 7), (27, 3), (38, 3)]);
        assert_eq!(magnitudes(&new_latency_histogram()), []);
    }
}
