//! The terminal table and the Markdown.

mod sample;

use lastmile_reports::schema::RunResult;
use lastmile_reports::terminal::{self, TerminalOptions};
use lastmile_reports::{markdown, store};

fn plain(result: &RunResult, width: usize) -> String {
    terminal::render(result, &TerminalOptions { width, color: false })
}

fn minimal() -> RunResult {
    store::parse(include_str!("data/minimal-1.json"), std::path::Path::new("minimal-1.json")).expect("reads")
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines()
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("no line {start:?} in:\n{text}"))
}

#[test]
fn the_terminal_table_is_aligned_and_complete() {
    let text = plain(&sample::first_light(), 200);
    let head = line(&text, "protocol");
    for name in
        ["p50", "p90", "p99", "p99.9", "max", "expected", "delivered", "lost", "dup", "reord", "corrupt"]
    {
        assert!(head.split_whitespace().any(|word| word == name), "{name} is missing in {head}");
    }
    // Figures end where the heads of their columns end.
    let end_of = |line: &str, word: &str| {
        let byte = line.find(&format!(" {word}")).expect("the word is there") + 1 + word.len();
        line[..byte].chars().count()
    };
    assert_eq!(end_of(line(&text, "ws "), "100,000"), end_of(head, "expected"));
    assert_eq!(end_of(line(&text, "wt-datagram "), "43"), end_of(head, "lost"));
    assert_eq!(end_of(line(&text, "wt-streams "), "—"), end_of(head, "p99.9"));
    assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("VALID: ")), "{text}");
}

#[test]
fn the_terminal_keeps_to_its_width() {
    for width in [40, 60, 80, 100, 132] {
        let text = plain(&sample::first_light(), width);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        // Every column is there, in whichever part.
        assert!(text.contains("corrupt") && text.contains("generator CPU"), "{width}");
    }
}

#[test]
fn without_colour_there_is_no_escape() {
    let coloured = terminal::render(&sample::first_light(), &TerminalOptions { width: 120, color: true });
    assert!(coloured.contains("\u{1b}[1;31m43\u{1b}[0m"), "losses stand out");
    let mut stripped = coloured;
    for code in ["[0m", "[1m", "[2m", "[1;31m", "[1;32m"] {
        stripped = stripped.replace(&format!("\u{1b}{code}"), "");
    }
    assert_eq!(stripped, plain(&sample::first_light(), 120));
}

#[test]
fn what_is_not_resolved_is_never_invented() {
    let text = plain(&sample::first_light(), 200);
    assert!(line(&text, "ws ").contains(" — "), "1,000 publishes don't resolve p99.9");
    let text = plain(&sample::a_minute(), 200);
    assert!(!line(&text, "ws ").contains('—'), "6,000 publishes do");
    assert_eq!(line(&plain(&minimal(), 200), "ws ").matches('—').count(), 7, "one publish resolves nothing");
}

#[test]
fn objections_are_told_with_the_verdict() {
    let mut result = sample::first_light();
    result.cases[0].accounting.lost = 2;
    result.cases[0].accounting.delivered -= 2;
    result.cases[1].errors = vec![("subscriber 7: connection reset".to_owned(), 3)];
    let text = plain(&result, 200);
    assert!(line(&text, "INVALID: ").contains("2 objections"));
    assert!(text.contains("carries no claim"), "its sentences say so");
    assert!(!plain(&sample::first_light(), 200).contains("carries no claim"));
    assert_eq!(line(&text, "- ws"), "- ws, accounting: 2 lost (0.0020 %)");
    assert_eq!(line(&text, "- sse"), "- sse, completeness: subscriber 7: connection reset (3×)");
    let text = markdown::render(&result);
    assert!(text.contains("**INVALID**: 2 objections"));
    assert!(line(&text, "| ws ").contains("**2**"));
}

/// Seven cases late by different parts of their p99: one line, and nothing of it lost.
#[test]
fn the_same_objection_of_many_cases_is_one_line_and_every_one_is_kept() {
    let mut result = sample::full();
    let late = |case: &mut lastmile_reports::schema::CaseResult, share: f64| {
        let p99_us = case.latency_us.p99.expect("resolved");
        let canary =
            lastmile_reports::schema::LatencySummary { p99_9: Some(share * p99_us), ..Default::default() };
        case.health.as_mut().expect("watched").canary_us = Some(canary);
    };
    for (index, case) in result.cases[2..].iter_mut().enumerate() {
        late(case, 0.12 + 0.05 * index as f64);
    }
    let line = "generator headroom, 7 of 9 cases (not redis and tcp): a 1 ms timer late at p99.9 by 12–42 % of the measured \
                p99, most in wt-datagram";
    let text = plain(&result, 220);
    assert!(text.contains(line), "{text}");
    assert!(text.contains("wt-datagram 42 %, wt-streams 37 %, wt-stream 32 %"), "{text}");
    let text = markdown::render(&result);
    assert!(text.contains(&line.replacen(": ", "**: ", 1)), "{text}");
    let html = lastmile_reports::html::render(&result);
    assert!(html.contains(line) && html.contains("<summary>each of the 7</summary>"));
    for case in &result.cases[2..] {
        let single =
            format!("{}, generator headroom: a 1 ms timer of the generator was late by ", case.protocol);
        assert_eq!(text.matches(&format!("- {single}")).count(), 1, "{single}");
        assert_eq!(html.matches(&format!("<li>{single}")).count(), 1, "{single}");
    }
}

