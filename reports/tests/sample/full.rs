//! A made-up result in which every field is filled: floors, stages, slices, health, resources, intervals, a plan and a
//! capacity search.

use lastmile_reports::schema::{
    Capacity, CapacityStep, CaseResult, Health, LatencySummary, QuantileIntervals, ResourcePoint, RunResult,
    SliceSummary, Stage, ThreadUse,
};

use super::{CHARACTERS, Character, Load, Random, case, draw, run};

/// Slices a case is measured in.
const SLICES: u32 = 4;

/// The floors, the five protocols and the encrypted twins of two of them, in slices of 10 s, with all that a run can tell.
pub fn full() -> RunResult {
    let load = Load { connections: 100, rate: 100, seconds: 40 };
    let mut random = Random(41);
    let named = characters();
    let cases: Vec<CaseResult> = named
        .iter()
        .enumerate()
        .map(|(index, character)| full_case(character, load, index as u32, &mut random))
        .collect();
    let objection = "wt-datagram: host: 12 datagrams were dropped for a full receive buffer";
    RunResult {
        verdict: Some("SUSPECT".to_owned()),
        objections: vec![objection.to_owned()],
        plan: Some(serde_json::json!({ "protocols": ["redis", "tcp", "ws"], "slices": SLICES })),
        capacity: vec![capacity("ws", 2_400.0), capacity("sse", 2_300.0), capacity("wt-stream", 700.0)],
        ..run(load, cases.into_iter())
    }
}

fn characters() -> Vec<Character> {
    let like = |from: usize, protocol: &'static str, factor: f64| {
        let like = &CHARACTERS[from];
        Character {
            protocol,
            base_us: like.base_us * factor,
            step_us: like.step_us * factor,
            server_cpu_us: like.server_cpu_us * factor,
            bytes_per_connection: like.bytes_per_connection * factor,
            connect_us: like.connect_us * factor,
            ..*like
        }
    };
    let redis = Character { base_us: 52.0, ..like(0, "redis", 0.45) };
    let mut characters = vec![redis, like(0, "tcp", 0.86), like(0, "wss", 1.35), like(1, "sse-tls", 1.4)];
    characters.extend(CHARACTERS.iter().map(|character| Character { ..*character }));
    characters
}

fn full_case(character: &Character, load: Load, index: u32, random: &mut Random) -> CaseResult {
    let mut case = case(character, load, 300 + u64::from(index));
    let drawn = draw(character, load, &mut Random(300 + u64::from(index)));
    case.floor = matches!(character.protocol, "redis" | "tcp");
    let name = character.protocol;
    case.encrypted = Some(name.starts_with("wt") || matches!(name, "wss" | "sse-tls"));
    case.spread = Some(drawn.spread(case.published));
    let around = |value: Option<f64>, share: f64| value.map(|us| (us * (1.0 - share), us * (1.0 + share)));
    case.latency_intervals = Some(QuantileIntervals {
        p50: around(case.latency_us.p50, 0.018),
        p90: around(case.latency_us.p90, 0.03),
        p99: around(case.latency_us.p99, 0.09),
        p99_9: around(case.latency_us.p99_9, 0.2),
    });
    case.stages = stages(character, &case.latency_us);
    case.slices = (0..SLICES).map(|slice| slice_of(&case, slice, index, random)).collect();
    case.health = Some(health(character, random));
    case.resources = (0..load.seconds).map(|second| resources(&case, second, random)).collect();
    if case.floor {
        case.server.cpu_us_per_delivery = None;
    }
    case
}

fn summary(p50: f64, p99: f64) -> LatencySummary {
    LatencySummary {
        p50: Some(p50),
        p90: Some(p50 + (p99 - p50) * 0.4),
        p99: Some(p99),
        p99_9: Some(p99 * 1.6),
        max: Some(p99 * 2.2),
        mean: Some(p50 * 1.08),
    }
}

fn stages(character: &Character, latency: &LatencySummary) -> Vec<Stage> {
    if character.protocol == "redis" {
        return Vec::new();
    }
    let (p50, p99) = (latency.p50.unwrap_or(0.0), latency.p99.unwrap_or(0.0));
    [
        ("planned to sent", 0.02, 0.01),
        ("sent to ingest", 0.12, 0.07),
        ("ingest to write", 0.44, 0.58),
        ("write to kernel", 0.11, 0.06),
        ("kernel to client", 0.31, 0.28),
    ]
    .map(|(name, of_p50, of_p99)| Stage {
        name: name.to_owned(),
        latency_us: summary(p50 * of_p50, p99 * of_p99),
    })
    .into()
}

