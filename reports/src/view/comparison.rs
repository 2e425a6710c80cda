//! Several results side by side: what differs, and whether these runs carry it.
//!
//! Stored results are single runs. Intervals tell how sure each run is of its own quantile; what drifts between runs
//! (the machine's day, the neighbours) is in none of them, which the comparison says.

use crate::checks::{self, Verdict};
use crate::figures::{self, fixed, time_us, whole};
use crate::schema::{CaseResult, RunResult};
use crate::statistics::{self, Distribution, Interval};

use super::Group;
use super::forest::{Forest, ForestRow};
use super::loads::Load;
use super::series::{self, Curve, TimeSeries};
use super::style::COLOURS;
use super::table::{Cell, Column, Row, Table};

/// What holds for every comparison of stored results.
const MADE_ONCE: &str = "Each run was made once: an interval tells how sure a run is of its own figure, not how much \
    another run would differ. To judge a change, measure both in turn: lastmile gate.";

/// A result under the name it is compared by.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Its name: a file, a branch.
    pub name: &'a str,
    /// The result.
    pub result: &'a RunResult,
}

/// Everything a report of several runs says. Differences are against the first run.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// `a against b`.
    pub title: String,
    /// What the comparison is worth: no more than the worst of its runs.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub verdict_reason: String,
    /// The runs, a row each.
    pub runs: Table,
    /// What makes the comparison weaker than it looks.
    pub warnings: Vec<String>,
    /// What differs, in plain sentences.
    pub sentences: Vec<String>,
    /// The differences with their intervals.
    pub forest: Forest,
    /// The runs of each case below each other.
    pub cases: Table,
    /// The plots of each case, a line for each run.
    pub groups: Vec<Group>,
    /// The exact commands, by run.
    pub commands: Vec<(String, String)>,
}

/// A case as one of the runs measured it.
struct Measured<'a> {
    run: usize,
    case: &'a CaseResult,
    distribution: Distribution,
}

