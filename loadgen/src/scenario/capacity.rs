//! What a search for capacity was told, by flags or the table `[capacity]` of a file.

// The doc comments of the flags are their help text, where Markdown would be read as it is written.
#![allow(clippy::doc_markdown)]

use std::ops::RangeInclusive;

use clap::Args;
use serde_json::{Value, json};

use super::Problem;
use super::document::{Mistake, Table};
use super::values::{RATE, parse_rate};
use crate::capacity::Wanted;
use crate::capacity::objective::Objective;
use crate::capacity::search::Bounds;

/// Keys of the table.
const KEYS: [&str; 5] = ["objective", "from", "to", "tolerance", "confirm"];
/// Runs that have to keep the answer once more.
const CONFIRM: RangeInclusive<i64> = 0..=20;

/// What is looked for.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct CapacitySettings {
    /// What a rate has to keep: conditions on p50, p90, p99, p99.9, max, lost and achieved, separated by commas
    /// [default: p99<10ms,lost=0]
    #[arg(long, value_name = "CONDITIONS", value_parser = |text: &str| text.parse::<Objective>())]
    pub objective: Option<Objective>,

    /// The rate the search begins at, in messages a second [default: 100]
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    pub from: Option<f64>,

    /// The rate it goes up to [default: 100000]
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    pub to: Option<f64>,

    /// How far apart the highest rate kept and the lowest one not may stay [default: 5%]
    #[arg(long, value_name = "PERCENT", value_parser = parse_tolerance)]
    pub tolerance: Option<f64>,

    /// How many further runs have to keep the answer [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(CONFIRM))]
    pub confirm: Option<u32>,
}

impl CapacitySettings {
    /// These settings, and those `below` where these say nothing.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        let below = below.clone();
        Self {
            objective: self.objective.or(below.objective),
            from: self.from.or(below.from),
            to: self.to.or(below.to),
            tolerance: self.tolerance.or(below.tolerance),
            confirm: self.confirm.or(below.confirm),
        }
    }

    /// Whether they say anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is looked for, with nothing left open.
    ///
    /// # Errors
    /// [`Problem`] where the bounds are the wrong way round.
    pub fn wanted(&self) -> Result<Wanted, Problem> {
        let bounds = Bounds {
            from: self.from.unwrap_or(100.0),
            to: self.to.unwrap_or(100_000.0),
            tolerance: self.tolerance.unwrap_or(5.0) / 100.0,
            confirmations: self.confirm.unwrap_or(2),
        };
        if bounds.from > bounds.to {
            let text = format!(
                "the search goes from {} up to {}: --from is to be the lower one",
                bounds.from, bounds.to
            );
            return Err(Problem { key: "from", text });
        }
        let objective = match &self.objective {
            Some(objective) => objective.clone(),
            None => "p99<10ms,lost=0"
                .parse()
                .map_err(|error| Problem { key: "objective", text: format!("{error}") })?,
        };
        Ok(Wanted { objective, bounds })
    }

    /// The same with nothing left open, as a result keeps it.
    #[must_use]
    pub fn of(wanted: &Wanted) -> Self {
        let Bounds { from, to, tolerance, confirmations } = wanted.bounds;
        Self {
            objective: Some(wanted.objective.clone()),
            from: Some(from),
            to: Some(to),
            tolerance: Some(tolerance * 100.0),
            confirm: Some(confirmations),
        }
    }

    /// Reads the table of a file.
    ///
    /// # Errors
    /// The first mistake.
    pub fn read(table: Table<'_>) -> Result<Self, Mistake> {
        table.check_keys(&KEYS)?;
        Ok(Self {
            objective: table.optional("objective", |entry| entry.parsed(str::parse))?,
            from: table.optional("from", |entry| entry.number(&RATE))?,
            to: table.optional("to", |entry| entry.number(&RATE))?,
            tolerance: table.optional("tolerance", |entry| entry.parsed(parse_tolerance))?,
            confirm: table.optional("confirm", |entry| entry.integer(&CONFIRM))?,
        })
    }

    /// As a result keeps it.
    pub fn to_json(&self) -> Option<Value> {
        if self.is_empty() {
            return None;
        }
        let mut table = serde_json::Map::new();
        let values = [
            ("objective", self.objective.as_ref().map(|objective| objective.to_string().into())),
            ("from", self.from.map(|rate| json!(rate))),
            ("to", self.to.map(|rate| json!(rate))),
            ("tolerance", self.tolerance.map(|percent| format!("{percent}%").into())),
            ("confirm", self.confirm.map(|count| json!(count))),
        ];
        table.extend(values.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Some(Value::Object(table))
    }
}

/// Understands a tolerance, in percent.
fn parse_tolerance(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    match percent {
        Some(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        _ => Err("give a part from 0.1% to 100%, such as 5%".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_file_says_what_is_looked_for_and_flags_lie_over_it() {
        let text = "connections = 10\n[capacity]\nobjective = 'p99<5ms'\nfrom = 50\ntolerance = '2.5%'\n";
        let read = Scenario::parse("c.toml", text).unwrap();
        let flags = CapacitySettings { from: Some(70.0), ..CapacitySettings::default() };
        let wanted = flags.over(&read.capacity).wanted().unwrap();
        assert_eq!((wanted.bounds.from, wanted.bounds.to, wanted.bounds.tolerance), (70.0, 100_000.0, 0.025));
        assert_eq!(wanted.objective.to_string(), "p99<5ms");
        let told = |text: &str| Scenario::parse("c.toml", text).unwrap_err().to_string();
        assert!(
            told("[capacity]\nobjective = 'p99'")
                .starts_with("c.toml:2:13: objective: \"p99\" is no condition")
        );
        assert!(told("[capacity]\ntolerance = '5'").contains("2:13: tolerance: give a part"));
        assert!(told("[capacity]\nobjectiv = ''").contains("did you mean \"objective\"?"));
        let upside_down = CapacitySettings { from: Some(9.0), to: Some(8.0), ..CapacitySettings::default() };
        assert_eq!(upside_down.wanted().unwrap_err().key, "from");
    }
}
