//! Results made up from a seed, with figures as a small machine gives them. For tests and for looking at reports;
//! nobody measured them.
#![allow(dead_code, unused_imports, reason = "every test and the example use their own part of it")]

mod full;

pub use full::full;

use hdrhistogram::Histogram;
use lastmile_reports::histogram::{encode, new_latency_histogram};
use lastmile_reports::schema::{
    Accounting, CaseResult, Environment, FanOutSpread, LatencySummary, ProcessCost, RunResult, SCHEMA,
    TimelinePoint,
};

/// `SplitMix64`: small, seeded, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// In [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// What a protocol's made-up latencies are drawn from.
struct Character {
    protocol: &'static str,
    /// Latency of the first subscriber on a quiet machine.
    base_us: f64,
    /// What each further subscriber waits.
    step_us: f64,
    /// Spread of the logarithm over messages.
    spread: f64,
    /// Share of messages that meet a stall.
    stalls: f64,
    /// Share of deliveries lost.
    loss: f64,
    server_cpu_us: f64,
    generator_cpu_us: f64,
    bytes_per_connection: f64,
    connect_us: f64,
}

const CHARACTERS: [Character; 5] = [
    Character {
        protocol: "ws",
        base_us: 148.0,
        step_us: 4.6,
        spread: 0.16,
        stalls: 0.008,
        loss: 0.0,
        server_cpu_us: 5.6,
        generator_cpu_us: 2.9,
        bytes_per_connection: 742.0,
        connect_us: 310.0,
    },
    Character {
        protocol: "sse",
        base_us: 151.0,
        step_us: 4.7,
        spread: 0.16,
        stalls: 0.009,
        loss: 0.0,
        server_cpu_us: 5.7,
        generator_cpu_us: 3.1,
        bytes_per_connection: 768.0,
        connect_us: 290.0,
    },
    Character {
        protocol: "wt-stream",
        base_us: 232.0,
        step_us: 13.2,
        spread: 0.2,
        stalls: 0.013,
        loss: 0.0,
        server_cpu_us: 14.8,
        generator_cpu_us: 11.6,
        bytes_per_connection: 52_310.0,
        connect_us: 2_450.0,
    },
    Character {
        protocol: "wt-streams",
        base_us: 241.0,
        step_us: 20.4,
        spread: 0.22,
        stalls: 0.016,
        loss: 0.0,
        server_cpu_us: 23.9,
        generator_cpu_us: 17.2,
        bytes_per_connection: 58_120.0,
        connect_us: 2_510.0,
    },
    Character {
        protocol: "wt-datagram",
        base_us: 219.0,
        step_us: 11.1,
        spread: 0.19,
        stalls: 0.012,
        loss: 0.0004,
        server_cpu_us: 12.6,
        generator_cpu_us: 9.9,
        bytes_per_connection: 51_480.0,
        connect_us: 2_390.0,
    },
];

/// The load of a made-up case.
#[derive(Clone, Copy)]
pub struct Load {
    /// Subscribers.
    pub connections: u32,
    /// Messages a second.
    pub rate: u32,
    /// Seconds measured.
    pub seconds: u32,
}

/// The five protocols under the default load: 1,000 publishes, so p99.9 is not resolved; datagrams lose a little.
pub fn first_light() -> RunResult {
    let load = Load { connections: 100, rate: 100, seconds: 10 };
    run(load, CHARACTERS.iter().enumerate().map(|(index, character)| case(character, load, index as u64)))
}

/// The same load once more, drawn from other seeds, with a WebSocket that became a fifth slower.
pub fn first_light_again() -> RunResult {
    let load = Load { connections: 100, rate: 100, seconds: 10 };
    let slower = |character: &Character| match character.protocol {
        "ws" => {
            Character { base_us: character.base_us * 1.2, step_us: character.step_us * 1.2, ..*character }
        }
        _ => Character { ..*character },
    };
    run(
        load,
        CHARACTERS
            .iter()
            .enumerate()
            .map(|(index, character)| case(&slower(character), load, 200 + index as u64)),
    )
}

