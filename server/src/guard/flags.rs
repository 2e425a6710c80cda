//! The flags of the guard, and the limits they come to.

#![allow(clippy::doc_markdown, rustdoc::bare_urls, reason = "the doc comments are the flags' help text")]

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use super::origin::AllowedOrigin;

/// Who may come in, and how much of the server one client may take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Guard")]
pub struct GuardFlags {
    /// Web pages that may use the streams and REST: https://example.com, https://*.example.com, null, or * for all.
    /// The server's own always may [default: every page on a loopback address, no other page beyond]
    #[arg(long, env = "LASTMILE_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<AllowedOrigin>,

    /// File with a token a line; who brings none gets no stream, no REST and no metrics. Read again on SIGHUP
    #[arg(long, env = "LASTMILE_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,

    /// Proxies whose X-Forwarded-For is believed: 10.0.0.0/8, 192.0.2.1/32
    #[arg(long, env = "LASTMILE_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxy: Vec<IpNet>,

    /// Whether the limits below hold: auto is on where the server listens beyond loopback. Off also for those given
    #[arg(long, env = "LASTMILE_LIMITS", value_enum, default_value_t = LimitMode::Auto)]
    pub limits: LimitMode,

    /// New connections a second from one address, twice as many at once; 0: no limit [default: 50]
    #[arg(long, env = "LASTMILE_CONNECTS_PER_SECOND", value_name = "N")]
    pub connects_per_second: Option<u32>,

    /// Connections from one address; 0: no limit [default: 1000]
    #[arg(long, env = "LASTMILE_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub connections_per_address: Option<u32>,

    /// Connections in all; 0: no limit but the file descriptors [default: 0]
    #[arg(long, env = "LASTMILE_CONNECTIONS", value_name = "N")]
    pub connections: Option<u32>,

    /// REST requests a minute from one address; 0: no limit [default: 100]
    #[arg(long, env = "LASTMILE_REST_PER_MINUTE", value_name = "N")]
    pub rest_per_minute: Option<u32>,

    /// Commands a second on one connection; 0: no limit [default: 20]
    #[arg(long, env = "LASTMILE_COMMANDS_PER_SECOND", value_name = "N")]
    pub commands_per_second: Option<u32>,

    /// Seconds a client has from connecting until its request is complete
    #[arg(long, env = "LASTMILE_HANDSHAKE_LIMIT_S", value_name = "S", default_value_t = 10.0,
        value_parser = crate::config::parse_seconds)]
    pub handshake_limit_s: f64,
}

/// When limits hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LimitMode {
    /// Where the server listens beyond loopback; and each that was given, everywhere.
    Auto,
    /// Always.
    On,
    /// Never: for measuring.
    Off,
}

/// How much of the server one client may take. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New connections a second from one address.
    pub connects_per_second: Option<NonZeroU32>,
    /// Connections from one address.
    pub connections_per_address: Option<NonZeroU32>,
    /// Connections in all.
    pub connections: Option<NonZeroU32>,
    /// REST requests a minute from one address.
    pub rest_per_minute: Option<NonZeroU32>,
    /// Commands a second on one connection.
    pub commands_per_second: Option<NonZeroU32>,
    /// From connecting until a request is complete.
    pub handshake: Duration,
}

impl GuardFlags {
    /// The limits that hold.
    pub fn limits(&self, beyond_loopback: bool) -> Limits {
        let value = |given: Option<u32>, default: u32| match self.limits {
            LimitMode::Off => None,
            LimitMode::Auto if !beyond_loopback => given.and_then(NonZeroU32::new),
            LimitMode::Auto | LimitMode::On => NonZeroU32::new(given.unwrap_or(default)),
        };
        Limits {
            connects_per_second: value(self.connects_per_second, 50),
            connections_per_address: value(self.connections_per_address, 1000),
            connections: value(self.connections, 0),
            rest_per_minute: value(self.rest_per_minute, 100),
            commands_per_second: value(self.commands_per_second, 20),
            handshake: Duration::from_secs_f64(self.handshake_limit_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn limits(flags: &[&str], beyond_loopback: bool) -> Limits {
        Config::from_flags(flags.iter().copied()).unwrap().guard.limits(beyond_loopback)
    }

    #[test]
    fn limits_hold_beyond_loopback_and_where_they_were_asked_for() {
        let open = limits(&[], true);
        let numbers = |limits: Limits| {
            let all = [
                limits.connects_per_second,
                limits.connections_per_address,
                limits.connections,
                limits.rest_per_minute,
                limits.commands_per_second,
            ];
            all.map(|limit| limit.map_or(0, NonZeroU32::get))
        };
        assert_eq!(numbers(open), [50, 1000, 0, 100, 20]);
        assert_eq!(numbers(limits(&[], false)), [0; 5]);
        assert_eq!(numbers(limits(&["--limits", "on"], false)), [50, 1000, 0, 100, 20]);
        assert_eq!(numbers(limits(&["--limits", "off", "--rest-per-minute", "5"], true)), [0; 5]);
        assert_eq!(numbers(limits(&["--rest-per-minute", "5"], false)), [0, 0, 0, 5, 0]);
        assert_eq!(
            numbers(limits(&["--rest-per-minute", "0", "--connections", "7"], true)),
            [50, 1000, 7, 0, 20]
        );
    }
}
