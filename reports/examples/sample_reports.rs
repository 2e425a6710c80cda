//! Writes the made-up results and their reports into a folder, to look at them, or the reports of given results:
//! `cargo run -p lastmile-reports --example sample_reports -- FOLDER [RESULT.json…]`.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::path::PathBuf;

use lastmile_reports::terminal::TerminalOptions;
use lastmile_reports::view::comparison::Run;
use lastmile_reports::{html, json, markdown, store, terminal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: sample_reports FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    let given: Vec<PathBuf> = std::env::args().skip(2).map(PathBuf::from).collect();
    for (number, path) in given.iter().enumerate() {
        let result = store::read(path)?;
        store::write_text(&folder.join(format!("given-{number}.html")), &html::render(&result))?;
        println!("{}", terminal::render(&result, &TerminalOptions { width: 120, color: true }));
    }
    if !given.is_empty() {
        return Ok(());
    }
    for (name, result) in [
        ("first-light", sample::first_light()),
        ("a-minute", sample::a_minute()),
        ("full", sample::full()),
        ("sweep", sample::sweep(60, 600)),
    ] {
        store::write(&folder.join(format!("{name}.json")), &result)?;
        store::write_text(&folder.join(format!("{name}.md")), &markdown::render(&result))?;
        store::write_text(&folder.join(format!("{name}-report.json")), &json::render(&result))?;
        store::write_text(&folder.join(format!("{name}.html")), &html::render(&result))?;
        if result.cases.len() <= 10 {
            println!("{}", terminal::render(&result, &TerminalOptions { width: 160, color: true }));
        }
    }
    let (base, mut candidate) = (sample::first_light(), sample::first_light_again());
    candidate.environment.cores = 4;
    let runs = [Run { name: "base", result: &base }, Run { name: "candidate", result: &candidate }];
    store::write_text(&folder.join("comparison.html"), &html::render_comparison(&runs))?;
    store::write_text(&folder.join("comparison.md"), &markdown::render_comparison(&runs))?;
    println!("{}", terminal::render_comparison(&runs, &TerminalOptions { width: 160, color: true }));
    Ok(())
}
