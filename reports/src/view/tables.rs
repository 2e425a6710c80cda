//! The tables of a report.

use crate::figures::{self, TimeUnit, fixed, percent, whole};
use crate::schema::{CaseResult, LatencySummary, RunResult};
use crate::statistics::{Distribution, Interval, samples_to_resolve};

use super::loads::{self, Load, Loads};
use super::series::{interval_us, samples};
use super::style::{self, is_ordered, is_reliable};
use super::table::{Cell, Column, Row, Table, Tone};

/// A column and the cell it has for a case.
struct CaseColumn<'a> {
    column: Column,
    cell: Box<dyn Fn(&CaseResult) -> Cell + 'a>,
}

impl<'a> CaseColumn<'a> {
    fn new(column: Column, cell: impl Fn(&CaseResult) -> Cell + 'a) -> Self {
        Self { column, cell: Box::new(cell) }
    }
}

/// What a floor is, wherever one is shown.
pub const FLOOR: &str = "a floor: what the machine takes without the protocol under test";

/// Picks one figure out of a latency.
type Pick = fn(&LatencySummary) -> Option<f64>;

/// A table with a row for each case: its name, its load where loads differ, then the columns.
fn table_of_cases(result: &RunResult, caption: &str, columns: Vec<CaseColumn<'_>>) -> Table {
    let loads = Loads::of(result);
    let mut all = vec![CaseColumn::new(Column::words("protocol", "How the client is connected"), |case| {
        let name = case.protocol.clone();
        if !case.floor {
            return Cell::plain(name);
        }
        Cell { remark: Some(FLOOR.to_owned()), tone: Tone::Quiet, ..Cell::plain(format!("{name} (floor)")) }
    })];
    all.extend(loads.varying_columns().into_iter().map(|(column, cell)| CaseColumn::new(column, cell)));
    all.extend(columns);
    let row = |case: &CaseResult| Row {
        slot: Some(style::slot(&case.protocol)),
        cells: all.iter().map(|column| (column.cell)(case)).collect(),
    };
    Table {
        caption: caption.to_owned(),
        rows: result.cases.iter().map(row).collect(),
        columns: all.into_iter().map(|column| column.column).collect(),
    }
}

/// The main table: latency, losses and cost with the protocols side by side. What the intervals say goes with the
/// latencies: the interval itself as a remark, and who is the best of its kind.
pub fn matrix(result: &RunResult, intervals: &[Intervals]) -> Table {
    let mut table = bare_matrix(result);
    for (index, column) in table.columns.iter().enumerate().filter(|(_, column)| column.group == "latency") {
        let Some(which) = QUANTILES.iter().position(|(name, _)| *name == column.name) else { continue };
        for (row, of_case) in table.rows.iter_mut().zip(intervals) {
            let Some(interval) = &of_case.quantiles[which] else { continue };
            if let Some(cell) = row.cells.get_mut(index).filter(|cell| cell.tone == Tone::Plain) {
                cell.remark = Some(format!(
                    "95 % interval {} to {}",
                    figures::time_us(interval.low_us),
                    figures::time_us(interval.high_us)
                ));
                if of_case.is_best[which] {
                    cell.tone = Tone::Best;
                }
            }
        }
    }
    table
}

/// The quantiles of the matrix that have intervals.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// What a case's intervals say, one entry for each of its quantiles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Intervals {
    quantiles: [Option<Interval>; 4],
    is_best: [bool; 4],
}

impl Intervals {
    /// The intervals of all cases of a result. Best at a quantile is who lies below every other case under the same
    /// load and with the same encryption by more than both intervals.
    pub fn of(result: &RunResult, distributions: &[Distribution]) -> Vec<Self> {
        let with_case = || result.cases.iter().zip(distributions);
        let mut all: Vec<Self> = with_case()
            .map(|(case, distribution)| Self {
                quantiles: QUANTILES.map(|(_, quantile)| interval_us(case, distribution, quantile)),
                ..Self::default()
            })
            .collect();
        let kind = |case: &CaseResult| {
            (Load::of(case), case.encrypted.unwrap_or_else(|| style::is_encrypted(&case.protocol)))
        };
        let kinds: Vec<_> = result.cases.iter().map(kind).collect();
        for which in 0..QUANTILES.len() {
            for index in (0..all.len()).filter(|index| !result.cases[*index].floor) {
                let Some(own) = all[index].quantiles[which] else { continue };
                let rivals: Vec<usize> = (0..all.len())
                    .filter(|other| *other != index && kinds[*other] == kinds[index])
                    .filter(|other| !result.cases[*other].floor)
                    .collect();
                let beats = |other: &usize| {
                    all[*other].quantiles[which].is_some_and(|other| own.high_us < other.low_us)
                };
                let is_best = !rivals.is_empty() && rivals.iter().all(beats);
                all[index].is_best[which] = is_best;
            }
        }
        all
    }
}