/// A minute of 100 messages a second: 6,000 publishes resolve p99.9.
pub fn a_minute() -> RunResult {
    let load = Load { connections: 20, rate: 100, seconds: 60 };
    run(
        load,
        CHARACTERS.iter().enumerate().map(|(index, character)| case(character, load, 77 + index as u64)),
    )
}

/// As many cases as asked for, over a sweep of rates. The deliveries are thinned out, their number is not the point.
pub fn sweep(cases: u32, seconds: u32) -> RunResult {
    let load = |index: u32| Load { connections: 2, rate: 10 * (1 + index / 5), seconds };
    run(
        load(0),
        (0..cases).map(|index| case(&CHARACTERS[index as usize % 5], load(index), 1_000 + u64::from(index))),
    )
}

fn run(load: Load, cases: impl Iterator<Item = CaseResult>) -> RunResult {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    RunResult {
        schema: SCHEMA.to_owned(),
        command: format!(
            "lastmile run --connections {} --rate {} --duration {}s",
            load.connections, load.rate, load.seconds
        ),
        seed: 11_400_714_819_323_198_485,
        started_at: "2026-01-17T03:45:42Z".to_owned(),
        interrupted: false,
        environment: Environment {
            cpu: "AMD EPYC 7B13".to_owned(),
            cores: 2,
            kernel: "Linux 6.18.3 x86_64".to_owned(),
            memory_bytes: 8_324_104_192,
            versions: vec![
                pair("lastmile", "0.1.0"),
                pair("lastmile-server", "0.1.0"),
                pair("redis-server", "7.0.15"),
                pair("rustc", "1.95.0"),
            ],
            git_revision: Some("2f149c4d1e0b7a5c9f3e6d8b0a1c2d3e4f506172".to_owned()),
        },
        conditions: vec![
            pair("tls", "off (WebTransport: always on)"),
            pair("batching", "off"),
            pair("nodelay", "on"),
            pair("rate limits", "off"),
        ],
        plan: None,
        cases: cases.collect(),
        capacity: Vec::new(),
        verdict: None,
        objections: Vec::new(),
    }
}

/// Everything drawn for one case.
struct Drawn {
    latency: Histogram<u64>,
    service: Histogram<u64>,
    slip: Histogram<u64>,
    /// First, half, 99 % and last subscriber of each message.
    complete: [Histogram<u64>; 4],
    timeline: Vec<TimelinePoint>,
    delivered: u64,
}

impl Drawn {
    fn spread(&self, samples: u64) -> FanOutSpread {
        let [first_us, median_us, ninety_nine_us, last_us] =
            [0, 1, 2, 3].map(|part| LatencySummary::from_histogram(&self.complete[part], samples));
        let (incomplete, messages) = (Some(0), Some(samples));
        FanOutSpread { first_us, median_us, ninety_nine_us, last_us, incomplete, messages }
    }
}

fn record_us(histogram: &mut Histogram<u64>, value_us: f64) {
    histogram.record((value_us * 1_000.0) as u64).expect("inside the range");
}

/// The buckets of the heat map, from latencies in order.
fn buckets(sorted_us: &[f64]) -> Vec<(i16, u64)> {
    let bucket = |us: f64| (us.log2() * 4.0).floor() as i16;
    sorted_us
        .chunk_by(|left, right| bucket(*left) == bucket(*right))
        .map(|run| (bucket(run[0]), run.len() as u64))
        .collect()
}