fn slice_of(case: &CaseResult, slice: u32, index: u32, random: &mut Random) -> SliceSummary {
    let around = |value: Option<f64>, factor: f64| value.map(|us| us * factor);
    let factor = (0.05 * random.normal()).exp();
    let latency = case.latency_us;
    SliceSummary {
        order: slice * 9 + (index + 4 * slice) % 9,
        published: case.published / u64::from(SLICES),
        delivered: case.accounting.delivered / u64::from(SLICES),
        lost: case.accounting.lost / u64::from(SLICES),
        latency_us: LatencySummary {
            p50: around(latency.p50, factor),
            p90: around(latency.p90, factor),
            p99: around(latency.p99, factor * factor),
            p99_9: None,
            max: around(latency.max, factor),
            mean: around(latency.mean, factor),
        },
        complete_p99_us: case.spread.and_then(|spread| around(spread.last_us.p99, factor)),
        server_cpu_us_per_delivery: around(case.server.cpu_us_per_delivery, 1.0 + 0.02 * random.normal()),
        server_rss_bytes_per_connection: case.server.rss_bytes_per_connection,
    }
}

fn health(character: &Character, random: &mut Random) -> Health {
    let thread = |name: &str, cpu_share: f64, spins: bool| ThreadUse {
        name: name.to_owned(),
        cpu_share,
        waited_share: cpu_share / 8.0,
        spins,
    };
    Health {
        threads: vec![
            thread("publisher", 0.97, true),
            thread("worker-0", 0.11 + character.generator_cpu_us * 0.012 + 0.02 * random.uniform(), false),
        ],
        canary_us: Some(summary(6.0, 19.0)),
        kernel_to_client_us: Some(summary(character.base_us * 0.05, character.base_us * 0.4)),
        kernel_latency_us: Some(summary(character.base_us * 2.0, character.base_us * 5.0)),
        steal_share: Some(0.0012),
        receive_buffer_drops: Some(if character.loss > 0.0 { 117 } else { 0 }),
        throttled_periods: Some(0),
    }
}

fn resources(case: &CaseResult, second: u32, random: &mut Random) -> ResourcePoint {
    let mut cores = |cpu_us: Option<f64>| {
        cpu_us.map(|us| us * case.deliveries_per_s / 1e6 * (1.0 + 0.06 * random.normal()))
    };
    ResourcePoint {
        second,
        server_cores: cores(case.server.cpu_us_per_delivery),
        redis_cores: cores(case.redis.and_then(|cost| cost.cpu_us_per_delivery)),
        generator_cores: cores(case.generator.cpu_us_per_delivery),
        server_rss_bytes: case.server.rss_bytes.map(|bytes| bytes + u64::from(second) * 4_096),
        generator_rss_bytes: case.generator.rss_bytes,
    }
}

/// A search: doubling until the objective breaks, halving the gap, and two runs that confirm.
fn capacity(protocol: &str, knee: f64) -> Capacity {
    let tried = [100.0, 400.0, 1_600.0, 6_400.0, 3_200.0, 2_400.0, 800.0, 700.0, knee, knee];
    let step = |(index, rate): (usize, f64)| {
        let load = (rate / knee / 1.05).min(0.995);
        let p50 = 260.0 / (1.0 - load);
        CapacityStep {
            rate,
            achieved_rate: rate.min(knee * 1.2),
            latency_us: summary(p50, p50 * 2.6),
            lost: if rate > knee * 1.5 { 812 } else { 0 },
            kept: rate <= knee,
            is_confirmation: index >= tried.len() - 2,
            // The first time at twice the knee the machine was busy with something else.
            refused: if index == 3 {
                vec!["generator headroom: thread \"subscribers 0\" used 93 % of a core".to_owned()]
            } else {
                Vec::new()
            },
        }
    };
    Capacity {
        protocol: protocol.to_owned(),
        connections: 100,
        objective: "p99<20ms,lost=0".to_owned(),
        rate: Some(knee),
        is_bounded: false,
        is_generator_limit: false,
        steps: tried.into_iter().enumerate().map(step).collect(),
    }
}
