//! The JSON Schema and the Rust types say the same.

mod sample;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use lastmile_reports::store::{self, RESULT_JSON_SCHEMA};
use serde_json::{Value, json};

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(RESULT_JSON_SCHEMA).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a JSON Schema");
    jsonschema::validator_for(&schema).expect("the schema compiles")
}

fn sample_json() -> Value {
    static SAMPLE: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(&store::to_json(&sample::full())).expect("a result is JSON"));
    SAMPLE.clone()
}

#[test]
fn what_we_write_is_valid() {
    let value = sample_json();
    let problems: Vec<String> =
        validator().iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path)).collect();
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn the_smallest_result_is_valid_for_schema_and_reader_alike() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/minimal-1.json");
    let value: Value = serde_json::from_str(&fs::read_to_string(&path).expect("reads")).expect("is JSON");
    assert!(validator().is_valid(&value));
    store::read(&path).expect("reads");
}

/// Every way to break it is refused by the schema; each would also be a lie to whoever reads the result.
#[test]
fn broken_results_are_refused() {
    let validator = validator();
    let broken: [(&str, Value); 22] = [
        ("/schema", json!("lastmile.result/2")),
        ("/seed", json!(-1)),
        ("/seed", json!("7")),
        ("/started_at", json!("yesterday")),
        ("/environment/cores", json!(1.5)),
        ("/environment/versions/0", json!(["redis-server"])),
        ("/conditions/0", json!(["tls", "off", "really"])),
        ("/cases/0/protocol", json!("")),
        ("/cases/0/latency_us/p50", json!("n/a")),
        ("/cases/0/latency_us/max", json!(-3.0)),
        ("/cases/0/accounting/lost", json!(-1)),
        ("/cases/0/histogram", json!("no base64!")),
        ("/cases/0/timeline/0/second", json!(-1)),
        ("/cases/0/server", json!(null)),
        ("/cases/0/encrypted", json!("yes")),
        ("/cases/0/latency_intervals/p50", json!([1.0])),
        ("/cases/2/stages/0/name", json!(null)),
        ("/cases/0/slices/0/order", json!(-1)),
        ("/cases/0/health/steal_share", json!(17.0)),
        ("/cases/0/timeline/0/buckets/0", json!([0.5, 3])),
        ("/cases/0/resources/0/server_rss_bytes", json!(0.5)),
        ("/capacity/0/steps/0/kept", json!(null)),
    ];
    for (pointer, replacement) in broken {
        let mut value = sample_json();
        *value.pointer_mut(pointer).expect("the field is there") = replacement.clone();
        assert!(!validator.is_valid(&value), "{pointer} = {replacement} passed");
    }
}

#[test]
fn required_fields_are_required() {
    let validator = validator();
    for (pointer, field) in [
        ("", "cases"),
        ("", "environment"),
        ("/cases/0", "accounting"),
        ("/cases/0", "histogram"),
        ("/cases/0/latency_us", "p99_9"),
        ("/cases/0/server", "cpu_us_per_delivery"),
    ] {
        let mut value = sample_json();
        let object = value.pointer_mut(pointer).and_then(Value::as_object_mut).expect("is an object");
        object.remove(field).expect("the field is there");
        assert!(!validator.is_valid(&value), "{pointer} passed without {field}");
    }
}

#[test]
fn growth_is_allowed() {
    let mut value = sample_json();
    value["weather"] = json!({"from": "a later version"});
    value["cases"][0]["fan_out_us"] = json!([1, 2, 3]);
    assert!(validator().is_valid(&value));
    store::parse(&value.to_string(), Path::new("grown.json")).expect("unknown fields are passed over");
}

/// A field added to the types and forgotten in the schema would be undocumented: every field we write is described.
#[test]
fn every_field_written_is_described() {
    let schema: Value = serde_json::from_str(RESULT_JSON_SCHEMA).expect("the schema is JSON");
    let fields = |value: &Value| -> BTreeSet<String> {
        value.as_object().expect("is an object").keys().cloned().collect()
    };
    let result = sample_json();
    // The first case is a floor without stages; the last one has everything.
    let case = result["cases"].as_array().and_then(|cases| cases.last()).expect("has cases");
    let described = |name: &str| &schema["$defs"][name]["properties"];
    for (written, described) in [
        (&result, &schema["properties"]),
        (&result["environment"], described("environment")),
        (case, described("case")),
        (&case["latency_us"], described("latency_summary")),
        (&case["latency_intervals"], described("quantile_intervals")),
        (&case["spread"], described("fan_out_spread")),
        (&case["stages"][0], described("stage")),
        (&case["slices"][0], described("slice_summary")),
        (&case["health"], described("health")),
        (&case["health"]["threads"][0], described("thread_use")),
        (&case["accounting"], described("accounting")),
        (&case["server"], described("process_cost")),
        (&case["timeline"][0], described("timeline_point")),
        (&case["resources"][0], described("resource_point")),
        (&result["capacity"][0], described("capacity")),
        (&result["capacity"][0]["steps"][0], described("capacity_step")),
    ] {
        assert_eq!(fields(written), fields(described));
        for (name, field) in described.as_object().expect("is an object") {
            let described =
                field.get("description").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
            assert!(described, "{name} has no description");
        }
    }
}
