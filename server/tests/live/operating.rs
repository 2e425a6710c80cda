//! What operators are given: documents and files that speak of what there is.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::common::{Site, get, run};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The metrics that a text names.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    let is_name =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    text.split(|character| !is_name(character))
        .filter(|word| {
            word.strip_prefix("lastmile_").is_some_and(|rest| !rest.is_empty() && rest != "server")
        })
        .map(|word| word.trim_end_matches("_bucket"))
        .collect()
}

#[test]
fn the_dashboard_and_the_document_know_the_metrics_that_are_there() {
    let site = Site::start(&[]);
    let scrape = run(get(&site.place, "/metrics")).body;
    let families: BTreeSet<&str> =
        scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.len() > 10, "{scrape}");
    let document = read("docs/operating.md");
    let documented = metrics_in(&document);
    let missing: Vec<_> = families.difference(&documented).collect();
    assert!(missing.is_empty(), "add to the table of /metrics in docs/operating.md: {missing:?}");
    let unknown: Vec<_> = documented.difference(&families).collect();
    assert!(unknown.is_empty(), "docs/operating.md has metrics that are not there: {unknown:?}");

    let dashboard = read("deploy/grafana.json");
    let drawn: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = drawn["panels"].as_array().expect("panels");
    assert!(panels.len() > 10);
    let mut asked = 0;
    for target in panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets")) {
        let expression = target["expr"].as_str().expect("an expression");
        let names = metrics_in(expression);
        assert!(!names.is_empty() && names.is_subset(&families), "{expression}");
        asked += names.len();
    }
    assert!(asked > panels.len());
    // Labels, too: nothing is drawn by one that a family does not have.
    for (label, family) in [("protocol", "lastmile_connections"), ("reason", "lastmile_drops_total")] {
        assert!(scrape.contains(&format!("{family}{{{label}=\"")), "{family} by {label}");
    }
}

#[test]
fn the_units_are_such_that_systemd_takes_them() {
    // As far as it is there: it complains about a program that is not installed, so it is shown ours.
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["lastmile-server.service", "lastmile-server@.service"] {
        let unit = read(&format!("deploy/{name}"));
        for line in [
            "Type=notify",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
        ] {
            assert!(unit.lines().any(|found| found == line), "{name}: {line}");
        }
        let unit = unit.replace("/usr/local/bin/lastmile-server", env!("CARGO_BIN_EXE_lastmile-server"));
        let path = folder.path().join(name);
        std::fs::write(&path, unit).expect("a file");
        let Ok(verified) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
            continue;
        };
        let said = String::from_utf8_lossy(&verified.stderr);
        let complaints: Vec<&str> = said.lines().filter(|line| line.contains("lastmile")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}

#[test]
fn the_container_is_made_of_files_that_are_there() {
    let file = read("deploy/Containerfile");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut copied = 0;
    for line in
        file.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"))
    {
        let mut paths: Vec<&str> = line.split(' ').collect();
        paths.pop();
        for path in paths {
            assert!(root.join(path).exists(), "{path} of deploy/Containerfile");
            copied += 1;
        }
    }
    assert!(copied > 5);
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = [")).expect("members");
    for member in members.trim_end_matches(']').split(", ").map(|member| member.trim_matches('"')) {
        let folder = member.split('/').next().expect("a folder");
        assert!(file.contains(&format!("COPY {folder} {folder}\n")), "{member} is a member of the workspace");
    }
    // Each variable it sets is one that the server reads.
    let help =
        Command::new(env!("CARGO_BIN_EXE_lastmile-server")).arg("--help").output().expect("help").stdout;
    let help = String::from_utf8(help).expect("text");
    let files = [file, read("deploy/lastmile-server.service")].concat();
    let is_name = |character: char| character.is_ascii_uppercase() || character == '_';
    let variables = files.split(|character| !is_name(character)).filter(|word| word.starts_with("LASTMILE_"));
    for variable in variables {
        assert!(help.contains(&format!("[env: {variable}=")), "{variable} is not one of the server's");
    }
}
