//! What a report says: verdict, sentences, tables and series, computed once from a result. Terminal, Markdown and
//! HTML draw the same view, so they can't disagree.

pub mod capacity;
pub mod comparison;
pub mod forest;
mod health;
pub mod heat;
pub mod loads;
pub mod objections;
pub mod over_time;
pub mod ranges;
pub mod series;
pub mod style;
mod summary;
pub mod sweep;
pub mod table;
mod tables;
pub mod terms;
pub mod waterfall;

use crate::checks::{self, Check, Outcome, Verdict};
use crate::figures::{bytes, percent, plain, whole};
use crate::schema::{CaseResult, RunResult};
use crate::statistics::Distribution;

use capacity::CapacityView;
use heat::{Doublings, HeatMap};
use loads::Loads;
use objections::ObjectionGroup;
use over_time::{Rates, TimePanel};
use ranges::Ranges;
use series::{Curve, Span, TimeSeries};
use sweep::Sweep;
use table::Table;
use waterfall::Waterfall;

/// What heads the sentences of a run that is not to be believed.
const NO_CLAIM: &str = "This run is invalid: what follows describes its figures and carries no claim.";

/// Everything a report of one run says.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What was compared: `ws, sse, wt-stream: 100 subscribers, 100 msg/s, 256 B`.
    pub title: String,
    /// The protocols, each once.
    pub protocols: Vec<String>,
    /// The load that all cases share, in words; empty where they share nothing.
    pub load: String,
    /// What the result is worth.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub verdict_reason: String,
    /// What each broken check found, worst first, in one line where it is the same in many cases.
    pub objections: Vec<ObjectionGroup>,
    /// What the result says, in plain sentences.
    pub summary: Vec<String>,
    /// Latency, losses and cost side by side.
    pub matrix: Table,
    /// How far the latencies of each case reach.
    pub spans: Vec<Span>,
    /// What happens as the load grows, where the result has sweeps.
    pub sweeps: Vec<Sweep>,
    /// What a search for capacity found.
    pub capacity: Option<CapacityView>,
    /// The plots, one group for each load.
    pub groups: Vec<Group>,
    /// What became of every expected delivery.
    pub accounting: Table,
    /// Where the time goes.
    pub stages: Table,
    /// Connecting in figures.
    pub connecting: Table,
    /// What it costs.
    pub resources: Table,
    /// What the checks found in figures, beside their limits.
    pub health: Table,
    /// Errors by case, text and count.
    pub errors: Vec<(String, String, u64)>,
    /// Every check, its rule and how many cases it holds for.
    pub checks: Vec<CheckLine>,
    /// Machine and versions, as name and value.
    pub environment: Vec<(String, String)>,
    /// Conditions that hold for every case, as name and value.
    pub conditions: Vec<(String, String)>,
    /// The exact command.
    pub command: String,
    /// The seed.
    pub seed: String,
    /// When the run started.
    pub started_at: String,
}

/// A check in one line.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckLine {
    /// Its name.
    pub name: String,
    /// What must hold.
    pub rule: String,
    /// The worst it found.
    pub verdict: Verdict,
    /// `holds for all 5 cases`, or for how many it does.
    pub outcome: String,
}

/// The plots of the cases under one load. What the results don't feed is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// What sets the load apart; empty where the result has only one.
    pub heading: String,
    /// What these cases say, in plain sentences.
    pub sentences: Vec<String>,
    /// Percentile curves.
    pub curves: Vec<Curve>,
    /// The fewest publishes of a case, which decide how far its curve goes.
    pub publishes: u64,
    /// The median of each second.
    pub p50_over_time: Vec<TimeSeries>,
    /// The 99th percentile of each second.
    pub p99_over_time: Vec<TimeSeries>,
    /// Latencies over time by magnitude, one map a case.
    pub heat: Vec<HeatMap>,
    /// The share of all deliveries in each doubling of the latency, one entry a case.
    pub by_doubling: Vec<Doublings>,
    /// Where the time goes.
    pub waterfall: Option<Waterfall>,
    /// Messages planned, published and arrived over time, one entry a case.
    pub rates: Vec<Rates>,
    /// How a message spreads over its subscribers.
    pub spread: Vec<Ranges>,
    /// How long connecting takes.
    pub connecting: Vec<Ranges>,
    /// Processor time and memory over time.
    pub resources: Vec<TimePanel>,
    /// How much the slices differ.
    pub slices: Vec<Ranges>,
}

