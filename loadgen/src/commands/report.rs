//! `lastmile report` and `lastmile show`: results drawn again.

use std::path::PathBuf;

use lastmile_reports::schema::RunResult;
use lastmile_reports::view::comparison::Run;
use lastmile_reports::{csv, html, json, markdown, store, terminal};

use crate::cli::{ReportArguments, ReportFormat, ShowArguments};
use crate::commands::{names_of, terminal_options};

/// Draws the report of a result, or of several side by side; returns where it was written.
///
/// # Errors
/// [`store::StoreError`] where a result can't be read or the report not be written.
pub fn report(arguments: &ReportArguments) -> Result<PathBuf, store::StoreError> {
    let results: Vec<RunResult> =
        arguments.results.iter().map(|path| store::read(path)).collect::<Result<_, _>>()?;
    let names = match arguments.format {
        // Programs find the files by them.
        ReportFormat::Json => arguments.results.iter().map(|path| path.display().to_string()).collect(),
        _ => names_of(&arguments.results),
    };
    let output = arguments.output.clone().unwrap_or_else(|| default_output(arguments));
    store::write_text(&output, &draw(&results, &names, arguments.format))?;
    Ok(output)
}

fn draw(results: &[RunResult], names: &[String], format: ReportFormat) -> String {
    let runs: Vec<Run<'_>> = names.iter().zip(results).map(|(name, result)| Run { name, result }).collect();
    match (format, results) {
        (ReportFormat::Csv, _) => csv_of_all(results),
        (ReportFormat::Json, [result]) => json::render(result),
        (ReportFormat::Json, _) => json::render_comparison(&runs),
        (ReportFormat::Html, [result]) => html::render(result),
        (ReportFormat::Html, _) => html::render_comparison(&runs),
        (ReportFormat::Markdown, [result]) => markdown::render(result),
        (ReportFormat::Markdown, _) => markdown::render_comparison(&runs),
    }
}

/// The rows of all results under one head.
fn csv_of_all(results: &[RunResult]) -> String {
    let mut text = String::new();
    for (index, result) in results.iter().enumerate() {
        let table = csv::render(result);
        let skipped = usize::from(index > 0);
        text.extend(table.split_inclusive('\n').skip(skipped));
    }
    text
}

fn default_output(arguments: &ReportArguments) -> PathBuf {
    let name = if arguments.results.len() > 1 { "comparison" } else { "report" };
    let ending = match arguments.format {
        ReportFormat::Html => "html",
        ReportFormat::Markdown => "md",
        ReportFormat::Json => "json",
        ReportFormat::Csv => "csv",
    };
    // The argument parser demands at least one result.
    let first = arguments.results.first().cloned().unwrap_or_default();
    first.with_file_name(format!("{name}.{ending}"))
}

/// A result as text for the terminal, or as Markdown; several side by side.
///
/// # Errors
/// [`store::StoreError`] where a result can't be read.
pub fn show(arguments: &ShowArguments) -> Result<String, store::StoreError> {
    let results: Vec<RunResult> =
        arguments.results.iter().map(|path| store::read(path)).collect::<Result<_, _>>()?;
    let names = names_of(&arguments.results);
    let runs: Vec<Run<'_>> = names.iter().zip(&results).map(|(name, result)| Run { name, result }).collect();
    Ok(match (results.as_slice(), arguments.markdown) {
        ([result], true) => markdown::render(result),
        ([result], false) => terminal::render(result, &terminal_options()),
        (_, true) => markdown::render_comparison(&runs),
        (_, false) => terminal::render_comparison(&runs, &terminal_options()),
    })
}
