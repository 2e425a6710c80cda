//! What a rate has to keep: `p99<5ms,lost=0`.

use std::fmt;
use std::str::FromStr;

use lastmile_reports::checks;
use lastmile_reports::schema::CaseResult;
use lastmile_reports::statistics::samples_to_resolve;

/// Conditions that all have to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Term {
    quantity: Quantity,
    comparison: Comparison,
    limit: Limit,
}

/// What is held against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    P50,
    P90,
    P99,
    P999,
    Max,
    Lost,
    Achieved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Equal,
    AtLeast,
    Above,
}

/// As it was written, so that it is written again as it was.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    number: f64,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Microseconds,
    Milliseconds,
    Seconds,
    /// Of what was expected or planned.
    Percent,
    Count,
}

impl Unit {
    /// How it is written.
    fn sign(self) -> &'static str {
        match self {
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Percent => "%",
            Self::Count => "",
        }
    }

    /// One of it, in microseconds where it is a time.
    fn scale(self) -> f64 {
        match self {
            Self::Seconds => 1e6,
            Self::Milliseconds => 1e3,
            Self::Microseconds | Self::Percent | Self::Count => 1.0,
        }
    }
}

/// Why something is no objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectiveError {
    /// No condition at all.
    #[error("an objective is a list of conditions, such as p99<5ms,lost=0")]
    Empty,
    /// A condition without a comparison.
    #[error("{term:?} is no condition; write a quantity, a comparison and a limit, such as p99<5ms")]
    Form {
        /// As given.
        term: String,
    },
    /// An unknown quantity.
    #[error("{name:?} is nothing that is measured here; known are {}", NAMES.map(|(name, _)| name).join(", "))]
    Quantity {
        /// As given.
        name: String,
    },
    /// A quantity that is stated twice.
    #[error("{name} is stated twice")]
    Twice {
        /// Its name.
        name: &'static str,
    },
    /// A limit that does not fit the quantity.
    #[error("{limit:?} is no limit for {name}; {wanted}")]
    Limit {
        /// As given.
        limit: String,
        /// The quantity.
        name: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
    /// A comparison the wrong way round.
    #[error("{name}{comparison} asks for more where less is better, or the other way round; {wanted}")]
    Comparison {
        /// The quantity.
        name: &'static str,
        /// As given.
        comparison: &'static str,
        /// What it takes.
        wanted: &'static str,
    },
}

const NAMES: [(&str, Quantity); 7] = [
    ("p50", Quantity::P50),
    ("p90", Quantity::P90),
    ("p99", Quantity::P99),
    ("p99.9", Quantity::P999),
    ("max", Quantity::Max),
    ("lost", Quantity::Lost),
    ("achieved", Quantity::Achieved),
];

/// Longer ones first, or `<=` would be read as `<`.
const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Below),
    (">", Comparison::Above),
    ("=", Comparison::Equal),
];

impl Quantity {
    fn name(self) -> &'static str {
        NAMES.into_iter().find(|(_, quantity)| *quantity == self).map_or("", |(name, _)| name)
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Lost => "write lost=0, lost<=10 or lost<0.1%",
            Self::Achieved => "write achieved>=99%",
            _ => "write a time above it, such as p99<5ms, p99<=800us or max<1s",
        }
    }

    fn takes(self, comparison: Comparison) -> bool {
        match self {
            Self::Lost => matches!(comparison, Comparison::Below | Comparison::AtMost | Comparison::Equal),
            Self::Achieved => matches!(comparison, Comparison::AtLeast | Comparison::Above),
            _ => matches!(comparison, Comparison::Below | Comparison::AtMost),
        }
    }

    fn limit(self, text: &str) -> Option<Limit> {
        let units: &[(&str, Unit)] = match self {
            Self::Lost => &[("%", Unit::Percent), ("", Unit::Count)],
            Self::Achieved => &[("%", Unit::Percent)],
            // "ms" before "s": it ends like it.
            _ => &[
                ("us", Unit::Microseconds),
                ("µs", Unit::Microseconds),
                ("ms", Unit::Milliseconds),
                ("s", Unit::Seconds),
            ],
        };
        let (digits, unit) = units.iter().find_map(|(sign, unit)| Some((text.strip_suffix(sign)?, *unit)))?;
        let number = digits.parse::<f64>().ok()?;
        let fits = match unit {
            Unit::Percent => (0.0..=100.0).contains(&number),
            Unit::Count => number >= 0.0 && number.fract() == 0.0,
            _ => number > 0.0 && number.is_finite(),
        };
        fits.then_some(Limit { number, unit })
    }

    /// The quantile behind it.
    fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P99 => Some(0.99),
            Self::P999 => Some(0.999),
            Self::Max | Self::Lost | Self::Achieved => None,
        }
    }
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        if text.trim().is_empty() {
            return Err(ObjectiveError::Empty);
        }
        let mut terms: Vec<Term> = Vec::new();
        for term in text.split(',') {
            let term = parse_term(term.trim())?;
            if terms.iter().any(|other| other.quantity == term.quantity) {
                return Err(ObjectiveError::Twice { name: term.quantity.name() });
            }
            terms.push(term);
        }
        Ok(Self { terms })
    }
}

