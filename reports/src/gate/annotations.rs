//! A gate as annotations of GitHub Actions: lines on standard output that the runner shows beside the change.

use std::fmt::Write;

use super::decision::Outcome;
use super::schema::GateResult;
use super::summary;

/// One line for each message that matters; a pass is a notice.
pub fn render(result: &GateResult) -> String {
    let kind = match result.outcome {
        Outcome::Regression => "error",
        Outcome::Invalid | Outcome::Inconclusive => "warning",
        Outcome::Pass => "notice",
    };
    let title = format!("lastmile gate: {}", result.outcome.word());
    let mut text = String::new();
    if result.messages.is_empty() {
        let _ = writeln!(text, "::{kind} title={}::{}", property(&title), data(&summary::title(result)));
    }
    for message in &result.messages {
        let _ = writeln!(text, "::{kind} title={}::{}", property(&title), data(message));
    }
    text
}

/// Text after the second colons, by GitHub's rules of escaping.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Text of a property, where colons and commas end it too.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
