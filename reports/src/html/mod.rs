//! A result as one HTML file: no request to anywhere, readable without script, in the dark, on paper and on a phone.
//!
//! What other pages are made of is public: [`page`] the frame, [`figure`], [`tables`], [`plot`] with [`scale`] and
//! [`ticks`], and the ready plots [`forest`] and [`ranges`]. [`page`] tells how.

mod comparison;
mod embed;
pub mod escape;
pub mod figure;
pub mod forest;
pub mod gate;
mod heat;
pub mod label;
mod over_time;
pub mod page;
mod percentiles;
pub mod plot;
pub mod ranges;
pub mod scale;
mod sweep;
pub mod tables;
pub mod ticks;
pub mod trend;
mod waterfall;

use std::fmt::Write;
use std::thread;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::checks::Verdict;
use crate::schema::RunResult;
use crate::view::objections::Objection;
use crate::view::table::Table;
use crate::view::terms::TERMS;
use crate::view::{CheckLine, Group, Report};

pub use comparison::render as render_comparison;
use escape::Text;
use page::{Header, Page, Remark, section, summary};

/// Draws a result. What takes longest, packing the result into the page, is done beside the drawing.
pub fn render(result: &RunResult) -> String {
    thread::scope(|scope| {
        let packing = scope.spawn(|| embed::packed(result));
        let page = draw(result);
        let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        page.finish(Some(&packed))
    })
}

fn draw(result: &RunResult) -> Page {
    let report = Report::of(result);
    let mut page = Page::begin(&format!("{}: {}", report.verdict.word(), report.title));
    header(&mut page, &report);
    page.section("results", "Results", "", &tables::table(&report.matrix));
    let (growth, has_several) = (growth(&report), report.groups.len() > 1);
    if has_several {
        growth_section(&mut page, &growth);
        for (number, group) in report.groups.iter().enumerate() {
            folded_group(&mut page, number, group);
        }
    } else {
        let all: Vec<Panel> = report.groups.first().map_or_else(Vec::new, |group| panels(group, ""));
        let (latency, others): (Vec<Panel>, Vec<Panel>) = all.into_iter().partition(|panel| panel.is_latency);
        for panel in &latency {
            add(&mut page, panel);
        }
        growth_section(&mut page, &growth);
        for panel in &others {
            add(&mut page, panel);
        }
    }
    tables_at_the_end(&mut page, &report);
    footer(&mut page, &report);
    page
}

/// Can I believe it, and what does it say.
fn header(page: &mut Page, report: &Report) {
    let count = report.protocols.len();
    let protocols = if count == 1 { "protocol" } else { "protocols" };
    page.header(&Header {
        over: "lastmile",
        moment: &moment(&report.started_at),
        heading: &format!("From Redis publish to client receipt, over {count} {protocols}"),
        load: &report.load,
    });
    let objections = report.objections.iter().map(|group| Remark {
        text: group.line(),
        each: if group.each.len() > 1 {
            group.each.iter().map(Objection::line).collect()
        } else {
            Vec::new()
        },
    });
    page.verdict(report.verdict, report.verdict.word(), &report.verdict_reason, objections.collect());
    page.end_of_header();
    page.sentences(&report.summary);
}

/// A panel of a group.
struct Panel {
    id: String,
    heading: &'static str,
    content: String,
    /// It is about latency, and comes before what happens as the load grows.
    is_latency: bool,
}

fn add(page: &mut Page, panel: &Panel) {
    page.between(Some((&panel.id, panel.heading)), &section(&panel.id, panel.heading, "", &panel.content));
}

