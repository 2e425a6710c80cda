//! A history as one HTML page: every series with its levels, and where they changed.

use crate::figures::short;
use crate::gate::Metric;
use crate::gate::summary::signed;
use crate::history::{Change, Series, changes_table, method, short_revision};
use crate::statistics::Sensitivity;

use super::escape::Text;
use super::figure::{figure, grid};
use super::page::{Header, Page};
use super::plot::{Axis, Margins, Plot, Tick};
use super::tables;

/// Draws it.
pub fn render(title: &str, series: &[Series], sensitivity: Sensitivity) -> String {
    let changes: Vec<Change<'_>> = series.iter().flat_map(|series| series.changes(sensitivity)).collect();
    let worse = changes.iter().filter(|change| change.is_worse()).count();
    let mut page = Page::begin(&format!("lastmile history: {title}"));
    let runs = series.iter().map(|series| series.points.len()).max().unwrap_or(0);
    let load = format!(
        "{} series, up to {runs} runs each; {} changes of level, {worse} for the worse",
        series.len(),
        changes.len()
    );
    page.header(&Header { over: "lastmile history", moment: "", heading: title, load: &load });
    page.end_of_header();
    let found = if changes.is_empty() {
        format!("<p class=\"none\">No series changed its level. {}.</p>", Text(&method(sensitivity)))
    } else {
        format!(
            "{}<p class=\"remark\">{}.</p>",
            tables::table(&changes_table(&changes)),
            Text(&method(sensitivity))
        )
    };
    page.section("changes", "Changes", "", &found);
    for (number, group) in
        series.chunk_by(|left, right| left.case == right.case && left.machine == right.machine).enumerate()
    {
        let first = &group[0];
        let plots: Vec<(String, String)> = group.iter().filter_map(|series| plot(series, &changes)).collect();
        let machine = format!("machine {}", first.machine);
        let caption = "One point a run in their order; lines are the means of levels, labels below the first revisions of \
             a new one.";
        let content = figure(&grid("multiples", &plots), caption, None);
        page.section(&format!("series-{number}"), &first.case, &machine, &content);
    }
    page.finish(None)
}

/// One series: its points, the means of its levels, and a line where they change.
fn plot(series: &Series, changes: &[Change<'_>]) -> Option<(String, String)> {
    let values = || series.points.iter().map(|point| point.value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let space = ((high - low) * 0.12).max(high.abs() * 0.02);
    if !space.is_finite() || space <= 0.0 {
        return None;
    }
    let last = series.points.len();
    let margins = Margins { top: 10.0, right: 10.0, bottom: 40.0, left: 62.0 };
    let x = Axis::Linear(-0.5, last as f64 - 0.5);
    let mut plot = Plot::new(380.0, 220.0, margins, x, Axis::Linear(low - space, high + space));
    plot.vertical_axis(&[low, f64::midpoint(low, high), high].map(|value| (value, short(value))));
    let of_series: Vec<&Change<'_>> =
        changes.iter().filter(|change| std::ptr::eq(change.series, series)).collect();
    let ticks: Vec<Tick> = of_series
        .iter()
        .map(|change| {
            (
                change.point.index as f64 - 0.5,
                short_revision(&change.revisions().1.revision).chars().take(7).collect(),
            )
        })
        .collect();
    plot.horizontal_axis(&ticks, "runs; labels are the first revisions of a new level");
    plot.open_series(0, &series.metric);
    for (index, point) in series.points.iter().enumerate() {
        let words =
            format!("{} ({}): {}", short_revision(&point.revision), point.measured_at, short(point.value));
        plot.marker(0, index as f64, point.value, &words);
    }
    plot.close_series();
    plot.open_series(1, "levels");
    let edges: Vec<usize> =
        std::iter::once(0).chain(of_series.iter().map(|change| change.point.index)).chain([last]).collect();
    let levels = edges.windows(2).map(|edge| {
        let part = &series.points[edge[0]..edge[1]];
        let mean = part.iter().map(|point| point.value).sum::<f64>() / part.len().max(1) as f64;
        vec![(edge[0] as f64 - 0.5, mean), (edge[1] as f64 - 0.5, mean)]
    });
    plot.line(&levels.collect::<Vec<_>>());
    plot.close_series();
    let told: Vec<String> = of_series.iter().filter_map(|change| change.point.change()).map(signed).collect();
    let told = if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) };
    let words = format!("{} of {} by run", series.metric, series.case);
    // Figures of others have a name, and a unit only in it.
    let unit =
        Metric::named(&series.metric).map_or_else(String::new, |metric| format!(", {}", metric.unit()));
    Some((format!("{}{unit}{told}", series.metric), plot.finish_still("third trend", &words)))
}
