//! A gate as one HTML file: the decision, a forest plot of all intervals, and every pair as two dots.

use crate::checks::Verdict;
use crate::figures::short;
use crate::gate::decision::{Judgement, Outcome};
use crate::gate::schema::{GateResult, Role};
use crate::gate::summary;

use super::figure::{figure, grid};
use super::label;
use super::page::{Header, Page, Remark, copyable};
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
    let messages = result.messages.iter().map(Remark::from).collect();
    page.verdict(verdict, result.outcome.word(), "", messages);
    page.end_of_header();
    page.sentences(&result.remarks);
    page.section("metrics", "Metrics", "", &tables::table(&summary::table(result)));
    if result.judgements.iter().any(|judgement| judgement.interval.is_some()) {
        page.section("forest", "How much worse, and how sure", "", &forest(result));
        page.section("pairs", "Every pair", "", &pairs(result));
    }
    page.section("environment", "Reproduce", "", &environment(result));
    page.finish(None)
}

/// Intervals below each other on one scale of change, for a wide and for a narrow page.
fn forest(result: &GateResult) -> String {
    let rows: Vec<&Judgement> =
        result.judgements.iter().filter(|judgement| judgement.interval.is_some()).collect();
    let plots = Frame::new(result, &rows, true).draw() + &Frame::new(result, &rows, false).draw();
    let caption = "Points are Hodges–Lehmann estimates, lines their 95 % intervals. Bars mark the change that is allowed, \
         shades what pairs of equal builds differ by (the noise floor). The figures are in the table above.";
    figure(&plots, caption, None)
}

/// Where everything stands in the plot of intervals.
struct Frame<'a> {
    result: &'a GateResult,
    rows: &'a [&'a Judgement],
    is_wide: bool,
    /// Changes up to here, in percent, to both sides.
    reach: f64,
}

impl<'a> Frame<'a> {
    fn new(result: &'a GateResult, rows: &'a [&'a Judgement], is_wide: bool) -> Self {
        let reach = rows.iter().flat_map(|row| {
            let (low, high) = row.interval.unwrap_or_default();
            [low.abs(), high.abs(), row.threshold.change, row.noise_floor.unwrap_or(0.0)]
        });
        // A single absurd interval must not squeeze all others; it is cut at the edge, its figures stand in the table.
        let reach = (reach.fold(0.0, f64::max) * 110.0).clamp(5.0, 200.0);
        Self { result, rows, is_wide, reach }
    }

    fn name(&self, row: &Judgement) -> String {
        let protocol = self.result.cases.get(row.case).map_or("", |case| case.protocol.as_str());
        format!("{protocol} {}", row.threshold.metric.name())
    }

    fn draw(&self) -> String {
        let widest = self.rows.iter().map(|row| label::width(&self.name(row))).fold(0.0, f64::max);
        // A narrow page has name and outcome above the row.
        let (width, row_px, left, right) = if self.is_wide {
            (960.0, 34.0, (widest + 20.0).clamp(80.0, 320.0), 100.0)
        } else {
            (380.0, 52.0, 14.0, 14.0)
        };
        let margins = Margins { top: 10.0, right, bottom: 44.0, left };
        let count = self.rows.len() as f64;
        let (reach, height) = (self.reach, margins.top + margins.bottom + row_px * count);
        let mut plot =
            Plot::new(width, height, margins, Axis::Linear(-reach, reach), Axis::Linear(count, 0.0));
        plot.horizontal_axis(&self.ticks(), "change of the candidate, % (right of 0 is worse)");
        for (index, row) in self.rows.iter().enumerate() {
            let middle = index as f64 + if self.is_wide { 0.5 } else { 0.68 };
            let y = plot.y.place(middle) + 4.0;
            let (name, outcome) = (self.name(row), row.outcome.word());
            if self.is_wide {
                plot.fitted_note(left - 10.0, y, "end", &name, left - 14.0);
                plot.note(width - 8.0, y, "end", outcome);
            } else {
                plot.fitted_note(left, y - 22.0, "start", &name, width - 110.0);
                plot.note(width - right, y - 22.0, "end", outcome);
            }
            row_of_forest(&mut plot, middle, row, &name);
        }
        let class = if self.is_wide { "wide rows" } else { "narrow rows" };
        plot.finish_still(class, "Change of every metric with its interval")
    }

    fn ticks(&self) -> Vec<Tick> {
        let most = if self.is_wide { 5.0 } else { 3.0 };
        let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
            .into_iter()
            .find(|step| self.reach / step <= most)
            .unwrap_or(100.0);
        let count = (self.reach / step).floor() as i32;
        let word = |value: f64| format!("{}{value}", if value > 0.0 { "+" } else { "" }).replace('-', "−");
        (-count..=count).map(|index| f64::from(index) * step).map(|value| (value, word(value))).collect()
    }
}

fn row_of_forest(plot: &mut Plot, y: f64, row: &Judgement, name: &str) {
    let (low, high) = row.interval.unwrap_or_default();
    let change = row.change.unwrap_or_default();
    let slot = if row.outcome == Outcome::Regression { CANDIDATE } else { BASE };
    plot.open_series(slot, name);
    if let Some(floor) = row.noise_floor {
        let floor = floor * 100.0;
        plot.band(&[(-floor, y - 0.25, y + 0.25), (floor, y - 0.25, y + 0.25)]);
    }
    let allowed = row.threshold.change * 100.0;
    plot.line(&[vec![(allowed, y - 0.3), (allowed, y + 0.3)], vec![(low * 100.0, y), (high * 100.0, y)]]);
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
