//! `lastmile report` and `lastmile show`: results drawn again.

use std::path::PathBuf;

use lastmile_reports::{html, markdown, store, terminal};

use crate::cli::{ReportArguments, ShowArguments};
use crate::commands::terminal_options;

/// Draws the HTML report of a result; returns where it was written.
///
/// # Errors
/// [`store::StoreError`] where the result can't be read or the report not be written.
pub fn report(arguments: &ReportArguments) -> Result<PathBuf, store::StoreError> {
    let result = store::read(&arguments.result)?;
    let output = arguments.output.clone().unwrap_or_else(|| arguments.result.with_file_name("report.html"));
    store::write_text(&output, &html::render(&result))?;
    Ok(output)
}

/// A result as text for the terminal, or as Markdown.
///
/// # Errors
/// [`store::StoreError`] where the result can't be read.
pub fn show(arguments: &ShowArguments) -> Result<String, store::StoreError> {
    let result = store::read(&arguments.result)?;
    Ok(if arguments.markdown {
        markdown::render(&result)
    } else {
        terminal::render(&result, &terminal_options())
    })
}
