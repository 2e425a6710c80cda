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
    /// The plan that made this result, as a scenario: `lastmile run --repeat` runs it again. `None` in results of
    /// versions that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<serde_json::Value>,
    /// One entry for each protocol measured, in the order shown.
    pub cases: Vec<CaseResult>,
    /// What `lastmile capacity` found, one entry for each protocol searched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity: Vec<Capacity>,
    /// What the self-checks said of this result when it was written: `VALID`, `SUSPECT` or `INVALID`. For other tools;
    /// reports judge afresh. `None` in results of versions that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The objections behind the verdict, each as `protocol: check: what was found`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objections: Vec<String>,
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
    /// `ws`, `wss`, `sse`, `sse-tls`, `wt-stream`, `wt-streams`, `wt-datagram`, with `+option`s for variants
    /// (`ws+msgpack`); the floors `redis` and `tcp`.
    pub protocol: String,
    /// Whether the connections were encrypted. `None` in results of versions that did not say.
    #[serde(default)]
    pub encrypted: Option<bool>,
    /// A floor: what the machine takes without the protocol under test, measured for comparison.
    #[serde(default)]
    pub floor: bool,
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
    /// 95 % confidence intervals of the latency quantiles by block bootstrap over publishes.
    #[serde(default)]
    pub latency_intervals: Option<QuantileIntervals>,
    /// How a message spreads over its subscribers.
    #[serde(default)]
    pub spread: Option<FanOutSpread>,
    /// Where the time goes, in the order a message passes; empty where it was not asked for (`--stages`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// The slices this case was measured in, in the order measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slices: Vec<SliceSummary>,
    /// What the run observed about itself and its host.
    #[serde(default)]
    pub health: Option<Health>,
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
    /// What processes used, one entry a second of the measured window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourcePoint>,
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// Seconds since the window began, 0 for the first.
    pub second: u32,
    /// Messages planned; `None` in results of versions that did not say.
    #[serde(default)]
    pub planned: Option<u64>,
    /// Messages published.
    pub published: u64,
    /// Intact deliveries.
    pub delivered: u64,
    /// Latencies of the second by magnitude, for the heat map: pairs of a bucket and its count, where bucket `b`
    /// holds latencies from 2^(b/4) up to 2^((b+1)/4) microseconds. Empty buckets are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<(i16, u64)>,
    /// Median latency in microseconds; `None` where nothing was delivered.
    pub p50_us: Option<f64>,
    /// 99th percentile of the second's deliveries in microseconds (descriptive: no claim rests on it).
    pub p99_us: Option<f64>,
    /// Largest latency in microseconds.
    pub max_us: Option<f64>,
}

/// 95 % intervals, lower and upper bound in microseconds. `None` where the quantile itself is unresolved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantileIntervals {
    /// Of the median.
    pub p50: Option<(f64, f64)>,
    /// Of the 90th percentile.
    pub p90: Option<(f64, f64)>,
    /// Of the 99th percentile.
    pub p99: Option<(f64, f64)>,
    /// Of the 99.9th percentile.
    pub p99_9: Option<(f64, f64)>,
}

/// Over the messages: the time from planned until so many of a message's subscribers had it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct FanOutSpread {
    /// The first subscriber.
    pub first_us: LatencySummary,
    /// Half of them.
    pub median_us: LatencySummary,
    /// 99 % of them.
    pub ninety_nine_us: LatencySummary,
    /// The last: the message is complete.
    pub last_us: LatencySummary,
    /// Messages that never became complete, for a delivery of them was lost. They stand behind all others: a quantile
    /// that falls among them is `None`.
    #[serde(default)]
    pub incomplete: Option<u64>,
    /// Messages these figures, and the intervals of the quantiles, are of: fewer than were published where the record
    /// of single receipts would not have fitted into its memory.
    #[serde(default)]
    pub messages: Option<u64>,
}

/// One leg of a message's way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// `planned to sent`, `sent to ingest`, `ingest to write`, `write to kernel`, `kernel to client`; one for several
    /// where a time in between was not taken: `write to client`, `sent to kernel`, `sent to client`. And beside them
    /// `first to last write`: how long the server was writing the message to all its subscribers, which no leg waits
    /// for as a whole.
    pub name: String,
    /// Time it took.
    pub latency_us: LatencySummary,
}

