//! What happens as the load grows: figures over one part of the load, with the others held.

use crate::checks;
use crate::figures::{bytes, plain, time_us, times, whole};
use crate::schema::{CaseResult, RunResult};

use super::style;

/// Fewer loads than this make no line worth drawing.
const FEWEST_LOADS: usize = 3;
/// More sweeps than this are drawn by nobody who wants to be read; the table has all.
const MOST_SWEEPS: usize = 6;
/// A p99 so many times that of the lowest load marks the knee.
const KNEE_FACTOR: f64 = 3.0;

/// A result seen along one part of its loads.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// What grows: `subscribers`.
    pub name: &'static str,
    /// What is held, in words, where another part of the load varies too; else empty.
    pub heading: String,
    /// One plot for each figure.
    pub panels: Vec<SweepPanel>,
    /// Where lines bend.
    pub knees: Vec<Knee>,
}

/// The first load at which a case is overloaded: its p99 is three times that of the lowest load and stays so, a
/// reliable protocol loses, or less than 99 % of the planned messages are published.
#[derive(Debug, Clone, PartialEq)]
pub struct Knee {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// The load.
    pub load: f64,
    /// What happens there, in words.
    pub why: String,
}

/// One figure over the load.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepPanel {
    /// What it shows.
    pub title: &'static str,
    /// What its values are.
    pub quantity: Quantity,
    /// A line for each protocol.
    pub lines: Vec<SweepLine>,
}

/// One protocol over the load.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepLine {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// Load and figure, from low to high load; a load without the figure is missing.
    pub points: Vec<(f64, f64)>,
    /// What the machine takes without a protocol.
    pub is_floor: bool,
}

/// What a value is, which decides its scale and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Microseconds over orders of magnitude: a logarithmic scale, the same for all such panels.
    Latency,
    /// Microseconds to be added up: a scale from zero.
    Cost,
    /// Bytes.
    Bytes,
    /// Percent.
    Percent,
    /// Deliveries or messages a second.
    PerSecond,
    /// Cores.
    Cores,
}

/// One part of a case's load.
type Part = fn(&CaseResult) -> f64;

/// One figure of a case.
type Figure = fn(&CaseResult) -> Option<f64>;

const PANELS: [(&str, Quantity, Figure); 6] = [
    ("Latency, p50", Quantity::Latency, |case| case.latency_us.p50),
    ("Latency, p99", Quantity::Latency, |case| case.latency_us.p99),
    ("Deliveries lost", Quantity::Percent, |case| {
        (case.accounting.expected > 0)
            .then(|| case.accounting.lost as f64 / case.accounting.expected as f64 * 100.0)
    }),
    ("Server CPU per delivery", Quantity::Cost, |case| case.server.cpu_us_per_delivery),
    ("Server memory per connection", Quantity::Bytes, |case| {
        case.server.rss_bytes_per_connection.map(|bytes| bytes.max(0.0))
    }),
    ("Deliveries a second", Quantity::PerSecond, |case| Some(case.deliveries_per_s)),
];

/// A value of a part of the load, in words.
type InWords = fn(f64) -> String;

/// The parts of a load, each with how it is told when it is held.
const PARTS: [(&str, Part, InWords); 3] = [
    (
        "subscribers",
        |case| f64::from(case.connections),
        |value| format!("{} subscribers", whole(value as u64)),
    ),
    ("planned messages a second", |case| case.rate, |value| format!("{} msg/s", plain(value))),
    ("bytes of a round", |case| f64::from(case.payload_bytes), bytes),
];

impl Sweep {
    /// The sweeps in a result: along every part of its loads that takes at least three values, one for each
    /// combination of the other parts.
    pub fn all_of(result: &RunResult) -> Vec<Self> {
        let Some(first) = result.cases.first() else { return Vec::new() };
        if result.cases.iter().any(|case| case.topic != first.topic || case.in_flight.is_some()) {
            return Vec::new();
        }
        let mut sweeps = Vec::new();
        for (index, (name, part, _)) in PARTS.into_iter().enumerate() {
            let others: Vec<usize> = (0..PARTS.len()).filter(|other| *other != index).collect();
            for (held, cases) in by_held(&result.cases, &others) {
                let varying =
                    others.iter().zip(&held).filter(|(other, _)| varies(&result.cases, PARTS[**other].1));
                let heading: Vec<String> = varying.map(|(other, value)| PARTS[*other].2(*value)).collect();
                sweeps.extend(Self::along(name, part, heading.join(", "), &cases));
            }
        }
        sweeps.truncate(MOST_SWEEPS);
        sweeps
    }

    fn along(name: &'static str, part: Part, heading: String, cases: &[&CaseResult]) -> Option<Self> {
        let mut values: Vec<f64> = cases.iter().map(|case| part(case)).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        if values.len() < FEWEST_LOADS || values[0] <= 0.0 {
            return None;
        }
        let panels: Vec<SweepPanel> = PANELS
            .into_iter()
            .filter_map(|(title, quantity, figure)| panel(cases, title, quantity, part, figure))
            .collect();
        let mut names: Vec<&str> = Vec::new();
        for case in cases.iter().filter(|case| !case.floor) {
            if !names.contains(&case.protocol.as_str()) {
                names.push(&case.protocol);
            }
        }
        let knees = names.into_iter().filter_map(|protocol| {
            let mut own: Vec<&CaseResult> =
                cases.iter().copied().filter(|case| case.protocol == protocol).collect();
            own.sort_by(|left, right| part(left).total_cmp(&part(right)));
            knee(&own, part)
        });
        Some(Self { name, heading, panels, knees: knees.collect() })
    }
}

