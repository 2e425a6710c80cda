//! Results over months: the series of every metric on one machine, and where its level changed.
//!
//! What changes between machines is the machine: a series holds one machine's figures, told apart by a fingerprint.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::gate::summary::{how_sure, percent, probability, signed};
use crate::gate::{GateResult, Metric, Role};
use crate::schema::{CaseResult, Environment, RunResult};
use crate::statistics::{ChangePoint, Sensitivity, change_points, median};
use crate::view::table::{Cell, Column, Row, Table, Tone};

/// One figure of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// When it was measured, RFC 3339 in UTC.
    pub measured_at: String,
    /// The revision measured.
    pub revision: String,
    /// The figure.
    pub value: f64,
}

/// One metric of one case on one machine and branch, in the order measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Fingerprint of the machine.
    pub machine: String,
    /// The branch.
    pub branch: String,
    /// The case: protocol and load.
    pub case: String,
    /// Name of the metric; one of [`Metric`], or of whoever the figures come from.
    pub metric: String,
    /// The figures.
    pub points: Vec<Point>,
}

/// A change of level, dated to a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    /// Where.
    pub series: &'a Series,
    /// What.
    pub point: ChangePoint,
}

/// What a machine is told apart by: processor, cores, memory in GiB, and the kernel without its patch level, so that an
/// update of security fixes begins no new series and another kernel does.
pub fn fingerprint(environment: &Environment) -> String {
    let mut words = environment.kernel.split(' ');
    let (name, release, machine) = (words.next(), words.next(), words.next_back());
    let release: String = release.unwrap_or_default().split('.').take(2).collect::<Vec<_>>().join(".");
    let memory_gib = (environment.memory_bytes as f64 / f64::from(1 << 30)).round();
    let text = format!(
        "{}|{}|{memory_gib}|{}|{release}|{}",
        environment.cpu,
        environment.cores,
        name.unwrap_or_default(),
        machine.unwrap_or_default()
    );
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).fold(String::new(), |mut hex, byte| {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What identifies a result: adding it twice adds it once.
pub fn identity(result: &RunResult) -> String {
    let machine = fingerprint(&result.environment);
    digest_of(&format!("{}|{}|{}|{machine}", result.started_at, result.seed, result.command))
}

/// The same of one side of a gate.
pub fn gate_identity(result: &GateResult, side: GateSide) -> String {
    let machine = fingerprint(&result.environment);
    let (started_at, seed, command) = (&result.started_at, result.seed, &result.command);
    digest_of(&format!("{started_at}|{seed}|{command}|{machine}|{side:?}"))
}

fn digest_of(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(12).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The name of a case in the history: everything that makes its figures comparable.
pub fn case_name(case: &CaseResult) -> String {
    let pace = match case.in_flight {
        Some(messages) => format!("{messages} in flight"),
        None => format!("{}/s", case.rate),
    };
    let topic = if case.topic.is_empty() || case.topic == "game crash" {
        String::new()
    } else {
        format!(", {}", case.topic)
    };
    format!("{}, {} subscribers, {pace}, {} B{topic}", case.protocol, case.connections, case.payload_bytes)
}

/// One of the two builds of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateSide {
    /// What the candidate was held against, the blocks that measured it once more included.
    Base,
    /// What was judged.
    Candidate,
}

/// The figures of one side of a gate that a history keeps: medians over its sound blocks. The figures of blocks are not
/// those of a run, which is longer: their cases have names of their own, and so series of their own.
pub fn gate_figures(result: &GateResult, side: GateSide) -> Vec<(String, Metric, f64)> {
    let is_of_side = |role: Role| (role == Role::Candidate) == (side == GateSide::Candidate);
    let mut figures = Vec::new();
    for (index, case) in result.cases.iter().enumerate() {
        let name = format!("gate: {}, {}", case.protocol, case.load);
        let blocks = result.blocks.iter();
        let sound: Vec<_> = blocks
            .filter(|block| block.case == index && is_of_side(block.role) && block.faults.is_empty())
            .collect();
        for metric in Metric::ALL {
            let values: Vec<f64> = sound.iter().filter_map(|block| block.value(metric)).collect();
            figures.extend(median(&values).map(|value| (name.clone(), metric, value)));
        }
    }
    figures
}

/// The figures of a result that a history keeps: case, metric, value.
pub fn figures(result: &RunResult) -> Vec<(String, Metric, f64)> {
    let of_case = |case: &CaseResult| -> Vec<(String, Metric, f64)> {
        let name = case_name(case);
        Metric::ALL.into_iter().filter_map(|metric| Some((name.clone(), metric, metric.of(case)?))).collect()
    };
    result.cases.iter().filter(|case| !case.interrupted).flat_map(of_case).collect()
}

impl Series {
    /// Where its level changed.
    pub fn changes(&self, sensitivity: Sensitivity) -> Vec<Change<'_>> {
        let values: Vec<f64> = self.points.iter().map(|point| point.value).collect();
        change_points(&values, sensitivity).into_iter().map(|point| Change { series: self, point }).collect()
    }

    /// More of its figure is better.
    fn is_better_when_larger(&self) -> bool {
        Metric::named(&self.metric).is_some_and(Metric::is_better_when_larger)
    }
}

impl Change<'_> {
    /// It is for the worse.
    pub fn is_worse(&self) -> bool {
        let grew = self.point.after > self.point.before;
        grew != self.series.is_better_when_larger()
    }

    /// The first revision of the new level, and the last of the old: the change lies after the latter.
    pub fn revisions(&self) -> (&Point, &Point) {
        (&self.series.points[self.point.index - 1], &self.series.points[self.point.index])
    }

    /// It is among the last so many runs of its series.
    pub fn is_recent(&self, runs: usize) -> bool {
        self.series.points.len() - self.point.index <= runs
    }

    /// In a sentence.
    pub fn sentence(&self) -> String {
        let (last, first) = self.revisions();
        let change = self.point.change().map_or_else(|| "from nothing".to_owned(), signed);
        format!(
            "{}: {} changed by {change} at {} ({}), after {}; {}.",
            self.series.case,
            self.series.metric,
            short_revision(&first.revision),
            first.measured_at,
            short_revision(&last.revision),
            how_sure(self.point.p)
        )
    }
}

