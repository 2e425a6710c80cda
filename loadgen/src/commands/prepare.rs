//! From a scenario to a plan and what it is measured on, proven to be there: what every command that measures does
//! before anything is measured.

use std::io;
use std::sync::Arc;

use lastmile_processes::{ProcessError, find_redis_server};
use lastmile_wire::channel::KNOWN_GAMES;
use lastmile_wire::request::Topic;

use crate::adapter::{Adapter, Publish};
use crate::channels::Channel;
use crate::cores::{Cores, words};
use crate::feed::{Feed, FeedError, HttpUrlError};
use crate::message::{Game, MessageTemplate, PayloadTooSmall};
use crate::observe::Observed;
use crate::plan::{Case, Load, Plan, Share, interleave};
use crate::preflight::{Limits, PreflightError, raise_descriptor_limit, variants};
use crate::scenario::server::ServerSettings;
use crate::scenario::values::write_timestamps;
use crate::scenario::{Matrix, Pace, Scenario, ScenarioError};
use crate::schedule::Arrivals;
use crate::stack::StackPlan;
use crate::stack::program::{ServerProgram, ServerProgramError};
use crate::target::{Paths, Target, TargetError, find_game};
use crate::transport::Certificate;
use crate::transport::http2::STREAMS_PER_CONNECTION;
use crate::variant::{Carrier, HttpVersion, Variant};