fn varies(cases: &[CaseResult], part: Part) -> bool {
    cases.iter().any(|case| part(case).total_cmp(&part(&cases[0])).is_ne())
}

/// Values of the held parts, and the cases that agree in them.
type Held<'a> = (Vec<f64>, Vec<&'a CaseResult>);

/// Cases that agree in the held parts, in the order they first appear.
fn by_held<'a>(cases: &'a [CaseResult], held: &[usize]) -> Vec<Held<'a>> {
    let mut groups: Vec<Held<'a>> = Vec::new();
    for case in cases {
        let key: Vec<f64> = held.iter().map(|index| PARTS[*index].1(case)).collect();
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, members)) => members.push(case),
            None => groups.push((key, vec![case])),
        }
    }
    groups
}

/// The knee of a protocol's cases in the order of their load.
fn knee(cases: &[&CaseResult], part: Part) -> Option<Knee> {
    let (lowest, higher) = cases.split_first()?;
    let is_slow = |case: &CaseResult| match (case.latency_us.p99, lowest.latency_us.p99) {
        (Some(p99_us), Some(lowest_us)) => p99_us > KNEE_FACTOR * lowest_us,
        _ => false,
    };
    let is_short = |case: &CaseResult| case.in_flight.is_none() && !checks::is_achieved(case);
    let loses = |case: &CaseResult| case.accounting.lost > 0 && style::is_reliable(&case.protocol);
    let index = (0..higher.len()).find(|index| {
        let case = higher[*index];
        is_short(case) || loses(case) || higher[*index..].iter().all(|case| is_slow(case))
    })?;
    let case = higher[index];
    let mut reasons = Vec::new();
    if let (true, Some(p99_us), Some(lowest_us)) = (is_slow(case), case.latency_us.p99, lowest.latency_us.p99)
    {
        let ratio = times(p99_us, lowest_us).unwrap_or_default();
        reasons.push(format!("p99 {} is {ratio} that of the lowest load", time_us(p99_us)));
    }
    if loses(case) {
        reasons.push(format!("{} deliveries were lost", whole(case.accounting.lost)));
    }
    if is_short(case) {
        reasons.push("the planned rate was not reached".to_owned());
    }
    Some(Knee {
        name: case.protocol.clone(),
        slot: style::slot(&case.protocol),
        load: part(case),
        why: reasons.join(", "),
    })
}

/// One panel, `None` where it would show nothing or nothing but zeros.
fn panel(
    cases: &[&CaseResult],
    title: &'static str,
    quantity: Quantity,
    part: Part,
    figure: Figure,
) -> Option<SweepPanel> {
    let mut lines: Vec<SweepLine> = Vec::new();
    for case in cases {
        let Some(value) = figure(case) else { continue };
        let point = (part(case), value);
        match lines.iter_mut().find(|line| line.name == case.protocol) {
            Some(line) => line.points.push(point),
            None => lines.push(SweepLine {
                name: case.protocol.clone(),
                slot: style::slot(&case.protocol),
                points: vec![point],
                is_floor: case.floor,
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|left, right| left.0.total_cmp(&right.0));
    }
    let shows_something = lines.iter().flat_map(|line| &line.points).any(|(_, value)| *value > 0.0);
    shows_something.then_some(SweepPanel { title, quantity, lines })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::LatencySummary;

    fn case(rate: f64, p99_us: f64) -> CaseResult {
        let mut result: RunResult =
            serde_json::from_str(include_str!("../../tests/data/minimal-1.json")).expect("a result");
        let mut case = result.cases.remove(0);
        case.rate = rate;
        case.achieved_rate = Some(rate);
        case.latency_us = LatencySummary { p99: Some(p99_us), ..LatencySummary::default() };
        case
    }

    fn knee_of(cases: &[CaseResult]) -> Option<f64> {
        let cases: Vec<&CaseResult> = cases.iter().collect();
        knee(&cases, |case| case.rate).map(|knee| knee.load)
    }

    #[test]
    fn a_knee_is_where_latency_stays_high() {
        let rates = [100.0, 200.0, 400.0, 800.0];
        let cases = |p99: [f64; 4]| -> Vec<CaseResult> {
            rates.into_iter().zip(p99).map(|(rate, p99_us)| case(rate, p99_us)).collect()
        };
        assert_eq!(knee_of(&cases([10.0, 11.0, 35.0, 90.0])), Some(400.0));
        assert_eq!(knee_of(&cases([10.0, 40.0, 12.0, 13.0])), None, "one spike is no knee");
        assert_eq!(knee_of(&cases([10.0, 11.0, 12.0, 13.0])), None);
        let mut short = cases([10.0, 11.0, 12.0, 13.0]);
        short[2].achieved_rate = Some(300.0);
        assert_eq!(knee_of(&short), Some(400.0));
    }
}
