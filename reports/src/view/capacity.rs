//! What a search for capacity found: latency over the rates tried, and where the objective ends.

use crate::figures::{fixed, plain, time_us, whole};
use crate::schema::{Capacity, CapacityStep, RunResult};

use super::style;
use super::table::{Cell, Column, Row, Table, Tone};

/// All searches of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacityView {
    /// A curve for each search.
    pub curves: Vec<CapacityCurve>,
    /// What was found, a row for each search.
    pub found: Table,
    /// Every rate tried.
    pub steps: Table,
    /// What was found, in plain sentences: one for each objective.
    pub sentences: Vec<String>,
}

/// One search.
#[derive(Debug, Clone, PartialEq)]
pub struct CapacityCurve {
    /// The protocol, with its subscribers where searches differ in them.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// The rates tried, from low to high.
    pub points: Vec<CapacityPoint>,
    /// The highest rate that kept the objective.
    pub rate: Option<f64>,
}

/// One rate tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CapacityPoint {
    /// Planned messages a second.
    pub rate: f64,
    /// Median and 99th percentile in microseconds.
    pub p50_us: Option<f64>,
    /// See `p50_us`.
    pub p99_us: Option<f64>,
    /// What came of it.
    pub outcome: StepOutcome,
}

/// What came of a rate that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// The objective was kept.
    Kept,
    /// It was not.
    Broken,
    /// The run's own checks call it INVALID for reasons that are not the server's.
    Refused,
}

impl StepOutcome {
    fn of(step: &CapacityStep) -> Self {
        match (step.kept, step.refused.is_empty()) {
            (true, _) => Self::Kept,
            (false, true) => Self::Broken,
            (false, false) => Self::Refused,
        }
    }

    /// As it is told.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Broken => "broken",
            Self::Refused => "refused",
        }
    }
}

impl CapacityView {
    /// The view of a result; `None` where nothing was searched.
    pub fn of(result: &RunResult) -> Option<Self> {
        let first = result.capacity.first()?;
        let alike = result.capacity.iter().all(|search| search.connections == first.connections);
        let name = |search: &Capacity| {
            if alike {
                search.protocol.clone()
            } else {
                format!("{}, {} subscribers", search.protocol, whole(u64::from(search.connections)))
            }
        };
        Some(Self {
            curves: result.capacity.iter().map(|search| curve(name(search), search)).collect(),
            found: found(&result.capacity),
            steps: steps(&result.capacity, name),
            sentences: sentences(&result.capacity, name),
        })
    }
}

fn sentences(searches: &[Capacity], name: impl Fn(&Capacity) -> String) -> Vec<String> {
    let mut objectives: Vec<&str> = searches.iter().map(|search| search.objective.as_str()).collect();
    objectives.dedup();
    let of_search = |search: &Capacity| match search.rate {
        Some(rate) => format!(
            "{} keeps it up to {} messages/s ({} deliveries/s{})",
            name(search),
            fixed(rate, 0),
            fixed(rate * f64::from(search.connections), 0),
            match (search.is_bounded, search.is_generator_limit) {
                (true, _) => "; the search ended there",
                (false, true) => "; that is as far as the generator, not the server, goes",
                (false, false) => "",
            }
        ),
        None if search.is_generator_limit => {
            format!(
                "{} could be judged at no rate, by the doing of the generator, not the server",
                name(search)
            )
        }
        None => format!("{} kept it at no rate", name(search)),
    };
    let of_objective = |objective: &str| {
        let found: Vec<String> =
            searches.iter().filter(|search| search.objective == objective).map(of_search).collect();
        format!("Capacity, {objective}: {}.", found.join(", "))
    };
    objectives.into_iter().map(of_objective).collect()
}

fn curve(name: String, search: &Capacity) -> CapacityCurve {
    let mut points: Vec<CapacityPoint> = search
        .steps
        .iter()
        .filter(|step| step.rate > 0.0)
        .map(|step| CapacityPoint {
            rate: step.rate,
            p50_us: step.latency_us.p50,
            p99_us: step.latency_us.p99,
            outcome: StepOutcome::of(step),
        })
        .collect();
    points.sort_by(|left, right| left.rate.total_cmp(&right.rate));
    CapacityCurve { name, slot: style::slot(&search.protocol), points, rate: search.rate }
}

