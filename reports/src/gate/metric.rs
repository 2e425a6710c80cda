//! What a gate compares: figures of a block, and how much worse each may get.

use serde::{Deserialize, Serialize};

use crate::schema::CaseResult;

/// One figure of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Metric {
    /// Median latency.
    #[serde(rename = "p50")]
    P50,
    /// Latency at the 99th percentile.
    #[serde(rename = "p99")]
    P99,
    /// Latency at the 99.9th percentile, where the block has enough publishes for it.
    #[serde(rename = "p99.9")]
    P999,
    /// At the 99th percentile over the messages, the time until the last subscriber had one.
    #[serde(rename = "complete-p99")]
    CompleteP99,
    /// Processor time of the server for a million deliveries.
    #[serde(rename = "cpu")]
    Cpu,
    /// Growth of the server's resident memory for each connection.
    #[serde(rename = "memory")]
    Memory,
    /// Deliveries a second at saturation, of a closed loop.
    #[serde(rename = "rate")]
    Rate,
}

impl Metric {
    /// All, in the order shown.
    pub const ALL: [Self; 7] =
        [Self::P50, Self::P99, Self::P999, Self::CompleteP99, Self::Cpu, Self::Memory, Self::Rate];

    /// Its name in flags, files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::CompleteP99 => "complete-p99",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Rate => "rate",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// As a sentence begins.
    pub fn words(self) -> &'static str {
        match self {
            Self::P50 => "latency at p50",
            Self::P99 => "latency at p99",
            Self::P999 => "latency at p99.9",
            Self::CompleteP99 => "the time to a message's last subscriber at p99",
            Self::Cpu => "the server's CPU per delivery",
            Self::Memory => "the server's memory per connection",
            Self::Rate => "the highest rate of deliveries",
        }
    }

    /// The unit of its values.
    pub fn unit(self) -> &'static str {
        match self {
            Self::P50 | Self::P99 | Self::P999 | Self::CompleteP99 => "µs",
            Self::Cpu => "s per million deliveries",
            Self::Memory => "B per connection",
            Self::Rate => "deliveries/s",
        }
    }

    /// It is a time that a subscriber waits.
    pub fn is_latency(self) -> bool {
        matches!(self, Self::P50 | Self::P99 | Self::P999 | Self::CompleteP99)
    }

    /// The quantile it is, of a block's publishes.
    pub fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P99 | Self::CompleteP99 => Some(0.99),
            Self::P999 => Some(0.999),
            Self::Cpu | Self::Memory | Self::Rate => None,
        }
    }

    /// More of it is better.
    pub fn is_better_when_larger(self) -> bool {
        self == Self::Rate
    }

    /// What "worse" is called.
    pub fn worse(self) -> &'static str {
        match self {
            Self::P50 | Self::P99 | Self::P999 | Self::CompleteP99 => "slower",
            Self::Cpu | Self::Memory => "more",
            Self::Rate => "less",
        }
    }

    /// Its figure in what a block measured; `None` where the block did not resolve or observe it.
    pub fn of(self, case: &CaseResult) -> Option<f64> {
        let is_closed_loop = case.in_flight.is_some();
        let latency = |value: Option<f64>| value.filter(|_| !is_closed_loop);
        match self {
            Self::P50 => latency(case.latency_us.p50),
            Self::P99 => latency(case.latency_us.p99),
            Self::P999 => latency(case.latency_us.p99_9),
            Self::CompleteP99 => latency(case.spread.and_then(|spread| spread.last_us.p99)),
            // Microseconds a delivery are seconds a million.
            Self::Cpu => case.server.cpu_us_per_delivery,
            Self::Memory => case.server.rss_bytes_per_connection,
            Self::Rate => is_closed_loop.then_some(case.deliveries_per_s),
        }
        .filter(|value| value.is_finite())
    }
}

