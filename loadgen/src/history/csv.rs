//! The history as CSV, in the form that Apache Otava reads: a file for each machine and case, a row for each run, a column
//! for each metric, and `otava.yaml` that names them.

use std::collections::BTreeMap;
use std::fmt::Write;

use lastmile_reports::history::Series;

use super::store::StoredRun;

/// Columns that are no metric.
const TIME: &str = "time";
const REVISION: &str = "revision";
/// As other tools call a revision.
const COMMIT: &str = "commit";
const BRANCH: &str = "branch";
const MACHINE: &str = "machine";
const CASE: &str = "case";

/// Why a CSV can't be imported.
#[derive(Debug, thiserror::Error)]
pub enum CsvError {
    /// No header, or none with a time.
    #[error(
        "{file} has no column {TIME:?} in its first line; wanted are {TIME}, {REVISION} (or {COMMIT}) and a column for each metric"
    )]
    NoTime {
        /// Which.
        file: String,
    },
    /// A row that is not like the header.
    #[error("{file}:{line}: {problem}")]
    Row {
        /// Which.
        file: String,
        /// Its line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
}

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: String,
}

/// Files of all series of a branch, and the configuration that lets Otava read them.
pub fn export(series: &[Series]) -> Vec<Exported> {
    let mut files = Vec::new();
    let mut configuration = "tests:\n".to_owned();
    for group in series.chunk_by(|left, right| left.machine == right.machine && left.case == right.case) {
        let first = &group[0];
        let test = slug(&format!("{}-{}", first.machine, first.case));
        let metrics: Vec<&str> = group.iter().map(|series| series.metric.as_str()).collect();
        // Writing to a string can't fail.
        let _ = write!(
            configuration,
            "  {test}:\n    type: csv\n    file: {test}.csv\n    time_column: {TIME}\n    attributes: [{REVISION}, {BRANCH}, {MACHINE}, {CASE}]\n    metrics:\n"
        );
        for series in group {
            let direction = if series.metric == "rate" { 1 } else { -1 };
            let _ = write!(
                configuration,
                "      {}:\n        direction: {direction}\n        scale: 1\n",
                quoted_yaml(&series.metric)
            );
        }
        files.push(Exported { name: format!("{test}.csv"), content: rows(group, &metrics) });
    }
    files.push(Exported { name: "otava.yaml".to_owned(), content: configuration });
    files
}

/// The rows of one machine and case. A run that lacks a metric leaves its cell empty.
fn rows(group: &[Series], metrics: &[&str]) -> String {
    let mut runs: BTreeMap<(&str, &str), Vec<Option<f64>>> = BTreeMap::new();
    for (column, series) in group.iter().enumerate() {
        for point in &series.points {
            let row = runs
                .entry((&point.measured_at, &point.revision))
                .or_insert_with(|| vec![None; metrics.len()]);
            row[column] = Some(point.value);
        }
    }
    let head = [TIME, REVISION, BRANCH, MACHINE, CASE].into_iter().chain(metrics.iter().copied());
    let mut text = head.map(cell).collect::<Vec<_>>().join(",") + "\n";
    let first = &group[0];
    for ((time, revision), values) in runs {
        let words = [time, revision, &first.branch, &first.machine, &first.case].map(cell);
        let values = values.into_iter().map(|value| value.map(|value| value.to_string()).unwrap_or_default());
        text.push_str(&words.into_iter().chain(values).collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    text
}

/// The runs of a CSV; what its columns don't say is taken from `defaults` (branch, machine, case).
///
/// # Errors
/// [`CsvError`] with the line.
pub fn import(file: &str, text: &str, defaults: &StoredRun, case: &str) -> Result<Vec<StoredRun>, CsvError> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let no_time = || CsvError::NoTime { file: file.to_owned() };
    let head = lines.next().and_then(|(_, line)| cells(line)).ok_or_else(no_time)?;
    let column = |name: &str| head.iter().position(|column| column.eq_ignore_ascii_case(name));
    let time = column(TIME).ok_or_else(no_time)?;
    let words = [column(REVISION).or_else(|| column(COMMIT)), column(BRANCH), column(MACHINE), column(CASE)];
    let is_word = |index: usize| index == time || words.contains(&Some(index));
    let mut runs = Vec::new();
    for (index, line) in lines {
        let row_error = |problem: String| CsvError::Row { file: file.to_owned(), line: index + 1, problem };
        let row = cells(line).ok_or_else(|| row_error("a quoted cell does not end".to_owned()))?;
        if row.len() != head.len() {
            return Err(row_error(format!("{} cells stand below {} columns", row.len(), head.len())));
        }
        let word = |which: usize, default: &str| {
            words[which]
                .and_then(|column| row.get(column))
                .filter(|text| !text.is_empty())
                .cloned()
                .unwrap_or_else(|| default.to_owned())
        };
        let measured_at = instant(&row[time]).ok_or_else(|| {
            row_error(format!("{:?} is no time; write 2026-01-31T12:00:00Z or seconds since 1970", row[time]))
        })?;
        let case = word(3, case);
        let mut figures = Vec::new();
        for (column, text) in
            row.iter().enumerate().filter(|(column, text)| !is_word(*column) && !text.is_empty())
        {
            match text.parse::<f64>() {
                Ok(value) if value.is_finite() => figures.push((case.clone(), head[column].clone(), value)),
                // A further attribute, such as a version.
                _ => {}
            }
        }
        let (revision, branch, machine) =
            (word(0, &measured_at), word(1, &defaults.branch), word(2, &defaults.machine));
        runs.push(StoredRun {
            id: format!("csv:{machine}:{branch}:{case}:{revision}:{measured_at}"),
            machine_description: defaults.machine_description.clone(),
            verdict: "imported".to_owned(),
            machine,
            branch,
            revision,
            measured_at,
            figures,
        });
    }
    Ok(runs)
}

/// A time in the form the history keeps: RFC 3339 in UTC, from that or from seconds since 1970.
fn instant(text: &str) -> Option<String> {
    use time::format_description::well_known::Rfc3339;
    use time::macros::format_description;
    let text = text.trim();
    let day_and_time = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    );
    let moment = time::OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| time::OffsetDateTime::parse(text, &day_and_time))
        .ok()
        .or_else(|| time::OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok())?;
    moment.to_offset(time::UtcOffset::UTC).format(&Rfc3339).ok()
}