fn found(searches: &[Capacity]) -> Table {
    let columns = vec![
        Column::words("protocol", "How the client is connected"),
        Column::figures("", "subscribers", "", "Subscribers attached during the search"),
        Column::words("objective", "What had to hold at a rate for it to count"),
        Column::figures(
            "capacity",
            "messages",
            "/s",
            "Highest rate that kept the objective and was confirmed",
        ),
        Column::figures("capacity", "deliveries", "/s", "The same, times the subscribers"),
        Column::words("ended by", "What is known of higher rates"),
        Column::figures("", "tried", "", "Rates tried, confirmations included"),
    ];
    let rows = searches.iter().map(|search| {
        let bound = if search.is_bounded { "≥ " } else { "" };
        let figure = |scale: f64| match search.rate {
            Some(rate) => Cell {
                remark: search.is_bounded.then(|| "the search ended at its upper bound".to_owned()),
                ..Cell::plain(format!("{bound}{}", fixed(rate * scale, 0)))
            },
            None if search.is_generator_limit => Cell::absent("no rate could be judged and kept the objective"),
            None => Cell::absent("no rate kept the objective"),
        };
        let ended_by = match (search.is_bounded, search.is_generator_limit) {
            (true, _) => Cell::plain("its upper bound"),
            (false, true) => Cell {
                tone: Tone::Bad,
                remark: Some(
                    "The runs above were INVALID by their own checks: what the server could do there is not known"
                        .to_owned(),
                ),
                ..Cell::plain("the generator, not the server")
            },
            (false, false) if search.steps.iter().all(|step| step.kept) => {
                Cell::absent("the search was not finished")
            }
            (false, false) => Cell::plain("the objective"),
        };
        Row {
            slot: Some(style::slot(&search.protocol)),
            cells: vec![
                Cell::plain(search.protocol.clone()),
                Cell::plain(whole(u64::from(search.connections))),
                Cell::plain(search.objective.clone()),
                figure(1.0),
                figure(f64::from(search.connections)),
                ended_by,
                Cell::plain(search.steps.len().to_string()),
            ],
        }
    });
    Table { caption: "Highest rate that keeps the objective".to_owned(), rows: rows.collect(), columns }
}

fn steps(searches: &[Capacity], name: impl Fn(&Capacity) -> String) -> Table {
    let columns = vec![
        Column::words("protocol", "How the client is connected"),
        Column::figures("", "rate", "msg/s", "Planned messages a second"),
        Column::figures("", "achieved", "msg/s", "Messages a second really published"),
        Column::figures("latency", "p50", "", "Half of all deliveries are at most this late"),
        Column::figures("latency", "p99", "", "99 % of all deliveries are at most this late"),
        Column::figures("", "lost", "", "Deliveries lost"),
        Column::words(
            "objective",
            "Whether it was kept; refused where the run is INVALID for reasons that are not the server's",
        ),
    ];
    let latency = |value: Option<f64>| {
        value.map_or_else(|| Cell::absent("not resolved"), |value| Cell::plain(time_us(value)))
    };
    let verdict = |step: &CapacityStep| {
        let outcome = StepOutcome::of(step);
        let suffix = match (outcome, step.is_confirmation) {
            (_, false) => "",
            (StepOutcome::Kept, true) => ", confirmation",
            (_, true) => " in confirmation",
        };
        Cell {
            tone: if outcome == StepOutcome::Kept { Tone::Plain } else { Tone::Bad },
            remark: (outcome == StepOutcome::Refused).then(|| step.refused.join("; ")),
            ..Cell::plain(format!("{}{suffix}", outcome.word()))
        }
    };
    let row = |search: &Capacity, step: &CapacityStep| Row {
        slot: Some(style::slot(&search.protocol)),
        cells: vec![
            Cell::plain(name(search)),
            Cell::plain(plain(step.rate)),
            Cell::plain(fixed(step.achieved_rate, 0)),
            latency(step.latency_us.p50),
            latency(step.latency_us.p99),
            Cell::faults(step.lost, whole(step.lost)),
            verdict(step),
        ],
    };
    let rows = searches
        .iter()
        .flat_map(|search| search.steps.iter().map(|step| row(search, step)).collect::<Vec<_>>());
    Table { caption: "Every rate tried, in the order tried".to_owned(), rows: rows.collect(), columns }
}