impl Comparison {
    /// Computes the view of runs, the first being what the others are held against.
    pub fn of(runs: &[Run<'_>]) -> Self {
        let cases = matched(runs);
        let names: Vec<&str> = runs.iter().map(|run| run.name).collect();
        let verdict = |run: &Run<'_>| checks::verdict(run.result, &checks::judge(run.result));
        let worst = runs.iter().map(verdict).max().unwrap_or(Verdict::Invalid);
        let unlike = unlike(runs, &cases);
        Self {
            title: match names.as_slice() {
                [first, others @ ..] if !others.is_empty() => {
                    format!("{} against {first}", others.join(", "))
                }
                only => only.join(""),
            },
            verdict: if unlike.is_empty() { worst } else { worst.max(Verdict::Suspect) },
            verdict_reason: match unlike.len() {
                0 => format!("{} is the worst verdict of the runs", worst.word()),
                _ => "the runs are not alike".to_owned(),
            },
            runs: runs_table(runs, verdict),
            warnings: unlike.into_iter().chain([MADE_ONCE.to_owned()]).collect(),
            sentences: sentences(&cases, &names),
            forest: forest(&cases, &names),
            cases: cases_table(&cases, &names),
            groups: cases.iter().map(|(name, measured)| group(name, measured, &names)).collect(),
            commands: runs.iter().map(|run| (run.name.to_owned(), run.result.command.clone())).collect(),
        }
    }
}

impl Comparison {
    /// Whether any case was measured by more than one run: otherwise nothing was compared.
    pub fn has_common_case(&self) -> bool {
        let names: Vec<&str> =
            self.cases.rows.iter().filter_map(|row| Some(row.cells.first()?.text.as_str())).collect();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }
}

/// The style slot of a run.
fn slot(run: usize) -> usize {
    run % COLOURS
}

/// Every case with the runs that have it, in the order they first appear.
fn matched<'a>(runs: &[Run<'a>]) -> Vec<(String, Vec<Measured<'a>>)> {
    let mut keys: Vec<(&str, Load)> = Vec::new();
    for case in runs.iter().flat_map(|run| &run.result.cases) {
        let key = (case.protocol.as_str(), Load::of(case));
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let one_load = keys.iter().all(|(_, load)| *load == keys[0].1);
    let named = |(protocol, load): (&str, Load)| {
        let has_key = |case: &&CaseResult| case.protocol == protocol && Load::of(case) == load;
        let measured = runs.iter().enumerate().filter_map(|(run, of)| {
            let case = of.result.cases.iter().find(has_key)?;
            Some(Measured { run, case, distribution: series::distribution(case) })
        });
        let name = if one_load { protocol.to_owned() } else { format!("{protocol} ({load})") };
        (name, measured.collect())
    };
    keys.into_iter().map(named).collect()
}

fn runs_table(runs: &[Run<'_>], verdict: impl Fn(&Run<'_>) -> Verdict) -> Table {
    let columns = vec![
        Column::words("run", "The name it is compared by"),
        Column::words("verdict", "What the run is worth by its own checks"),
        Column::words("started", "When it started"),
        Column::words("revision", "Revision of the source tree"),
        Column::words("processor", "Processor model and the cores it could use"),
        Column::words("kernel", "Kernel name, release and architecture"),
    ];
    let rows = runs.iter().enumerate().map(|(index, run)| {
        let environment = &run.result.environment;
        let texts = [
            run.name.to_owned(),
            verdict(run).word().to_owned(),
            run.result.started_at.clone(),
            environment.git_revision.as_deref().unwrap_or("").chars().take(12).collect(),
            format!("{}, {} cores", environment.cpu, environment.cores),
            environment.kernel.clone(),
        ];
        Row { slot: Some(slot(index)), cells: texts.map(Cell::plain).into() }
    });
    Table { caption: "The runs; differences are against the first".to_owned(), rows: rows.collect(), columns }
}

/// In what the runs are not alike, as far as it bears on the comparison.
fn unlike(runs: &[Run<'_>], cases: &[(String, Vec<Measured<'_>>)]) -> Vec<String> {
    let mut warnings = Vec::new();
    let Some(first) = runs.first() else { return warnings };
    let machine = |run: &Run<'_>| {
        let environment = &run.result.environment;
        (environment.cpu.clone(), environment.cores, environment.kernel.clone(), environment.memory_bytes)
    };
    for run in &runs[1..] {
        if machine(run) != machine(first) {
            warnings.push(format!(
                "{} and {} ran on different machines or kernels: a difference may be theirs.",
                first.name, run.name
            ));
        }
        if run.result.conditions != first.result.conditions {
            warnings.push(format!("{} and {} ran under different conditions.", first.name, run.name));
        }
    }
    for (name, measured) in cases.iter().filter(|(_, measured)| measured.len() < runs.len()) {
        let held: Vec<&str> = measured.iter().map(|measured| runs[measured.run].name).collect();
        warnings.push(format!("{name} was measured only in {}.", held.join(", ")));
    }
    warnings
}

/// The ratio of two quantiles, with bounds no narrower than both intervals allow.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ratio {
    value: f64,
    low: f64,
    high: f64,
}

impl Ratio {
    fn of(base: &Measured<'_>, other: &Measured<'_>, quantile: f64) -> Option<Self> {
        let figures = |measured: &Measured<'_>| -> Option<(f64, Interval)> {
            let interval = series::interval_us(measured.case, &measured.distribution, quantile)?;
            Some((measured.distribution.quantile_us(quantile)?, interval)).filter(|_| interval.low_us > 0.0)
        };
        let ((base_us, base), (other_us, other)) = (figures(base)?, figures(other)?);
        Some(Self {
            value: other_us / base_us,
            low: other.low_us / base.high_us,
            high: other.high_us / base.low_us,
        })
    }

    /// Of the mean cost over the slices of each run; slices of different runs are no pairs, so each run's own interval
    /// counts. `None` with fewer than three slices a run.
    fn of_slices(base: &Measured<'_>, other: &Measured<'_>, figure: OfSlice) -> Option<Self> {
        let costs = |measured: &Measured<'_>| -> Vec<f64> {
            measured.case.slices.iter().filter_map(figure).filter(|cost| *cost > 0.0).collect()
        };
        let (base, other) =
            (statistics::mean_interval(&costs(base))?, statistics::mean_interval(&costs(other))?);
        Some(Self {
            value: other.value / base.value,
            low: other.low / base.high,
            high: other.high / base.low,
        })
    }

    /// Whether the intervals leave no room for equality.
    fn differs(self) -> bool {
        self.low > 1.0 || self.high < 1.0
    }

    /// In percent: `+12 (+8.1 … +16)`.
    fn text(self) -> String {
        format!("{} ({} … {})", change(self.value), change(self.low), change(self.high))
    }
}