fn bare_matrix(result: &RunResult) -> Table {
    let mut columns = latency_columns(result, "latency", |case| Some(case.latency_us));
    columns.extend(count_columns());
    columns.push(CaseColumn::new(
        Column::figures("cost", "deliveries", "/s", "Intact deliveries a second over the measured window"),
        |case| Cell::plain(figures::plain(case.deliveries_per_s.round())),
    ));
    columns.extend([
        cost_column("server CPU", "µs/delivery", "Processor time of the server for each delivery", |case| {
            case.server.cpu_us_per_delivery
        }),
        cost_column(
            "server memory",
            "B/connection",
            "Growth of the server's resident memory for each connection",
            |case| case.server.rss_bytes_per_connection,
        ),
        cost_column(
            "generator CPU",
            "µs/delivery",
            "Processor time of the load generator for each receipt",
            |case| case.generator.cpu_us_per_delivery,
        ),
    ]);
    let caption = match result.cases.as_slice() {
        [] => "Latency from planned time to receipt, accounting and cost",
        cases if cases.iter().all(|case| case.in_flight.is_some()) => {
            "Closed loop: throughput, accounting and cost; no latency"
        }
        _ => "Latency from planned time to receipt, accounting and cost",
    };
    table_of_cases(result, caption, columns)
}

/// The six columns of a latency, all in one unit so that they compare at a glance.
fn latency_columns<'a>(
    result: &RunResult,
    group: &str,
    latency: fn(&CaseResult) -> Option<LatencySummary>,
) -> Vec<CaseColumn<'a>> {
    let figures: [(&str, Option<f64>, &str, Pick); 5] = [
        ("p50", Some(0.5), "Half of all deliveries are at most this late", |latency| latency.p50),
        ("p90", Some(0.9), "90 % of all deliveries are at most this late", |latency| latency.p90),
        ("p99", Some(0.99), "99 % of all deliveries are at most this late", |latency| latency.p99),
        ("p99.9", Some(0.999), "99.9 % of all deliveries are at most this late", |latency| latency.p99_9),
        ("max", None, "The latest delivery", |latency| latency.max),
    ];
    let values = result
        .cases
        .iter()
        .filter_map(latency)
        .flat_map(|latency| figures.map(|(_, _, _, value)| value(&latency)))
        .flatten();
    let smallest_us = values.fold(f64::INFINITY, f64::min);
    let unit = TimeUnit::of_us(if smallest_us.is_finite() { smallest_us } else { 0.0 });
    let decimals = figures::decimals(unit.from_us(smallest_us)).min(2);
    figures
        .into_iter()
        .map(|(name, quantile, meaning, value)| {
            CaseColumn::new(Column::figures(group, name, unit.symbol(), meaning), move |case| match latency(
                case,
            )
            .and_then(|latency| value(&latency))
            {
                Some(value_us) => Cell::plain(fixed(unit.from_us(value_us), decimals)),
                None => Cell::absent(why_absent(case, quantile)),
            })
        })
        .collect()
}

/// Why a case has no such figure.
fn why_absent(case: &CaseResult, quantile: Option<f64>) -> String {
    if let Some(messages) = case.in_flight {
        return loads::closed_loop(messages);
    }
    match quantile.map(samples_to_resolve) {
        Some(needed) if samples(case) < needed => format!(
            "not resolved: needs {} independent samples, the run has {}",
            whole(needed),
            whole(samples(case))
        ),
        _ => "not measured".to_owned(),
    }
}

/// What became of the deliveries, in counts.
fn count_columns<'a>() -> Vec<CaseColumn<'a>> {
    let group = "deliveries";
    vec![
        CaseColumn::new(
            Column::figures(
                group,
                "expected",
                "",
                "For each message, the subscribers attached when it was sent",
            ),
            |case| Cell::plain(whole(case.accounting.expected)),
        ),
        CaseColumn::new(
            Column::figures(group, "delivered", "", "Expected deliveries that arrived intact"),
            |case| Cell::plain(whole(case.accounting.delivered)),
        ),
        fault_column("lost", "Expected deliveries that never arrived intact", |case| case.accounting.lost),
        fault_column("dup", "Receipts of a message the subscriber already had", |case| {
            case.accounting.duplicated
        }),
        fault_column("reord", "Deliveries that arrived after a later message", |case| {
            case.accounting.reordered
        }),
        fault_column("corrupt", "Receipts whose bytes were not those published", |case| {
            case.accounting.corrupt
        }),
    ]
}