#[test]
fn absurd_names_leave_room_for_figures() {
    let mut result = sample::first_light();
    result.cases[0].protocol = "wt-datagram+msgpack+".repeat(12);
    let text = plain(&result, 80);
    let cut: Vec<&str> =
        text.lines().filter(|line| line.starts_with("wt-datagram+msgpack+") && line.contains('…')).collect();
    assert!(cut.len() >= 3, "the parts of the table and the chart: {text}");
    for line in cut {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let html = lastmile_reports::html::render(&result);
    assert!(html.contains("…<title>wt-datagram+msgpack+wt-datagram"), "cut in plots, and whole behind");
}

#[test]
fn hostile_text_moves_no_cursor_and_makes_no_markup() {
    let mut result = sample::first_light();
    result.cases[0].protocol = "w\u{1b}[2Js|<b>*x*</b>@team\n# head".to_owned();
    result.command = "lastmile run ```\n# not a head".to_owned();
    let text = plain(&result, 300);
    assert!(!text.contains('\u{1b}'));
    let text = markdown::render(&result);
    assert!(!text.contains("<b>") && !text.contains("@team"));
    assert!(!text.lines().any(|line| line.starts_with("# ")), "{text}");
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let rows: Vec<usize> =
        text.lines().skip_while(|line| !line.starts_with('|')).take(7).map(cells).collect();
    assert!(rows.iter().all(|count| *count == rows[0]), "{rows:?}");
    assert!(text.contains("\n````sh\nlastmile run ``` # not a head\n````\n"), "{text}");
}

#[test]
fn an_empty_result_is_told_as_such() {
    let mut result = sample::first_light();
    result.cases.clear();
    assert!(plain(&result, 80).contains("INVALID: nothing was measured"));
    assert!(markdown::render(&result).contains("**INVALID**: nothing was measured"));
}

#[test]
fn loads_that_differ_get_columns() {
    let result = sample::sweep(10, 2);
    let text = plain(&result, 220);
    assert!(line(&text, "protocol").contains(" rate "));
    assert!(!line(&text, "protocol").contains("payload"), "what is equal needs no column");
}

#[test]
fn csv_has_a_line_for_each_case_and_runs_no_formula() {
    let mut result = sample::first_light();
    result.cases[0].topic = "game \"a,b\"".to_owned();
    result.cases[1].topic = "=HYPERLINK(1)".to_owned();
    let text = lastmile_reports::csv::render(&result);
    let lines: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 6);
    assert!(lines[1].contains(",\"game \"\"a,b\"\"\",100,"));
    assert!(lines[2].contains(",'=HYPERLINK(1),"));
    let head: Vec<&str> = lines[0].split(',').collect();
    let fields: Vec<&str> = lines[5].split(',').collect();
    assert_eq!(head.len(), fields.len());
    let field = |name: &str| fields[head.iter().position(|other| *other == name).expect("is a field")];
    assert_eq!(field("protocol"), "wt-datagram");
    assert_eq!(field("lost"), "43");
    assert_eq!(field("latency_p99_9_us"), "", "what is not resolved is empty");
    assert_eq!(field("latency_p50_us"), result.cases[4].latency_us.p50.expect("resolved").to_string());
}

/// A closed loop is told as what it is, and judged by what it claims.
#[test]
fn a_closed_loop_is_throughput_without_latency() {
    let mut result = sample::first_light();
    result.cases.truncate(2);
    for case in &mut result.cases {
        case.in_flight = Some(8);
        case.rate = 0.0;
        // Neither would pass in an open loop.
        case.schedule_slip_us = None;
        case.published = 10;
        case.latency_us = lastmile_reports::schema::LatencySummary::default();
        case.service_latency_us = case.latency_us;
        case.histogram = String::new();
        case.service_histogram = None;
        for point in &mut case.timeline {
            (point.p50_us, point.p99_us, point.max_us) = (None, None, None);
        }
    }
    let label = "closed loop, 8 in flight: throughput, no latency";
    let text = plain(&result, 200);
    assert!(text.lines().next().is_some_and(|title| title.contains(label)), "{text}");
    assert!(text.contains("VALID: ") && !text.contains("INVALID"), "{text}");
    assert!(text.contains("Throughput at saturation (closed loop, 8 in flight): ws "), "{text}");
    assert!(!text.contains("p50 latency") && !text.contains("inf") && !text.contains("NaN"), "{text}");
    assert!(markdown::render(&result).contains("no latency is claimed"));
    assert!(lastmile_reports::html::render(&result).contains(label));
    let read = store::parse(&store::to_json(&result), std::path::Path::new("closed.json")).expect("reads");
    assert_eq!(read, result);
}