/// All panels that a group feeds, in their order.
fn panels(group: &Group, suffix: &str) -> Vec<Panel> {
    let of_curves = group.curves.iter().map(|curve| (curve.name.as_str(), curve.slot));
    let of_seconds = group.p50_over_time.iter().map(|series| (series.name.as_str(), series.slot));
    let legend = figure::legend(of_curves.chain(of_seconds));
    let connecting: Vec<_> = group.connecting.iter().collect();
    let spread: Vec<_> = group.spread.iter().collect();
    let slices: Vec<_> = group.slices.iter().collect();
    let panel = |is_latency: bool, id: &str, heading: &'static str, content: Option<String>| {
        content.map(|content| Panel { id: format!("{id}{suffix}"), heading, content, is_latency })
    };
    let curves = format!("{legend}{}", percentiles::percentiles(group));
    [
        panel(true, "percentiles", "Latency by percentile", Some(curves)),
        panel(true, "heat", "Every delivery over time", heat::render(&group.heat, &group.by_doubling)),
        panel(true, "legs", "Where the time goes", group.waterfall.as_ref().map(waterfall::render)),
        panel(true, "seconds", "Latency over time", Some(format!("{legend}{}", over_time::latency(group)))),
        panel(true, "rates", "Rate, planned against achieved", over_time::rates(&group.rates)),
        panel(false, "spread", "Fan-out: from the first subscriber to the last", (!spread.is_empty()).then(|| {
            ranges::render(
                &spread,
                "From planned time until the first, half, 99 % and the last of a message's subscribers had it: the \
                 distance is what fan-out costs. Logarithmic, one scale for both.",
            )
        })),
        panel(false, "connecting", "Connecting", (!connecting.is_empty()).then(|| {
            ranges::render(&connecting, "Over the subscribers, logarithmic. A quantile needs as many subscribers as it needs publishes elsewhere.")
        })),
        panel(false, "usage", "Processor time and memory over time", over_time::resources(&group.resources)),
        panel(false, "slices", "How much the slices differ", (!slices.is_empty()).then(|| {
            ranges::render(
                &slices,
                "Each point is a slice on a fresh server, the line across is the whole case: what lies within the points' \
                 reach of each other may be noise. Latencies on one logarithmic scale.",
            )
        })),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The panels of one of several loads, folded where it is not the first.
fn folded_group(page: &mut Page, number: usize, group: &Group) {
    let id = format!("load-{number}");
    let open = if number == 0 { " open" } else { "" };
    let mut content = format!(
        "<details class=\"load\" id=\"{id}\"{open}><summary><h2>{}</h2></summary>{}",
        Text(&group.heading),
        summary(&group.sentences)
    );
    for panel in panels(group, &format!("-{number}")) {
        content.push_str(&section(&panel.id, panel.heading, &group.heading, &panel.content));
    }
    content.push_str("</details>");
    page.between(Some((&id, &group.heading)), &content);
}

/// Sweeps and searches.
fn growth(report: &Report) -> String {
    let mut content: String = report.sweeps.iter().map(sweep::render).collect();
    if let Some(capacity) = &report.capacity {
        content.push_str("<h3>Capacity</h3>");
        content.push_str(&sweep::capacity(capacity));
    }
    content
}

fn growth_section(page: &mut Page, content: &str) {
    if !content.is_empty() {
        page.section("sweep", "As the load grows", "", content);
    }
}

fn tables_at_the_end(page: &mut Page, report: &Report) {
    let stages = format!(
        "{}{}<p class=\"remark\">Latency counts from the moment a message was planned, service latency from the moment it \
         was sent: a publisher that falls behind shows in the first and would hide in the second.</p>",
        tables::table(&report.stages),
        tables::table(&report.connecting),
    );
    page.section("stages", "From planned to receipt, in figures", "", &stages);
    let mut accounting = format!(
        "{}<p class=\"remark\">expected = delivered + lost. A lost message is not late, so losses flatter the \
         percentiles beside them.</p>",
        tables::table(&report.accounting)
    );
    if !report.errors.is_empty() {
        accounting.push_str("<h3>Errors</h3><ul class=\"errors\">");
        for (case, text, count) in &report.errors {
            let _ = write!(accounting, "<li><b>{}</b>, {count}×: {}</li>", Text(case), Text(text));
        }
        accounting.push_str("</ul>");
    }
    page.section("accounting", "Accounting", "", &accounting);
    page.section("resources", "Resources", "", &tables::table(&report.resources));
    let health = if report.health.columns.len() > 1 { tables::table(&report.health) } else { String::new() };
    page.section("checks", "Self-checks", "", &format!("{}{health}", checks(&report.checks)));
}

fn checks(checks: &[CheckLine]) -> String {
    let mut html = "<ul class=\"checks\">".to_owned();
    for check in checks {
        let judged = !check.outcome.starts_with("not judged");
        let (class, word) = match check.verdict {
            Verdict::Valid if !judged => ("open", "–"),
            Verdict::Valid => ("valid", "✓"),
            Verdict::Suspect => ("suspect", "!"),
            Verdict::Invalid => ("invalid", "✗"),
        };
        let _ = write!(
            html,
            "<li class=\"{class}\"><span aria-hidden=\"true\">{word}</span> <b>{}</b> {} <em>{}</em></li>",
            Text(&check.name),
            Text(&check.rule),
            Text(&check.outcome)
        );
    }
    html.push_str("</ul>");
    html
}

/// How to get the same again, and what the words mean.
fn footer(page: &mut Page, report: &Report) {
    let mut content = format!("<h3>Command</h3>{}", page::copyable("command", &report.command));
    let _ = write!(content, "<h3>Conditions</h3>{}", tables::facts(&report.conditions));
    let _ = write!(content, "<h3>Machine and versions</h3>{}", tables::facts(&report.environment));
    let lines: Vec<String> = report
        .environment
        .iter()
        .chain(&report.conditions)
        .map(|(name, value)| format!("{name}: {value}"))
        .chain([format!("command: {}", report.command)])
        .collect();
    let _ = write!(
        content,
        "<details class=\"plain\"><summary>As text, to copy</summary>{}</details>",
        page::copyable("environment", &lines.join("\n"))
    );
    page.section("environment", "Environment", "", &content);
    let mut terms = "<dl class=\"terms\">".to_owned();
    let general = TERMS.iter().map(|(name, meaning)| ((*name).to_owned(), (*meaning).to_owned()));
    let mut all: Vec<(String, String)> = general.collect();
    for (name, meaning) in
        definitions(&[&report.matrix, &report.accounting, &report.stages, &report.resources, &report.health])
    {
        if !all.iter().any(|(other, _)| *other == name) {
            all.push((name, meaning));
        }
    }
    for (name, meaning) in all {
        let _ = write!(terms, "<dt>{}</dt><dd>{}</dd>", Text(&name), Text(&meaning));
    }
    terms.push_str("</dl>");
    page.section("terms", "Terms", "", &terms);
}

/// Every column once, with what it means.
fn definitions(tables: &[&Table]) -> Vec<(String, String)> {
    let mut definitions: Vec<(String, String)> = Vec::new();
    for column in tables.iter().flat_map(|table| &table.columns) {
        let name = match column.group.as_str() {
            "" | "latency" | "deliveries" | "cost" | "load" | "of what arrived" => column.name.clone(),
            // The figures of a stage or a resource mean the same, for whichever process or percentile.
            group => group.to_owned(),
        };
        if !definitions.iter().any(|(other, _)| *other == name) {
            definitions.push((name, column.meaning.clone()));
        }
    }
    definitions
}

/// A time for people; as it is where it is none.
fn moment(started_at: &str) -> String {
    let form =
        format_description!("[day padding:none] [month repr:long] [year], [hour]:[minute]:[second] UTC");
    OffsetDateTime::parse(started_at, &Rfc3339)
        .ok()
        .and_then(|moment| moment.to_offset(time::UtcOffset::UTC).format(form).ok())
        .unwrap_or_else(|| started_at.to_owned())
}