impl Report {
    /// Computes the view of a result. Floors come last: they are what the others are read against.
    pub fn of(result: &RunResult) -> Self {
        let mut ordered = result.clone();
        ordered.cases.sort_by_key(|case| case.floor);
        let result = &ordered;
        let loads = Loads::of(result);
        let found = checks::judge(result);
        let verdict = checks::verdict(result, &found);
        let objections = objections::groups(result, &loads, &found);
        let distributions: Vec<Distribution> = result.cases.iter().map(series::distribution).collect();
        let groups: Vec<Group> = loads
            .groups(result)
            .into_iter()
            .map(|(load, cases)| {
                let members = cases.iter().map(|index| (&result.cases[*index], &distributions[*index]));
                group(loads.distinction(&load), &members.collect::<Vec<_>>())
            })
            .collect();
        let sweeps = Sweep::all_of(result);
        // With several loads each group has its own sentences; a head with all of them would be read by nobody.
        let mut summary = match groups.as_slice() {
            [only] => only.sentences.clone(),
            many => summary_of_many(result, many, &sweeps),
        };
        let capacity = CapacityView::of(result);
        summary.splice(0..0, capacity.iter().flat_map(|capacity| capacity.sentences.clone()));
        if verdict == Verdict::Invalid && !summary.is_empty() {
            summary.insert(0, NO_CLAIM.to_owned());
        }
        let (protocols, load) = (protocols(result), loads.shared());
        let errors = result.cases.iter().flat_map(|case| {
            case.errors.iter().map(|(text, count)| (loads.name_of(case), text.clone(), *count))
        });
        Self {
            title: title(&protocols, &load),
            protocols,
            load,
            verdict,
            verdict_reason: verdict_reason(result, &found, &objections),
            objections,
            summary,
            matrix: tables::matrix(result, &tables::Intervals::of(result, &distributions)),
            spans: result.cases.iter().filter_map(|case| series::span(loads.name_of(case), case)).collect(),
            sweeps,
            capacity,
            groups,
            accounting: tables::accounting(result),
            stages: tables::stages(result),
            connecting: tables::connecting(result),
            resources: tables::resources(result),
            health: health::table(result, &found),
            errors: errors.collect(),
            checks: found.iter().map(|check| check_line(check, result.cases.len())).collect(),
            environment: environment(result),
            conditions: conditions(result),
            command: result.command.clone(),
            seed: result.seed.to_string(),
            started_at: result.started_at.clone(),
        }
    }
}

fn protocols(result: &RunResult) -> Vec<String> {
    let mut protocols: Vec<String> = Vec::new();
    for case in &result.cases {
        if !protocols.contains(&case.protocol) {
            protocols.push(case.protocol.clone());
        }
    }
    protocols
}

fn title(protocols: &[String], load: &str) -> String {
    match (protocols, load) {
        ([], _) => "No case was measured".to_owned(),
        (protocols, "") => protocols.join(", "),
        (protocols, load) => format!("{}: {load}", protocols.join(", ")),
    }
}

/// The plots and sentences of the cases under one load.
fn group(heading: String, measured: &[(&CaseResult, &Distribution)]) -> Group {
    let cases: Vec<&CaseResult> = measured.iter().map(|(case, _)| *case).collect();
    let of_each = |figure: fn(&crate::schema::TimelinePoint) -> Option<f64>| -> Vec<TimeSeries> {
        cases.iter().filter_map(|case| series::over_time(case, figure)).collect()
    };
    Group {
        heading,
        sentences: summary::sentences(measured),
        curves: measured
            .iter()
            .filter_map(|(case, distribution)| series::curve(case, distribution))
            .collect(),
        publishes: cases.iter().map(|case| series::samples(case)).min().unwrap_or(0),
        p50_over_time: of_each(|point| point.p50_us),
        p99_over_time: of_each(|point| point.p99_us),
        heat: cases.iter().filter_map(|case| HeatMap::of(case)).collect(),
        by_doubling: cases.iter().filter_map(|case| heat::by_doubling(case)).collect(),
        waterfall: Waterfall::of(&cases),
        rates: cases.iter().filter_map(|case| Rates::of(case)).collect(),
        spread: ranges::spread(&cases),
        connecting: ranges::connecting(&cases),
        resources: over_time::resources(&cases),
        slices: ranges::slices(&cases),
    }
}

