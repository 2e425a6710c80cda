//! What the self-checks look at, in figures: what was found beside the most that is allowed. The verdicts are those of
//! [`crate::checks`]; this only shows what they rest on.

use crate::checks::{self, Check, Outcome};
use crate::figures::{self, fixed, percent, time_us, whole};
use crate::schema::{CaseResult, Health, LatencySummary, RunResult};

use super::loads::Loads;
use super::style;
use super::table::{Cell, Column, Row, Table, Tone};

/// A figure of the run about itself, in one case.
type Figure = fn(&CaseResult) -> Option<String>;

/// A column: one of the figures, and the check it belongs to.
struct Watched {
    name: &'static str,
    /// The limit where it is the same for all cases; else it stands beside each figure.
    limit: fn() -> String,
    meaning: &'static str,
    figure: Figure,
    check: &'static str,
}

const FIGURES: [Watched; 9] = [
    Watched {
        name: "achieved rate",
        limit: || format!("≥ {}", part(checks::LEAST_ACHIEVED)),
        meaning: "Messages published of those planned",
        figure: achieved,
        check: "achieved rate",
    },
    Watched {
        name: "slip p99",
        limit: String::new,
        meaning: "How far the publisher was behind its schedule, and the most that is allowed",
        figure: slip,
        check: "schedule",
    },
    Watched {
        name: "busiest thread",
        limit: || format!("≤ {}", part(checks::MOST_THREAD_SHARE)),
        meaning: "Share of a core that the generator's busiest thread used or waited for",
        figure: busiest,
        check: "generator headroom",
    },
    Watched {
        name: "canary",
        limit: String::new,
        meaning: "How late a 1 ms timer beside the generator fired, at the highest quantile it resolves, and the most \
                  that is allowed",
        figure: canary,
        check: "generator headroom",
    },
    Watched {
        name: "kernel → client p99",
        limit: String::new,
        meaning: "From the kernel's receipt to the client's hands, and the most that is allowed",
        figure: queueing,
        check: "client queueing",
    },
    Watched {
        name: "stolen",
        limit: || format!("≤ {}", part(checks::MOST_STEAL)),
        meaning: "Processor time the hypervisor took",
        figure: stolen,
        check: "host",
    },
    Watched {
        name: "drops",
        limit: || "0".to_owned(),
        meaning: "Datagrams the kernel dropped for a full receive buffer",
        figure: drops,
        check: "host",
    },
    Watched {
        name: "throttled",
        limit: || "0".to_owned(),
        meaning: "Times the control group was held back",
        figure: throttled,
        check: "host",
    },
    Watched {
        name: "CPU of a receipt",
        limit: String::new,
        meaning: "Processor time of a receipt in the generator; less than that of a delivery in the server",
        figure: costs,
        check: "generator cost",
    },
];

/// A limit as a percentage.
fn part(share: f64) -> String {
    format!("{} %", fixed(100.0 * share, 0))
}

/// The table of figures and limits; columns that no case fills are left out.
pub fn table(result: &RunResult, checks: &[Check]) -> Table {
    let loads = Loads::of(result);
    let filled = |figure: Figure| result.cases.iter().any(|case| figure(case).is_some());
    let shown: Vec<Watched> = FIGURES.into_iter().filter(|watched| filled(watched.figure)).collect();
    let mut columns = vec![Column::words("case", "Protocol, and the load where loads differ")];
    columns.extend(
        shown.iter().map(|Watched { name, limit, meaning, .. }| Column::figures("", name, &limit(), meaning)),
    );
    let rows = result.cases.iter().enumerate().map(|(index, case)| {
        let outcome = |name: &str| {
            checks.iter().find(|check| check.name == name).and_then(|check| check.outcomes.get(index))
        };
        let cells = shown.iter().map(|Watched { name, figure, check, .. }| match figure(case) {
            None => Cell::absent("not measured"),
            Some(text) => match outcome(check) {
                // Several figures may belong to one check; whose finding it is, it tells in words.
                Some(Outcome::Suspect(finding) | Outcome::Invalid(finding))
                    if is_about(name, &finding.text) =>
                {
                    Cell { tone: Tone::Bad, remark: Some(finding.text.clone()), ..Cell::plain(text) }
                }
                _ => Cell::plain(text),
            },
        });
        Row {
            slot: Some(style::slot(&case.protocol)),
            cells: std::iter::once(Cell::plain(loads.name_of(case))).chain(cells).collect(),
        }
    });
    Table {
        caption: "What the checks found, and the most or least that is allowed".to_owned(),
        rows: rows.collect(),
        columns,
    }
}