fn parse_term(text: &str) -> Result<Term, ObjectiveError> {
    let split = COMPARISONS.into_iter().filter_map(|(sign, comparison)| {
        let (name, limit) = text.split_once(sign)?;
        Some((name.trim(), sign, comparison, limit.trim()))
    });
    // The one that comes first, of two at one place the longer.
    let first = split.min_by_key(|(name, sign, ..)| (name.len(), std::cmp::Reverse(sign.len())));
    let Some((name, sign, comparison, limit)) = first else {
        return Err(ObjectiveError::Form { term: text.to_owned() });
    };
    let known = NAMES.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    let (name, quantity) = known.ok_or_else(|| ObjectiveError::Quantity { name: name.to_owned() })?;
    let wanted = quantity.wanted();
    if !quantity.takes(comparison) {
        return Err(ObjectiveError::Comparison { name, comparison: sign, wanted });
    }
    let limit = quantity.limit(limit).ok_or_else(|| ObjectiveError::Limit {
        limit: limit.to_owned(),
        name,
        wanted,
    })?;
    Ok(Term { quantity, comparison, limit })
}

impl Objective {
    /// What a case falls short of, in words; nothing where it keeps the objective.
    pub fn shortfalls(&self, case: &CaseResult) -> Vec<String> {
        self.terms.iter().filter_map(|term| term.shortfall(case)).collect()
    }

    /// How many messages a window must have for every quantile of the objective to be resolved.
    pub fn messages_wanted(&self) -> u64 {
        let quantiles = self.terms.iter().filter_map(|term| term.quantity.quantile());
        quantiles.map(samples_to_resolve).max().unwrap_or(1)
    }
}