fn fault_column<'a>(name: &str, meaning: &str, count: fn(&CaseResult) -> u64) -> CaseColumn<'a> {
    CaseColumn::new(Column::figures("deliveries", name, "", meaning), move |case| {
        Cell::faults(count(case), whole(count(case)))
    })
}

fn cost_column<'a>(
    name: &str,
    unit: &str,
    meaning: &str,
    value: fn(&CaseResult) -> Option<f64>,
) -> CaseColumn<'a> {
    let decimals = usize::from(!unit.starts_with('B'));
    CaseColumn::new(Column::figures("cost", name, unit, meaning), move |case| {
        value(case).map_or_else(
            || Cell::absent("the process could not be observed"),
            |value| Cell::plain(fixed(value, decimals)),
        )
    })
}

/// The accounting beside the percentile it may flatter: what is lost is not late.
pub fn accounting(result: &RunResult) -> Table {
    let mut columns = count_columns();
    columns.insert(
        3,
        CaseColumn::new(
            Column::figures("deliveries", "lost", "%", "Share of the expected deliveries that never arrived"),
            |case| {
                let text = percent(case.accounting.lost, case.accounting.expected);
                Cell::faults(case.accounting.lost, text.trim_end_matches(" %").to_owned())
            },
        ),
    );
    columns.push(CaseColumn::new(
        Column::figures(
            "of what arrived",
            "p99",
            "",
            "Latency at p99 of what did arrive; what was lost is not in it",
        ),
        |case| {
            case.latency_us.p99.map_or_else(
                || Cell::absent(why_absent(case, Some(0.99))),
                |p99_us| Cell::plain(figures::time_us(p99_us)),
            )
        },
    ));
    columns.push(CaseColumn::new(
        Column::words("promise", "Whether the protocol promises to deliver every message once and in order"),
        |case| {
            Cell::plain(match (is_reliable(&case.protocol), is_ordered(&case.protocol)) {
                (true, true) => "reliable, in order",
                (true, false) => "reliable, any order",
                (false, _) => "best effort",
            })
        },
    ));
    table_of_cases(result, "What became of every expected delivery", columns)
}

/// Where the time goes: the publisher's slip, the way from sent to receipt, the whole, and connecting.
pub fn stages(result: &RunResult) -> Table {
    type Stage = (&'static str, &'static str, fn(&CaseResult) -> Option<LatencySummary>);
    let stages: [Stage; 4] = [
        ("planned → sent", "How far the publisher was behind its schedule", |case| case.schedule_slip_us),
        ("sent → receipt", "Service latency: Redis, server, network and client", |case| {
            Some(case.service_latency_us)
        }),
        ("planned → receipt", "Latency, the headline figure", |case| Some(case.latency_us)),
        ("connecting", "From starting to connect until attached, once for each subscriber", |case| {
            case.connect_us
        }),
    ];
    let columns = stages
        .into_iter()
        .flat_map(|(group, meaning, stage)| {
            let figures: [(&str, f64, Pick); 2] =
                [("p50", 0.5, |latency| latency.p50), ("p99", 0.99, |latency| latency.p99)];
            figures.map(move |(name, quantile, value)| {
                CaseColumn::new(Column::figures(group, name, "", meaning), move |case| {
                    stage(case).and_then(|latency| value(&latency)).map_or_else(
                        || Cell::absent(why_absent_stage(case, group, quantile)),
                        |value_us| Cell::plain(figures::time_us(value_us)),
                    )
                })
            })
        })
        .collect();
    table_of_cases(result, "From planned time to receipt, and connecting", columns)
}

/// Connecting in figures: the distribution over the subscribers, and how long all of them took together.
pub fn connecting(result: &RunResult) -> Table {
    let figures: [(&str, f64, Pick); 4] = [
        ("p50", 0.5, |latency| latency.p50),
        ("p90", 0.9, |latency| latency.p90),
        ("p99", 0.99, |latency| latency.p99),
        ("max", 0.0, |latency| latency.max),
    ];
    let mut columns: Vec<CaseColumn<'_>> = figures
        .into_iter()
        .map(|(name, quantile, value)| {
            let meaning = "From starting to connect until attached, once for each subscriber";
            CaseColumn::new(Column::figures("connecting", name, "", meaning), move |case| {
                case.connect_us.and_then(|latency| value(&latency)).map_or_else(
                    || Cell::absent(why_absent_stage(case, "connecting", quantile)),
                    |value_us| Cell::plain(figures::time_us(value_us)),
                )
            })
        })
        .collect();
    let optional = |value: Option<f64>, text: fn(f64) -> String| {
        value.map_or_else(|| Cell::absent("not measured"), |value| Cell::plain(text(value)))
    };
    let from_us: fn(f64) -> String = |seconds| figures::time_us(seconds * 1e6);
    columns.push(CaseColumn::new(
        Column::figures(
            "all of them",
            "attached in",
            "",
            "From the first connection until every subscriber was attached",
        ),
        move |case| optional(case.attaching_s, from_us),
    ));
    columns.push(CaseColumn::new(
        Column::figures("all of them", "server CPU", "", "Processor time of the server while they attached"),
        move |case| optional(case.server.attaching_cpu_s, from_us),
    ));
    table_of_cases(result, "Connecting", columns)
}

