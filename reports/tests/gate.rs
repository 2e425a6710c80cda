//! A gate's result: its schema, what it says, and that every renderer says the same and keeps text text.

use std::collections::BTreeSet;

use lastmile_reports::gate::decision::{judge, overall};
use lastmile_reports::gate::schema::{Block, Build, GATE_JSON_SCHEMA, GateCase, GateResult, Role, SCHEMA};
use lastmile_reports::gate::{Metric, Outcome, Threshold, annotations, junit, markdown, summary, terminal};
use lastmile_reports::html;
use lastmile_reports::schema::{Accounting, Environment};
use lastmile_reports::statistics::Looks;
use lastmile_reports::store::StoreError;
use lastmile_reports::terminal::TerminalOptions;
use serde_json::{Value, json};

/// Twelve pairs and four of the base with itself; the candidate takes `cpu` times the CPU.
fn sample(cpu: f64) -> GateResult {
    let wobble = |index: usize| 1.0 + 0.02 * (((index * 37) % 23) as f64 / 11.0 - 1.0);
    let block = |pair: usize, role: Role, index: usize, factor: f64| Block {
        case: 0,
        pair,
        role,
        at_s: index as f64,
        values: vec![(Metric::P50, 1_000.0 * wobble(index + 3)), (Metric::Cpu, 7.0 * factor * wobble(index))],
        accounting: Accounting { expected: 100, delivered: 100, ..Accounting::default() },
        faults: Vec::new(),
        objections: vec!["schedule: late".to_owned()],
    };
    let mut blocks = Vec::new();
    for pair in 0..12 {
        blocks.push(block(pair, Role::Base, 2 * pair, 1.0));
        blocks.push(block(pair, Role::Candidate, 2 * pair + 1, cpu));
        if pair % 3 == 0 {
            blocks.push(block(pair, Role::BaseAgain, 2 * pair + 40, 1.0));
        }
    }
    let thresholds: Vec<Threshold> = [Metric::P50, Metric::Cpu].map(Threshold::of).into();
    let cases = vec![GateCase { protocol: "ws<b>".into(), load: "100 subscribers".into() }];
    let (series, _) = summary::series(&blocks, cases.len(), &thresholds);
    let judgements = judge(&series, Looks::new(&[12, 20, 30], 0.01).all()[0], false);
    let outcome = overall(&judgements);
    let messages = judgements
        .iter()
        .filter(|judgement| judgement.outcome == outcome)
        .map(|judgement| summary::sentence(judgement, &cases))
        .collect();
    GateResult {
        schema: SCHEMA.into(),
        command: "lastmile gate --base a --candidate b".into(),
        reproduce: "lastmile gate --base a --candidate b --seed 7".into(),
        seed: 7,
        started_at: "2026-11-25T01:02:03Z".into(),
        elapsed_s: 123.4,
        environment: Environment { cpu: "a processor".into(), cores: 2, ..Environment::default() },
        conditions: vec![("tls".into(), "off".into())],
        mode: "paired".into(),
        base: Build {
            name: "main".into(),
            revision: Some("0123456789abcdef".into()),
            program: "/a".into(),
            ..Build::default()
        },
        candidate: Build { name: "<script>|\"".into(), program: "/b".into(), ..Build::default() },
        alpha: 0.01,
        looks: vec![12, 20, 30],
        budget_s: Some(600.0),
        cases,
        thresholds,
        exit_code: outcome.exit_code(),
        judgements,
        outcome,
        messages,
        remarks: vec!["a remark".into()],
        failure: Some("none".into()),
        blocks,
    }
}

fn sample_json() -> Value {
    let mut sample = sample(1.3);
    sample.judgements[0].reason = Some("because".into());
    sample.base.version = Some("1".into());
    sample.base.arguments = vec!["--shards".into(), "2".into()];
    sample.blocks[0].faults = vec!["lost".into()];
    serde_json::from_str(&sample.to_json()).expect("it is JSON")
}

fn validator() -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(GATE_JSON_SCHEMA).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a JSON Schema");
    jsonschema::validator_for(&schema).expect("the schema compiles")
}

#[test]
fn what_we_write_is_valid_and_reads_back() {
    let value = sample_json();
    let problems: Vec<String> =
        validator().iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert_eq!(problems, Vec::<String>::new());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gate.json");
    let written = sample(1.3);
    written.write(&path).expect("writes");
    assert_eq!(GateResult::read(&path).expect("reads"), written);
}