/// Why nothing was measured. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// What was asked for can't be understood.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// No database of ours has this game.
    #[error("there is no game {slug:?}; known are {}", known(|game| game.slug))]
    UnknownGame {
        /// What was asked for.
        slug: String,
    },
    /// No database of ours has games of this type.
    #[error("there is no game of type {game_type:?}; known types are {}", known(|game| game.game_type))]
    UnknownType {
        /// What was asked for.
        game_type: String,
    },
    /// The payload can't hold a round.
    #[error(transparent)]
    Payload(#[from] PayloadTooSmall),
    /// A limit of this machine.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// No server to start.
    #[error(transparent)]
    Program(#[from] ServerProgramError),
    /// No Redis to start.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// What was named to publish to can't be used.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// A description lacks a protocol.
    #[error(
        "the description of {title} does not say where {variant} is found; add it to [paths], or leave {variant} out with --protocols"
    )]
    NotDescribed {
        /// What the server is called.
        title: String,
        /// What was to be measured.
        variant: Variant,
    },
    /// A server that has one stream for all games.
    #[error(
        "{title} has one stream for all games: the paths and the place to publish to of its description lack {{game}}; leave --games out"
    )]
    OneGame {
        /// What the server is called.
        title: String,
    },
    /// A description's place to publish to is none.
    #[error("the description says to publish to what is none: {error}")]
    Publish {
        /// Why.
        error: HttpUrlError,
    },
    /// The process named can't be observed.
    #[error(
        "--target-pid {pid} can't be observed: {source}; name a running process of yours on this machine"
    )]
    TargetPid {
        /// As given.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The target named can't be used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// This machine refused something.
    #[error("this machine refused what a run needs: {0}")]
    System(#[from] io::Error),
}

fn known(name: fn(&lastmile_wire::channel::KnownGame) -> &'static str) -> String {
    KNOWN_GAMES.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// A scenario that can be measured.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What is measured, and when.
    pub plan: Plan,
    /// What it is measured on.
    pub stack: StackPlan,
    /// What holds for every case, in words for people.
    pub conditions: Vec<(String, String)>,
}

/// Plans a scenario and proves that what it needs is there. Attaches a subscriber of each protocol to a target that
/// is running already; starts nothing. Protocols that nobody named and the target does not serve are left out of the
/// scenario.
///
/// # Errors
/// [`SetupError`] says what to do.
pub fn prepare(scenario: &mut Scenario, program: Option<&std::path::Path>) -> Result<Prepared, SetupError> {
    raise_descriptor_limit()?;
    let target = (!scenario.server.target.is_empty()).then(|| target(&scenario.server)).transpose()?;
    if let Some(adapter) = &scenario.server.adapter {
        check_described(scenario, adapter)?;
    }
    let left_out = match &target {
        Some(target) => leave_out(scenario, target)?,
        None => Vec::new(),
    };
    let plan = plan(scenario, target.as_ref())?;
    Limits::read().check(&plan)?;
    let stack = stack_plan(&scenario.server, program, target, &plan)?;
    let mut conditions = conditions(&plan, &stack);
    conditions.extend(left_out.into_iter().map(|text| (LEFT_OUT.to_owned(), text)));
    Ok(Prepared { plan, stack, conditions })
}

/// The condition that tells of protocols left out.
const LEFT_OUT: &str = "left out";

/// Says on standard error which protocols are left out: whoever did not name any would miss them without a word.
pub fn tell_left_out(conditions: &[(String, String)]) {
    for (_, text) in conditions.iter().filter(|(name, _)| name == LEFT_OUT) {
        eprintln!("lastmile: left out {text}; name protocols with --protocols to insist");
    }
}

/// Leaves out of the matrices whose protocols nobody named what the target does not serve, and tells what and why.
/// Where nothing would be left, nothing is left out: then it is told what is wrong.
fn leave_out(scenario: &mut Scenario, target: &Target) -> Result<Vec<String>, SetupError> {
    let mut told: Vec<String> = Vec::new();
    for &place in &scenario.unnamed {
        let matrix = &mut scenario.matrices[place];
        let topic = channels(&matrix.topic, matrix.games.first().copied().unwrap_or(1), Some(target))?;
        let mut missing = target.missing(&matrix.protocols, &topic[0]);
        if missing.iter().map(|(variants, _)| variants.len()).sum::<usize>() == matrix.protocols.len() {
            continue;
        }
        matrix.protocols.retain(|variant| !missing.iter().any(|(variants, _)| variants.contains(variant)));
        for (variants, why) in missing.drain(..) {
            let names: Vec<String> = variants.iter().map(ToString::to_string).collect();
            let text = format!("{}: {why}", names.join(", "));
            if !told.contains(&text) {
                told.push(text);
            }
        }
    }
    Ok(told)
}

/// The plan of a scenario that starts its own servers.
///
/// # Errors
/// [`SetupError`] says what to do.
pub fn prepare_plan(scenario: &Scenario) -> Result<Plan, SetupError> {
    raise_descriptor_limit()?;
    let plan = plan(scenario, None)?;
    Limits::read().check(&plan)?;
    Ok(plan)
}

/// The target that the settings describe.
fn target(server: &ServerSettings) -> Result<Target, TargetError> {
    let mut target = Target::from_urls(&server.target)?;
    target.redis.clone_from(&server.redis);
    target.paths = match &server.adapter {
        Some(adapter) => adapter.paths.clone(),
        None => Paths { websocket: server.ws_path.clone(), sse: server.sse_path.clone(), webtransport: None },
    };
    Ok(target)
}

/// Whether a description says of everything that is to be measured where to find it.
fn check_described(scenario: &Scenario, adapter: &Adapter) -> Result<(), SetupError> {
    for matrix in &scenario.matrices {
        let is_found = |variant: &&Variant| {
            // What we start ourselves is reached without TLS.
            let is_reached =
                adapter.start.is_none() || !variant.is_encrypted() && variant.carrier() != Carrier::Tcp;
            is_reached && adapter.serves(**variant)
        };
        if let Some(&variant) = matrix.protocols.iter().find(|variant| !is_found(variant)) {
            return Err(SetupError::NotDescribed { title: adapter.title.clone(), variant });
        }
        if matrix.games != [1] && !adapter.tells_games_apart() {
            return Err(SetupError::OneGame { title: adapter.title.clone() });
        }
    }
    Ok(())
}

/// The plan of a scenario. A case that several matrices have is measured once.
fn plan(scenario: &Scenario, target: Option<&Target>) -> Result<Plan, SetupError> {
    let mut cases = Vec::new();
    let mut shares = Vec::new();
    for matrix in &scenario.matrices {
        for load in loads(matrix, target)? {
            // Before anything starts, not after the stack stands. Synthetic games differ in nothing that matters.
            let game = &load.channels[0].game;
            MessageTemplate::new(game, load.payload_bytes, time::OffsetDateTime::now_utc(), 0)?;
            for &variant in &matrix.protocols {
                let case = Case { variant, load: load.clone() };
                if !cases.contains(&case) {
                    shares.push(Share { warmup: matrix.warmup, measured: matrix.duration });
                    cases.push(case);
                }
            }
        }
    }
    let slices = interleave(&shares, scenario.slices, scenario.seed);
    let (threads, connecting) = (scenario.threads.into(), scenario.connecting.into());
    let (cores, instruments) = (scenario.cores, scenario.instruments);
    Ok(Plan { seed: scenario.seed, cases, slices, threads, connecting, cores, instruments })
}

/// Every load of a matrix. The protocols are measured next to each other under each.
fn loads(matrix: &Matrix, target: Option<&Target>) -> Result<Vec<Load>, SetupError> {
    let paces: Vec<(f64, Option<u32>, Arrivals)> = match &matrix.pace {
        Pace::Open { rates, arrivals } => rates.iter().map(|&rate| (rate, None, *arrivals)).collect(),
        Pace::Closed(messages) => {
            messages.iter().map(|&messages| (0.0, Some(messages), Arrivals::Constant)).collect()
        }
    };
    let mut loads = Vec::new();
    let groups = matrix.games.iter().map(|&games| channels(&matrix.topic, games, target));
    let groups = groups.collect::<Result<Vec<_>, _>>()?;
    for &connections in &matrix.connections {
        for &payload_bytes in &matrix.payloads {
            for channels in &groups {
                for &(messages_per_second, in_flight, arrivals) in &paces {
                    loads.push(Load {
                        connections: connections as usize,
                        messages_per_second,
                        in_flight,
                        arrivals,
                        payload_bytes: payload_bytes as usize,
                        channels: Arc::clone(channels),
                    });
                }
            }
        }
    }
    Ok(loads)
}

/// What subscribers are spread over: a topic, or games made for measuring.
fn channels(topic: &Topic, games: u32, target: Option<&Target>) -> Result<Arc<[Channel]>, SetupError> {
    if games == 1 {
        return Ok(Arc::new([Channel { topic: topic.clone(), game: game(topic, target)? }]));
    }
    Ok(Channel::synthetic(games as usize).collect())
}

/// Whose rounds are published for a topic.
fn game(topic: &Topic, target: Option<&Target>) -> Result<Game, SetupError> {
    let foreign = |is_it: &dyn Fn(&Game) -> bool| find_game(target?.http.as_ref()?, is_it);
    match topic {
        Topic::Type(game_type) => Game::known_of_type(game_type)
            .or_else(|| foreign(&|game| game.game_type == *game_type))
            .ok_or_else(|| SetupError::UnknownType { game_type: game_type.clone() }),
        Topic::Game(slug) => Game::known(slug)
            .or_else(|| foreign(&|game| game.slug == *slug))
            .ok_or_else(|| SetupError::UnknownGame { slug: slug.clone() }),
    }
}

/// What is measured, proven to be there.
fn stack_plan(
    server: &ServerSettings,
    program: Option<&std::path::Path>,
    target: Option<Target>,
    plan: &Plan,
) -> Result<StackPlan, SetupError> {
    if let Some(adapter) = server.adapter.as_ref().filter(|adapter| adapter.start.is_some()) {
        if server.redis.is_none() && matches!(adapter.publish, Publish::Redis(_)) {
            find_redis_server()?;
        }
        return Ok(StackPlan::Described { adapter: adapter.clone(), redis: server.redis.clone() });
    }
    let described = match (server.adapter.as_deref(), &target) {
        (Some(Adapter { publish: Publish::Http(url), .. }), Some(Target { http: Some(http), .. })) => {
            let url = url.replace("{address}", &http.host).parse();
            Some(Feed::Http(url.map_err(|error| SetupError::Publish { error })?))
        }
        _ => None,
    };
    let redis = described.or_else(|| server.redis.clone().map(Feed::Redis));
    let feed = redis.or_else(|| server.publish_http.clone().map(Feed::Http));
    if let Some(feed) = &feed {
        feed.open()?;
    }
    if let Some(pid) = server.target_pid {
        Observed::process(pid).usage().map_err(|source| SetupError::TargetPid { pid, source })?;
    }
    match (target, feed) {
        (Some(target), Some(feed)) => {
            for variant in variants(plan) {
                target.check_serves(variant)?;
            }
            for variant in variants(plan) {
                target.probe(variant, &plan.cases[0].load.channels[0])?;
            }
            Ok(StackPlan::Foreign {
                target: Box::new(target),
                feed,
                pid: server.target_pid,
                adapter: server.adapter.clone(),
            })
        }
        _ => {
            if server.redis.is_none() {
                find_redis_server()?;
            }
            let program = ServerProgram::find(program)?;
            let (redis, stages) = (server.redis.clone(), plan.instruments.stages);
            Ok(StackPlan::Private { program, redis, stages })
        }
    }
}

/// What holds for every case, in words for people.
pub fn conditions(plan: &Plan, stack: &StackPlan) -> Vec<(String, String)> {
    let (server, redis) = match stack {
        StackPlan::Private { redis, .. } => (
            "ours, a fresh process for every slice, SQLite in memory".to_owned(),
            redis.as_ref().map_or_else(|| "private, on a Unix socket".to_owned(), ToString::to_string),
        ),
        StackPlan::Command { redis, .. } => (
            "started by a command, a fresh process for every slice".to_owned(),
            redis.as_ref().map_or_else(|| "private, on TCP".to_owned(), ToString::to_string),
        ),
        StackPlan::Described { adapter, redis } => (
            format!("{}, a fresh process for every slice", adapter.title),
            match (&adapter.publish, redis) {
                (Publish::Http(url), _) => format!("none; published by POST to {url}"),
                (Publish::Redis(_), Some(url)) => url.to_string(),
                (Publish::Redis(_), None) => "private, on a Unix socket".to_owned(),
            },
        ),
        StackPlan::Foreign { target, feed: Feed::Redis(redis), .. } => (describe(target), redis.to_string()),
        StackPlan::Foreign { target, feed: Feed::Http(url), .. } => {
            (describe(target), format!("none; published by POST to {url}"))
        }
    };
    let guard = match stack {
        StackPlan::Private { .. } => "off: no tokens, no limits (--limits off)",
        StackPlan::Command { .. } => "as the command has it",
        StackPlan::Foreign { .. } | StackPlan::Described { .. } => "as the target has it",
    };
    let differing = |of: &dyn Fn(&Case) -> String| {
        let mut all: Vec<String> = Vec::new();
        for said in plan.cases.iter().map(of) {
            if !all.contains(&said) {
                all.push(said);
            }
        }
        all.join("; ")
    };
    let pairs = [
        ("server", server),
        ("redis", redis),
        ("subscription", differing(&|case| case.load.topic())),
        ("payload", differing(&|case| format!("{} bytes", case.load.payload_bytes))),
        ("arrivals", differing(&|case| arrivals(&case.load))),
        ("identifiers", identifiers(stack)),
        ("slices", slices(plan)),
        ("tls", names(plan, "on for", "off for", Variant::is_encrypted)),
        ("security", guard.to_owned()),
        ("batching", names(plan, "asked for by", "none (batch_ms=0) for", |variant| variant.batch_ms() > 0)),
        ("nodelay", "on at the client, for all".to_owned()),
        ("heartbeat", "the server's default, for all that have one".to_owned()),
        ("streams a connection", streams(plan)),
        ("client threads", plan.threads.to_string()),
        ("cores", cores(plan.cores, stack)),
        ("timestamps", write_timestamps(plan.instruments.timestamps).to_owned()),
        ("stages", if plan.instruments.stages { "noted by the server" } else { "not noted" }.to_owned()),
    ];
    let said = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Which cores server and subscribers have.
fn cores(cores: Cores, stack: &StackPlan) -> String {
    let Some(halves) = cores.halves() else {
        return "shared by server and subscribers".to_owned();
    };
    let subscribers = words(&halves.subscribers);
    match stack {
        StackPlan::Foreign { .. } => format!("subscribers {subscribers}"),
        _ => format!("server {}, subscribers {subscribers}", words(&halves.server)),
    }
}

/// How messages are known that are not known by all of their bytes.
fn identifiers(stack: &StackPlan) -> String {
    let adapter = match stack {
        StackPlan::Described { adapter, .. } => Some(adapter),
        StackPlan::Foreign { adapter, .. } => adapter.as_ref(),
        StackPlan::Private { .. } | StackPlan::Command { .. } => None,
    };
    let place = adapter.and_then(|adapter| adapter.id.as_ref());
    place.map_or_else(String::new, |place| format!("read from {place}; the bytes are not compared"))
}

/// Which protocols have something and which don't.
fn names(plan: &Plan, have: &str, have_not: &str, has: impl Fn(Variant) -> bool) -> String {
    let (with, without): (Vec<Variant>, Vec<Variant>) = variants(plan).into_iter().partition(|&it| has(it));
    let list = |label: &str, variants: &[Variant]| {
        let names: Vec<String> = variants.iter().map(ToString::to_string).collect();
        (!names.is_empty()).then(|| format!("{label} {}", names.join(", ")))
    };
    [list(have, &with), list(have_not, &without)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// How the cases are measured.
fn slices(plan: &Plan) -> String {
    let most = (0..plan.cases.len())
        .map(|case| plan.slices.iter().filter(|slice| slice.case == case).count())
        .max()
        .unwrap_or(0);
    match most {
        0 | 1 => "one of each case, in random order".to_owned(),
        _ => format!("{most} of each case at most, in rounds of random order"),
    }
}

/// How many subscribers of HTTP/2 share a connection.
fn streams(plan: &Plan) -> String {
    let is_shared = |variant: &Variant| matches!(variant.carrier(), Carrier::Sse(_, HttpVersion::Two));
    let shared = variants(plan).into_iter().filter(is_shared).map(|variant| variant.to_string());
    let shared: Vec<String> = shared.collect();
    if shared.is_empty() {
        return String::new();
    }
    format!("{STREAMS_PER_CONNECTION} at most for {}; one for all others", shared.join(", "))
}

fn arrivals(load: &Load) -> String {
    match load.in_flight {
        None => format!("{:?}", load.arrivals).to_lowercase(),
        Some(messages) => format!("closed loop, {messages} in flight: throughput, no latency"),
    }
}

fn describe(target: &Target) -> String {
    let checked = |certificate| match certificate {
        Certificate::Sha256(_) => "certificate known by its hash",
        Certificate::Unchecked => "certificate not checked",
    };
    let http = target.http.as_ref().map(|server| format!("http://{}", server.host));
    let https = target
        .https
        .as_ref()
        .map(|https| format!("https://{} over TCP ({})", https.server.host, checked(https.certificate)));
    let webtransport = target
        .webtransport
        .as_ref()
        .map(|server| format!("https://{} over UDP ({})", server.authority, checked(server.certificate)));
    let tcp = target.tcp.map(|address| format!("tcp://{address}"));
    let servers: Vec<String> = [http, https, webtransport, tcp].into_iter().flatten().collect();
    let paths = [&target.paths.websocket, &target.paths.sse];
    let paths = paths.into_iter().flatten().map(|path| format!("path {path}"));
    format!("yours: {}", servers.into_iter().chain(paths).collect::<Vec<_>>().join(", "))
}
