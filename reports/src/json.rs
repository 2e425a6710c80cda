//! What a report says, as JSON for other programs: verdict, checks, sentences, and the figures of each case with their
//! intervals. The measurements themselves are in the result; this is what follows from them.

use serde_json::{Value, json};

use crate::checks;
use crate::schema::{CaseResult, RunResult};
use crate::statistics::Interval;
use crate::view::comparison::{Comparison, Run};
use crate::view::forest::ForestRow;
use crate::view::style::is_encrypted;
use crate::view::sweep::Sweep;
use crate::view::{Report, series};

/// The name and version of this form, the value of `report`.
pub const REPORT: &str = "lastmile.report/1";

/// Draws a result.
pub fn render(result: &RunResult) -> String {
    let report = Report::of(result);
    let objections = report.objections.iter().flat_map(|group| &group.each).map(|objection| {
        json!({
            "verdict": objection.verdict.word(),
            "case": objection.case,
            "check": objection.check,
            "finding": objection.finding.text,
        })
    });
    let checks = report.checks.iter().map(|check| {
        json!({
            "name": check.name,
            "rule": check.rule,
            "verdict": check.verdict.word(),
            "outcome": check.outcome,
        })
    });
    text(&json!({
        "report": REPORT,
        "title": report.title,
        "started_at": report.started_at,
        "verdict": report.verdict.word(),
        "reason": report.verdict_reason,
        "objections": objections.collect::<Vec<_>>(),
        "checks": checks.collect::<Vec<_>>(),
        "summary": report.summary,
        "cases": result.cases.iter().map(case).collect::<Vec<_>>(),
        "sweeps": report.sweeps.iter().map(sweep).collect::<Vec<_>>(),
        "capacity": result.capacity,
        "command": report.command,
        "environment": result.environment,
    }))
}

/// Draws runs side by side; the first is what the others are held against.
pub fn render_comparison(runs: &[Run<'_>]) -> String {
    let comparison = Comparison::of(runs);
    let of_run = |run: &Run<'_>| {
        json!({
            "name": run.name,
            "verdict": checks::verdict(run.result, &checks::judge(run.result)).word(),
            "started_at": run.result.started_at,
            "command": run.result.command,
            "environment": run.result.environment,
            "cases": run.result.cases.iter().map(case).collect::<Vec<_>>(),
        })
    };
    text(&json!({
        "report": REPORT,
        "title": comparison.title,
        "verdict": comparison.verdict.word(),
        "reason": comparison.verdict_reason,
        "warnings": comparison.warnings,
        "summary": comparison.sentences,
        "runs": runs.iter().map(of_run).collect::<Vec<_>>(),
        "changes": comparison.forest.rows.iter().map(change).collect::<Vec<_>>(),
    }))
}

fn text(value: &Value) -> String {
    // A value of ours has no key that is no string, which is all that could fail.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn case(case: &CaseResult) -> Value {
    let distribution = series::distribution(case);
    let interval = |quantile: f64| {
        let bounds = series::interval_us(case, &distribution, quantile);
        bounds.map(|Interval { low_us, high_us }| [low_us, high_us])
    };
    json!({
        "protocol": case.protocol,
        "encrypted": case.encrypted.unwrap_or_else(|| is_encrypted(&case.protocol)),
        "floor": case.floor,
        "topic": case.topic,
        "connections": case.connections,
        "rate": case.rate,
        "in_flight": case.in_flight,
        "payload_bytes": case.payload_bytes,
        "published": case.published,
        "latency_us": case.latency_us,
        "latency_intervals_us": {
            "p50": interval(0.5), "p90": interval(0.9), "p99": interval(0.99), "p99_9": interval(0.999),
        },
        "accounting": case.accounting,
        "deliveries_per_s": case.deliveries_per_s,
        "server_cpu_us_per_delivery": case.server.cpu_us_per_delivery,
        "server_rss_bytes_per_connection": case.server.rss_bytes_per_connection,
        "generator_cpu_us_per_delivery": case.generator.cpu_us_per_delivery,
        "errors": case.errors,
    })
}

fn sweep(sweep: &Sweep) -> Value {
    let knees =
        sweep.knees.iter().map(|knee| json!({ "protocol": knee.name, "at": knee.load, "why": knee.why }));
    json!({ "over": sweep.name, "held": sweep.heading, "knees": knees.collect::<Vec<_>>() })
}

fn change(row: &ForestRow) -> Value {
    json!({
        "what": row.name,
        "ratio": row.ratio,
        "low": row.low,
        "high": row.high,
        "differs": row.differs(),
    })
}
