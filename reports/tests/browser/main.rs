//! The report in a real browser, where one is installed: its script runs under the page's own policy, without an
//! error and without a request.

#[path = "../sample/mod.rs"]
mod sample;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lastmile_reports::html;
use lastmile_reports::view::comparison::Run;

/// A browser that hangs fails the test instead of holding it up; a busy machine has time enough.
const PATIENCE: Duration = Duration::from_secs(120);

/// The first of the usual names that is there.
fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file())
}

/// Opens a page and gives back the document as the script left it, and what the browser logged.
fn open(browser: &Path, page: &str) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("report.html"), page).expect("writes");
    // Into files: a document larger than a pipe would block the browser while it is waited for.
    let file = |name: &str| File::create(at(name)).expect("creates");
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args(["--disable-component-update", "--disable-sync", "--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", at("profile").display()))
        .arg(format!("file://{}", at("report.html").display()))
        .stdout(file("document"))
        .stderr(file("log"))
        .spawn()
        .expect("the browser starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("is our child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("is our child");
            child.wait().expect("is our child");
            panic!("the browser took longer than {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let read = |name: &str| String::from_utf8_lossy(&std::fs::read(at(name)).expect("reads")).into_owned();
    (read("document"), read("log"))
}

/// A tool that `scripts/test` fetches, by the variable it is told in or the place it is fetched to.
fn tool(variable: &str, in_tools: &str) -> PathBuf {
    let path = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the checkout");
    let path = path.unwrap_or_else(|| checkout.join(".tools").join(in_tools));
    assert!(path.exists(), "{} is not there: run scripts/test once, which fetches it", path.display());
    path
}

/// Lets a browser use a page as a person would; gives back what it found wrong.
fn use_page(browser: &Path, page: &str, kind: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("report.html");
    std::fs::write(&file, page).expect("writes");
    let modules = [
        tool("LASTMILE_NODE_MODULES", "playwright/node_modules"),
        tool("LASTMILE_AXE_MODULES", "axe/node_modules"),
    ];
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/report.cjs");
    // It ends by itself, whatever the browser does.
    let output = Command::new("node")
        .args([client.as_path(), &file, Path::new(kind)])
        .env("NODE_PATH", std::env::join_paths(modules).expect("paths without a colon"))
        .env("LASTMILE_CHROMIUM", browser)
        .output()
        .expect("node starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let findings = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() || !findings.is_empty(), "the client failed: {errors}");
    findings
}

#[test]
fn a_report_can_be_read_used_and_saved_by_everyone() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium in PATH");
        return;
    };
    let mut result = sample::full();
    // As long as the name of a variant gets.
    let longest = result.cases.last_mut().expect("has cases");
    "wt-datagram+msgpack+batch100".clone_into(&mut longest.protocol);
    let page = html::render(&result);
    assert_eq!(use_page(&browser, &page, "run"), "");
    // The client finds what it looks for: a picture from elsewhere, text nobody can read, a switch that does nothing.
    let broken = page
        .replacen(
            "<header>",
            "<img src=\"http://127.0.0.1:9/x.png\"><p style=\"color: #ddd\">pale</p><header>",
            1,
        )
        .replacen(
            "<div class=\"summary\"",
            "<div style=\"width: 2000px\">wide</div><div class=\"summary\"",
            1,
        );
    let findings = use_page(&browser, &broken, "run");
    for expected in ["Content Security Policy", "image-alt", "color-contrast", "phone: the page is 2"] {
        assert!(findings.contains(expected), "{expected} was not found: {findings}");
    }
}

#[test]
fn a_comparison_can_be_read_used_and_saved_by_everyone() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium in PATH");
        return;
    };
    let (first, again) = (sample::first_light(), sample::first_light_again());
    let comparison = [Run { name: "a", result: &first }, Run { name: "b", result: &again }];
    assert_eq!(use_page(&browser, &html::render_comparison(&comparison), "comparison"), "");
}

#[test]
fn a_script_in_a_result_does_not_run() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium in PATH");
        return;
    };
    let mut result = sample::first_light();
    result.command = "</code><script>document.title = 'taken'</script>".to_owned();
    let page = html::render(&result);
    let (document, _) = open(&browser, &page);
    assert!(!document.contains("<title>taken"));
    // Should the escaping ever fail, the policy still stands before it.
    let broken = page.replace("<header>", "<header><script>document.title = 'taken'</script>");
    let (document, log) = open(&browser, &broken);
    assert!(!document.contains("<title>taken"));
    assert!(log.contains("Content Security Policy"), "{log}");
}
