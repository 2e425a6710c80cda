//! Scenario files: which keys there are, and what their values may be.

use std::path::Path;

use clap::ValueEnum;
use lastmile_reports::gate::Threshold;

use crate::gate::settings::{ALPHA, GateSettings, Mode, PAIRS, parse_metric};

use super::capacity::CapacitySettings;
use super::document::{Document, Entry, Mistake, Table};
use super::server::ServerSettings;
use super::settings::{LoadSettings, RunSettings};
use super::values::{
    BATCH_MS, CONNECTING, CONNECTIONS, GAMES, IN_FLIGHT, PAYLOAD, RATE, SEED, SLICES, THREADS,
    parse_arrivals, parse_cores, parse_duration, parse_encoding, parse_name, parse_path, parse_switch,
    parse_timestamps,
};
use super::{Problem, Scenario, ScenarioError, default_cores, default_threads};
use crate::adapter::Adapter;
use crate::plan::Instruments;

/// Keys of what is measured: at the top for all matrices, or in one of them.
const LOAD_KEYS: [&str; 14] = [
    "protocols",
    "tls",
    "encoding",
    "batch-ms",
    "connections",
    "rate",
    "in-flight",
    "arrivals",
    "payload",
    "games",
    "game",
    "type",
    "duration",
    "warmup",
];
/// Keys of what holds for the whole run.
const RUN_KEYS: [&str; 7] = ["threads", "cores", "connecting", "slices", "timestamps", "stages", "seed"];
/// Keys of what is under test.
const SERVER_KEYS: [&str; 5] = ["redis", "target", "ws-path", "sse-path", "publish-http"];
/// Keys of `[gate]`.
const GATE_KEYS: [&str; 7] = ["threshold", "metrics", "pairs", "alpha", "budget", "mode", "allow-few-cores"];
/// What else there is.
const TITLE: &str = "title";
const MATRIX: &str = "matrix";
const CAPACITY: &str = "capacity";
const GATE: &str = "gate";
const ADAPTER: &str = "adapter";

/// Pairs of keys that exclude each other, within a matrix or at the top.
const EXCLUSIVE: [(&str, &str); 5] = [
    ("in-flight", "rate"),
    ("in-flight", "arrivals"),
    ("game", "type"),
    ("games", "game"),
    ("games", "type"),
];

/// What a file says, before flags are laid over it.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    title: Option<String>,
    top: LoadSettings,
    matrices: Vec<LoadSettings>,
    run: RunSettings,
    server: ServerSettings,
    capacity: CapacitySettings,
    gate: GateSettings,
}

impl Draft {
    /// Reads a file.
    ///
    /// # Errors
    /// The first mistake.
    pub fn read(path: &str, text: &str) -> Result<Self, Mistake> {
        let document = Document { path, text };
        let parsed = document.parse()?;
        let table = document.table(parsed.get_ref());
        let known =
            [&[TITLE, MATRIX, CAPACITY, GATE, ADAPTER], &LOAD_KEYS[..], &RUN_KEYS, &SERVER_KEYS].concat();
        table.check_keys(&known)?;
        let matrices = table.optional(MATRIX, |matrices| {
            matrices.elements()?.iter().map(|matrix| read_matrix(matrix.table()?)).collect()
        });
        Ok(Self {
            title: table.optional(TITLE, |entry| entry.string().map(str::to_owned))?,
            top: read_load(table)?,
            matrices: matrices?.unwrap_or_default(),
            run: read_run(table)?,
            server: ServerSettings {
                adapter: table
                    .optional(ADAPTER, |entry| Adapter::read_kept(&document, entry.table()?))?
                    .map(Box::new),
                ..read_server(table)?
            },
            capacity: table
                .optional(CAPACITY, |entry| CapacitySettings::read(entry.table()?))?
                .unwrap_or_default(),
            gate: table.optional(GATE, |entry| read_gate(entry.table()?))?.unwrap_or_default(),
        })
    }

    /// The same with the description read that its target names, looked for in `folder`.
    ///
    /// # Errors
    /// [`ScenarioError`] where it can't be read or has a mistake.
    pub fn with_adapter(self, folder: &Path) -> Result<Self, ScenarioError> {
        Ok(Self { server: self.server.read_adapter(folder)?, ..self })
    }

