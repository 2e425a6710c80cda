//! Where the time goes: the legs of a message's way, stacked.

use crate::schema::{CaseResult, LatencySummary};

use super::style;

/// The legs of every case under one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Waterfall {
    /// The legs in the order a message passes them.
    pub legs: Vec<String>,
    /// A row for each case.
    pub rows: Vec<WaterfallRow>,
}

/// The legs of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct WaterfallRow {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// One entry for each of [`Waterfall::legs`]; `None` where the case has no such leg.
    pub legs: Vec<Option<LatencySummary>>,
    /// The whole way, planned to receipt.
    pub whole: LatencySummary,
}

impl Waterfall {
    /// The waterfall of cases; `None` where no way is known. A case without measured stages has two legs, until the
    /// message was sent and from there until it was received.
    pub fn of(cases: &[&CaseResult]) -> Option<Self> {
        let of_cases: Vec<(&CaseResult, Vec<(String, LatencySummary)>)> =
            cases.iter().map(|case| (*case, legs_of(case))).filter(|(_, legs)| !legs.is_empty()).collect();
        let mut legs: Vec<String> = Vec::new();
        // The longest list of legs knows their order best.
        let mut longest_first: Vec<&Vec<(String, LatencySummary)>> =
            of_cases.iter().map(|(_, legs)| legs).collect();
        longest_first.sort_by_key(|legs| std::cmp::Reverse(legs.len()));
        for (name, _) in longest_first.into_iter().flatten() {
            if !legs.contains(name) {
                legs.push(name.clone());
            }
        }
        let row = |(case, own): (&CaseResult, Vec<(String, LatencySummary)>)| WaterfallRow {
            name: case.protocol.clone(),
            slot: style::slot(&case.protocol),
            legs: legs
                .iter()
                .map(|leg| own.iter().find(|(name, _)| name == leg).map(|(_, latency)| *latency))
                .collect(),
            whole: case.latency_us,
        };
        let rows: Vec<WaterfallRow> = of_cases.into_iter().map(row).collect();
        (!rows.is_empty()).then_some(Self { legs, rows })
    }
}

fn legs_of(case: &CaseResult) -> Vec<(String, LatencySummary)> {
    if !case.stages.is_empty() {
        return case.stages.iter().map(|stage| (stage.name.clone(), stage.latency_us)).collect();
    }
    let whole =
        [("planned to sent", case.schedule_slip_us), ("sent to client", Some(case.service_latency_us))];
    let known = whole.into_iter().filter_map(|(name, latency)| Some((name.to_owned(), latency?)));
    known.filter(|(_, latency)| latency.p50.is_some()).collect()
}
