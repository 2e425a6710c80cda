//! The JSON Schema and the Rust types say the same.

mod sample;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use lastmile_reports::store::{self, RESULT_JSON_SCHEMA};
use serde_json::{Value, json};

fn validator() -> Validator {
    let schema: Value = serde_json::from_str(RESULT_JSON_SCHEMA).expect("the schema is JSON");
    jsonschema::meta::validate(&schema).expect("the schema is a JSON Schema");
    jsonschema::validator_for(&schema).expect("the schema compiles")
}

fn sample_json() -> Value {
    serde_json::from_str(&store::to_json(&sample::first_light())).expect("a result is JSON")
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
    let broken: [(&str, Value); 14] = [
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
    value["verdict"] = json!({"from": "a later version"});
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
    let case = &result["cases"][0];
    for (written, described) in [
        (&result, &schema["properties"]),
        (&result["environment"], &schema["$defs"]["environment"]["properties"]),
        (case, &schema["$defs"]["case"]["properties"]),
        (&case["latency_us"], &schema["$defs"]["latency_summary"]["properties"]),
        (&case["accounting"], &schema["$defs"]["accounting"]["properties"]),
        (&case["server"], &schema["$defs"]["process_cost"]["properties"]),
        (&case["timeline"][0], &schema["$defs"]["timeline_point"]["properties"]),
    ] {
        assert_eq!(fields(written), fields(described));
        for (name, field) in described.as_object().expect("is an object") {
            let described =
                field.get("description").and_then(Value::as_str).is_some_and(|text| !text.is_empty());
            assert!(described, "{name} has no description");
        }
    }
}