    /// The description of a target.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.server.adapter.as_deref()
    }

    /// The same above other defaults.
    #[must_use]
    pub fn above(self, defaults: &LoadSettings) -> Self {
        Self { top: self.top.over(defaults), ..self }
    }

    /// The scenario, with flags laid over it and nothing left open.
    ///
    /// # Errors
    /// [`Problem`] where values don't go together.
    pub fn finish(
        &self,
        load: &LoadSettings,
        run: &RunSettings,
        server: &ServerSettings,
    ) -> Result<Scenario, Problem> {
        let nothing = [LoadSettings::default()];
        let matrices = if self.matrices.is_empty() { &nothing[..] } else { &self.matrices };
        let server = server.clone().over(&self.server);
        let mut unnamed = Vec::new();
        let matrix = |(place, own): (usize, &LoadSettings)| {
            let mut settings = load.clone().over(&own.clone().over(&self.top));
            if settings.protocols.is_none() {
                unnamed.push(place);
            }
            settings.protocols.get_or_insert_with(|| server.default_protocols());
            settings.matrix()
        };
        let matrices = matrices.iter().enumerate().map(matrix).collect::<Result<_, Problem>>()?;
        let server = server.checked()?;
        let run = run.clone().over(&self.run);
        Ok(Scenario {
            title: self.title.clone(),
            matrices,
            unnamed,
            // Short enough to be typed again.
            seed: run.seed.unwrap_or_else(|| rand::random::<u32>().into()),
            threads: run.threads.unwrap_or_else(default_threads),
            cores: run.cores.unwrap_or_else(|| default_cores(&server)),
            connecting: run.connecting.unwrap_or(super::CONNECTING),
            instruments: Instruments { timestamps: run.timestamps.unwrap_or_default(), stages: run.stages },
            slices: run.slices,
            server,
            capacity: self.capacity.clone(),
            gate: self.gate.clone(),
        })
    }

    /// Where in a file, that this was read from, a problem is.
    pub fn mistake(&self, path: &str, text: &str, problem: Problem) -> Mistake {
        let document = Document { path, text };
        let Ok(parsed) = document.parse() else { return document.mistake(0..0, problem.text) };
        let table = document.table(parsed.get_ref());
        let matrices = table.get(MATRIX).and_then(|entry| entry.elements().ok()).unwrap_or_default();
        let at_fault = self.matrices.iter().position(|own| own.clone().over(&self.top).matrix().is_err());
        let matrix = at_fault.and_then(|index| matrices.get(index));
        let within = matrix.and_then(|matrix| matrix.table().ok()?.get(problem.key));
        match within.or_else(|| table.get(problem.key)).or_else(|| matrix.copied()) {
            Some(entry) => entry.mistake(problem.text),
            None => document.mistake(0..0, problem.text),
        }
    }
}

/// How a gate decides: the keys are the flags of `lastmile gate`.
fn read_gate(table: Table<'_>) -> Result<GateSettings, Mistake> {
    table.check_keys(&GATE_KEYS)?;
    let many = |entry: &Entry<'_>| entry.one_or_many(|entry| entry.parsed(Threshold::parse));
    Ok(GateSettings {
        threshold: table.optional("threshold", many)?.unwrap_or_default(),
        metrics: table.optional("metrics", |entry| entry.one_or_many(|entry| entry.parsed(parse_metric)))?,
        pairs: table.optional("pairs", |entry| entry.one_or_many(|entry| entry.integer(&PAIRS)))?,
        alpha: table.optional("alpha", |entry| entry.number(&ALPHA))?,
        budget: table.optional("budget", |entry| entry.parsed(parse_duration))?,
        mode: table.optional("mode", |entry| entry.parsed(|text| Mode::from_str(text, false)))?,
        allow_few_cores: table.optional("allow-few-cores", Entry::boolean)?.unwrap_or_default(),
    })
}

fn read_matrix(table: Table<'_>) -> Result<LoadSettings, Mistake> {
    table.check_keys(&LOAD_KEYS)?;
    read_load(table)
}

fn read_load(table: Table<'_>) -> Result<LoadSettings, Mistake> {
    for (one, other) in EXCLUSIVE {
        if let (Some(one), Some(_)) = (table.get(one), table.get(other)) {
            return Err(one.mistake(format_args!("this and {other} exclude each other; keep one of them")));
        }
    }
    let integers =
        |range: &'static _| move |entry: &Entry<'_>| entry.one_or_many(|entry| entry.integer(range));
    let switch = |entry: &Entry<'_>| entry.boolean().or_else(|_| entry.parsed(parse_switch));
    Ok(LoadSettings {
        protocols: table
            .optional("protocols", |entry| entry.one_or_many(|entry| entry.parsed(str::parse)))?,
        tls: table.optional("tls", |entry| entry.one_or_many(switch))?,
        encoding: table
            .optional("encoding", |entry| entry.one_or_many(|entry| entry.parsed(parse_encoding)))?,
        batch_ms: table.optional("batch-ms", |entry| entry.one_or_many(|entry| entry.integer(&BATCH_MS)))?,
        connections: table.optional("connections", integers(&CONNECTIONS))?,
        rate: table.optional("rate", |entry| entry.one_or_many(|entry| entry.number(&RATE)))?,
        in_flight: table.optional("in-flight", integers(&IN_FLIGHT))?,
        arrivals: table.optional("arrivals", |entry| entry.parsed(parse_arrivals))?,
        payload: table.optional("payload", integers(&PAYLOAD))?,
        games: table.optional("games", integers(&GAMES))?,
        game: table.optional("game", |entry| entry.parsed(parse_name))?,
        r#type: table.optional("type", |entry| entry.parsed(parse_name))?,
        duration: table.optional("duration", |entry| entry.parsed(parse_duration))?,
        warmup: table.optional("warmup", |entry| entry.parsed(parse_duration))?,
    })
}

