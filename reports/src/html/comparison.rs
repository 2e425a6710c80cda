//! Several results as one HTML file.

use std::fmt::Write;

use crate::view::comparison::{Comparison, Run};

use super::escape::Text;
use super::{SCRIPT, head, plots, section, sentences, tables, verdict_class};

/// Draws runs side by side; the first is what the others are held against.
pub fn render(runs: &[Run<'_>]) -> String {
    let comparison = Comparison::of(runs);
    let mut html = String::with_capacity(256 * 1024);
    head(&mut html, &comparison.title);
    let _ = write!(
        html,
        "<header><p class=\"over\">lastmile</p><h1>{} runs compared</h1><p class=\"load\">{}</p>",
        runs.len(),
        Text(&comparison.title)
    );
    warnings(&mut html, &comparison);
    sentences(&mut html, &comparison.sentences);
    html.push_str("</header>");
    section(&mut html, "runs", "Runs", &tables::table(&comparison.runs));
    section(&mut html, "cases", "Cases", &tables::table(&comparison.cases));
    for (number, group) in comparison.groups.iter().enumerate() {
        plots(&mut html, number, group, true);
    }
    let mut commands = String::new();
    for (name, command) in &comparison.commands {
        let _ = write!(
            commands,
            "<h3>{}</h3><pre tabindex=\"0\"><code>{}</code></pre>",
            Text(name),
            Text(command)
        );
    }
    section(&mut html, "commands", "Commands", &commands);
    let _ = writeln!(html, "</main><script>{SCRIPT}</script></body></html>");
    html
}

/// How far to believe it.
fn warnings(html: &mut String, comparison: &Comparison) {
    let _ = write!(
        html,
        "<section class=\"verdict {}\" aria-label=\"Verdict\"><p><strong>{}</strong> {}</p><ul>",
        verdict_class(comparison.verdict),
        comparison.verdict.word(),
        Text(&comparison.verdict_reason)
    );
    for warning in &comparison.warnings {
        let _ = write!(html, "<li>{}</li>", Text(warning));
    }
    html.push_str("</ul></section>");
}
