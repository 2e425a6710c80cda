//! A gate as Markdown: for `$GITHUB_STEP_SUMMARY` and as the comment on a pull request.

use std::fmt::Write;

use crate::markdown::{escape, fenced, table};

use super::schema::GateResult;
use super::summary;

/// By which a later comment finds and replaces an earlier one; invisible where Markdown is drawn.
pub const MARKER: &str = "<!-- lastmile gate -->";

/// Draws it.
pub fn render(result: &GateResult) -> String {
    let mut text = format!("{MARKER}\n");
    // Writing to a string can't fail.
    let _ = writeln!(text, "### {}: {}\n", result.outcome.word(), escape(&summary::title(result)));
    for message in &result.messages {
        let _ = writeln!(text, "- {}", escape(message));
    }
    let _ = writeln!(text, "\n{}", table(&summary::table(result)));
    let _ = writeln!(text, "{}.\n", escape(&summary::method(result)));
    text.push_str("<details><summary>Reproduce, conditions, remarks</summary>\n\n");
    let _ = writeln!(text, "{}\n", fenced(&result.reproduce));
    for (name, value) in &result.conditions {
        let _ = writeln!(text, "- {}: {}", escape(name), escape(value));
    }
    let environment = &result.environment;
    let machine = format!("{}, {} cores, {}", environment.cpu, environment.cores, environment.kernel);
    let _ = writeln!(text, "- machine: {}\n- seed: {}", escape(&machine), result.seed);
    for remark in &result.remarks {
        let _ = writeln!(text, "- {}", escape(remark));
    }
    text.push_str("\n</details>\n");
    text
}
