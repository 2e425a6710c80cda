//! The loads of a result: which cases share one, and which of its figures differ between cases.

use std::fmt;

use crate::figures::{bytes, plain, whole};
use crate::schema::{CaseResult, RunResult};

use super::table::{Cell, Column};

/// What protocols are compared under.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    topic: String,
    connections: u32,
    rate: f64,
    in_flight: Option<u32>,
    payload_bytes: u32,
}

impl Load {
    /// The load of a case.
    pub fn of(case: &CaseResult) -> Self {
        Self {
            topic: case.topic.clone(),
            connections: case.connections,
            rate: case.rate,
            in_flight: case.in_flight,
            payload_bytes: case.payload_bytes,
        }
    }

    /// How messages are published, in words.
    fn pace(&self) -> String {
        self.in_flight.map_or_else(|| format!("{} msg/s", plain(self.rate)), closed_loop)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = if self.topic.is_empty() { String::new() } else { format!(", {}", self.topic) };
        let pace = self.pace();
        write!(
            formatter,
            "{}, {pace}, {}{topic}",
            subscribers(self.connections),
            bytes(f64::from(self.payload_bytes))
        )
    }
}

/// How a closed loop is named wherever it is shown: nobody shall take it for a latency.
pub fn closed_loop(messages: u32) -> String {
    format!("closed loop, {} in flight: throughput, no latency", whole(u64::from(messages)))
}

/// The loads of a result in the order they first appear.
pub struct Loads(Vec<Load>);

/// A column and its cell for a case.
pub type LoadColumn = (Column, fn(&CaseResult) -> Cell);

impl Loads {
    /// Collects them.
    pub fn of(result: &RunResult) -> Self {
        let mut loads: Vec<Load> = Vec::new();
        for case in &result.cases {
            let load = Load::of(case);
            if !loads.contains(&load) {
                loads.push(load);
            }
        }
        Self(loads)
    }

    /// The places of each load's cases in the result, in the order of their loads.
    pub fn groups(&self, result: &RunResult) -> Vec<(Load, Vec<usize>)> {
        let has = |load: &Load, index: &usize| Load::of(&result.cases[*index]) == *load;
        let members = |load: &Load| (0..result.cases.len()).filter(|index| has(load, index)).collect();
        self.0.iter().map(|load| (load.clone(), members(load))).collect()
    }

    /// Whether a figure of the load differs between cases.
    fn varies<T: PartialEq>(&self, figure: impl Fn(&Load) -> T) -> bool {
        self.0.iter().skip(1).any(|load| figure(load) != figure(&self.0[0]))
    }

    /// Columns for what differs.
    pub fn varying_columns(&self) -> Vec<LoadColumn> {
        let all: [(bool, LoadColumn); 5] = [
            (
                self.varies(|load| load.topic.clone()),
                (Column::words("topic", "What was subscribed to"), |case| Cell::plain(case.topic.clone())),
            ),
            (
                self.varies(|load| load.connections),
                (Column::figures("load", "subscribers", "", "Subscribers attached"), |case| {
                    Cell::plain(whole(u64::from(case.connections)))
                }),
            ),
            (
                self.varies(|load| load.rate),
                (Column::figures("load", "rate", "msg/s", "Planned messages a second"), |case| {
                    Cell::plain(plain(case.rate))
                }),
            ),
            (
                self.varies(|load| load.in_flight),
                (
                    Column::figures("load", "in flight", "msg", "Closed loop: messages kept under way"),
                    |case| {
                        case.in_flight.map_or_else(
                            || Cell::absent("an open loop"),
                            |messages| Cell::plain(whole(u64::from(messages))),
                        )
                    },
                ),
            ),
            (
                self.varies(|load| load.payload_bytes),
                (Column::figures("load", "payload", "B", "Bytes of one published round"), |case| {
                    Cell::plain(whole(u64::from(case.payload_bytes)))
                }),
            ),
        ];
        all.into_iter().filter(|(varies, _)| *varies).map(|(_, column)| column).collect()
    }

    /// What all cases share, in words: `100 subscribers, 100 msg/s, 256 B`.
    pub fn shared(&self) -> String {
        let Some(first) = self.0.first() else { return String::new() };
        let parts = [
            (self.varies(|load| load.connections), subscribers(first.connections)),
            (self.varies(|load| load.rate) || self.varies(|load| load.in_flight), first.pace()),
            (self.varies(|load| load.payload_bytes), bytes(f64::from(first.payload_bytes))),
            (self.varies(|load| load.topic.clone()) || first.topic.is_empty(), first.topic.clone()),
        ];
        parts.into_iter().filter(|(varies, _)| !varies).map(|(_, part)| part).collect::<Vec<_>>().join(", ")
    }

    /// What sets one load apart from the others, in words; empty where there is only one load.
    pub fn distinction(&self, load: &Load) -> String {
        let parts = [
            (self.varies(|load| load.topic.clone()), load.topic.clone()),
            (self.varies(|load| load.connections), subscribers(load.connections)),
            (self.varies(|load| load.rate) || self.varies(|load| load.in_flight), load.pace()),
            (self.varies(|load| load.payload_bytes), bytes(f64::from(load.payload_bytes))),
        ];
        parts.into_iter().filter(|(varies, _)| *varies).map(|(_, part)| part).collect::<Vec<_>>().join(", ")
    }

    /// A case by name, with its load where that is needed to tell it apart.
    pub fn name_of(&self, case: &CaseResult) -> String {
        match self.distinction(&Load::of(case)) {
            distinction if distinction.is_empty() => case.protocol.clone(),
            distinction => format!("{} ({distinction})", case.protocol),
        }
    }
}

/// So many subscribers, in words.
fn subscribers(count: u32) -> String {
    format!("{} subscriber{}", whole(u64::from(count)), if count == 1 { "" } else { "s" })
}
