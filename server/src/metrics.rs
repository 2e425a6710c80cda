//! Counters that the stations own and one exporter reads, in Prometheus' text format.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use lastmile_wire::request::Protocol;

use crate::guard::Refused;
use crate::protocol::CloseReason;
use crate::stages::StageRing;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds, or takes away.
    pub fn add(&self, count: i64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Replaces.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets of [`LatencyHistogram`], in microseconds.
const BUCKETS_US: [u64; 18] = [
    25, 50, 100, 150, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000, 25_000, 50_000, 100_000, 250_000,
    500_000, 1_000_000,
];

/// Durations, counted in fixed buckets.
#[derive(Debug, Default)]
pub struct LatencyHistogram {
    buckets: [Counter; BUCKETS_US.len() + 1],
    sum_ns: Counter,
}

impl LatencyHistogram {
    /// Counts `count` durations of the same length.
    pub fn record(&self, duration_ns: u64, count: u64) {
        let bucket = BUCKETS_US.partition_point(|bound_us| bound_us * 1000 < duration_ns);
        self.buckets[bucket].add(count);
        self.sum_ns.add(duration_ns.saturating_mul(count));
    }
}

/// What is counted for one protocol in one shard.
#[derive(Debug, Default)]
pub struct ProtocolMetrics {
    /// Subscribers attached now.
    pub connections: Gauge,
    /// Rounds handed to subscribers' sockets or backlogs.
    pub deliveries: Counter,
    /// Their bytes as framed.
    pub bytes: Counter,
    /// Rounds too large for a datagram that went on a stream of their own.
    pub datagram_fallbacks: Counter,
    /// From a round's arrival in this process until it was handed to a subscriber's socket.
    pub ingest_to_written: LatencyHistogram,
    /// Where the writes of single rounds are noted; `None` unless that was asked for.
    pub stages: Option<Arc<StageRing>>,
}

/// What a shard counts.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    protocols: [ProtocolMetrics; Protocol::ALL.len()],
    closed: [Counter; CloseReason::COUNT],
    /// Commands of its subscribers.
    pub commands: Counter,
}

impl ShardMetrics {
    /// The counters of a protocol.
    pub fn protocol(&self, protocol: Protocol) -> &ProtocolMetrics {
        &self.protocols[protocol as usize]
    }

    /// Subscribers closed for this reason.
    pub fn closed(&self, reason: CloseReason) -> &Counter {
        &self.closed[reason.index()]
    }
}

/// Why a payload from Redis was dropped, beside what [`lastmile_wire::round::RoundError`] says.
pub const REASON_SLUG: &str = "slug_mismatch";

/// All reasons a payload is dropped for.
const REJECT_REASONS: [&str; 7] =
    ["too_large", "malformed", "line_break", "finished_at", "extras", "identifier_range", REASON_SLUG];

/// What ingest counts.
#[derive(Debug, Default)]
pub struct IngestMetrics {
    /// Valid rounds.
    pub rounds: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Times the connection to Redis was lost.
    pub disconnects: Counter,
    /// 1 while subscribed.
    pub connected: Gauge,
    rejected: [Counter; REJECT_REASONS.len()],
}

impl IngestMetrics {
    /// Counts a payload dropped for `reason`.
    pub fn reject(&self, reason: &str) {
        if let Some(index) = REJECT_REASONS.iter().position(|known| *known == reason) {
            self.rejected[index].add(1);
        }
    }
}

/// Those who were not let in, or not any further.
#[derive(Debug, Default)]
pub struct RefusedMetrics([Counter; Refused::COUNT]);

impl RefusedMetrics {
    /// Counts one.
    pub fn add(&self, reason: Refused) {
        self.0[reason as usize].add(1);
    }

    /// Those refused for this reason.
    pub fn get(&self, reason: Refused) -> u64 {
        self.0[reason as usize].get()
    }
}

/// What becomes of rounds that are to be stored.
#[derive(Debug, Default)]
pub struct PersistMetrics {
    /// Waiting for the database now.
    pub queued: Gauge,
    /// Stored.
    pub written: Counter,
    /// Stored already by someone else.
    pub known: Counter,
    /// Not stored, for there was no room to wait for the database.
    pub dropped: Counter,
    /// Not stored, for the database has no such game.
    pub refused: Counter,
}

