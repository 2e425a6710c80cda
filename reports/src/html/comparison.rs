//! Several results as one HTML file.

use std::fmt::Write;

use crate::view::comparison::{Comparison, Run};

use super::escape::Text;
use super::page::{Header, Page, Remark, copyable, section};
use super::{figure, forest, over_time, percentiles, tables};

/// Draws runs side by side; the first is what the others are held against.
pub fn render(runs: &[Run<'_>]) -> String {
    let comparison = Comparison::of(runs);
    let mut page = Page::begin(&comparison.title);
    page.header(&Header {
        over: "lastmile",
        moment: "",
        heading: &format!("{} runs compared", runs.len()),
        load: &comparison.title,
    });
    page.verdict(
        comparison.verdict,
        comparison.verdict.word(),
        &comparison.verdict_reason,
        comparison.warnings.iter().map(Remark::from).collect(),
    );
    page.end_of_header();
    page.sentences(&comparison.sentences);
    page.section("runs", "Runs", "", &tables::table(&comparison.runs));
    let ratios = figure::figure(
        &forest::render(&comparison.forest),
        "Change against the first run, with bounds no narrower than the 95 % intervals of both runs allow. Where the \
         whisker crosses the line of no change, the runs leave room for equality; filled points don't.",
        None,
    );
    page.section("changes", "What changed", &comparison.forest.title, &ratios);
    page.section("cases", "Cases", "", &tables::table(&comparison.cases));
    for (number, group) in comparison.groups.iter().enumerate() {
        let of_curves = group.curves.iter().map(|curve| (curve.name.as_str(), curve.slot));
        let of_seconds = group.p50_over_time.iter().map(|series| (series.name.as_str(), series.slot));
        let content = format!(
            "{}{}<h3>Latency over time <small>{}</small></h3>{}",
            figure::legend(of_curves.chain(of_seconds)),
            percentiles::percentiles(group),
            Text(&group.heading),
            over_time::latency(group)
        );
        let id = format!("case-{number}");
        page.between(
            Some((&id, &group.heading)),
            &section(&id, "Latency by percentile", &group.heading, &content),
        );
    }
    let mut commands = String::new();
    for (name, command) in &comparison.commands {
        let _ = write!(commands, "<h3>{}</h3>{}", Text(name), copyable("command", command));
    }
    page.section("commands", "Commands", "", &commands);
    page.finish(None)
}
