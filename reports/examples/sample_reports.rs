//! Writes the made-up results and their reports into a folder, to look at them, or the reports of given results and their
//! comparison: `cargo run -p lastmile-reports --example sample_reports -- FOLDER [RESULT.json…]`. A `gate.json` is drawn, too.

#[path = "../tests/sample/mod.rs"]
mod sample;

use std::path::PathBuf;

use lastmile_reports::gate::schema::GateResult;
use lastmile_reports::terminal::TerminalOptions;
use lastmile_reports::view::comparison::Run;
use lastmile_reports::{html, json, markdown, store, terminal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: sample_reports FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    let given: Vec<PathBuf> = std::env::args().skip(2).map(PathBuf::from).collect();
    let (gates, runs): (Vec<&PathBuf>, Vec<&PathBuf>) =
        given.iter().partition(|path| path.file_name().is_some_and(|name| name == "gate.json"));
    for path in gates {
        let gate = GateResult::read(path)?;
        store::write_text(&folder.join("given-gate.html"), &html::gate::render(&gate))?;
    }
    let names: Vec<String> = runs.iter().map(|path| path.display().to_string()).collect();
    let results: Vec<_> = runs.iter().map(|path| store::read(path)).collect::<Result<_, _>>()?;
    for (number, result) in results.iter().enumerate() {
        store::write_text(&folder.join(format!("given-{number}.html")), &html::render(result))?;
        store::write_text(&folder.join(format!("given-{number}.md")), &markdown::render(result))?;
        println!("{}", terminal::render(result, &TerminalOptions { width: 120, color: true }));
    }
    if results.len() > 1 {
        let runs: Vec<Run<'_>> =
            names.iter().zip(&results).map(|(name, result)| Run { name, result }).collect();
        store::write_text(&folder.join("given-comparison.html"), &html::render_comparison(&runs))?;
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