/// A ratio as a signed change in percent.
fn change(ratio: f64) -> String {
    let change = (ratio - 1.0) * 100.0;
    let text = fixed(change, usize::from(change.abs() < 9.95));
    if text.starts_with('−') || text.chars().all(|digit| matches!(digit, '0' | '.')) {
        text
    } else {
        format!("+{text}")
    }
}

/// What differs between the runs, a sentence for each case and quantile where something does, and one for the rest.
fn sentences(cases: &[(String, Vec<Measured<'_>>)], runs: &[&str]) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut equal = 0;
    for (name, measured) in cases {
        let Some((base, others)) = measured.split_first() else { continue };
        for (quantile, quantile_name) in [(0.5, "p50"), (0.99, "p99")] {
            let ratios =
                others.iter().filter_map(|other| Some((other.run, Ratio::of(base, other, quantile)?)));
            let (differing, alike): (Vec<_>, Vec<_>) = ratios.partition(|(_, ratio)| ratio.differs());
            equal += alike.len();
            sentences.extend(differing.into_iter().map(|(run, ratio)| {
                let word = if ratio.value > 1.0 { "slower" } else { "faster" };
                let change = ratio.text().replacen(" (", " % (", 1);
                format!(
                    "{name} at {quantile_name}: {} is {word} than {}, {change}.",
                    runs[run], runs[base.run]
                )
            }));
        }
    }
    if equal > 0 {
        let other = if sentences.is_empty() { "" } else { "other " };
        sentences.push(format!(
            "No {other}difference shows at p50 and p99: in {} the intervals leave room for equality.",
            if equal == 1 { "1 comparison".to_owned() } else { format!("{equal} comparisons") }
        ));
    }
    sentences
}

/// Every difference of every case, with the interval that it rests on.
fn forest(cases: &[(String, Vec<Measured<'_>>)], runs: &[&str]) -> Forest {
    let mut rows = Vec::new();
    for (name, measured) in cases {
        let Some((base, others)) = measured.split_first().filter(|(base, _)| base.run == 0) else { continue };
        for other in others {
            let run = if runs.len() > 2 { format!(" in {}", runs[other.run]) } else { String::new() };
            let quantiles = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")].into_iter();
            let latencies =
                quantiles.filter_map(|(quantile, what)| Some((what, Ratio::of(base, other, quantile)?)));
            let costs = COSTS
                .into_iter()
                .filter_map(|(what, figure)| Some((what, Ratio::of_slices(base, other, figure)?)));
            rows.extend(latencies.chain(costs).map(|(what, ratio)| ForestRow {
                name: format!("{name}, {what}{run}"),
                slot: slot(other.run),
                ratio: ratio.value,
                low: ratio.low,
                high: ratio.high,
                dots: Vec::new(),
                remark: ratio.text().replacen(" (", " % (", 1),
            }));
        }
    }
    let title = match runs {
        [base, other] => format!("{other} against {base}"),
        [base, ..] => format!("Every run against {base}"),
        [] => String::new(),
    };
    Forest { title, sides: ("less", "more"), threshold: None, rows }
}

/// One figure of a slice.
type OfSlice = fn(&crate::schema::SliceSummary) -> Option<f64>;

/// Costs whose slices tell how much they vary.
const COSTS: [(&str, OfSlice); 2] = [
    ("server CPU", |slice| slice.server_cpu_us_per_delivery),
    ("server memory", |slice| slice.server_rss_bytes_per_connection),
];

fn cases_table(cases: &[(String, Vec<Measured<'_>>)], runs: &[&str]) -> Table {
    let against = runs.first().copied().unwrap_or_default();
    let of_change = "Change and its bounds, no narrower than the intervals of both runs allow";
    let columns = vec![
        Column::words("case", "Protocol, and the load where loads differ"),
        Column::words("run", "The run that measured it"),
        Column::figures("latency", "p50", "", "Half of all deliveries are at most this late"),
        Column::figures("latency", "p99", "", "99 % of all deliveries are at most this late"),
        Column::figures("latency", "p99.9", "", "99.9 % of all deliveries are at most this late"),
        Column::figures("deliveries", "lost", "", "Expected deliveries that never arrived intact"),
        Column::figures("server", "CPU", "µs/delivery", "Processor time of the server for each delivery"),
        Column::figures("server", "memory", "B/connection", "Growth of its memory for each connection"),
        Column::figures(&format!("against {against}"), "p50", "%", of_change),
        Column::figures(&format!("against {against}"), "p99", "%", of_change),
    ];
    let mut rows = Vec::new();
    for (name, measured) in cases {
        let base = measured.first().filter(|base| base.run == 0);
        rows.extend(
            measured.iter().map(|one| Row {
                slot: Some(slot(one.run)),
                cells: case_cells(name, runs[one.run], one, base),
            }),
        );
    }
    Table { caption: "Every case in every run".to_owned(), columns, rows }
}

fn case_cells(name: &str, run: &str, one: &Measured<'_>, base: Option<&Measured<'_>>) -> Vec<Cell> {
    let case = one.case;
    let figure = |value: Option<f64>, text: fn(f64) -> String| {
        value.map_or_else(|| Cell::absent("not resolved or not measured"), |value| Cell::plain(text(value)))
    };
    let against = |quantile: f64| match base {
        Some(base) if base.run == one.run => {
            Cell { text: "base".to_owned(), tone: super::table::Tone::Quiet, ..Cell::default() }
        }
        Some(base) => Ratio::of(base, one, quantile).map_or_else(
            || Cell::absent("too few publishes for an interval"),
            |ratio| Cell::plain(ratio.text()),
        ),
        None => Cell::absent("the first run has no such case"),
    };
    vec![
        Cell::plain(name),
        Cell::plain(run),
        figure(case.latency_us.p50, time_us),
        figure(case.latency_us.p99, time_us),
        figure(case.latency_us.p99_9, time_us),
        Cell::faults(case.accounting.lost, whole(case.accounting.lost)),
        figure(case.server.cpu_us_per_delivery, |value| fixed(value, 1)),
        figure(case.server.rss_bytes_per_connection, figures::short),
        against(0.5),
        against(0.99),
    ]
}

/// The plots of one case, with the runs where a report of one run has the protocols.
fn group(name: &str, measured: &[Measured<'_>], runs: &[&str]) -> Group {
    let curves = measured.iter().filter_map(|one| {
        let curve = series::curve(one.case, &one.distribution)?;
        Some(Curve { name: runs[one.run].to_owned(), slot: slot(one.run), ..curve })
    });
    let over_time = |figure: fn(&crate::schema::TimelinePoint) -> Option<f64>| -> Vec<TimeSeries> {
        let line = |one: &Measured<'_>| {
            let series = series::over_time(one.case, figure)?;
            Some(TimeSeries { name: runs[one.run].to_owned(), slot: slot(one.run), ..series })
        };
        measured.iter().filter_map(line).collect()
    };
    Group {
        heading: name.to_owned(),
        sentences: Vec::new(),
        curves: curves.collect(),
        publishes: measured.iter().map(|one| series::samples(one.case)).min().unwrap_or(0),
        p50_over_time: over_time(|point| point.p50_us),
        p99_over_time: over_time(|point| point.p99_us),
        ..Group::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_a_sign_and_no_sign_for_nothing() {
        assert_eq!(change(1.2), "+20");
        assert_eq!(change(0.95), "−5.0");
        assert_eq!(change(1.0), "0.0");
        assert!(Ratio { value: 1.1, low: 1.02, high: 1.2 }.differs());
        assert!(!Ratio { value: 1.1, low: 0.99, high: 1.2 }.differs());
    }
}
