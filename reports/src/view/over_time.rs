//! What goes on over the seconds of the measured window, beside latency: messages planned and published, processor
//! time, memory.

use crate::schema::{CaseResult, LatencySummary, ResourcePoint, TimelinePoint};

use super::series::{self, TimeSeries};
use super::style;
use super::sweep::Quantity;

/// A plot over time: a line for each case.
#[derive(Debug, Clone, PartialEq)]
pub struct TimePanel {
    /// What it shows.
    pub title: &'static str,
    /// What its values are.
    pub quantity: Quantity,
    /// The lines.
    pub lines: Vec<TimeSeries>,
}

/// What became of the plan of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// The protocol's name.
    pub name: String,
    /// Its style slot.
    pub slot: usize,
    /// Planned messages a second; `None` in a closed loop.
    pub rate: Option<f64>,
    /// Messages a second really published.
    pub achieved: Option<f64>,
    /// How far the publisher was behind its schedule.
    pub slip: LatencySummary,
    /// Of each second's planned messages, how many were published, in percent.
    pub published: Option<TimeSeries>,
    /// Of each second's expected deliveries, how many arrived intact, in percent.
    pub arrived: Option<TimeSeries>,
}

impl Rates {
    /// The rates of a case; `None` without a timeline.
    pub fn of(case: &CaseResult) -> Option<Self> {
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole * 100.0);
        let each = |value: &dyn Fn(&TimelinePoint) -> Option<f64>| {
            series::time_series(
                case,
                case.timeline.iter().filter_map(|point| Some((point.second, value(point)?))).collect(),
            )
        };
        let rate = (case.in_flight.is_none() && case.rate > 0.0).then_some(case.rate);
        // The subscribers of the beginning: one that was disconnected is missing in every second after.
        let connections = f64::from(case.connections);
        (!case.timeline.is_empty()).then(|| Self {
            name: case.protocol.clone(),
            slot: style::slot(&case.protocol),
            rate,
            achieved: case.achieved_rate,
            slip: case.schedule_slip_us.unwrap_or_default(),
            published: each(&|point| share(point.published as f64, point.planned? as f64)),
            arrived: each(&|point| share(point.delivered as f64, point.published as f64 * connections)),
        })
    }
}

/// Processor time and memory over time; panels that no case fills are left out.
pub fn resources(cases: &[&CaseResult]) -> Vec<TimePanel> {
    type Panel = (&'static str, Quantity, fn(&ResourcePoint) -> Option<f64>);
    let panels: [Panel; 5] = [
        ("Cores the server used", Quantity::Cores, |point| point.server_cores),
        ("Cores the generator used", Quantity::Cores, |point| point.generator_cores),
        ("Cores Redis used", Quantity::Cores, |point| point.redis_cores),
        ("Resident memory of the server", Quantity::Bytes, |point| {
            point.server_rss_bytes.map(|bytes| bytes as f64)
        }),
        ("Resident memory of the generator", Quantity::Bytes, |point| {
            point.generator_rss_bytes.map(|bytes| bytes as f64)
        }),
    ];
    let of_panel = |(title, quantity, figure): Panel| {
        let line = |case: &&CaseResult| {
            let value = |point: &ResourcePoint| figure(point).filter(|value| value.is_finite());
            let points: Vec<(u32, f64)> =
                case.resources.iter().filter_map(|point| Some((point.second, value(point)?))).collect();
            series::time_series(case, points)
        };
        let lines: Vec<TimeSeries> = cases.iter().filter_map(line).collect();
        (!lines.is_empty()).then_some(TimePanel { title, quantity, lines })
    };
    panels.into_iter().filter_map(of_panel).collect()
}
