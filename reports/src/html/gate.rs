//! A gate as one HTML file: the decision, a forest plot of all intervals, and every pair as two dots.

use crate::checks::Verdict;
use crate::figures::short;
use crate::gate::decision::{Judgement, Outcome};
use crate::gate::schema::{GateResult, Role};
use crate::gate::summary;

use super::figure::{figure, grid};
use super::page::{Header, Page, copyable};
use super::plot::{Axis, Margins, Plot, Tick};
use super::tables;

/// Slots of the three roles in the plots of pairs.
const BASE: usize = 0;
const CANDIDATE: usize = 1;

/// Draws it.
pub fn render(result: &GateResult) -> String {
    let title = summary::title(result);
    let mut page = Page::begin(&format!("{}: {title}", result.outcome.word()));
    page.header(&Header {
        over: "lastmile gate",
        moment: &result.started_at,
        heading: &title,
        load: &summary::method(result),
    });
    let verdict = match result.outcome {
        Outcome::Pass => Verdict::Valid,
        Outcome::Inconclusive => Verdict::Suspect,
        Outcome::Invalid | Outcome::Regression => Verdict::Invalid,
    };
    page.verdict(verdict, result.outcome.word(), "", &result.messages);
    page.sentences(&result.remarks);
    page.end_of_header();
    page.section("metrics", "Metrics", "", &tables::table(&summary::table(result)));
    if result.judgements.iter().any(|judgement| judgement.interval.is_some()) {
        page.section("forest", "How much worse, and how sure", "", &forest(result));
        page.section("pairs", "Every pair", "", &pairs(result));
    }
    page.section("environment", "Reproduce", "", &environment(result));
    page.finish(None)
}

/// Intervals below each other on one scale of change.
fn forest(result: &GateResult) -> String {
    const ROW: f64 = 34.0;
    let rows: Vec<&Judgement> =
        result.judgements.iter().filter(|judgement| judgement.interval.is_some()).collect();
    let reach = rows.iter().flat_map(|row| {
        let (low, high) = row.interval.unwrap_or_default();
        [low.abs(), high.abs(), row.threshold.change, row.noise_floor.unwrap_or(0.0)]
    });
    // A single absurd interval must not squeeze all others; it is cut at the edge, its figures stand in the table.
    let reach = (reach.fold(0.0, f64::max) * 110.0).clamp(5.0, 200.0);
    let margins = Margins { top: 10.0, right: 90.0, bottom: 44.0, left: 150.0 };
    let height = 54.0 + ROW * rows.len() as f64;
    let mut plot =
        Plot::new(960.0, height, margins, Axis::Linear(-reach, reach), Axis::Linear(rows.len() as f64, 0.0));
    let step =
        [1.0, 2.0, 5.0, 10.0, 20.0, 50.0].into_iter().find(|step| reach / step <= 5.0).unwrap_or(100.0);
    let count = (reach / step).floor() as i32;
    let ticks: Vec<Tick> = (-count..=count)
        .map(|index| f64::from(index) * step)
        .map(|value| (value, format!("{}{}", if value > 0.0 { "+" } else { "" }, value).replace('-', "−")))
        .collect();
    plot.horizontal_axis(&ticks, "change of the candidate, % (right of 0 is worse)");
    for (index, row) in rows.iter().enumerate() {
        forest_row(&mut plot, index as f64 + 0.5, row, result);
    }
    let plot = plot.finish_still("rows", "Change of every metric with its interval");
    let caption = "Points are Hodges–Lehmann estimates, lines their 95 % intervals. Bars mark the change that is allowed, \
         shades what pairs of equal builds differ by (the noise floor). The figures are in the table above.";
    figure(&plot, caption, None)
}

fn forest_row(plot: &mut Plot, y: f64, row: &Judgement, result: &GateResult) {
    let protocol = result.cases.get(row.case).map_or("", |case| case.protocol.as_str());
    let name = format!("{protocol} {}", row.threshold.metric.name());
    let (low, high) = row.interval.unwrap_or_default();
    let change = row.change.unwrap_or_default();
    let slot = if row.outcome == Outcome::Regression { CANDIDATE } else { BASE };
    plot.note(140.0, plot.y.place(y) + 4.0, "end", &name);
    plot.note(952.0, plot.y.place(y) + 4.0, "end", row.outcome.word());
    plot.open_series(slot, &name);
    if let Some(floor) = row.noise_floor {
        let floor = floor * 100.0;
        plot.band(&[(-floor, y - 0.3, y + 0.3), (floor, y - 0.3, y + 0.3)]);
    }
    let allowed = row.threshold.change * 100.0;
    plot.line(&[vec![(allowed, y - 0.35), (allowed, y + 0.35)], vec![(low * 100.0, y), (high * 100.0, y)]]);
    let words =
        format!("{name}: {} ({} … {})", summary::signed(change), summary::signed(low), summary::signed(high));
    plot.marker(slot, change * 100.0, y, &words);
    plot.close_series();
}