fn draw(character: &Character, load: Load, random: &mut Random) -> Drawn {
    let mut drawn = Drawn {
        latency: new_latency_histogram(),
        service: new_latency_histogram(),
        slip: new_latency_histogram(),
        complete: [0; 4].map(|_| new_latency_histogram()),
        timeline: Vec::new(),
        delivered: 0,
    };
    for second in 0..load.seconds {
        let mut of_second = Vec::new();
        for _ in 0..load.rate {
            let slip_us = 4.0 + 9.0 * random.uniform();
            record_us(&mut drawn.slip, slip_us);
            let stall_us = if random.uniform() < character.stalls { 4_000.0 * random.uniform() } else { 0.0 };
            let mut of_message = Vec::new();
            let factor = (character.spread * random.normal()).exp();
            for subscriber in 0..load.connections {
                if random.uniform() < character.loss {
                    continue;
                }
                let own_us = character.base_us + character.step_us * f64::from(subscriber);
                let service_us = own_us * factor * (1.0 + 0.05 * random.uniform()) + stall_us;
                record_us(&mut drawn.service, service_us);
                let latency_us = service_us + slip_us;
                record_us(&mut drawn.latency, latency_us);
                of_message.push(latency_us);
            }
            of_message.sort_by(f64::total_cmp);
            for (part, share) in [0.0, 0.5, 0.99, 1.0].into_iter().enumerate() {
                if let Some(last) = of_message.len().checked_sub(1) {
                    record_us(&mut drawn.complete[part], of_message[(last as f64 * share).round() as usize]);
                }
            }
            of_second.extend(of_message);
        }
        drawn.delivered += of_second.len() as u64;
        of_second.sort_by(f64::total_cmp);
        let at = |quantile: f64| of_second.get((of_second.len() as f64 * quantile) as usize).copied();
        drawn.timeline.push(TimelinePoint {
            second,
            planned: Some(u64::from(load.rate)),
            published: u64::from(load.rate),
            delivered: of_second.len() as u64,
            buckets: buckets(&of_second),
            p50_us: at(0.5),
            p99_us: at(0.99),
            max_us: of_second.last().copied(),
        });
    }
    drawn
}

fn case(character: &Character, load: Load, seed: u64) -> CaseResult {
    let mut random = Random(seed);
    let drawn = draw(character, load, &mut random);
    let published = u64::from(load.rate * load.seconds);
    let expected = published * u64::from(load.connections);
    let mut connects = new_latency_histogram();
    for _ in 0..load.connections {
        let connect_us = character.connect_us * (0.3 * random.normal()).exp();
        record_us(&mut connects, connect_us);
    }
    let cost = |cpu_us: f64, bytes: f64, idle_bytes: u64| ProcessCost {
        cpu_us_per_delivery: Some(cpu_us),
        rss_bytes_per_connection: Some(bytes),
        attaching_cpu_s: Some(0.05),
        cpu_s: Some(cpu_us * drawn.delivered as f64 / 1e6),
        rss_bytes: Some(idle_bytes + (bytes * f64::from(load.connections)) as u64),
    };
    CaseResult {
        protocol: character.protocol.to_owned(),
        encrypted: Some(character.protocol.starts_with("wt")),
        floor: false,
        topic: "game crash".to_owned(),
        connections: load.connections,
        rate: f64::from(load.rate),
        in_flight: None,
        achieved_rate: Some(f64::from(load.rate) * 0.9998),
        payload_bytes: 256,
        duration_s: f64::from(load.seconds),
        warmup_s: 2.0,
        published,
        interrupted: false,
        latency_us: LatencySummary::from_histogram(&drawn.latency, published),
        service_latency_us: LatencySummary::from_histogram(&drawn.service, published),
        latency_intervals: None,
        spread: None,
        stages: Vec::new(),
        slices: Vec::new(),
        health: None,
        schedule_slip_us: Some(LatencySummary::from_histogram(&drawn.slip, published)),
        connect_us: Some(LatencySummary::from_histogram(&connects, u64::from(load.connections))),
        attaching_s: Some(0.25),
        accounting: Accounting {
            expected,
            delivered: drawn.delivered,
            lost: expected - drawn.delivered,
            ..Accounting::default()
        },
        deliveries_per_s: drawn.delivered as f64 / f64::from(load.seconds),
        server: cost(character.server_cpu_us, character.bytes_per_connection, 14_680_064),
        redis: Some(cost(0.31, 0.0, 9_437_184)),
        generator: cost(character.generator_cpu_us, character.bytes_per_connection * 0.8, 22_020_096),
        histogram: encode(&drawn.latency).expect("encodes"),
        service_histogram: Some(encode(&drawn.service).expect("encodes")),
        timeline: drawn.timeline,
        resources: Vec::new(),
        out_of_range: 0,
        errors: Vec::new(),
    }
}