/// Whether a finding of a check is about this of its figures.
fn is_about(figure: &str, finding: &str) -> bool {
    let word = match figure {
        "busiest thread" => "thread",
        "canary" => "timer",
        "stolen" => "stolen",
        "drops" => "dropped",
        "throttled" => "throttled",
        _ => "",
    };
    finding.contains(word)
}

fn of(found: &str, limit: &str) -> String {
    format!("{found} / {limit}")
}

fn achieved(case: &CaseResult) -> Option<String> {
    let achieved = case.achieved_rate.filter(|_| case.in_flight.is_none() && case.rate > 0.0)?;
    Some(format!("{} %", fixed(achieved / checks::planned_rate(case) * 100.0, 1)))
}

fn slip(case: &CaseResult) -> Option<String> {
    let slip_us = case.schedule_slip_us?.p99?;
    Some(of(&time_us(slip_us), &time_us(checks::slip_limit_us(case.latency_us.p50?))))
}

fn busiest(case: &CaseResult) -> Option<String> {
    let threads = case.health.as_ref()?.threads.iter().filter(|thread| !thread.spins);
    let share = threads.map(|thread| thread.cpu_share + thread.waited_share).reduce(f64::max)?;
    Some(format!("{} %", fixed(share * 100.0, 0)))
}

fn canary(case: &CaseResult) -> Option<String> {
    let (name, late_us) = checks::canary_tail(case.health.as_ref()?)?;
    Some(of(&format!("{name} {}", time_us(late_us)), &limit_of_p99(case)))
}

fn queueing(case: &CaseResult) -> Option<String> {
    let of_health =
        |health: &Health| health.kernel_to_client_us.and_then(|latency: LatencySummary| latency.p99);
    Some(of(&time_us(case.health.as_ref().and_then(of_health)?), &limit_of_p99(case)))
}

/// The part of the measured p99 that the generator's own delays may be.
fn limit_of_p99(case: &CaseResult) -> String {
    case.latency_us
        .p99
        .map_or_else(|| figures::ABSENT.to_owned(), |p99_us| time_us(checks::MOST_OWN_DELAY * p99_us))
}

fn stolen(case: &CaseResult) -> Option<String> {
    let share = case.health.as_ref()?.steal_share.filter(|share| share.is_finite() && *share >= 0.0)?;
    Some(percent((share * 1e6) as u64, 1_000_000))
}

fn drops(case: &CaseResult) -> Option<String> {
    Some(whole(case.health.as_ref()?.receive_buffer_drops?))
}

fn throttled(case: &CaseResult) -> Option<String> {
    Some(whole(case.health.as_ref()?.throttled_periods?))
}

fn costs(case: &CaseResult) -> Option<String> {
    let (generator_us, server_us) = (case.generator.cpu_us_per_delivery?, case.server.cpu_us_per_delivery?);
    Some(of(&time_us(generator_us), &format!("< {}", time_us(server_us))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ThreadUse;

    #[test]
    fn a_figure_stands_out_where_the_finding_is_its_own() {
        let mut result: RunResult =
            serde_json::from_str(include_str!("../../tests/data/first-light-1.json")).expect("a result");
        result.cases[0].health = Some(Health {
            threads: vec![ThreadUse {
                name: "subscribers 0".to_owned(),
                cpu_share: 0.97,
                waited_share: 0.0,
                spins: false,
            }],
            canary_us: Some(LatencySummary { p99_9: Some(1.0), ..LatencySummary::default() }),
            ..Health::default()
        });
        let table = table(&result, &checks::judge(&result));
        let cell = |name: &str| {
            let index = table.columns.iter().position(|column| column.name == name).expect("a column");
            &table.rows[0].cells[index]
        };
        assert_eq!((cell("busiest thread").tone, cell("busiest thread").text.as_str()), (Tone::Bad, "97 %"));
        assert_eq!(cell("canary").tone, Tone::Plain);
        assert!(table.is_rectangular());
    }
}