/// How much worse a metric may get.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The metric.
    pub metric: Metric,
    /// The relative change that is a regression: 0.05 is 5 %.
    pub change: f64,
    /// The absolute change below which nobody notices, in the metric's unit.
    #[serde(default)]
    pub minimum: f64,
    /// It was asked for by name: a gate that can't judge it is no gate.
    #[serde(default)]
    pub is_required: bool,
}

/// A latency that changes by less is not told from the machine's own grain.
pub const MINIMUM_LATENCY_US: f64 = 20.0;
/// Resident memory comes in pages, shared by a block's connections.
const MINIMUM_MEMORY_BYTES: f64 = 256.0;

impl Threshold {
    /// The default of a metric: 5 % for p50, CPU and rate, 10 % for tails and memory, 20 % for p99.9.
    pub fn of(metric: Metric) -> Self {
        let change = match metric {
            Metric::P50 | Metric::Cpu | Metric::Rate => 0.05,
            Metric::P99 | Metric::CompleteP99 | Metric::Memory => 0.10,
            Metric::P999 => 0.20,
        };
        let minimum = match metric {
            _ if metric.is_latency() => MINIMUM_LATENCY_US,
            Metric::Memory => MINIMUM_MEMORY_BYTES,
            _ => 0.0,
        };
        Self { metric, change, minimum, is_required: false }
    }

    /// The relative change it comes to beside a base of this size: what is below the least absolute change is no
    /// regression, however large relatively.
    pub fn limit(&self, base: Option<f64>) -> f64 {
        let least = base.filter(|base| *base > 0.0).map_or(0.0, |base| self.minimum / base);
        self.change.max(least)
    }

    /// Reads `p50=5%`, or `p50=5%/20us` with the least absolute change in the metric's unit (µs, s per million, B).
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let advice = || {
            let names = Metric::ALL.map(Metric::name).join(", ");
            format!("{text:?} is no threshold; write for example p99=10% or p50=5%/20us, for one of {names}")
        };
        let (name, limits) = text.split_once('=').ok_or_else(advice)?;
        let metric = Metric::named(name.trim()).ok_or_else(advice)?;
        let (change, minimum) = match limits.split_once('/') {
            Some((change, minimum)) => (change, Some(minimum)),
            None => (limits, None),
        };
        let number = |text: &str| text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        let percent = change.trim().strip_suffix('%').and_then(number).ok_or_else(advice)?;
        if !(0.1..=1000.0).contains(&percent) {
            return Err(format!("{text:?}: a threshold lies between 0.1 % and 1000 %"));
        }
        let minimum = match minimum {
            None => Self::of(metric).minimum,
            Some(text) => {
                let text = text.trim();
                let text = text
                    .strip_suffix("us")
                    .or(text.strip_suffix("µs"))
                    .or(text.strip_suffix('B'))
                    .unwrap_or(text);
                number(text).filter(|value| *value >= 0.0).ok_or_else(advice)?
            }
        };
        Ok(Self { metric, change: percent / 100.0, minimum, is_required: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_people_write_them() {
        let threshold = Threshold::parse("p99=10%").unwrap();
        assert_eq!((threshold.metric, threshold.change, threshold.minimum), (Metric::P99, 0.1, 20.0));
        let threshold = Threshold::parse("p50 = 2.5 % / 50us").unwrap();
        assert_eq!((threshold.metric, threshold.change, threshold.minimum), (Metric::P50, 0.025, 50.0));
        assert!(threshold.is_required);
        for text in ["", "p50", "p50=5", "p42=5%", "p50=x%", "p50=5%/-1us", "p50=nan%"] {
            assert!(Threshold::parse(text).unwrap_err().contains("p99=10%"), "{text}");
        }
        assert!(Threshold::parse("cpu=0%").unwrap_err().contains("between"));
    }

    #[test]
    fn names_are_unique_and_lead_back() {
        for metric in Metric::ALL {
            assert_eq!(Metric::named(metric.name()), Some(metric));
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }
}
