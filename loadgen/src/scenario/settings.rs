//! What flags and files say, with room for what they leave open. A layer of flags lies over a layer of a file; what
//! neither says is a default.

// The doc comments of the flags are their help text, where Markdown would be read as it is written.
#![allow(clippy::doc_markdown)]

use std::time::Duration;

use clap::Args;
use lastmile_wire::channel::KNOWN_GAMES;
use lastmile_wire::request::Topic;

use super::values::{
    BATCH_MS, CONNECTING, CONNECTIONS, GAMES, IN_FLIGHT, PAYLOAD, SEED, SLICES, THREADS, parse_arrivals,
    parse_cores, parse_duration, parse_encoding, parse_name, parse_rate, parse_switch, parse_timestamps,
};
use super::{Matrix, Pace, Problem};
use crate::cores::Cores;
use crate::plan::Timestamps;
use crate::schedule::Arrivals;
use crate::variant::{Carrier, Encoding, Tls, Variant};

/// Most messages a slice may plan: their times are held in memory, 16 bytes each.
const MAX_MESSAGES: f64 = 100_000_000.0;
/// Most bytes of one message of every game.
const MOST_GAME_BYTES: u64 = 256 << 20;
/// Most cases of a run.
const MAX_CASES: usize = 10_000;

/// What is measured: every combination of these values is a case. The flags of a run, the top of a scenario file
/// and each of its matrices say it in the same words.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct LoadSettings {
    /// Protocols to measure, separated by commas: ws, sse, wss, sse-tls, wt-stream, wt-streams, wt-datagram, the
    /// floors redis and tcp, and variants like sse+h2 or ws+msgpack+batch5
    /// [default: all of these but variants; with --target, those it can serve]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub protocols: Option<Vec<Variant>>,

    /// Measure ws and sse without and with TLS (as wss and sse-tls): off, on, or off,on
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_switch)]
    pub tls: Option<Vec<bool>>,

    /// Encodings of every protocol: json, msgpack, or json,msgpack
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_encoding)]
    pub encoding: Option<Vec<Encoding>>,

    /// Milliseconds the server may gather messages before it sends them together, 0 for not at all
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(BATCH_MS))]
    pub batch_ms: Option<Vec<u8>>,

    /// Subscribers of each protocol [default: 100]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(CONNECTIONS))]
    pub connections: Option<Vec<u32>>,

    /// Messages published a second [default: 100]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = parse_rate)]
    pub rate: Option<Vec<f64>>,

    /// Closed loop instead of a rate: N messages are kept published that have not yet reached every subscriber.
    /// Tells throughput at saturation and claims no latency
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["rate", "arrivals"],
        value_parser = clap::value_parser!(u32).range(IN_FLIGHT))]
    pub in_flight: Option<Vec<u32>>,

    /// Spacing of the messages: constant or poisson [default: constant]
    #[arg(long, value_name = "HOW", value_parser = parse_arrivals)]
    pub arrivals: Option<Arrivals>,

    /// Bytes of a message, the whole JSON object [default: 256]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(PAYLOAD))]
    pub payload: Option<Vec<u32>>,

    /// Games that the subscribers are spread over and the publisher goes round [default: 1]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(GAMES))]
    pub games: Option<Vec<u32>>,

    /// Game to subscribe to, by its slug [default: crash]
    #[arg(long, value_name = "SLUG", conflicts_with_all = ["type", "games"], value_parser = parse_name)]
    pub game: Option<String>,

    /// Type of games to subscribe to, instead of one game
    #[arg(long, value_name = "TYPE", conflicts_with = "games", value_parser = parse_name)]
    pub r#type: Option<String>,

    /// How long each case is measured: 10s, 500ms, 2m [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// How long messages are published before any counts, in each slice [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub warmup: Option<Duration>,
}

/// What holds for a whole run.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct RunSettings {
    /// Threads that drive subscribers [default: half the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(THREADS))]
    pub threads: Option<u16>,

    /// The cores of server and subscribers: apart (a half each, so that the scheduler can't set one behind the other), or
    /// shared [default: apart, and shared with a --target that runs already]
    #[arg(long, value_name = "HOW", value_parser = parse_cores)]
    pub cores: Option<Cores>,

    /// Connections in the middle of being opened, at most [default: 128]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(CONNECTING))]
    pub connecting: Option<u16>,

    /// Whose receipts are noted: user (when the client has a message), or kernel (also when its kernel has it)
    /// [default: user]
    #[arg(long, value_name = "WHOSE", value_parser = parse_timestamps)]
    pub timestamps: Option<Timestamps>,

    /// Tell where the time of a message goes, leg by leg: sent, server ingest, server write, receipt
    #[arg(long)]
    pub stages: bool,

    /// Slices that each case is measured in, each on a fresh server; those of all cases take turns in random order
    /// [default: up to 5, of 2 s or more]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(SLICES))]
    pub slices: Option<u16>,

    /// Seed of everything drawn at random [default: drawn, and told in the result]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=SEED_END))]
    pub seed: Option<u64>,
}