/// All counters of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Those of ingest.
    pub ingest: IngestMetrics,
    /// 1 while the database answers.
    pub database_reachable: Gauge,
    /// Those of `--persist`.
    pub persist: PersistMetrics,
    /// Handshakes that were refused or never finished.
    pub handshakes_failed: Counter,
    /// Clients the guard refused.
    pub refused: RefusedMetrics,
    /// Times the certificate and the tokens were to be read again.
    pub reloads: Counter,
    /// Files that could not be read again then.
    pub reload_errors: Counter,
    /// One entry a shard.
    pub shards: Vec<ShardMetrics>,
    /// Where single rounds are noted; `None` unless that was asked for.
    pub stages: Option<Arc<StageRing>>,
}

impl Metrics {
    /// Counters for a server of so many shards.
    pub fn new(shards: usize) -> Self {
        Self { shards: (0..shards).map(|_| ShardMetrics::default()).collect(), ..Self::default() }
    }

    /// Notes single rounds, too.
    #[must_use]
    pub fn with_stages(mut self, ring: Option<Arc<StageRing>>) -> Self {
        for protocol in self.shards.iter_mut().flat_map(|shard| &mut shard.protocols) {
            protocol.stages.clone_from(&ring);
        }
        self.stages = ring;
        self
    }

    /// Subscribers attached now, on all protocols.
    pub fn connections(&self) -> i64 {
        self.shards.iter().flat_map(|shard| &shard.protocols).map(|protocol| protocol.connections.get()).sum()
    }

    /// The text a scrape gets.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(8192);
        self.render_ingest(&mut out);
        let per_protocol = |read: &dyn Fn(&ProtocolMetrics) -> u64| {
            Protocol::ALL.map(|protocol| {
                let total: u64 = self.shards.iter().map(|shard| read(shard.protocol(protocol))).sum();
                (protocol.name(), total)
            })
        };
        let connections = per_protocol(&|protocol| protocol.connections.get().max(0) as u64);
        family(
            &mut out,
            "lastmile_connections",
            "gauge",
            "Subscribers attached now.",
            "protocol",
            connections,
        );
        for (name, help, values) in [
            (
                "lastmile_deliveries_total",
                "Rounds handed to subscribers.",
                per_protocol(&|protocol| protocol.deliveries.get()),
            ),
            (
                "lastmile_delivered_bytes_total",
                "Bytes handed to subscribers, as framed.",
                per_protocol(&|protocol| protocol.bytes.get()),
            ),
            (
                "lastmile_datagram_fallbacks_total",
                "Rounds too large for a datagram that went on a stream of their own.",
                per_protocol(&|protocol| protocol.datagram_fallbacks.get()),
            ),
        ] {
            family(&mut out, name, "counter", help, "protocol", values);
        }
        let closed = CloseReason::ALL
            .map(|reason| (reason.label(), self.shards.iter().map(|shard| shard.closed(reason).get()).sum()));
        family(
            &mut out,
            "lastmile_drops_total",
            "counter",
            "Subscribers closed, by reason.",
            "reason",
            closed,
        );
        let commands: u64 = self.shards.iter().map(|shard| shard.commands.get()).sum();
        let help = "Commands on open connections.";
        single(&mut out, "lastmile_commands_total", "counter", help, commands);
        self.render_persist(&mut out);
        self.render_ingest_to_written(&mut out);
        out
    }

    fn render_ingest(&self, out: &mut String) {
        let ingest = &self.ingest;
        single(out, "lastmile_redis_connected", "gauge", "1 while subscribed.", ingest.connected.get());
        single(
            out,
            "lastmile_ingest_rounds_total",
            "counter",
            "Valid rounds from Redis.",
            ingest.rounds.get(),
        );
        let help = "Bytes of valid rounds from Redis.";
        single(out, "lastmile_ingest_bytes_total", "counter", help, ingest.bytes.get());
        single(
            out,
            "lastmile_redis_disconnects_total",
            "counter",
            "Times the connection to Redis was lost.",
            ingest.disconnects.get(),
        );
        let help = "Payloads from Redis that are no valid round, by reason.";
        let rejected =
            REJECT_REASONS.iter().zip(&ingest.rejected).map(|(reason, counter)| (*reason, counter.get()));
        family(out, "lastmile_ingest_rejected_total", "counter", help, "reason", rejected);
        let help = "Handshakes refused or never finished.";
        single(out, "lastmile_handshakes_failed_total", "counter", help, self.handshakes_failed.get());
        let help = "Times the certificate and the tokens were read again.";
        single(out, "lastmile_reloads_total", "counter", help, self.reloads.get());
        let help = "Files that could not be read again; what was valid before stays so.";
        single(out, "lastmile_reload_errors_total", "counter", help, self.reload_errors.get());
        let help = "Clients refused by the guard: connections, requests and commands, by reason.";
        let refused = Refused::ALL.map(|reason| (reason.label(), self.refused.get(reason)));
        family(out, "lastmile_refused_total", "counter", help, "reason", refused);
    }

    fn render_persist(&self, out: &mut String) {
        let PersistMetrics { queued, written, known, dropped, refused } = &self.persist;
        let help = "1 while the database answers.";
        single(out, "lastmile_database_reachable", "gauge", help, self.database_reachable.get());
        let help = "Rounds that wait for the database.";
        single(out, "lastmile_persist_queued", "gauge", help, queued.get());
        let outcomes = [("written", written), ("known", known), ("dropped", dropped), ("refused", refused)]
            .map(|(outcome, counter)| (outcome, counter.get()));
        let help = "Rounds to be stored, by outcome.";
        family(out, "lastmile_persist_rounds_total", "counter", help, "outcome", outcomes);
    }

    fn render_ingest_to_written(&self, out: &mut String) {
        const NAME: &str = "lastmile_ingest_to_written_seconds";
        header(
            out,
            NAME,
            "histogram",
            "From a round's arrival until it was handed to a subscriber's socket.",
        );
        for protocol in Protocol::ALL {
            let name = protocol.name();
            let histograms = || self.shards.iter().map(|shard| &shard.protocol(protocol).ingest_to_written);
            let mut total = 0;
            for bucket in 0..=BUCKETS_US.len() {
                total += histograms().map(|histogram| histogram.buckets[bucket].get()).sum::<u64>();
                let bound = BUCKETS_US
                    .get(bucket)
                    .map_or_else(|| "+Inf".to_owned(), |bound_us| (*bound_us as f64 / 1e6).to_string());
                let _ = writeln!(out, "{NAME}_bucket{{protocol=\"{name}\",le=\"{bound}\"}} {total}");
            }
            let sum_ns: u64 = histograms().map(|histogram| histogram.sum_ns.get()).sum();
            let _ = writeln!(out, "{NAME}_sum{{protocol=\"{name}\"}} {}", sum_ns as f64 / 1e9);
            let _ = writeln!(out, "{NAME}_count{{protocol=\"{name}\"}} {total}");
        }
    }
}