#[test]
fn what_is_no_gate_is_refused() {
    let validator = validator();
    for (pointer, replacement) in [
        ("/schema", json!("lastmile.gate/2")),
        ("/outcome", json!("maybe")),
        ("/seed", json!(-1)),
        ("/judgements/0/p", json!(1.5)),
        ("/judgements/0/interval", json!([1.0])),
        ("/blocks/0/role", json!("other")),
        ("/blocks/0/values/0", json!(["p42", 1.0])),
        ("/exit_code", json!("0")),
    ] {
        let mut value = sample_json();
        *value.pointer_mut(pointer).expect("the field is there") = replacement.clone();
        assert!(!validator.is_valid(&value), "{pointer} = {replacement} passed");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("result.json");
    std::fs::write(&path, "{\"schema\": \"lastmile.result/1\"}").expect("writes");
    let error = GateResult::read(&path).expect_err("a run is no gate");
    assert!(matches!(error, StoreError::OtherSchema { .. }));
    assert!(error.to_string().contains("lastmile.result/1") && error.to_string().contains(SCHEMA), "{error}");
}

#[test]
fn every_field_written_is_described() {
    let schema: Value = serde_json::from_str(GATE_JSON_SCHEMA).expect("the schema is JSON");
    let fields = |value: &Value| -> BTreeSet<String> {
        value.as_object().expect("an object").keys().cloned().collect()
    };
    let gate = sample_json();
    for (written, described) in [
        (&gate, &schema["properties"]),
        (&gate["judgements"][0], &schema["$defs"]["judgement"]["properties"]),
        (&gate["thresholds"][0], &schema["$defs"]["threshold"]["properties"]),
        (&gate["blocks"][0], &schema["$defs"]["block"]["properties"]),
        (&gate["blocks"][0]["accounting"], &schema["$defs"]["accounting"]["properties"]),
        (&gate["base"], &schema["$defs"]["build"]["properties"]),
        (&gate["cases"][0], &schema["$defs"]["case"]["properties"]),
        (&gate["environment"], &schema["$defs"]["environment"]["properties"]),
    ] {
        assert_eq!(fields(written), fields(described));
    }
}

#[test]
fn a_planted_slowdown_is_named_with_its_size_and_how_sure_it_is() {
    let result = sample(1.3);
    assert_eq!((result.outcome, result.exit_code), (Outcome::Regression, 1));
    let [message] = result.messages.as_slice() else { panic!("{:?}", result.messages) };
    assert!(
        message.starts_with("ws<b>: the server's CPU per delivery is 31 % more (6.98 µs/delivery"),
        "{message}"
    );
    assert!(
        message.contains("95 % interval +")
            && message.contains("p = 0.0005")
            && message.contains("allowed are 5 %"),
        "{message}"
    );
    let same = sample(1.0);
    assert_eq!((same.outcome, same.exit_code), (Outcome::Pass, 0), "{:?}", same.messages);
}

#[test]
fn every_renderer_draws_it_and_keeps_text_text() {
    let result = sample(1.3);
    let page = html::gate::render(&result);
    assert!(!page.contains("<b>:") && !page.contains("<script>|"), "markup came through");
    assert_eq!(page.matches("<svg class=\"plot still wide rows\"").count(), 1);
    assert_eq!(page.matches("<svg class=\"plot still narrow rows\"").count(), 1);
    assert_eq!(page.matches("<svg class=\"plot still third\"").count(), 2, "one for each metric");
    assert!(page.contains("REGRESSION") && page.contains("--seed 7"));

    let text = markdown::render(&result);
    assert!(text.starts_with(markdown::MARKER) && text.contains("### REGRESSION"));
    assert!(!text.contains("<b>") && text.contains("ws&lt;b&gt;"));

    let xml = junit::render(&result);
    assert!(xml.contains("tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\""), "{xml}");
    assert!(xml.contains("<failure type=\"regression\"") && !xml.contains("<b>"));

    let lines = annotations::render(&result);
    assert!(
        lines.starts_with("::error title=lastmile gate%3A REGRESSION::ws<b>: the server's CPU"),
        "{lines}"
    );
    assert!(lines.contains("31 %25 more") && lines.lines().count() == 1, "{lines}");

    let text = terminal::render(&result, &TerminalOptions { width: 100, color: false });
    assert!(text.contains("REGRESSION: ws<b>:") && text.contains("Again: lastmile gate"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn what_no_metric_tells_is_in_the_test_report_too() {
    let mut result = sample(1.0);
    result.outcome = Outcome::Invalid;
    result.messages = vec!["the candidate ended in block 3\u{0}".into()];
    let xml = junit::render(&result);
    assert!(xml.contains("tests=\"3\" failures=\"0\" errors=\"1\""), "{xml}");
    assert!(xml.contains("name=\"measurement\"><error message=\"the candidate ended in block 3"), "{xml}");
    assert!(!xml.contains('\u{0}'));
    assert!(annotations::render(&result).starts_with("::warning"));
}
