//! The result of a run, as written to `result.json`: the contract between every command that
//! writes, reads, compares or draws results.
//!
//! Rules of change: a field once written keeps its name, unit and meaning; new fields are optional
//! (`#[serde(default)]`), so that every result ever written stays readable. `reports/schema/result.schema.json`
//! says the same for other tools, and a test holds real output against it.

use serde::{Deserialize, Serialize, Serializer};

/// The schema's name and version, the value of [`RunResult::schema`].
pub const SCHEMA: &str = "lastmile.result/1";

/// One run of `lastmile run`: what was asked, where, and what each case measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Name and version of this schema, [`SCHEMA`].
    pub schema: String,
    /// The exact command line, ready to be pasted into a shell.
    pub command: String,
    /// Seed of everything drawn at random in the run (identifier bases, order, payloads).
    pub seed: u64,
    /// When the run started, RFC 3339 in UTC.
    pub started_at: String,
    /// The run was stopped before its end; what is here was measured until then.
    #[serde(default)]
    pub interrupted: bool,
    /// Where it ran and with what.
    pub environment: Environment,
    /// Conditions that hold for every case, as `name: value` pairs for people ("tls: off").
    #[serde(default)]
    pub conditions: Vec<(String, String)>,
    /// One entry for each protocol measured, in the order measured.
    pub cases: Vec<CaseResult>,
}

/// The machine and the versions a run was made with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Processor model as the kernel names it.
    pub cpu: String,
    /// Cores this process may run on.
    pub cores: u32,
    /// Kernel name, release and architecture.
    pub kernel: String,
    /// Memory of the machine in bytes.
    pub memory_bytes: u64,
    /// Programs and libraries by name: `lastmile`, `lastmile-server`, `redis-server`, …
    pub versions: Vec<(String, String)>,
    /// Revision of the source tree, with `-dirty` behind it where the tree had changes; `None` outside a checkout.
    #[serde(default)]
    pub git_revision: Option<String>,
}

/// What one protocol did under one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    /// `ws`, `sse`, `wt-stream`, `wt-streams`, `wt-datagram`.
    pub protocol: String,
    /// What was subscribed to: `game crash` or `type multiplier`.
    #[serde(default)]
    pub topic: String,
    /// Subscribers attached when measuring began.
    pub connections: u32,
    /// Planned messages a second.
    #[serde(serialize_with = "finite")]
    pub rate: f64,
    /// Closed loop at saturation: so many messages were kept published that had not yet reached every subscriber.
    /// The case tells throughput and cost and claims no latency; `rate` is 0. `None` for the open loop.
    #[serde(default)]
    pub in_flight: Option<u32>,
    /// Messages a second that were really published in the measured window.
    #[serde(default)]
    pub achieved_rate: Option<f64>,
    /// Bytes of one published round.
    pub payload_bytes: u32,
    /// Length of the measured window in seconds (as measured, shorter than asked when interrupted).
    #[serde(serialize_with = "finite")]
    pub duration_s: f64,
    /// Length of the warm-up before it in seconds.
    #[serde(default, serialize_with = "finite")]
    pub warmup_s: f64,
    /// Messages published in the measured window.
    #[serde(default)]
    pub published: u64,
    /// This case was cut short by an interrupt.
    #[serde(default)]
    pub interrupted: bool,
    /// Receipt − planned time, over every delivery of the measured window.
    pub latency_us: LatencySummary,
    /// Receipt − sent time.
    pub service_latency_us: LatencySummary,
    /// Sent − planned time, one value a message: how far the publisher fell behind its schedule.
    #[serde(default)]
    pub schedule_slip_us: Option<LatencySummary>,
    /// Time from starting to connect until the subscriber was attached, one value a subscriber.
    #[serde(default)]
    pub connect_us: Option<LatencySummary>,
    /// Time from the beginning of the first connection until every subscriber was attached, in seconds.
    #[serde(default)]
    pub attaching_s: Option<f64>,
    /// What became of every expected delivery.
    pub accounting: Accounting,
    /// Intact deliveries a second over the measured window.
    #[serde(serialize_with = "finite")]
    pub deliveries_per_s: f64,
    /// Cost of the server.
    pub server: ProcessCost,
    /// Cost of Redis.
    #[serde(default)]
    pub redis: Option<ProcessCost>,
    /// Cost of the load generator itself.
    pub generator: ProcessCost,
    /// Latency histogram in nanoseconds: `HdrHistogram` V2, compressed, base64.
    pub histogram: String,
    /// The same for service latency.
    #[serde(default)]
    pub service_histogram: Option<String>,
    /// One entry a second of the measured window.
    #[serde(default)]
    pub timeline: Vec<TimelinePoint>,
    /// Latencies that could not be recorded because they were negative or above the histogram's range.
    #[serde(default)]
    pub out_of_range: u64,
    /// Errors of this case, each once with its count, in words for people.
    #[serde(default)]
    pub errors: Vec<(String, u64)>,
}

/// Writes what is no number as 0. JSON has no NaN: it would be written as null, and the result of a case that was
/// interrupted before any time was measured could not be read again.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn finite<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(if value.is_finite() { *value } else { 0.0 })
}

/// Quantiles of a latency in microseconds. A quantile that the run has too few publishes to resolve is `None`
/// and is shown as "—".
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Median.
    pub p50: Option<f64>,
    /// 90th percentile.
    pub p90: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile.
    pub p99_9: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// Arithmetic mean.
    pub mean: Option<f64>,
}

/// What became of every expected delivery: `expected = delivered + lost`, and every receipt of the measured
/// window is one of `delivered`, `duplicated` or `corrupt`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// For each message, the subscribers attached when it was sent, summed.
    pub expected: u64,
    /// Expected deliveries that arrived intact at least once.
    pub delivered: u64,
    /// Expected deliveries that never arrived intact.
    pub lost: u64,
    /// Receipts of a message the subscriber already had.
    pub duplicated: u64,
    /// Deliveries that arrived after a later message of the same subscriber (part of `delivered`).
    pub reordered: u64,
    /// Receipts whose bytes were not those published, or that were no message of this run.
    pub corrupt: u64,
}

/// What a process spent over the measured window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessCost {
    /// Processor time for each intact delivery in microseconds; `None` where the process can't be observed.
    pub cpu_us_per_delivery: Option<f64>,
    /// Growth of resident memory for each connection in bytes, from before the first connection to the end of the
    /// window.
    #[serde(default)]
    pub rss_bytes_per_connection: Option<f64>,
    /// Processor time over the window in seconds.
    #[serde(default)]
    pub cpu_s: Option<f64>,
    /// Processor time from before the first connection until every subscriber was attached, in seconds.
    #[serde(default)]
    pub attaching_cpu_s: Option<f64>,
    /// Resident memory at the end of the window in bytes.
    #[serde(default)]
    pub rss_bytes: Option<u64>,
}

/// One second of the measured window. Messages belong to the second they were planned in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// Seconds since the window began, 0 for the first.
    pub second: u32,
    /// Messages published.
    pub published: u64,
    /// Intact deliveries.
    pub delivered: u64,
    /// Median latency in microseconds; `None` where nothing was delivered.
    pub p50_us: Option<f64>,
    /// 99th percentile of the second's deliveries in microseconds (descriptive: no claim rests on it).
    pub p99_us: Option<f64>,
    /// Largest latency in microseconds.
    pub max_us: Option<f64>,
}
