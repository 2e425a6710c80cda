//! A gate in the terminal.

use crate::terminal::{Paint, TerminalOptions, paragraph, table};

use super::decision::Outcome;
use super::schema::GateResult;
use super::summary;

/// Draws it.
pub fn render(result: &GateResult, options: &TerminalOptions) -> String {
    let paint = Paint { color: options.color };
    let width = options.width.max(40);
    let mut text = String::new();
    // The end of a server's log has lines of its own.
    let say = |text: &mut String, message: &str| {
        message.lines().for_each(|line| paragraph(text, line, line, width, "  "));
    };
    say(&mut text, &summary::title(result));
    let word = result.outcome.word();
    let mut first = result.messages.first().map_or("", String::as_str).lines();
    let (first, more) = (first.next().unwrap_or_default(), first);
    let code = match result.outcome {
        Outcome::Pass => "1;32",
        Outcome::Inconclusive => "1;33",
        Outcome::Invalid | Outcome::Regression => "1;31",
    };
    let painted = format!("{}: {first}", paint.code(code, word));
    paragraph(&mut text, &painted, &format!("{word}: {first}"), width, "  ");
    more.for_each(|line| say(&mut text, line));
    for message in result.messages.iter().skip(1) {
        say(&mut text, &format!("- {message}"));
    }
    if !result.judgements.is_empty() {
        text.push('\n');
        text.push_str(&table(&summary::table(result), width, paint));
    }
    text.push('\n');
    say(&mut text, &format!("{}.", summary::method(result)));
    for remark in &result.remarks {
        say(&mut text, &format!("- {remark}"));
    }
    if result.outcome != Outcome::Pass {
        say(&mut text, &format!("Again: {}", result.reproduce));
    }
    text
}
