//! The command line: what can be asked for, and the sentences for what can't.

// The doc comments of the flags are their help text, where Markdown would be read as it is written.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::feed::HttpUrl;
use crate::in_flight::MOST_IN_FLIGHT;
use crate::redis::RedisUrl;
use crate::schedule::Arrivals;
use crate::variant::Variant;

/// How long from a Redis publish until a client has the message, over WebSocket, SSE and WebTransport.
#[derive(Debug, Parser)]
#[command(name = "lastmile", version, arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure the protocols and write a result and a report
    Run(Box<RunArguments>),
    /// Start a private Redis, the server and a publisher, and say where to look at them in a browser
    Demo(DemoArguments),
    /// Say what this machine lacks or limits, and what it means for a run
    Doctor(DoctorArguments),
    /// Draw the HTML report of a result
    Report(ReportArguments),
    /// Show a result in the terminal
    Show(ShowArguments),
}

/// Flags of `lastmile run`.
#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    /// Protocols to measure, separated by commas: ws, sse, wt-stream, wt-streams, wt-datagram
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = Variant::DEFAULT)]
    pub protocols: Vec<Variant>,

    /// Subscribers of each protocol
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,

    /// Messages published a second
    #[arg(long, value_name = "PER_SECOND", default_value_t = 100.0, value_parser = parse_rate)]
    pub rate: f64,

    /// Closed loop instead of a rate: N messages are kept published that have not yet reached every subscriber.
    /// Tells throughput at saturation and claims no latency
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "arrivals"],
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_IN_FLIGHT)))]
    pub in_flight: Option<u32>,

    /// Spacing of the messages
    #[arg(long, value_enum, default_value_t = Spacing::Constant)]
    pub arrivals: Spacing,

    /// Bytes of a message, the whole JSON object
    #[arg(long, value_name = "BYTES", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub payload: u32,

    /// How long each protocol is measured: 10s, 500ms, 2m
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,

    /// How long messages are published before any counts
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    pub warmup: Duration,

    /// Game to subscribe to, by its slug [default: crash]
    #[arg(long, value_name = "SLUG", conflicts_with = "type")]
    pub game: Option<String>,

    /// Type of games to subscribe to, instead of one game
    #[arg(long, value_name = "TYPE")]
    pub r#type: Option<String>,

    /// Folder for result.json and report.html [default: results/ and the time]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Your Redis instead of a private one: redis://HOST:PORT or redis+unix:///path/to/redis.sock
    #[arg(long, value_name = "URL", group = "feed", value_parser = |text: &str| text.parse::<RedisUrl>())]
    pub redis: Option<RedisUrl>,

    /// A running server instead of one of ours: http://HOST:PORT for ws and sse, https://HOST:PORT for wt-*;
    /// give both for all. Needs --redis, the Redis that server reads from (or --publish-http)
    #[arg(long, value_name = "URL", requires = "feed", conflicts_with = "server_bin")]
    pub target: Vec<String>,

    /// Path of the target's WebSocket [default: /ws/ and the game, or /ws/type/ and the type]
    #[arg(long, value_name = "PATH", requires = "target", value_parser = parse_path)]
    pub ws_path: Option<String>,

    /// Path of the target's event stream [default: /sse/ and the game, or /sse/type/ and the type]
    #[arg(long, value_name = "PATH", requires = "target", value_parser = parse_path)]
    pub sse_path: Option<String>,

    /// Publish to the target itself, each message as the body of a POST, instead of to a Redis
    #[arg(long, value_name = "URL", requires = "target", group = "feed",
        value_parser = |text: &str| text.parse::<HttpUrl>())]
    pub publish_http: Option<HttpUrl>,

    /// The target's process on this machine, whose processor time and memory are to be observed
    #[arg(long, value_name = "PID", requires = "target")]
    pub target_pid: Option<u32>,

    /// The lastmile-server to start [default: LASTMILE_SERVER_BIN, else beside this program, else on PATH]
    #[arg(long, value_name = "PATH")]
    pub server_bin: Option<PathBuf>,

    /// Threads that drive subscribers [default: half the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Connections in the middle of being opened, at most
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..))]
    pub connecting: u16,

    /// Seed of everything drawn at random [default: drawn, and told in the result]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Print the result as JSON instead of the table
    #[arg(long)]
    pub json: bool,

    /// Exit with code 3 where the self-checks call the result INVALID
    #[arg(long)]
    pub strict: bool,
}

/// How messages are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Spacing {
    /// Evenly.
    Constant,
    /// At random, independently of each other.
    Poisson,
}

impl From<Spacing> for Arrivals {
    fn from(spacing: Spacing) -> Self {
        match spacing {
            Spacing::Constant => Self::Constant,
            Spacing::Poisson => Self::Poisson,
        }
    }
}

/// Flags of `lastmile demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArguments {
    /// Rounds published a second, of all games together
    #[arg(long, value_name = "PER_SECOND", default_value_t = 4.0, value_parser = parse_rate)]
    pub rate: f64,

    /// The lastmile-server to start [default: LASTMILE_SERVER_BIN, else beside this program, else on PATH]
    #[arg(long, value_name = "PATH")]
    pub server_bin: Option<PathBuf>,
}

/// Flags of `lastmile doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArguments {
    /// The lastmile-server a run would start
    #[arg(long, value_name = "PATH")]
    pub server_bin: Option<PathBuf>,
}

/// Flags of `lastmile report`.
#[derive(Debug, Clone, Args)]
pub struct ReportArguments {
    /// The result to draw; several are drawn side by side
    #[arg(required = true, value_name = "RESULT")]
    pub results: Vec<PathBuf>,

    /// What to write: CSV has one row a case of every result
    #[arg(long, value_enum, default_value_t = ReportFormat::Html)]
    pub format: ReportFormat,

    /// Where to write it [default: report.html, or comparison.html for several, beside the first result]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `lastmile report` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One file for a browser.
    Html,
    /// For a pull request.
    Markdown,
    /// For a spreadsheet.
    Csv,
}

/// Flags of `lastmile show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArguments {
    /// The result to show
    pub result: PathBuf,

    /// As Markdown
    #[arg(long)]
    pub markdown: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=10_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("give messages a second, from 0.001 to 10000000".to_owned()),
    }
}

fn parse_path(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("give a path like /ws/crash".to_owned())
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|character: char| !(character.is_ascii_digit() || character == '.'));
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit_s = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("give a time like 10s, 500ms or 2m".to_owned()),
    };
    match number.parse::<f64>() {
        Ok(number) if number * unit_s <= 86_400.0 => Ok(Duration::from_secs_f64(number * unit_s)),
        Ok(_) => Err("at most a day".to_owned()),
        Err(_) => Err("give a time like 10s, 500ms or 2m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in
            [("10s", 10_000), ("2", 2_000), ("500ms", 500), ("1.5m", 90_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "10 s", "10x", "-1s", "1e9s", "25h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_positive_numbers() {
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "nan", "inf", "x", "1e8"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
