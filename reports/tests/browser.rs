//! The report in a real browser, where one is installed: its script runs under the page's own policy, without an
//! error and without a request.

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

#[test]
fn the_script_runs_without_a_complaint() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium in PATH");
        return;
    };
    let (first, again) = (sample::first_light(), sample::first_light_again());
    let comparison = [Run { name: "a", result: &first }, Run { name: "b", result: &again }];
    for (page, switches, buttons) in [
        (
            html::render(&first),
            5,
            ["Linear scale", "Save result.json", "Save histograms", "Save SVG", "Copy command"],
        ),
        (
            html::render_comparison(&comparison),
            10,
            ["Linear scale", "Save SVG", "Save PNG", "Copy command", "Copy command"],
        ),
    ] {
        let (document, log) = open(&browser, &page);
        assert!(!log.contains("CONSOLE"), "{log}");
        // The legend's entries become switches only where the script ran to its end.
        assert_eq!(document.matches("<button type=\"button\" aria-pressed=\"true\">").count(), switches);
        for name in buttons {
            assert!(document.contains(&format!(">{name}</button>")), "{name} is missing");
        }
    }
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
