//! Real output is what the schema says, and what the other commands read.

mod support;

use lastmile_reports::store::RESULT_JSON_SCHEMA;
use support::stub::{Action, Stub};
use support::{finish, output, result_of, start, text};

#[test]
fn a_result_fits_its_schema_and_the_other_commands_read_it() {
    let stub = Stub::start(|number| if number == 20 { Action::Lose } else { Action::Deliver });
    let folder = tempfile::tempdir().unwrap();
    let flags =
        "--connections 3 --rate 100 --warmup 100ms --duration 400ms --seed 7 --protocols ws,wt-stream";
    let run = finish(start(&stub, &flags.split(' ').collect::<Vec<_>>(), folder.path()));
    let printed = result_of(&run);

    let path = folder.path().join("result.json");
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, text(&run.stdout), "printed and written are one");
    let schema = serde_json::from_str(RESULT_JSON_SCHEMA).unwrap();
    let instance = serde_json::from_str(&written).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<String> = validator.iter_errors(&instance).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:?}");

    assert_eq!((printed.seed, printed.cases.len()), (7, 2));
    assert!(printed.command.contains("--seed 7"), "{}", printed.command);
    let generator = printed.cases[0].generator;
    assert!(generator.cpu_us_per_delivery.unwrap() > 0.0, "{generator:?}");
    assert_eq!(printed.cases[0].server.cpu_us_per_delivery, None, "a foreign server can't be observed");

    let report = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(report.contains("wt-stream"));
    let again = folder.path().join("again.html");
    let reported = output(&["report", path.to_str().unwrap(), "-o", again.to_str().unwrap()]);
    assert!(reported.status.success() && again.is_file(), "{}", text(&reported.stderr));
    let side_by_side = folder.path().join("both.csv");
    let [one, both] = [path.to_str().unwrap(), side_by_side.to_str().unwrap()];
    let reported = output(&["report", one, one, "--format", "csv", "-o", both]);
    assert!(reported.status.success(), "{}", text(&reported.stderr));
    let rows = std::fs::read_to_string(&side_by_side).unwrap();
    assert_eq!(rows.lines().count(), 1 + 2 * printed.cases.len(), "one head, a row a case: {rows}");
    let reported = output(&["report", one, one]);
    assert!(reported.status.success(), "{}", text(&reported.stderr));
    assert!(folder.path().join("comparison.html").is_file());
    let shown = output(&["show", path.to_str().unwrap()]);
    assert!(text(&shown.stdout).contains("wt-stream"), "{}", text(&shown.stderr));
    let missing = output(&["show", "/nowhere/result.json"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("/nowhere/result.json"));
}