fn read_run(table: Table<'_>) -> Result<RunSettings, Mistake> {
    Ok(RunSettings {
        threads: table.optional("threads", |entry| entry.integer(&THREADS))?,
        cores: table.optional("cores", |entry| entry.parsed(parse_cores))?,
        slices: table.optional("slices", |entry| entry.integer(&SLICES))?,
        connecting: table.optional("connecting", |entry| entry.integer(&CONNECTING))?,
        timestamps: table.optional("timestamps", |entry| entry.parsed(parse_timestamps))?,
        stages: table.optional("stages", Entry::boolean)?.unwrap_or_default(),
        seed: table.optional("seed", |entry| entry.integer(&SEED))?,
    })
}

fn read_server(table: Table<'_>) -> Result<ServerSettings, Mistake> {
    let target = |entry: &Entry<'_>| entry.one_or_many(|entry| entry.string().map(str::to_owned));
    Ok(ServerSettings {
        redis: table.optional("redis", |entry| entry.parsed(str::parse))?,
        target: table.optional("target", target)?.unwrap_or_default(),
        ws_path: table.optional("ws-path", |entry| entry.parsed(parse_path))?,
        sse_path: table.optional("sse-path", |entry| entry.parsed(parse_path))?,
        publish_http: table.optional("publish-http", |entry| entry.parsed(str::parse))?,
        target_pid: None,
        adapter: None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenario::Pace;
    use crate::variant::Variant;

    #[track_caller]
    fn told(text: &str) -> String {
        Scenario::parse("s.toml", text).expect_err("a mistake").to_string()
    }

    #[test]
    fn matrices_take_from_the_top_what_they_leave_open() {
        let text = r#"
            title = "a sweep"
            protocols = ["ws", "redis"]
            tls = [false, true]
            rate = [10, 0.5]
            duration = "1m"
            seed = 7

            [[matrix]]
            connections = [1, 10]

            [[matrix]]
            in-flight = 8
            payload = 1024
            protocols = "wt-stream"
        "#;
        let scenario = Scenario::parse("s.toml", text).unwrap();
        assert_eq!((scenario.title.as_deref(), scenario.seed), (Some("a sweep"), 7));
        let [one, other] = &scenario.matrices[..] else { panic!("{:?}", scenario.matrices) };
        assert_eq!(one.protocols, ["ws", "wss", "redis"].map(|name| name.parse().unwrap()));
        assert_eq!((one.connections.clone(), one.case_count()), (vec![1, 10], 12));
        assert_eq!(one.duration, Duration::from_secs(60));
        assert!(matches!(&one.pace, Pace::Open { rates, .. } if *rates == [10.0, 0.5]));
        assert_eq!(other.pace, Pace::Closed(vec![8]));
        assert_eq!((&other.protocols[..], &other.payloads[..]), (&[Variant::WT_STREAM][..], &[1024][..]));
    }

    #[test]
    fn an_empty_file_is_a_run_without_flags() {
        let matrices = Scenario::parse("s.toml", "").unwrap().matrices;
        assert_eq!(matrices, [LoadSettings::default().matrix().unwrap()]);
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, problem) in [
            ("rate = 10\nconection = 5", "2:1: unknown key \"conection\"; did you mean \"connections\"?"),
            ("[[matrix]]\nseed = 5", "2:1: unknown key \"seed\""),
            ("protocols = ['ws', 'smoke']", "1:20: protocols: unknown protocol \"smoke\""),
            ("rate = [10, 0]", "1:13: rate: it is not a number from 0.001 to 10000000"),
            ("connections = 1_000_001", "1:15: connections: 1000001 is not a whole number from 1 to 1000000"),
            ("duration = 10", "1:12: duration: a string is wanted here, not an integer"),
            ("duration = '10 parsecs'", "1:12: duration: give a time like 10s"),
            ("game = 'a/b'", "1:8: game: give a name"),
            ("rate = 1\nin-flight = 5", "2:13: in-flight: this and rate exclude each other"),
            ("rate = 1\nrate = 2", "2:1: "),
            ("warmup = '0s'\n[[matrix]]\n[[matrix]]\nrate = 0.01", "4:8: rate: at 0.01 messages a second"),
            ("duration = '0s'", "1:1: at 100 messages a second"),
            ("protocols = 'ws+msgpack'\nencoding = 'msgpack'", "2:12: encoding: ws+msgpack is in the list"),
            ("matrix = 5", "1:10: matrix: an array is wanted here"),
            ("target = 'http://x'", "1:10: target: "),
            ("redis = 'x'", "1:9: redis: "),
        ] {
            let told = told(text);
            assert!(told.starts_with(&format!("s.toml:{problem}")), "{text}\n{told}");
        }
    }
}