/// The cells of a line; `None` where a quote is not closed.
fn cells(line: &str) -> Option<Vec<String>> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(character) = characters.next() {
        let last = cells.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                last.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            other => last.push(other),
        }
    }
    (!quoted).then(|| cells.into_iter().map(|cell| cell.trim().to_owned()).collect())
}

/// A cell that stays one, on one line.
fn cell(text: &str) -> String {
    let text = text.replace(['\r', '\n'], " ");
    if text.contains([',', '"']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

/// A name for files and for YAML.
fn slug(text: &str) -> String {
    let plain = text.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '-' });
    let text: String = plain.collect();
    text.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

fn quoted_yaml(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use lastmile_reports::history::Point;

    use super::*;

    fn series(metric: &str, values: &[f64]) -> Series {
        let point = |(index, value): (usize, &f64)| Point {
            measured_at: format!("2026-01-{:02}T00:00:00Z", index + 1),
            revision: format!("r{index}"),
            value: *value,
        };
        Series {
            machine: "abc".into(),
            branch: "main".into(),
            case: "ws, 100 subscribers".into(),
            metric: metric.into(),
            points: values.iter().enumerate().map(point).collect(),
        }
    }

    #[test]
    fn what_is_exported_is_imported_again() {
        let files = export(&[series("cpu", &[7.0, 7.5]), series("p50", &[100.25])]);
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].name, "abc-ws-100-subscribers.csv");
        assert_eq!(
            files[0].content,
            "time,revision,branch,machine,case,cpu,p50\n\
             2026-01-01T00:00:00Z,r0,main,abc,\"ws, 100 subscribers\",7,100.25\n\
             2026-01-02T00:00:00Z,r1,main,abc,\"ws, 100 subscribers\",7.5,\n"
        );
        assert!(
            files[1].content.contains("file: abc-ws-100-subscribers.csv")
                && files[1].content.contains("time_column: time")
        );
        let runs = import("a.csv", &files[0].content, &StoredRun::default(), "").unwrap();
        assert_eq!(runs.len(), 2);
        assert_eq!(
            (runs[0].branch.as_str(), runs[0].machine.as_str(), runs[0].revision.as_str()),
            ("main", "abc", "r0")
        );
        let case = "ws, 100 subscribers".to_owned();
        assert_eq!(
            runs[0].figures,
            [(case.clone(), "cpu".into(), 7.0), (case.clone(), "p50".into(), 100.25)]
        );
        assert_eq!(runs[1].figures, [(case, "cpu".into(), 7.5)]);
    }

    #[test]
    fn files_of_others_are_read() {
        let text = "time,commit,metric1\n2021-01-01 02:00:00 +0000,aaa,154023\n1609480000,bbb,138455\n";
        let defaults = StoredRun { branch: "main".into(), machine: "theirs".into(), ..StoredRun::default() };
        let runs = import("a.csv", text, &defaults, "sample").unwrap();
        assert_eq!(runs[0].measured_at, "2021-01-01T02:00:00Z");
        assert_eq!(runs[1].measured_at, "2021-01-01T05:46:40Z");
        assert_eq!(runs[1].figures, [("sample".into(), "metric1".into(), 138_455.0)]);
    }

    #[test]
    fn mistakes_have_a_line() {
        let told = |text: &str| import("a.csv", text, &StoredRun::default(), "").unwrap_err().to_string();
        assert!(told("").contains("no column \"time\""));
        assert!(told("when,x\n").contains("no column \"time\""));
        assert!(told("time,x\nyesterday,1\n").contains("a.csv:2: \"yesterday\" is no time"));
        assert!(told("time,x\n\n1,2,3\n").contains("a.csv:3: 3 cells stand below 2 columns"));
        assert!(told("time,x\n1,\"2\n").contains("a.csv:2: a quoted cell"));
    }
}