// Writing into a `String` never fails, so the results of `writeln!` are dropped here and above.

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    header(out, name, kind, help);
    let _ = writeln!(out, "{name} {value}");
}

fn family<'a>(
    out: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    label: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) {
    header(out, name, kind, help);
    for (value, count) in values {
        let _ = writeln!(out, "{name}{{{label}=\"{value}\"}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_sums_the_shards_and_accumulates_the_buckets() {
        let metrics = Metrics::new(2);
        for shard in &metrics.shards {
            let sse = shard.protocol(Protocol::Sse);
            sse.deliveries.add(5);
            sse.connections.add(1);
            sse.ingest_to_written.record(25_000, 2);
            sse.ingest_to_written.record(3_000_000_000, 1);
            shard.closed(CloseReason::TooSlow).add(1);
        }
        metrics.ingest.reject("extras");
        let text = metrics.render();
        for line in [
            "lastmile_deliveries_total{protocol=\"sse\"} 10",
            "lastmile_connections{protocol=\"sse\"} 2",
            "lastmile_connections{protocol=\"ws\"} 0",
            "lastmile_ingest_to_written_seconds_bucket{protocol=\"sse\",le=\"0.000025\"} 4",
            "lastmile_ingest_to_written_seconds_bucket{protocol=\"sse\",le=\"1\"} 4",
            "lastmile_ingest_to_written_seconds_bucket{protocol=\"sse\",le=\"+Inf\"} 6",
            "lastmile_ingest_to_written_seconds_count{protocol=\"sse\"} 6",
            "lastmile_drops_total{reason=\"too_slow\"} 2",
            "lastmile_ingest_rejected_total{reason=\"extras\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
