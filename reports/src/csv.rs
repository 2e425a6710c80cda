//! A result as CSV (RFC 4180): a line for each case, for spreadsheets and data frames.

use std::fmt::Write;

use crate::schema::{CaseResult, LatencySummary, ProcessCost, RunResult};

/// Draws a result. Figures are as they stand in the result; what could not be had is empty.
pub fn render(result: &RunResult) -> String {
    let mut text = String::new();
    let mut head_is_written = false;
    for case in &result.cases {
        let fields = fields(result, case);
        if !head_is_written {
            line(&mut text, fields.iter().map(|(name, _)| name.clone()));
            head_is_written = true;
        }
        line(&mut text, fields.into_iter().map(|(_, value)| value));
    }
    text
}

fn line(text: &mut String, values: impl Iterator<Item = String>) {
    for (index, value) in values.enumerate() {
        let _ = write!(text, "{}{}", if index == 0 { "" } else { "," }, quoted(&value));
    }
    text.push_str("\r\n");
}

/// Every field of a case with its name, always the same ones in the same order.
fn fields(result: &RunResult, case: &CaseResult) -> Vec<(String, String)> {
    let books = &case.accounting;
    let mut fields: Vec<(String, String)> = [
        ("started_at", result.started_at.clone()),
        ("git_revision", result.environment.git_revision.clone().unwrap_or_default()),
        ("protocol", case.protocol.clone()),
        ("topic", case.topic.clone()),
        ("connections", case.connections.to_string()),
        ("rate", case.rate.to_string()),
        ("achieved_rate", optional(case.achieved_rate)),
        ("payload_bytes", case.payload_bytes.to_string()),
        ("duration_s", case.duration_s.to_string()),
        ("published", case.published.to_string()),
        ("interrupted", (case.interrupted || result.interrupted).to_string()),
        ("expected", books.expected.to_string()),
        ("delivered", books.delivered.to_string()),
        ("lost", books.lost.to_string()),
        ("duplicated", books.duplicated.to_string()),
        ("reordered", books.reordered.to_string()),
        ("corrupt", books.corrupt.to_string()),
        ("out_of_range", case.out_of_range.to_string()),
        ("deliveries_per_s", case.deliveries_per_s.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for (name, latency) in [
        ("latency", Some(case.latency_us)),
        ("service_latency", Some(case.service_latency_us)),
        ("schedule_slip", case.schedule_slip_us),
        ("connect", case.connect_us),
    ] {
        fields.extend(latency_fields(name, &latency.unwrap_or_default()));
    }
    for (name, cost) in
        [("server", Some(case.server)), ("redis", case.redis), ("generator", Some(case.generator))]
    {
        fields.extend(cost_fields(name, &cost.unwrap_or_default()));
    }
    fields
}

fn latency_fields(name: &str, latency: &LatencySummary) -> [(String, String); 6] {
    [
        ("p50", latency.p50),
        ("p90", latency.p90),
        ("p99", latency.p99),
        ("p99_9", latency.p99_9),
        ("max", latency.max),
        ("mean", latency.mean),
    ]
    .map(|(quantile, value)| (format!("{name}_{quantile}_us"), optional(value)))
}

fn cost_fields(name: &str, cost: &ProcessCost) -> [(String, String); 4] {
    [
        ("cpu_us_per_delivery", optional(cost.cpu_us_per_delivery)),
        ("rss_bytes_per_connection", optional(cost.rss_bytes_per_connection)),
        ("cpu_s", optional(cost.cpu_s)),
        ("rss_bytes", cost.rss_bytes.map(|bytes| bytes.to_string()).unwrap_or_default()),
    ]
    .map(|(figure, value)| (format!("{name}_{figure}"), value))
}

fn optional(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map(|value| value.to_string()).unwrap_or_default()
}

/// A value, in quotes where it needs them.
fn quoted(value: &str) -> String {
    // A spreadsheet would run what starts like this as a formula; a number may start with a minus.
    let is_formula = value.starts_with(['=', '+', '@', '\t', '\r'])
        || (value.starts_with('-') && value.parse::<f64>().is_err());
    let value = if is_formula { format!("'{value}") } else { value.to_owned() };
    if value.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value }
}