/// The head of a result with several loads, or none.
fn summary_of_many(result: &RunResult, groups: &[Group], sweeps: &[Sweep]) -> Vec<String> {
    let expected: u64 = result.cases.iter().map(|case| case.accounting.expected).sum();
    let lost: u64 = result.cases.iter().map(|case| case.accounting.lost).sum();
    if groups.is_empty() {
        return Vec::new();
    }
    let losses = if lost == 0 {
        format!("All {} expected deliveries arrived.", whole(expected))
    } else {
        format!(
            "{} of {} expected deliveries were lost ({}).",
            whole(lost),
            whole(expected),
            percent(lost, expected)
        )
    };
    let mut sentences = vec![format!("{} cases under {} loads. {losses}", result.cases.len(), groups.len())];
    for sweep in sweeps {
        let held = if sweep.heading.is_empty() { String::new() } else { format!("At {}: ", sweep.heading) };
        let knees: Vec<String> = sweep
            .knees
            .iter()
            .map(|knee| format!("{} from {} {} on ({})", knee.name, plain(knee.load), sweep.name, knee.why))
            .collect();
        sentences.push(if knees.is_empty() {
            format!("{held}No protocol is overloaded at any number of {} that was run.", sweep.name)
        } else {
            format!("{held}Overloaded are {}.", knees.join("; "))
        });
    }
    sentences
}

fn verdict_reason(result: &RunResult, checks: &[Check], objections: &[ObjectionGroup]) -> String {
    if result.cases.is_empty() {
        return "nothing was measured".to_owned();
    }
    let interrupted = if result.interrupted { "the run was interrupted; " } else { "" };
    if !objections.is_empty() {
        return format!("{interrupted}{}", objections::count(objections));
    }
    let is_judged = |outcome: &Outcome| !matches!(outcome, Outcome::NotJudged(_));
    let judged = checks.iter().filter(|check| check.outcomes.iter().any(is_judged)).count();
    format!("{interrupted}all {judged} checks that this result can answer hold")
}

fn check_line(check: &Check, cases: usize) -> CheckLine {
    let count =
        |wanted: fn(&Outcome) -> bool| check.outcomes.iter().filter(|outcome| wanted(outcome)).count();
    let holds = count(|outcome| matches!(outcome, Outcome::Holds));
    let unjudged = count(|outcome| matches!(outcome, Outcome::NotJudged(_)));
    let suspect = count(|outcome| matches!(outcome, Outcome::Suspect(_)));
    let invalid = count(|outcome| matches!(outcome, Outcome::Invalid(_)));
    let reason = check.outcomes.iter().find_map(|outcome| match outcome {
        Outcome::NotJudged(reason) => Some(reason.as_str()),
        _ => None,
    });
    let outcome = match (holds, unjudged) {
        _ if suspect + invalid > 0 => format!("broken in {} of {cases} cases", suspect + invalid),
        (0, _) => format!("not judged: {}", reason.unwrap_or("no case")),
        (_, 0) => "holds".to_owned(),
        _ => format!(
            "holds in {holds} of {cases} cases, the others are not judged: {}",
            reason.unwrap_or_default()
        ),
    };
    let verdict = match (invalid, suspect) {
        (0, 0) => Verdict::Valid,
        (0, _) => Verdict::Suspect,
        _ => Verdict::Invalid,
    };
    CheckLine { name: check.name.to_owned(), rule: check.rule.to_owned(), verdict, outcome }
}

fn environment(result: &RunResult) -> Vec<(String, String)> {
    let environment = &result.environment;
    let mut facts = vec![
        ("processor".to_owned(), environment.cpu.clone()),
        ("cores".to_owned(), environment.cores.to_string()),
        ("memory".to_owned(), bytes(environment.memory_bytes as f64)),
        ("kernel".to_owned(), environment.kernel.clone()),
    ];
    facts.extend(environment.git_revision.iter().map(|revision| ("revision".to_owned(), revision.clone())));
    facts.extend(environment.versions.iter().cloned());
    facts.push(("started".to_owned(), result.started_at.clone()));
    facts.push(("seed".to_owned(), result.seed.to_string()));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// What the run says of itself, after what every run has.
fn conditions(result: &RunResult) -> Vec<(String, String)> {
    let mut conditions = Vec::new();
    if let Some(first) = result.cases.first() {
        let shared = |figure: fn(&CaseResult) -> f64| {
            let value = figure(first);
            result.cases.iter().all(|case| (figure(case) - value).abs() < 0.05).then_some(value)
        };
        conditions.extend(
            shared(|case| case.duration_s).map(|s| ("measured".to_owned(), format!("{} s a case", plain(s)))),
        );
        conditions.extend(
            shared(|case| case.warmup_s).map(|s| ("warm-up".to_owned(), format!("{} s a case", plain(s)))),
        );
    }
    conditions.extend(result.conditions.iter().cloned());
    conditions
}