/// What one slice of a case measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SliceSummary {
    /// Its place among all slices of the run, from 0.
    pub order: u32,
    /// Messages published in its window.
    pub published: u64,
    /// Intact deliveries.
    pub delivered: u64,
    /// Deliveries lost.
    pub lost: u64,
    /// Its latency.
    pub latency_us: LatencySummary,
    /// 99th percentile over its messages of the time to the last subscriber, in microseconds.
    #[serde(default)]
    pub complete_p99_us: Option<f64>,
    /// The server's processor time for each delivery in microseconds.
    pub server_cpu_us_per_delivery: Option<f64>,
    /// The server's growth of resident memory for each connection in bytes.
    pub server_rss_bytes_per_connection: Option<f64>,
}

/// How the generator and its host did over the measured windows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Share of a core each generator thread used (0 to 1), the largest over the slices.
    #[serde(default)]
    pub threads: Vec<ThreadUse>,
    /// How late a timer fired that was set for every millisecond.
    #[serde(default)]
    pub canary_us: Option<LatencySummary>,
    /// Kernel receipt to the client's hands; `None` where kernel timestamps were not taken.
    #[serde(default)]
    pub kernel_to_client_us: Option<LatencySummary>,
    /// Planned to the client kernel's receipt; `None` where kernel timestamps were not taken.
    #[serde(default)]
    pub kernel_latency_us: Option<LatencySummary>,
    /// Processor time the hypervisor took from this machine, as a share of all (0 to 1).
    #[serde(default)]
    pub steal_share: Option<f64>,
    /// Datagrams the kernel dropped for a full receive buffer, machine-wide.
    #[serde(default)]
    pub receive_buffer_drops: Option<u64>,
    /// Times the control group was throttled.
    #[serde(default)]
    pub throttled_periods: Option<u64>,
}

/// One thread of the generator.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadUse {
    /// Its name.
    pub name: String,
    /// Share of a core it used, 0 to 1.
    pub cpu_share: f64,
    /// Share of the time it could have run and waited for a core, 0 to 1; 0 in results that do not know it.
    #[serde(default)]
    pub waited_share: f64,
    /// It spins by design, so that its share says nothing about headroom.
    #[serde(default)]
    pub spins: bool,
}

/// What the processes used in one second of the measured window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ResourcePoint {
    /// Seconds since the window began; slices behind each other, as in the timeline.
    pub second: u32,
    /// Cores the server used.
    pub server_cores: Option<f64>,
    /// The server's resident memory in bytes.
    pub server_rss_bytes: Option<u64>,
    /// Cores Redis used.
    pub redis_cores: Option<f64>,
    /// Cores the generator used.
    pub generator_cores: Option<f64>,
    /// The generator's resident memory in bytes.
    pub generator_rss_bytes: Option<u64>,
}

/// The highest rate that keeps an objective, and the curve that led there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Protocol searched, as in [`CaseResult::protocol`].
    pub protocol: String,
    /// Subscribers.
    pub connections: u32,
    /// The objective as it was given: `p99<5ms,lost=0`.
    pub objective: String,
    /// Highest rate in messages a second that kept it and was confirmed; `None` where none did.
    pub rate: Option<f64>,
    /// The search ended at its upper bound: the true capacity is higher.
    #[serde(default)]
    pub is_bounded: bool,
    /// What ended the search is the generator or the machine: the rates above were refused, their runs INVALID, and what
    /// the server could do there is not known.
    #[serde(default)]
    pub is_generator_limit: bool,
    /// Every rate tried, in the order tried.
    pub steps: Vec<CapacityStep>,
}

/// One rate tried.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CapacityStep {
    /// Planned messages a second.
    pub rate: f64,
    /// Messages a second really published.
    pub achieved_rate: f64,
    /// Latency at that rate.
    pub latency_us: LatencySummary,
    /// Deliveries lost.
    pub lost: u64,
    /// Whether the objective was kept.
    pub kept: bool,
    /// A confirmation run of a rate that had kept it before.
    #[serde(default)]
    pub is_confirmation: bool,
    /// Why the run says nothing of the server, by its own checks: then it counts neither as kept nor as broken, and `kept`
    /// is false. Nothing for runs that could be judged.
    #[serde(default)]
    pub refused: Vec<String>,
}
