//! Where the time goes: the legs of a message's way, stacked.

use crate::schema::{CaseResult, LatencySummary};

use super::style;

/// Where a message's time is taken, in the order it passes; a leg leads from one of them to a later one.
const STATIONS: [&str; 6] = ["planned", "sent", "ingest", "write", "kernel", "client"];

/// The legs of every case under one load.
#[derive(Debug, Clone, PartialEq)]
pub struct Waterfall {
    /// The legs in the order a message passes them.
    pub legs: Vec<Leg>,
    /// What was timed beside them: no part of the way, or the legs would add up to more than it takes.
    pub beside: Vec<String>,
    /// A row for each case.
    pub rows: Vec<WaterfallRow>,
}

/// One leg of the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// Its name, as in the result: `sent to ingest`.
    pub name: String,
    /// The stations it leads from and to, counted from 0.
    pub from: usize,
    /// See `from`.
    pub to: usize,
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
    /// One entry for each of [`Waterfall::beside`].
    pub beside: Vec<Option<LatencySummary>>,
    /// The whole way, planned to receipt.
    pub whole: LatencySummary,
}

impl Leg {
    /// The leg with this name; `None` where it leads not along the way.
    fn named(name: &str) -> Option<Self> {
        let station = |wanted: &str| STATIONS.iter().position(|station| *station == wanted);
        let (from, to) = name.split_once(" to ")?;
        let (from, to) = (station(from)?, station(to)?);
        (from < to).then(|| Self { name: name.to_owned(), from, to })
    }

    /// Its number along the way: `3`, or `4–5` where it covers what others tell as two.
    pub fn number(&self) -> String {
        if self.from + 1 == self.to {
            self.to.to_string()
        } else {
            format!("{}–{}", self.from + 1, self.to)
        }
    }
}

impl Waterfall {
    /// The waterfall of cases; `None` where no way is known. A case without measured stages has two legs, until the
    /// message was sent and from there until it was received.
    pub fn of(cases: &[&CaseResult]) -> Option<Self> {
        let of_cases: Vec<(&CaseResult, Vec<(String, LatencySummary)>)> =
            cases.iter().map(|case| (*case, timed(case))).filter(|(_, timed)| !timed.is_empty()).collect();
        let (mut legs, mut beside): (Vec<Leg>, Vec<String>) = (Vec::new(), Vec::new());
        for (name, _) in of_cases.iter().flat_map(|(_, timed)| timed) {
            match Leg::named(name) {
                Some(leg) if !legs.contains(&leg) => legs.push(leg),
                None if !beside.contains(name) => beside.push(name.clone()),
                _ => {}
            }
        }
        legs.sort_by_key(|leg| (leg.from, leg.to));
        let row = |(case, timed): (&CaseResult, Vec<(String, LatencySummary)>)| {
            let of =
                |wanted: &String| timed.iter().find(|(name, _)| name == wanted).map(|(_, latency)| *latency);
            WaterfallRow {
                name: case.protocol.clone(),
                slot: style::slot(&case.protocol),
                legs: legs.iter().map(|leg| of(&leg.name)).collect(),
                beside: beside.iter().map(of).collect(),
                whole: case.latency_us,
            }
        };
        let rows: Vec<WaterfallRow> = of_cases.into_iter().map(row).collect();
        (!legs.is_empty()).then_some(Self { legs, beside, rows })
    }
}

/// What was timed of a case, by name.
fn timed(case: &CaseResult) -> Vec<(String, LatencySummary)> {
    if !case.stages.is_empty() {
        return case.stages.iter().map(|stage| (stage.name.clone(), stage.latency_us)).collect();
    }
    let whole =
        [("planned to sent", case.schedule_slip_us), ("sent to client", Some(case.service_latency_us))];
    let known = whole.into_iter().filter_map(|(name, latency)| Some((name.to_owned(), latency?)));
    known.filter(|(_, latency)| latency.p50.is_some()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{RunResult, Stage};

    /// Cases that timed different legs, and one that timed what no leg waits for.
    #[test]
    fn only_what_lies_along_the_way_is_stacked_and_in_its_order() {
        let mut result: RunResult =
            serde_json::from_str(include_str!("../../tests/data/first-light-1.json")).expect("a result");
        let stage = |name: &str| Stage {
            name: name.to_owned(),
            latency_us: LatencySummary { p50: Some(10.0), ..LatencySummary::default() },
        };
        result.cases[0].stages = [
            "planned to sent",
            "sent to ingest",
            "ingest to write",
            "first to last write",
            "write to client",
        ]
        .map(stage)
        .into();
        result.cases[1].stages =
            ["planned to sent", "sent to ingest", "ingest to write", "write to kernel", "kernel to client"]
                .map(stage)
                .into();
        let cases: Vec<&CaseResult> = result.cases[..2].iter().collect();
        let waterfall = Waterfall::of(&cases).expect("has legs");
        let numbers: Vec<String> = waterfall.legs.iter().map(Leg::number).collect();
        assert_eq!(numbers, ["1", "2", "3", "4", "4–5", "5"]);
        assert_eq!(waterfall.beside, ["first to last write"]);
        assert!(waterfall.rows[0].beside[0].is_some() && waterfall.rows[1].beside[0].is_none());
        for row in &waterfall.rows {
            let leads = |leg: &Leg| leg.to - leg.from;
            let stacked: usize = waterfall
                .legs
                .iter()
                .zip(&row.legs)
                .filter(|(_, own)| own.is_some())
                .map(|(leg, _)| leads(leg))
                .sum();
            assert_eq!(stacked, STATIONS.len() - 1, "the whole way, and nothing twice");
        }
    }
}
