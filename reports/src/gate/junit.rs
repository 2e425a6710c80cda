//! A gate as `JUnit` XML, which every CI shows: a test for each metric of each case.

use std::fmt::Write;

use super::decision::{Judgement, Outcome};
use super::schema::GateResult;
use super::summary;

/// Draws it. A regression is a failure; what could not be judged is an error; what is not sure is skipped.
pub fn render(result: &GateResult) -> String {
    let mut cases = String::new();
    let (mut failures, mut errors, mut skipped) = (0, 0, 0);
    for judgement in &result.judgements {
        test(&mut cases, judgement, result);
        match judgement.outcome {
            Outcome::Regression => failures += 1,
            Outcome::Invalid => errors += 1,
            Outcome::Inconclusive => skipped += 1,
            Outcome::Pass => {}
        }
    }
    let mut tests = result.judgements.len();
    // What no single metric tells: a failure in the middle, deliveries lost. A green tree would hide it.
    let worst = result.judgements.iter().map(|judgement| judgement.outcome).max();
    if worst != Some(result.outcome) {
        tests += 1;
        let text = result.messages.join(" ");
        let element = match result.outcome {
            Outcome::Regression => {
                failures += 1;
                format!("<failure message=\"{}\"/>", escape(&text))
            }
            _ => {
                errors += 1;
                format!("<error message=\"{}\"/>", escape(&text))
            }
        };
        let _ = writeln!(
            cases,
            "    <testcase classname=\"lastmile.gate\" name=\"measurement\">{element}</testcase>"
        );
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"lastmile gate\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\">\n  \
         <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{:.3}\" timestamp=\"{}\">\n\
         {cases}    <system-out>{}</system-out>\n  </testsuite>\n</testsuites>\n",
        escape(&summary::title(result)),
        result.elapsed_s,
        escape(result.started_at.trim_end_matches('Z')),
        escape(&format!("{}.\nAgain: {}", summary::method(result), result.reproduce)),
    )
}

fn test(text: &mut String, judgement: &Judgement, result: &GateResult) {
    let protocol = result.cases.get(judgement.case).map_or("", |case| case.protocol.as_str());
    let sentence = escape(&summary::sentence(judgement, &result.cases));
    let _ = write!(
        text,
        "    <testcase classname=\"lastmile.gate.{}\" name=\"{}\">",
        escape(protocol),
        judgement.threshold.metric.name()
    );
    let _ = match judgement.outcome {
        Outcome::Regression => write!(text, "<failure type=\"regression\" message=\"{sentence}\"/>"),
        Outcome::Invalid => write!(text, "<error type=\"invalid\" message=\"{sentence}\"/>"),
        Outcome::Inconclusive => write!(text, "<skipped message=\"{sentence}\"/>"),
        Outcome::Pass => write!(text, "<system-out>{sentence}</system-out>"),
    };
    text.push_str("</testcase>\n");
}

/// XML 1.0 has no place for most control characters, not even escaped.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            character if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            character => escaped.push(character),
        }
    }
    escaped
}
