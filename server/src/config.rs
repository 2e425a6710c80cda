//! What the server can be told at start: flags, each with an environment variable.

// The doc comments of the flags are their help text, where Markdown would be read as it is written.
#![allow(clippy::doc_markdown)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::guard::GuardFlags;

/// Redis Pub/Sub fan-out over WebSocket, Server-Sent Events and WebTransport.
#[derive(Debug, Clone, Parser)]
#[command(name = "lastmile-server", version)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Config {
    /// Address for HTTP/1.1 and HTTP/2: WebSocket, SSE, REST, pages. Port 0: the kernel chooses
    #[arg(long, env = "LASTMILE_LISTEN", default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,

    /// Address (UDP) for WebTransport. Port 0: the kernel chooses
    #[arg(long, env = "LASTMILE_WT_LISTEN", default_value = "127.0.0.1:4433")]
    pub wt_listen: SocketAddr,

    /// Address for rounds without a protocol, each behind its length on a bare TCP connection: what the protocols are
    /// compared with in a measurement. On loopback only. Port 0: the kernel chooses
    #[arg(long, env = "LASTMILE_TCP_LISTEN", hide = true, value_parser = parse_loopback)]
    pub tcp_listen: Option<SocketAddr>,

    /// Redis to subscribe to: redis://host:port or redis+unix:///path
    #[arg(long, env = "LASTMILE_REDIS", default_value = "redis://127.0.0.1:6379")]
    pub redis: String,

    /// Database: sqlite://PATH, sqlite::memory: or postgres://… [default: a file in the user's data folder]
    #[arg(long, env = "LASTMILE_DATABASE")]
    pub database: Option<String>,

    /// Games to add to the database where they are missing: a JSON array of {"id", "slug", "name", "type"}
    #[arg(long, env = "LASTMILE_GAMES", value_name = "FILE")]
    pub games: Option<PathBuf>,

    /// Write every round to the database; without, whoever publishes does
    #[arg(long, env = "LASTMILE_PERSIST")]
    pub persist: bool,

    /// Certificate chain in PEM form, for WSS, HTTPS, HTTP/2 and WebTransport
    #[arg(long, env = "LASTMILE_TLS_CERT", requires = "tls_key", conflicts_with = "tls")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of --tls-cert in PEM form
    #[arg(long, env = "LASTMILE_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// TLS without files: a self-signed certificate of 13 days. (WebTransport always has one.)
    #[arg(long, env = "LASTMILE_TLS", value_enum)]
    pub tls: Option<TlsMode>,

    /// What is logged, on stderr: error, warn, info, debug, trace, or a filter like `lastmile_server=debug`
    #[arg(long, env = "LASTMILE_LOG", default_value = "info")]
    pub log: String,

    /// How log lines are written: for people, or a JSON object a line
    #[arg(long, env = "LASTMILE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// Say what would be served and what of it is open, or what is wrong (exit code 2), and end without starting
    #[arg(long)]
    pub check_config: bool,

    /// Listen beside an older server on the same ports and wait to take them over: it leaves new clients to this one
    /// from the moment it is told to end (SIGTERM), or to say goodbye slowly (SIGUSR2)
    #[arg(long, env = "LASTMILE_TAKE_OVER")]
    pub take_over: bool,

    /// Seconds within which clients are told goodbye after SIGUSR2, one after the other
    #[arg(long, env = "LASTMILE_DRAIN_S", default_value_t = 10.0, value_parser = parse_seconds)]
    pub drain_s: f64,

    /// Threads that own connections [default: one a core, but one core is left to Redis and the rest]
    #[arg(long, env = "LASTMILE_SHARDS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: Option<u16>,

    /// Bytes that may wait for one subscriber before it is closed as too slow
    #[arg(long, env = "LASTMILE_BACKLOG_BYTES", default_value_t = 1 << 20)]
    pub backlog_bytes: usize,

    /// Rounds kept of each game for subscribers that come back with ?since= or Last-Event-ID
    #[arg(long, env = "LASTMILE_REPLAY_ROUNDS", default_value_t = 1024)]
    pub replay_rounds: usize,

    /// Bytes of rounds kept of each game for subscribers that come back
    #[arg(long, env = "LASTMILE_REPLAY_BYTES", default_value_t = 1 << 20)]
    pub replay_bytes: usize,

    /// Seconds between two heartbeats of an event stream; WebSockets are pinged at half that pace
    #[arg(long, env = "LASTMILE_HEARTBEAT_S", default_value_t = 15.0, value_parser = parse_seconds)]
    pub heartbeat_s: f64,

    /// Seconds after which a silent WebSocket client is closed
    #[arg(long, env = "LASTMILE_IDLE_LIMIT_S", default_value_t = 75.0, value_parser = parse_seconds)]
    pub idle_limit_s: f64,

    /// Seconds to wait for Redis and the database at start
    #[arg(long, env = "LASTMILE_STARTUP_LIMIT_S", default_value_t = 10.0, value_parser = parse_seconds)]
    pub startup_limit_s: f64,

    /// Note when each round arrives and is written, and tell it at /debug/stages: for a load generator on this host
    #[arg(long, env = "LASTMILE_STAGES")]
    pub stages: bool,

    /// Who may come in, and how much of the server one client may take
    #[command(flatten)]
    pub guard: GuardFlags,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// TLS without files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsMode {
    /// A certificate of our own making.
    SelfSigned,
}

impl Config {
    /// All defaults but for these flags, as if given on the command line.
    ///
    /// # Errors
    /// What the command line would say.
    pub fn from_flags<'a>(flags: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        Self::try_parse_from(std::iter::once("lastmile-server").chain(flags))
    }

    /// HTTP is served over TLS.
    pub fn has_tls(&self) -> bool {
        self.tls.is_some() || self.tls_cert.is_some()
    }

    /// Somebody else than this machine can connect.
    pub fn listens_beyond_loopback(&self) -> bool {
        [self.listen, self.wt_listen].iter().any(|address| !address.ip().to_canonical().is_loopback())
    }

    /// See [`Self::startup_limit_s`].
    pub fn startup_limit(&self) -> Duration {
        Duration::from_secs_f64(self.startup_limit_s)
    }

    /// How many shards there will be. On the last core run the kernel's network work, Redis where it is on the
    /// same machine, and the control runtime: a shard there would only take turns with them.
    pub fn shard_count(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.shards.map_or_else(|| cores.saturating_sub(1).max(1), usize::from)
    }
}

/// Nobody is asked who he is there.
fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(address),
        _ => Err("give an address of this machine's loopback, like 127.0.0.1:0".to_owned()),
    }
}

pub(crate) fn parse_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds between 0.01 and 86400".to_owned()),
    }
}
