//! Reading and writing `result.json`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::schema::{RunResult, SCHEMA};

/// The JSON Schema of `result.json`, for whoever holds output against it.
pub const RESULT_JSON_SCHEMA: &str = include_str!("../schema/result.schema.json");

/// Why a result could not be read or written. Each names the file and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file can't be opened or read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The result's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file can't be written.
    #[error("can't write {}: {source}", path.display())]
    Write {
        /// The result's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds no JSON object.
    #[error("{} is not JSON: {source}", path.display())]
    NotJson {
        /// The result's file.
        path: PathBuf,
        /// Where the JSON ends to be JSON.
        source: serde_json::Error,
    },
    /// The file holds JSON that is no result of lastmile, or one of a version this build does not know.
    #[error("{} has schema {found}, this build reads \"{SCHEMA}\"", path.display())]
    UnknownSchema {
        /// The result's file.
        path: PathBuf,
        /// The value found, quoted, or `none`.
        found: String,
    },
    /// The file holds JSON of another kind or version than wanted.
    #[error("{} has schema {found}, wanted is \"{expected}\"", path.display())]
    OtherSchema {
        /// The result's file.
        path: PathBuf,
        /// The value found, quoted, or `none`.
        found: String,
        /// What this command reads.
        expected: &'static str,
    },
    /// The schema is right, but a field is missing or of the wrong type.
    #[error("{} says it is \"{SCHEMA}\" but is not: {source}", path.display())]
    Malformed {
        /// The result's file.
        path: PathBuf,
        /// Which field, and where.
        source: serde_json::Error,
    },
}

/// Reads a result.
///
/// # Errors
/// [`StoreError`] where the file can't be read, is not JSON, has another schema or lacks a field.
pub fn read(path: &Path) -> Result<RunResult, StoreError> {
    let text = fs::read_to_string(path).map_err(|source| StoreError::Read { path: path.into(), source })?;
    parse(&text, path)
}

/// Reads a result from its text; the path is only for the error.
///
/// # Errors
/// As [`read`], but for the file itself.
pub fn parse(text: &str, path: &Path) -> Result<RunResult, StoreError> {
    match serde_json::from_str::<RunResult>(text) {
        Ok(result) if result.schema == SCHEMA => Ok(result),
        Ok(result) => {
            let found = format!("\"{}\"", result.schema);
            Err(StoreError::UnknownSchema { path: path.into(), found })
        }
        Err(error) => Err(why_unreadable(text, path, error)),
    }
}

/// The schema a file says it has, whatever it is; `None` where it says none.
///
/// # Errors
/// [`StoreError`] where the file can't be read or is not JSON.
pub fn schema_of(path: &Path) -> Result<Option<String>, StoreError> {
    let text = fs::read_to_string(path).map_err(|source| StoreError::Read { path: path.into(), source })?;
    let probe: Probe =
        serde_json::from_str(&text).map_err(|source| StoreError::NotJson { path: path.into(), source })?;
    Ok(probe.schema.as_ref().and_then(serde_json::Value::as_str).map(str::to_owned))
}

/// The one field that every kind and version has.
#[derive(Deserialize)]
struct Probe {
    schema: Option<serde_json::Value>,
}

/// Why a text is no result, given why it could not be read as one. The version comes first: a newer result shall be
/// called newer, not "missing field".
fn why_unreadable(text: &str, path: &Path, error: serde_json::Error) -> StoreError {
    let path = PathBuf::from(path);
    match serde_json::from_str::<Probe>(text) {
        Err(source) => StoreError::NotJson { path, source },
        Ok(Probe { schema: Some(schema) }) if schema == SCHEMA => {
            StoreError::Malformed { path, source: error }
        }
        Ok(Probe { schema }) => {
            let found = schema.map_or_else(|| "none".to_owned(), |value| value.to_string());
            StoreError::UnknownSchema { path, found }
        }
    }
}

/// A result as the text of `result.json`: indented JSON with a newline at the end.
///
/// # Panics
/// Never: all keys are field names and no field refuses to be written.
pub fn to_json(result: &RunResult) -> String {
    let mut text = serde_json::to_string_pretty(result).expect("plain fields always serialize");
    text.push('\n');
    text
}

/// Writes a result so that the path never holds half of one: to a file beside it, which is then renamed.
///
/// # Errors
/// [`StoreError::Write`] with what the system said; the path then holds what it held before.
pub fn write(path: &Path, result: &RunResult) -> Result<(), StoreError> {
    write_text(path, &to_json(result))
}

/// Writes any text (a report, a table) in the same all-or-nothing way.
///
/// # Errors
/// As [`write()`].
pub fn write_text(path: &Path, text: &str) -> Result<(), StoreError> {
    let mut beside = path.as_os_str().to_owned();
    // The process id keeps two runs that write the same path out of each other's half-written file.
    beside.push(format!(".{}.part", std::process::id()));
    let beside = PathBuf::from(beside);
    write_and_rename(&beside, path, text).map_err(|source| {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&beside);
        StoreError::Write { path: path.into(), source }
    })
}

/// The steps of [`write_text`], so that any of them failing cleans up in one place.
fn write_and_rename(beside: &Path, path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(beside)?;
    file.write_all(text.as_bytes())?;
    // Without it a crash after the rename could leave an empty file under the final name.
    file.sync_all()?;
    fs::rename(beside, path)
}