/// As much of a revision as people say.
pub fn short_revision(revision: &str) -> String {
    revision.chars().take(12).collect()
}

/// The table of changes, the newest first.
pub fn changes_table(changes: &[Change<'_>]) -> Table {
    let columns = vec![
        Column::words("case", "Protocol and load"),
        Column::words("metric", "Which figure"),
        Column::words("revision", "The first of the new level"),
        Column::words("after", "The last of the old level"),
        Column::words("measured", "When the first of the new level was measured"),
        Column::figures("", "change", "", "Of the mean, from level to level"),
        Column::figures("", "p", "", "Two-sided t-test between the two levels"),
        Column::words("machine", "Fingerprint of the machine"),
    ];
    let mut ordered: Vec<&Change<'_>> = changes.iter().collect();
    ordered.sort_by(|left, right| right.revisions().1.measured_at.cmp(&left.revisions().1.measured_at));
    let rows = ordered.into_iter().map(|change| {
        let (last, first) = change.revisions();
        let tone = if change.is_worse() { Tone::Bad } else { Tone::Plain };
        let size = change.point.change().map_or_else(|| "from 0".to_owned(), signed);
        Row {
            slot: None,
            cells: vec![
                Cell::plain(&change.series.case),
                Cell::plain(&change.series.metric),
                Cell::plain(short_revision(&first.revision)),
                Cell::plain(short_revision(&last.revision)),
                Cell::plain(&first.measured_at),
                Cell { tone, ..Cell::plain(size) },
                Cell::plain(probability(change.point.p)),
                Cell::plain(&change.series.machine),
            ],
        }
    });
    Table { caption: "Changes of level, the newest first".to_owned(), columns, rows: rows.collect() }
}

/// What is looked for, in one line.
pub fn method(sensitivity: Sensitivity) -> String {
    format!(
        "E-divisive change points, significant by a t-test at p < {} and at least {}; the series of a machine is never mixed \
         with that of another",
        sensitivity.p,
        percent(sensitivity.change)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(metric: &str, values: impl IntoIterator<Item = f64>) -> Series {
        let point = |(index, value): (usize, f64)| Point {
            measured_at: format!("2026-01-{:02}T00:00:00Z", index + 1),
            revision: format!("revision{index:02}"),
            value,
        };
        Series {
            machine: "m".into(),
            branch: "main".into(),
            case: "ws".into(),
            metric: metric.into(),
            points: values.into_iter().enumerate().map(point).collect(),
        }
    }

    #[test]
    fn a_change_is_dated_to_a_revision_and_has_a_direction() {
        let values = |factor: f64| {
            (0..20).map(move |index| if index < 12 { 100.0 } else { 100.0 * factor } + f64::from(index % 3))
        };
        let slower = series("p50", values(1.2));
        let changes = slower.changes(Sensitivity::default());
        let [change] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(change.revisions().1.revision, "revision12");
        assert!(change.is_worse() && change.is_recent(8) && !change.is_recent(7));
        assert!(change.sentence().contains("+20 % at revision12"), "{}", change.sentence());
        assert!(!series("p50", values(0.8)).changes(Sensitivity::default())[0].is_worse());
        assert!(series("rate", values(0.8)).changes(Sensitivity::default())[0].is_worse());
        let table = changes_table(&changes);
        assert!(table.is_rectangular() && table.rows.len() == 1);
    }

    #[test]
    fn a_machine_is_known_again_after_a_patch_and_not_with_other_cores() {
        let environment = Environment {
            cpu: "a".into(),
            cores: 2,
            kernel: "Linux 6.18.1 x86_64".into(),
            memory_bytes: 16 << 30,
            ..Environment::default()
        };
        let patched = Environment {
            kernel: "Linux 6.18.9 x86_64".into(),
            memory_bytes: (16 << 30) - 12_345,
            ..environment.clone()
        };
        assert_eq!(fingerprint(&environment), fingerprint(&patched));
        let other = Environment { cores: 4, ..environment.clone() };
        assert_ne!(fingerprint(&environment), fingerprint(&other));
        assert_eq!(fingerprint(&environment).len(), 12);
    }
}
