//! Several results side by side.

mod sample;

use lastmile_reports::terminal::{self, TerminalOptions};
use lastmile_reports::view::comparison::{Comparison, Run};
use lastmile_reports::{html, markdown};

#[test]
fn a_planted_slowdown_is_told_and_nothing_else() {
    let (base, candidate) = (sample::first_light(), sample::first_light_again());
    let comparison =
        Comparison::of(&[Run { name: "base", result: &base }, Run { name: "candidate", result: &candidate }]);
    assert_eq!(comparison.title, "candidate against base");
    let [slower, rest] = comparison.sentences.as_slice() else { panic!("{:?}", comparison.sentences) };
    assert!(slower.starts_with("ws at p50: candidate is slower than base, +"), "{slower}");
    assert!(rest.starts_with("No other difference shows at p50 and p99: in 9 comparisons"), "{rest}");
    assert_eq!(comparison.cases.rows.len(), 10);
    assert!(comparison.cases.is_rectangular() && comparison.runs.is_rectangular());
}

#[test]
fn a_run_does_not_differ_from_itself() {
    let result = sample::first_light();
    let comparison =
        Comparison::of(&[Run { name: "a", result: &result }, Run { name: "b", result: &result }]);
    assert!(comparison.sentences[0].starts_with("No difference shows"), "{:?}", comparison.sentences);
    assert_eq!(comparison.warnings.len(), 1, "that each run was made once");
}

#[test]
fn what_weakens_a_comparison_is_told() {
    let base = sample::first_light();
    let mut other = sample::first_light_again();
    other.environment.cores = 64;
    other.conditions.push(("batching".to_owned(), "on".to_owned()));
    other.cases.retain(|case| case.protocol != "sse");
    let comparison =
        Comparison::of(&[Run { name: "laptop", result: &base }, Run { name: "server", result: &other }]);
    let warnings = comparison.warnings.join("\n");
    assert_eq!(comparison.verdict.word(), "SUSPECT");
    assert!(warnings.contains("laptop and server ran on different machines"), "{warnings}");
    assert!(warnings.contains("under different conditions"), "{warnings}");
    assert!(warnings.contains("sse was measured only in laptop."), "{warnings}");
}

#[test]
fn cases_match_by_load_too() {
    let base = sample::sweep(10, 8);
    let mut other = sample::sweep(10, 8);
    other.cases.truncate(5);
    let comparison = Comparison::of(&[Run { name: "a", result: &base }, Run { name: "b", result: &other }]);
    assert_eq!(comparison.groups.len(), 10);
    assert_eq!(comparison.cases.rows.len(), 15);
    assert!(comparison.cases.rows[0].cells[0].text.starts_with("ws (2 subscribers, 10 msg/s, 256 B"));
}

#[test]
fn every_renderer_draws_it_and_keeps_text_text() {
    let (base, candidate) = (sample::first_light(), sample::first_light_again());
    let runs =
        [Run { name: "<b>base</b>|", result: &base }, Run { name: "candidate\u{1b}[2J", result: &candidate }];
    let page = html::render_comparison(&runs);
    assert!(!page.contains("<b>base") && page.contains("&lt;b&gt;base"));
    assert_eq!(page.matches("<svg class=\"plot wide\"").count(), 5, "one for each case");
    let text = markdown::render_comparison(&runs);
    assert!(!text.contains("<b>") && text.contains("&lt;b&gt;base&lt;/b&gt;\\|"));
    let text = terminal::render_comparison(&runs, &TerminalOptions { width: 100, color: false });
    assert!(!text.contains('\u{1b}'));
    assert!(text.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn comparing_nothing_does_not_fail() {
    let comparison = Comparison::of(&[]);
    assert!(comparison.sentences.is_empty() && comparison.cases.rows.is_empty());
    assert!(html::render_comparison(&[]).contains("0 runs compared"));
}
