//! Reading and writing results, and what is said about files that are none.

mod sample;

use std::fs;
use std::path::Path;

use lastmile_reports::schema::RunResult;
use lastmile_reports::store::{self, StoreError};

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("result.json");
    let result = sample::first_light();
    store::write(&path, &result).expect("writes");
    assert_eq!(store::read(&path).expect("reads"), result);
    // Nothing but the result is left beside it.
    assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 1);
}

#[test]
fn writing_replaces_and_a_failed_write_keeps_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("result.json");
    let mut result = sample::first_light();
    store::write(&path, &result).expect("writes");
    result.seed += 1;
    store::write(&path, &result).expect("writes again");
    assert_eq!(store::read(&path).expect("reads").seed, result.seed);

    // A folder in the way makes the rename fail, after the text was written.
    let blocked = folder.path().join("blocked");
    fs::create_dir_all(blocked.join("inside")).expect("creates");
    let error = store::write(&blocked, &result).expect_err("a folder is in the way");
    assert!(matches!(error, StoreError::Write { .. }), "{error}");
    assert!(error.to_string().contains("blocked"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).expect("lists").count(), 2, "no part file is left");
}

#[test]
fn errors_name_the_file_and_the_fault() {
    let path = Path::new("some/result.json");
    let message = |text: &str| store::parse(text, path).expect_err("is no result").to_string();

    assert!(message("{\"schema\"").starts_with("some/result.json is not JSON"));
    assert!(message("[]").starts_with("some/result.json is not JSON"));
    assert_eq!(message("{}"), "some/result.json has schema none, this build reads \"lastmile.result/1\"");
    assert_eq!(
        message(r#"{"schema":"lastmile.result/9","cases":7}"#),
        "some/result.json has schema \"lastmile.result/9\", this build reads \"lastmile.result/1\""
    );
    assert_eq!(
        message(r#"{"schema":3}"#),
        "some/result.json has schema 3, this build reads \"lastmile.result/1\""
    );
    let malformed = message(r#"{"schema":"lastmile.result/1","command":"lastmile run"}"#);
    assert!(malformed.contains("seed"), "{malformed}");

    let missing = store::read(Path::new("/nowhere/result.json")).expect_err("there is no such file");
    assert!(matches!(missing, StoreError::Read { .. }));
    assert!(missing.to_string().starts_with("can't read /nowhere/result.json"), "{missing}");
}

#[test]
fn a_result_of_the_first_version_with_only_its_required_fields_still_opens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/minimal-1.json");
    let result: RunResult = store::read(&path).expect("reads");
    assert_eq!(result.cases.len(), 1);
    assert!(!result.interrupted);
    assert!(result.cases[0].timeline.is_empty());
    assert_eq!(result.cases[0].service_histogram, None);
}

#[test]
fn a_case_that_measured_no_time_can_be_read_again() {
    let mut result = sample::first_light();
    let case = &mut result.cases[0];
    (case.duration_s, case.deliveries_per_s, case.achieved_rate) = (0.0, f64::NAN, Some(f64::INFINITY));
    case.latency_us.mean = Some(f64::NAN);
    let again = store::parse(&store::to_json(&result), Path::new("result.json")).expect("reads");
    assert!(again.cases[0].deliveries_per_s.abs() < f64::EPSILON);
    assert_eq!((again.cases[0].achieved_rate, again.cases[0].latency_us.mean), (None, None));
}
