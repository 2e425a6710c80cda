//! A result as one HTML file: no request to anywhere, readable without script, in the dark, on paper and on a phone.

mod comparison;
mod embed;
mod escape;
pub mod gate;
mod panels;
mod plot;
mod scale;
mod sweep;
mod tables;
pub mod trend;

use std::fmt::Write;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::checks::Verdict;
use crate::schema::RunResult;
use crate::store;
use crate::view::table::Table;
use crate::view::{CheckLine, Group, Report};

pub use comparison::render as render_comparison;
use escape::Text;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Draws a result.
pub fn render(result: &RunResult) -> String {
    let report = Report::of(result);
    let mut html = String::with_capacity(256 * 1024);
    head(&mut html, &format!("{}: {}", report.verdict.word(), report.title));
    header(&mut html, &report);
    body(&mut html, &report);
    footer(&mut html, &report);
    let _ = writeln!(
        html,
        "</main><script type=\"text/plain\" id=\"result\">{}</script><script>{SCRIPT}</script></body></html>",
        embed::packed(&store::to_json(result))
    );
    html
}

/// The head, and the opening of the body.
fn head(html: &mut String, title: &str) {
    // Nothing may be loaded from anywhere: the file opens from a mail, and says the same on every machine. And no
    // script but ours may run, should text of a result ever get past the escaping.
    let policy = format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src '{}'; img-src data:; base-uri 'none'; form-action 'none'",
        embed::script_hash(SCRIPT)
    );
    let _ = write!(
        html,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\
         <meta name=\"generator\" content=\"lastmile {version}\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main>",
        version = env!("CARGO_PKG_VERSION"),
        title = Text(title),
    );
}

/// Can I believe it, and what does it say.
fn header(html: &mut String, report: &Report) {
    let count = report.protocols.len();
    let protocols = if count == 1 { "protocol" } else { "protocols" };
    let _ = write!(
        html,
        "<header><p class=\"over\">lastmile <span>{}</span></p><h1>From Redis publish to client receipt, over {count} {protocols}</h1>\
         <p class=\"load\">{}</p>",
        Text(&moment(&report.started_at)),
        Text(&report.load),
    );
    let class = verdict_class(report.verdict);
    let _ = write!(
        html,
        "<section class=\"verdict {class}\" aria-label=\"Verdict\"><p><strong>{}</strong> {}</p>",
        report.verdict.word(),
        Text(&report.verdict_reason)
    );
    if !report.objections.is_empty() {
        html.push_str("<ul>");
        for objection in &report.objections {
            let _ = write!(
                html,
                "<li><b>{}</b>, {}: {}</li>",
                Text(&objection.case),
                Text(&objection.check),
                Text(&objection.finding)
            );
        }
        html.push_str("</ul>");
    }
    html.push_str("</section>");
    sentences(html, &report.summary);
    html.push_str("</header>");
}

fn sentences(html: &mut String, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    html.push_str("<div class=\"summary\">");
    for sentence in sentences {
        let _ = write!(html, "<p>{}</p>", unbroken_names(sentence));
    }
    html.push_str("</div>");
}

/// A sentence in which no line ends within a name such as wt-stream.
fn unbroken_names(sentence: &str) -> String {
    let word = |word: &str| {
        if word.contains('-') { format!("<span>{}</span>", Text(word)) } else { Text(word).to_string() }
    };
    sentence.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn body(html: &mut String, report: &Report) {
    section(html, "results", "Results", &tables::table(&report.matrix));
    if let Some(sweep) = &report.sweep {
        let _ = write!(
            html,
            "<section class=\"group\" id=\"sweep\"><h2>As the load grows</h2>{}</section>",
            sweep::render(sweep)
        );
    }
    let several = report.groups.len() > 1;
    for (number, group) in report.groups.iter().enumerate() {
        plots(html, number, group, several);
    }
    let stages = format!(
        "{}<p class=\"remark\">Latency counts from the moment a message was planned, service latency from the moment it \
         was sent: a publisher that falls behind shows in the first and would hide in the second.</p>",
        tables::table(&report.stages)
    );
    section(html, "stages", "Where the time goes", &stages);
    let accounting = format!(
        "{}<p class=\"remark\">expected = delivered + lost. A lost message is not late, so losses flatter the \
         percentiles beside them.</p>",
        tables::table(&report.accounting)
    );
    section(html, "accounting", "Accounting", &accounting);
    section(html, "resources", "Resources", &tables::table(&report.resources));
    section(html, "checks", "Checks", &checks(&report.checks));
}

/// The plots of one group, under its name where there are several.
fn plots(html: &mut String, number: usize, group: &Group, several: bool) {
    let of_group = if several { format!(" <small>{}</small>", Text(&group.heading)) } else { String::new() };
    let _ = write!(html, "<section class=\"group\" id=\"group-{number}\">");
    let _ = write!(html, "<h2>Latency by percentile{of_group}</h2>");
    if several {
        sentences(html, &group.sentences);
    }
    html.push_str(&panels::legend(group));
    html.push_str(&panels::percentiles(group));
    let _ = write!(html, "<h3>Latency over time{of_group}</h3>{}</section>", panels::over_time(group));
}

fn section(html: &mut String, id: &str, heading: &str, content: &str) {
    let _ = write!(html, "<section id=\"{id}\"><h2>{heading}</h2>{content}</section>");
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
fn footer(html: &mut String, report: &Report) {
    let mut content = format!(
        "<h3>Command</h3><pre tabindex=\"0\"><code>{}</code></pre><p class=\"remark\">seed {}</p>",
        Text(&report.command),
        Text(&report.seed)
    );
    let _ = write!(content, "<h3>Conditions</h3>{}", tables::facts(&report.conditions));
    let _ = write!(content, "<h3>Machine and versions</h3>{}", tables::facts(&report.environment));
    section(html, "environment", "Environment", &content);
    let mut terms = "<dl class=\"terms\">".to_owned();
    for (name, meaning) in
        definitions(&[&report.matrix, &report.accounting, &report.stages, &report.resources])
    {
        let _ = write!(terms, "<dt>{}</dt><dd>{}</dd>", Text(&name), Text(&meaning));
    }
    terms.push_str("</dl>");
    section(html, "terms", "Terms", &terms);
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

fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Suspect => "suspect",
        Verdict::Invalid => "invalid",
    }
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