impl Term {
    fn shortfall(self, case: &CaseResult) -> Option<String> {
        let name = self.quantity.name();
        let latency = &case.latency_us;
        let value = match self.quantity {
            Quantity::P50 => latency.p50,
            Quantity::P90 => latency.p90,
            Quantity::P99 => latency.p99,
            Quantity::P999 => latency.p99_9,
            Quantity::Max => latency.max,
            Quantity::Lost => match self.limit.unit {
                Unit::Percent if case.accounting.expected == 0 => None,
                Unit::Percent => Some(100.0 * case.accounting.lost as f64 / case.accounting.expected as f64),
                _ => Some(case.accounting.lost as f64),
            },
            Quantity::Achieved => {
                case.achieved_rate.map(|achieved| 100.0 * achieved / checks::planned_rate(case))
            }
        };
        let Some(value) = value else { return Some(format!("{name} could not be told")) };
        let limit = self.limit.number * self.limit.unit.scale();
        let holds = match self.comparison {
            Comparison::Below => value < limit,
            Comparison::AtMost => value <= limit,
            // Only what can't be negative is compared so.
            Comparison::Equal => (value - limit).abs() < 1e-9,
            Comparison::AtLeast => value >= limit,
            Comparison::Above => value > limit,
        };
        (!holds).then(|| match self.limit.unit {
            Unit::Percent => format!("{name} is {value:.2} %"),
            Unit::Count => format!("{name} is {value}"),
            _ => format!("{name} is {:.2} ms", value / 1e3),
        })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, term) in self.terms.iter().enumerate() {
            let separator = if number > 0 { "," } else { "" };
            let sign = COMPARISONS.into_iter().find(|(_, known)| *known == term.comparison);
            let sign = sign.map_or("", |(sign, _)| sign);
            let Limit { number, unit } = term.limit;
            write!(formatter, "{separator}{}{sign}{number}{}", term.quantity.name(), unit.sign())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(json: &str) -> CaseResult {
        let mut value: serde_json::Value = serde_json::from_str(
            r#"{"protocol":"ws","connections":1,"rate":100,"payload_bytes":256,"duration_s":1,"achieved_rate":100,
                "latency_us":{},"service_latency_us":{},"deliveries_per_s":0,"server":{},"generator":{},"histogram":"",
                "accounting":{"expected":1000,"delivered":1000,"lost":0,"duplicated":0,"reordered":0,"corrupt":0}}"#,
        )
        .unwrap();
        let changes: serde_json::Value = serde_json::from_str(json).unwrap();
        for (key, change) in changes.as_object().unwrap() {
            match change {
                serde_json::Value::Object(fields) => {
                    for (field, change) in fields {
                        value[key][field] = change.clone();
                    }
                }
                _ => value[key] = change.clone(),
            }
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn objectives_are_read_and_written() {
        for text in [
            "p99<5ms,lost=0",
            "p50<=800us",
            "p99.9<1.5s,max<10s,lost<0.1%,achieved>=99.5%",
            "lost<=10,p90<2ms",
        ] {
            assert_eq!(text.parse::<Objective>().unwrap().to_string(), text);
        }
        assert_eq!(" P99 < 5ms , lost = 0 ".parse::<Objective>().unwrap().to_string(), "p99<5ms,lost=0");
    }

    #[test]
    fn what_is_no_objective_is_told_what_is() {
        for (text, words) in [
            ("", "such as p99<5ms,lost=0"),
            ("p99", "\"p99\" is no condition"),
            ("p98<5ms", "\"p98\" is nothing that is measured here; known are p50, p90"),
            ("p99<5", "\"5\" is no limit for p99; write a time above it, such as p99<5ms"),
            ("p99<0ms", "\"0ms\" is no limit for p99"),
            ("p99>5ms", "p99> asks for more where less is better"),
            ("p99=5ms", "p99= asks"),
            ("lost<0.5", "\"0.5\" is no limit for lost"),
            ("achieved<99%", "achieved< asks"),
            ("achieved>=101%", "\"101%\" is no limit"),
            ("p99<5ms,p99<6ms", "p99 is stated twice"),
            ("p99<nans", "no limit"),
            ("p99<5ms,", "\"\" is no condition"),
        ] {
            let told = text.parse::<Objective>().unwrap_err().to_string();
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    #[test]
    fn every_condition_is_held_against_the_case() {
        let objective: Objective = "p99<5ms,lost=0".parse().unwrap();
        let told = |json: &str| objective.shortfalls(&case(json)).join("; ");
        assert_eq!(told(r#"{"latency_us":{"p99":4999}}"#), "");
        assert_eq!(told(r#"{"latency_us":{"p99":5000}}"#), "p99 is 5.00 ms");
        assert_eq!(told(r#"{"latency_us":{}}"#), "p99 could not be told");
        let both = r#"{"latency_us":{"p99":9000},"accounting":{"lost":3}}"#;
        assert_eq!(told(both), "p99 is 9.00 ms; lost is 3");
        let strict: Objective = "achieved>=99.9%".parse().unwrap();
        assert_eq!(strict.shortfalls(&case(r#"{"achieved_rate":99.5}"#)), ["achieved is 99.50 %"]);
        // 6 messages in 1.3 s are all that a rate of 5 has there.
        let short = r#"{"rate":5,"duration_s":1.3,"achieved_rate":4.615,"latency_us":{"p99":1},
            "timeline":[{"second":0,"planned":4,"published":4,"delivered":4,"p50_us":1,"p99_us":1,"max_us":1},
                        {"second":1,"planned":2,"published":2,"delivered":2,"p50_us":1,"p99_us":1,"max_us":1}]}"#;
        assert!(strict.shortfalls(&case(short)).is_empty());
        let lax: Objective = "lost<1%,achieved>50%".parse().unwrap();
        assert!(lax.shortfalls(&case(r#"{"accounting":{"lost":9},"achieved_rate":51}"#)).is_empty());
        assert_eq!(lax.shortfalls(&case(r#"{"accounting":{"lost":10}}"#)), ["lost is 1.00 %"]);
        assert_eq!(objective.messages_wanted(), 299);
    }
}