/// Small multiples: base and candidate of every pair, joined.
fn pairs(result: &GateResult) -> String {
    let plots: Vec<(String, String)> =
        result.judgements.iter().filter_map(|judgement| pairs_of(judgement, result)).collect();
    let caption = "Each pair is a block of the base (circles) and one of the candidate (squares), measured next to each \
         other in random order. Triangles are the base measured once more.";
    figure(&grid("multiples", &plots), caption, None)
}

fn pairs_of(judgement: &Judgement, result: &GateResult) -> Option<(String, String)> {
    const BASE_AGAIN: usize = 7;
    let metric = judgement.threshold.metric;
    let figures: Vec<(usize, Role, f64)> = result
        .blocks
        .iter()
        .filter(|block| block.case == judgement.case)
        .filter_map(|block| Some((block.pair, block.role, block.value(metric)?)))
        .collect();
    let values = || figures.iter().map(|(_, _, value)| *value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let space = ((high - low) * 0.1).max(high.abs() * 0.01);
    if !space.is_finite() || space <= 0.0 {
        return None;
    }
    let last = figures.iter().map(|(pair, ..)| *pair).max().unwrap_or(0) + 1;
    let margins = Margins { top: 10.0, right: 10.0, bottom: 40.0, left: 62.0 };
    let x = Axis::Linear(0.4, last as f64 + 0.6);
    let mut plot = Plot::new(380.0, 220.0, margins, x, Axis::Linear(low - space, high + space));
    let middle = f64::midpoint(low, high);
    plot.vertical_axis(&[low, middle, high].map(|value| (value, short(value))));
    let every = last.div_ceil(8).max(1);
    let ticks: Vec<Tick> = (1..=last).step_by(every).map(|pair| (pair as f64, pair.to_string())).collect();
    plot.horizontal_axis(&ticks, "pair");
    let place = |pair: usize| pair as f64 + 1.0;
    let value_of = |pair: usize, role: Role| {
        figures.iter().find(|figure| figure.0 == pair && figure.1 == role).map(|figure| figure.2)
    };
    plot.open_series(CANDIDATE, "pairs");
    let joined = (0..last).filter_map(|pair| {
        let (base, candidate) = (value_of(pair, Role::Base)?, value_of(pair, Role::Candidate)?);
        Some(vec![(place(pair), base), (place(pair), candidate)])
    });
    plot.line(&joined.collect::<Vec<_>>());
    plot.close_series();
    for (role, slot, name) in [
        (Role::BaseAgain, BASE_AGAIN, "base again"),
        (Role::Base, BASE, "base"),
        (Role::Candidate, CANDIDATE, "candidate"),
    ] {
        plot.open_series(slot, name);
        for (pair, _, value) in figures.iter().filter(|figure| figure.1 == role) {
            let words = format!("pair {}, {name}: {}", pair + 1, summary::value(metric, *value));
            plot.marker(slot, place(*pair), *value, &words);
        }
        plot.close_series();
    }
    let protocol = result.cases.get(judgement.case).map_or("", |case| case.protocol.as_str());
    let title = format!("{protocol} {}, {}", metric.name(), metric.unit());
    let words = format!("{title}: base and candidate by pair");
    Some((title, plot.finish_still("third", &words)))
}

fn environment(result: &GateResult) -> String {
    let environment = &result.environment;
    let mut html = copyable("command", &result.reproduce);
    let build = |build: &crate::gate::schema::Build| {
        let parts = [Some(build.program.clone()), build.revision.clone(), build.version.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    };
    let mut facts = vec![
        ("base".to_owned(), build(&result.base)),
        ("candidate".to_owned(), build(&result.candidate)),
        ("seed".to_owned(), result.seed.to_string()),
    ];
    facts.extend(result.cases.iter().map(|case| (case.protocol.clone(), case.load.clone())));
    facts.extend(result.conditions.iter().cloned());
    facts.push(("machine".to_owned(), format!("{}, {} cores", environment.cpu, environment.cores)));
    facts.push(("kernel".to_owned(), environment.kernel.clone()));
    html.push_str(&tables::facts(&facts));
    html
}
