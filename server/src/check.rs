//! `--check-config`: what would be served, and what of it is open, without starting anything: no port is bound, and
//! neither Redis nor the database is asked.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::Config;
use crate::guard::{self, Guard};
use crate::ingest::redis_address;
use crate::metrics::Metrics;
use crate::start::{StartError, certificate, guard};
use crate::store;

/// Reads everything that a start reads, and tells what it comes to.
///
/// # Errors
/// What a start would say.
pub fn check_config(config: &Config) -> Result<String, StartError> {
    let certificate = certificate(config)?;
    let guard = guard(config, &Arc::new(Metrics::new(config.shard_count())))?;
    let redis = redis_address(&config.redis)?;
    let database = store::check_url(&config.database.clone().map_or_else(store::default_url, Ok)?)?;
    let scheme = if config.has_tls() { "https" } else { "http" };
    let made_by =
        if certificate.is_self_signed() { "self-signed, renewed by itself" } else { "from --tls-cert" };
    let mut report = String::new();
    // Writing into a `String` never fails, so the results are dropped here and below.
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(report, "{name:<14}{value}");
    };
    line("HTTP", &format!("{scheme}://{}: WebSocket, SSE, REST, pages, metrics", config.listen));
    line("WebTransport", &format!("https://{} (UDP)", config.wt_listen));
    line("certificate", &format!("{made_by}, SHA-256 {}", certificate.leaf_sha256()));
    line("Redis", &redis);
    line("database", &database);
    line("shards", &config.shard_count().to_string());
    line("web pages", &guard.origins().to_string());
    let tokens = guard.tokens().map_or_else(
        || "none asked for".to_owned(),
        |tokens| format!("{} known; streams, REST and metrics need one", tokens.count()),
    );
    line("tokens", &tokens);
    line("limits", &limits(&guard));
    let points = guard::open_points(config, &guard);
    if points.is_empty() {
        line("open", "nothing to say");
    }
    for point in &points {
        line("open", point);
    }
    Ok(report)
}

fn limits(guard: &Guard) -> String {
    let limits = guard.limits();
    let numbers = [
        (limits.connects_per_second, "new connections a second from an address"),
        (limits.connections_per_address, "connections from an address"),
        (limits.connections, "connections"),
        (limits.rest_per_minute, "REST requests a minute from an address"),
        (limits.commands_per_second, "commands a second on a connection"),
    ];
    let words = numbers
        .into_iter()
        .filter_map(|(limit, what): (Option<NonZeroU32>, _)| limit.map(|limit| format!("{limit} {what}")))
        .chain([format!("{} TCP connections (file descriptors)", guard.max_tcp_connections())])
        .chain([format!("{:?} for a handshake", limits.handshake)]);
    words.collect::<Vec<_>>().join(", ")
}