/// As [`why_absent`]; connecting has one sample a subscriber instead of one a publish.
fn why_absent_stage(case: &CaseResult, stage: &str, quantile: f64) -> String {
    let needed = samples_to_resolve(quantile);
    let connections = u64::from(case.connections);
    if stage == "connecting" && case.connect_us.is_some() && connections < needed {
        return format!(
            "not resolved: needs {} subscribers, the run has {}",
            whole(needed),
            whole(connections)
        );
    }
    why_absent(case, Some(quantile))
}

/// What each process spent, with bars that compare it within a column.
pub fn resources(result: &RunResult) -> Table {
    type Figure = fn(&CaseResult) -> Option<f64>;
    let cpu: [(&str, Figure); 3] = [
        ("server", |case| case.server.cpu_us_per_delivery),
        ("Redis", |case| case.redis.and_then(|cost| cost.cpu_us_per_delivery)),
        ("generator", |case| case.generator.cpu_us_per_delivery),
    ];
    let cores: [(&str, Figure); 3] = [
        ("server", |case| cores_used(case, case.server.cpu_s)),
        ("Redis", |case| cores_used(case, case.redis.and_then(|cost| cost.cpu_s))),
        ("generator", |case| cores_used(case, case.generator.cpu_s)),
    ];
    let memory: [(&str, &str, Figure); 3] = [
        ("server", "/connection", |case| case.server.rss_bytes_per_connection),
        ("server", "resident", |case| case.server.rss_bytes.map(|bytes| bytes as f64)),
        ("generator", "resident", |case| case.generator.rss_bytes.map(|bytes| bytes as f64)),
    ];
    // One scale for the processor time of all three, so that bars compare across columns too.
    let largest_us = largest(result, &cpu.map(|(_, value)| value));
    let mut columns: Vec<CaseColumn<'_>> = cpu
        .into_iter()
        .map(|(process, value)| {
            let meaning = "Processor time for each intact delivery";
            // One count of decimals a column, or its figures don't stand below each other.
            let is_small = result.cases.iter().filter_map(value).any(|value_us| value_us < 1.0);
            let text = if is_small { |value_us| fixed(value_us, 2) } else { |value_us| fixed(value_us, 1) };
            barred(Column::figures("CPU per delivery", process, "µs", meaning), value, largest_us, text)
        })
        .collect();
    columns.extend(cores.into_iter().map(|(process, value)| {
        let meaning = "Processor time over the window, 100 % is one core";
        barred(Column::figures("CPU used", process, "%", meaning), value, None, |share| fixed(share, 1))
    }));
    columns.extend(memory.into_iter().map(|(process, unit, value)| {
        let meaning = if unit == "resident" {
            "Resident memory at the end of the window"
        } else {
            "Growth of resident memory for each connection"
        };
        let scale = largest(result, &[value]).filter(|_| unit != "resident");
        barred(Column::figures("memory", process, unit, meaning), value, scale, figures::bytes)
    }));
    table_of_cases(result, "Processor time and memory of each process", columns)
}

/// Processor time over the window as a percentage of one core.
fn cores_used(case: &CaseResult, cpu_s: Option<f64>) -> Option<f64> {
    cpu_s.filter(|_| case.duration_s > 0.0).map(|cpu_s| cpu_s / case.duration_s * 100.0)
}

/// The largest value that any of the figures has in any case.
fn largest(result: &RunResult, figures: &[fn(&CaseResult) -> Option<f64>]) -> Option<f64> {
    let values = result.cases.iter().flat_map(|case| figures.iter().filter_map(move |figure| figure(case)));
    values.reduce(f64::max).filter(|value| *value > 0.0)
}

/// A column whose cells have a bar, where there is a scale for it.
fn barred<'a>(
    column: Column,
    value: fn(&CaseResult) -> Option<f64>,
    scale: Option<f64>,
    text: fn(f64) -> String,
) -> CaseColumn<'a> {
    CaseColumn::new(column, move |case| {
        value(case).map_or_else(
            || Cell::absent("not measured"),
            |value| Cell {
                bar: scale.map(|scale| (value / scale).clamp(0.0, 1.0)),
                ..Cell::plain(text(value))
            },
        )
    })
}