impl RunSettings {
    /// These settings, and those `below` where these say nothing.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        Self {
            threads: self.threads.or(below.threads),
            cores: self.cores.or(below.cores),
            connecting: self.connecting.or(below.connecting),
            timestamps: self.timestamps.or(below.timestamps),
            stages: self.stages || below.stages,
            slices: self.slices.or(below.slices),
            seed: self.seed.or(below.seed),
        }
    }
}

/// As [`SEED`] has it, in the type of a seed.
const SEED_END: u64 = SEED.end().unsigned_abs();

impl LoadSettings {
    /// These settings, and those `below` where these say nothing. What excludes each other is overlaid together: a
    /// rate takes the place of a closed loop, a game that of a type.
    #[must_use]
    pub fn over(self, below: &Self) -> Self {
        let below = below.clone();
        let says_pace = self.rate.is_some() || self.arrivals.is_some() || self.in_flight.is_some();
        let is_closed = self.in_flight.is_some() || (!says_pace && below.in_flight.is_some());
        let says_topic = self.game.is_some() || self.r#type.is_some() || self.games.is_some();
        let (game, r#type, games) = if says_topic {
            (self.game, self.r#type, self.games)
        } else {
            (below.game, below.r#type, below.games)
        };
        Self {
            protocols: self.protocols.or(below.protocols),
            tls: self.tls.or(below.tls),
            encoding: self.encoding.or(below.encoding),
            batch_ms: self.batch_ms.or(below.batch_ms),
            connections: self.connections.or(below.connections),
            rate: if is_closed { None } else { self.rate.or(below.rate) },
            in_flight: if is_closed { self.in_flight.or(below.in_flight) } else { None },
            arrivals: if is_closed { None } else { self.arrivals.or(below.arrivals) },
            payload: self.payload.or(below.payload),
            games,
            game,
            r#type,
            duration: self.duration.or(below.duration),
            warmup: self.warmup.or(below.warmup),
        }
    }

    /// The matrix these settings describe.
    ///
    /// # Errors
    /// [`Problem`] where values don't go together.
    pub fn matrix(&self) -> Result<Matrix, Problem> {
        let matrix = Matrix {
            protocols: self.variants()?,
            connections: self.connections.clone().unwrap_or_else(|| vec![100]),
            pace: match &self.in_flight {
                Some(messages) => Pace::Closed(messages.clone()),
                None => Pace::Open {
                    rates: self.rate.clone().unwrap_or_else(|| vec![100.0]),
                    arrivals: self.arrivals.unwrap_or_default(),
                },
            },
            payloads: self.payload.clone().unwrap_or_else(|| vec![256]),
            games: self.games.clone().unwrap_or_else(|| vec![1]),
            topic: match (&self.game, &self.r#type) {
                (_, Some(game_type)) => Topic::Type(game_type.clone()),
                (Some(slug), None) => Topic::Game(slug.clone()),
                (None, None) => Topic::Game(KNOWN_GAMES[0].slug.to_owned()),
            },
            duration: self.duration.unwrap_or(Duration::from_secs(10)),
            warmup: self.warmup.unwrap_or(Duration::from_secs(1)),
        };
        check_messages(&matrix)?;
        check_games(&matrix)?;
        let cases = matrix.case_count();
        if cases > MAX_CASES {
            let text =
                format!("these lists make {cases} cases; at most {MAX_CASES} can be measured in a run");
            return Err(Problem { key: "protocols", text });
        }
        Ok(matrix)
    }

    /// Protocols with every combination of encryption, encoding and batching that they have.
    fn variants(&self) -> Result<Vec<Variant>, Problem> {
        let mut variants = Vec::new();
        for &protocol in self.protocols.as_deref().unwrap_or(&Variant::DEFAULT) {
            for &tls in self.tls.as_deref().unwrap_or(&[false]) {
                for &encoding in self.encoding.as_deref().unwrap_or(&[Encoding::Json]) {
                    for &batch_ms in self.batch_ms.as_deref().unwrap_or(&[0]) {
                        let variant = with_options(protocol, tls, encoding, batch_ms)?;
                        if !variants.contains(&variant) {
                            variants.push(variant);
                        }
                    }
                }
            }
        }
        Ok(variants)
    }
}

/// A protocol with what lists of encryption, encoding and batching add to it. Floors have none of these, and
/// WebTransport is always encrypted.
fn with_options(protocol: Variant, tls: bool, encoding: Encoding, batch_ms: u8) -> Result<Variant, Problem> {
    if protocol.is_floor() {
        return Ok(protocol);
    }
    let mut name = match protocol.carrier() {
        Carrier::WebSocket(Tls::Off) if tls => protocol.to_string().replacen("ws", "wss", 1),
        Carrier::Sse(Tls::Off, _) if tls => protocol.to_string().replacen("sse", "sse-tls", 1),
        _ => protocol.to_string(),
    };
    if encoding == Encoding::MessagePack {
        name.push_str("+msgpack");
    }
    if batch_ms > 0 {
        name.extend(["+batch", &batch_ms.to_string()]);
    }
    let key = if batch_ms > 0 { "batch-ms" } else { "encoding" };
    name.parse().map_err(|error| Problem {
        key,
        text: format!("{protocol} is in the list of protocols with an option of its own: {error}"),
    })
}

/// The commands that publish a message of each game are all held in memory.
fn check_games(matrix: &Matrix) -> Result<(), Problem> {
    let most = |values: &[u32]| values.iter().copied().max().unwrap_or(0);
    let (games, payload) = (most(&matrix.games), most(&matrix.payloads));
    if u64::from(games) * u64::from(payload) <= MOST_GAME_BYTES {
        return Ok(());
    }
    let text = format!(
        "{games} games with messages of {payload} bytes are more than {MOST_GAME_BYTES} bytes together; \
         lower --games or --payload"
    );
    Err(Problem { key: "games", text })
}

/// Whether windows of this matrix hold no more messages than can be planned, at a rate that a search goes up to.
///
/// # Errors
/// [`Problem`] where they hold more.
pub fn check_highest_rate(matrix: &Matrix, rate: f64) -> Result<(), Problem> {
    let seconds = (matrix.warmup + matrix.duration).as_secs_f64();
    if seconds * rate <= MAX_MESSAGES {
        return Ok(());
    }
    let text = format!(
        "at {rate} messages a second, {seconds} s hold more than {MAX_MESSAGES} messages: lower --to or --duration"
    );
    Err(Problem { key: "to", text })
}

/// Only a plan can have too many messages; a closed loop remembers the latest.
fn check_messages(matrix: &Matrix) -> Result<(), Problem> {
    let Pace::Open { rates, .. } = &matrix.pace else {
        if matrix.duration.is_zero() {
            return Err(Problem { key: "duration", text: "nothing is measured in no time".to_owned() });
        }
        return Ok(());
    };
    let seconds = (matrix.warmup + matrix.duration).as_secs_f64();
    for &rate in rates {
        let messages = seconds * rate;
        if messages > MAX_MESSAGES || matrix.duration.as_secs_f64() * rate < 1.0 {
            let text = format!(
                "at {rate} messages a second, {seconds} s hold {messages:.0} messages; \
                 between 1 and {MAX_MESSAGES} can be measured: change --rate or --duration"
            );
            return Err(Problem { key: "rate", text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variants(settings: &LoadSettings) -> String {
        let variants = settings.matrix().unwrap().protocols;
        variants.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lists_of_options_multiply_protocols_that_have_them() {
        let protocols = ["ws", "sse+h2", "wt-stream", "redis"].map(|name| name.parse().unwrap()).to_vec();
        let mut settings = LoadSettings { protocols: Some(protocols), ..LoadSettings::default() };
        settings.tls = Some(vec![false, true]);
        assert_eq!(variants(&settings), "ws wss sse+h2 sse-tls+h2 wt-stream redis");
        settings.tls = Some(vec![true]);
        settings.encoding = Some(vec![Encoding::Json, Encoding::MessagePack]);
        settings.batch_ms = Some(vec![5]);
        assert_eq!(
            variants(&settings),
            "wss+batch5 wss+msgpack+batch5 sse-tls+h2+batch5 sse-tls+h2+msgpack+batch5 wt-stream+batch5 \
             wt-stream+msgpack+batch5 redis"
        );
        settings.protocols = Some(vec!["ws+msgpack".parse().unwrap()]);
        let problem = settings.matrix().unwrap_err();
        assert!(problem.text.contains("\"wss+msgpack+msgpack+batch5\" says +msgpack twice"), "{problem:?}");
    }

    #[test]
    fn a_layer_takes_the_place_of_what_it_excludes() {
        let open =
            LoadSettings { rate: Some(vec![5.0]), game: Some("double".into()), ..LoadSettings::default() };
        let closed =
            LoadSettings { in_flight: Some(vec![8]), games: Some(vec![3]), ..LoadSettings::default() };
        let over = closed.clone().over(&open);
        assert_eq!(
            (over.rate, over.in_flight, over.game, over.games),
            (None, Some(vec![8]), None, Some(vec![3]))
        );
        let over = open.clone().over(&closed);
        assert_eq!((over.rate, over.in_flight, over.games), (Some(vec![5.0]), None, None));
        let poisson = LoadSettings { arrivals: Some(Arrivals::Poisson), ..LoadSettings::default() };
        let over = poisson.over(&open);
        assert_eq!((over.rate, over.arrivals), (Some(vec![5.0]), Some(Arrivals::Poisson)));
        assert_eq!(LoadSettings::default().over(&closed), closed);
    }
}
