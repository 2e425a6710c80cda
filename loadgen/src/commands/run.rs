//! `lastmile run`: from flags to a plan, through the preflight, to result and report.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use lastmile_processes::{ProcessError, find_redis_server};
use lastmile_reports::checks::{self, Verdict};
use lastmile_reports::schema::RunResult;
use lastmile_reports::{html, store, terminal};
use lastmile_wire::channel::KNOWN_GAMES;
use lastmile_wire::request::Topic;

use crate::cli::RunArguments;
use crate::commands::terminal_options;
use crate::environment::cores;
use crate::feed::{Feed, FeedError};
use crate::interrupt::Interrupt;
use crate::message::{Game, MessageTemplate, PayloadTooSmall};
use crate::observe::Observed;
use crate::plan::{Case, Load, Plan, Slice};
use crate::preflight::{Limits, PreflightError, prepare_output, raise_descriptor_limit, variants};
use crate::progress::{Line, RunWatcher, Silent};
use crate::run::{RunError, RunOutcome, RunRequest, run};
use crate::stack::StackPlan;
use crate::stack::program::{ServerProgram, ServerProgramError};
use crate::target::{Paths, Target, TargetError, find_game};

/// Most messages a slice may plan: their times are held in memory, 16 bytes each.
const MAX_MESSAGES: f64 = 100_000_000.0;
/// Where results go by default, and the name of the newest among them.
const RESULTS: &str = "results";
const LATEST: &str = "latest";

/// Why nothing was measured. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
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
    /// A window without messages, or with too many.
    #[error(
        "at {rate} messages a second, {seconds} s hold {messages:.0} messages; \
         between 1 and {MAX_MESSAGES} can be measured: change --rate or --duration"
    )]
    Messages {
        /// As asked for.
        rate: f64,
        /// Warm-up and measured window.
        seconds: f64,
        /// How many messages that makes.
        messages: f64,
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

/// What a run left behind.
#[derive(Debug)]
pub struct Finished {
    /// Everything measured.
    pub result: RunResult,
    /// Where it was written; `None` where there was nothing to write.
    pub folder: Option<PathBuf>,
    /// Why it ended before its end.
    pub failure: Option<RunError>,
}

impl Finished {
    /// The self-checks say that the figures don't measure what they claim to.
    pub fn is_invalid(&self) -> bool {
        checks::verdict(&self.result, &checks::judge(&self.result)) == Verdict::Invalid
    }

    /// What the self-checks object to, in one line.
    pub fn objections(&self) -> String {
        match &self.result.objections[..] {
            [] => "nothing was measured".to_owned(),
            objections => objections.join("; "),
        }
    }

    /// What to print: the table and where the report is, or the result itself.
    pub fn text(&self, as_json: bool) -> String {
        if as_json {
            return store::to_json(&self.result);
        }
        let mut text = terminal::render(&self.result, &terminal_options());
        if let Some(folder) = &self.folder {
            text.extend(["\nReport: ", &folder.join("report.html").to_string_lossy(), "\n"]);
        }
        text
    }
}

/// Runs what the flags ask for.
///
/// # Errors
/// [`SetupError`] where nothing could be measured.
pub fn execute(
    arguments: &RunArguments,
    command: String,
    interrupt: &Interrupt,
) -> Result<Finished, SetupError> {
    raise_descriptor_limit()?;
    let target = (!arguments.target.is_empty()).then(|| target(arguments)).transpose()?;
    let plan = plan(arguments, target.as_ref())?;
    Limits::read().check(&plan)?;
    let stack = stack_plan(arguments, target, &plan)?;
    let folder = arguments.out.clone().unwrap_or_else(default_folder);
    prepare_output(&folder)?;

    let request = RunRequest { command, conditions: conditions(&plan, &stack), stack };
    let watcher: Box<dyn RunWatcher> =
        if io::stderr().is_terminal() { Box::new(Line::new(&plan)) } else { Box::new(Silent) };
    let RunOutcome { result, failure } = run(&plan, &request, interrupt, watcher.as_ref());
    let has_result = !result.cases.is_empty();
    if has_result {
        write(&folder, &result)?;
    } else {
        // Made for this run, and nothing is in it.
        let _ = fs::remove_dir(&folder);
    }
    Ok(Finished { result, folder: has_result.then_some(folder), failure })
}

/// The target that the flags describe.
fn target(arguments: &RunArguments) -> Result<Target, TargetError> {
    let mut target = Target::from_urls(&arguments.target)?;
    target.paths = Paths { websocket: arguments.ws_path.clone(), sse: arguments.sse_path.clone() };
    Ok(target)
}

/// The plan that the flags describe.
fn plan(arguments: &RunArguments, target: Option<&Target>) -> Result<Plan, SetupError> {
    let (topic, game) = topic(arguments, target)?;
    let seconds = (arguments.warmup + arguments.duration).as_secs_f64();
    let messages = seconds * arguments.rate;
    // Only a plan can have too many messages; a closed loop remembers the latest.
    let is_countable = match arguments.in_flight {
        Some(_) => !arguments.duration.is_zero(),
        None => messages <= MAX_MESSAGES && arguments.duration.as_secs_f64() * arguments.rate >= 1.0,
    };
    if !is_countable {
        return Err(SetupError::Messages { rate: arguments.rate, seconds, messages });
    }
    let load = Load {
        connections: arguments.connections as usize,
        messages_per_second: arguments.rate,
        in_flight: arguments.in_flight,
        arrivals: arguments.arrivals.into(),
        payload_bytes: arguments.payload as usize,
        topic,
        game,
    };
    // Before anything starts, not after the stack stands.
    MessageTemplate::new(&load.game, load.payload_bytes, time::OffsetDateTime::now_utc(), 0)?;
    let mut protocols = Vec::new();
    for &variant in &arguments.protocols {
        if !protocols.contains(&variant) {
            protocols.push(variant);
        }
    }
    let slice = |case| Slice { case, warmup: arguments.warmup, measured: arguments.duration };
    Ok(Plan {
        // Short enough to be typed again.
        seed: arguments.seed.unwrap_or_else(|| rand::random::<u32>().into()),
        slices: (0..protocols.len()).map(slice).collect(),
        cases: protocols.into_iter().map(|variant| Case { variant, load: load.clone() }).collect(),
        threads: arguments.threads.map_or_else(|| (cores() as usize / 2).max(1), usize::from),
        connecting: arguments.connecting.into(),
    })
}

/// What is subscribed to, and whose rounds are published.
fn topic(arguments: &RunArguments, target: Option<&Target>) -> Result<(Topic, Game), SetupError> {
    let foreign = |is_it: &dyn Fn(&Game) -> bool| find_game(target?.http.as_ref()?, is_it);
    if let Some(game_type) = &arguments.r#type {
        let game = Game::known_of_type(game_type)
            .or_else(|| foreign(&|game| game.game_type == *game_type))
            .ok_or_else(|| SetupError::UnknownType { game_type: game_type.clone() })?;
        return Ok((Topic::Type(game_type.clone()), game));
    }
    let slug = arguments.game.as_deref().unwrap_or(KNOWN_GAMES[0].slug);
    let game = Game::known(slug)
        .or_else(|| foreign(&|game| game.slug == slug))
        .ok_or_else(|| SetupError::UnknownGame { slug: slug.into() })?;
    Ok((Topic::Game(slug.into()), game))
}

/// What is measured, proven to be there.
fn stack_plan(
    arguments: &RunArguments,
    target: Option<Target>,
    plan: &Plan,
) -> Result<StackPlan, SetupError> {
    let redis = arguments.redis.clone().map(Feed::Redis);
    let feed = redis.or_else(|| arguments.publish_http.clone().map(Feed::Http));
    if let Some(feed) = &feed {
        feed.open()?;
    }
    if let Some(pid) = arguments.target_pid {
        Observed::process(pid).usage().map_err(|source| SetupError::TargetPid { pid, source })?;
    }
    match (target, feed) {
        (Some(target), Some(feed)) => {
            for variant in variants(plan) {
                target.check_serves(variant)?;
            }
            for variant in variants(plan) {
                target.probe(variant, &plan.cases[0].load.topic)?;
            }
            Ok(StackPlan::Foreign { target, feed, pid: arguments.target_pid })
        }
        _ => {
            let redis = &arguments.redis;
            if redis.is_none() {
                find_redis_server()?;
            }
            let program = ServerProgram::find(arguments.server_bin.as_deref())?;
            Ok(StackPlan::Private { program, redis: redis.clone() })
        }
    }
}

/// What holds for every case, in words for people.
fn conditions(plan: &Plan, stack: &StackPlan) -> Vec<(String, String)> {
    let (server, redis) = match stack {
        StackPlan::Private { redis, .. } => (
            "ours, a fresh process for every slice, SQLite in memory".to_owned(),
            redis.as_ref().map_or_else(|| "private, on a Unix socket".to_owned(), ToString::to_string),
        ),
        StackPlan::Foreign { target, feed: Feed::Redis(redis), .. } => (describe(target), redis.to_string()),
        StackPlan::Foreign { target, feed: Feed::Http(url), .. } => {
            (describe(target), format!("none; published by POST to {url}"))
        }
    };
    let load = plan.cases.first().map(|case| &case.load);
    let pairs = [
        ("server", server),
        ("redis", redis),
        ("arrivals", load.map(arrivals).unwrap_or_default()),
        ("tls", "off for ws and sse; WebTransport is always encrypted".to_owned()),
        ("batching", "none asked for (batch_ms=0)".to_owned()),
        ("nodelay", "on at the client".to_owned()),
        ("client threads", plan.threads.to_string()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

fn arrivals(load: &Load) -> String {
    match load.in_flight {
        None => format!("{:?}", load.arrivals).to_lowercase(),
        Some(messages) => format!("closed loop, {messages} in flight: throughput, no latency"),
    }
}

fn describe(target: &Target) -> String {
    let http = target.http.as_ref().map(|server| format!("http://{}", server.host));
    let webtransport = target.webtransport.as_ref().map(|server| {
        let checked = match server.certificate {
            crate::transport::webtransport::Certificate::Sha256(_) => "certificate known by its hash",
            crate::transport::webtransport::Certificate::Unchecked => "certificate not checked",
        };
        format!("https://{} ({checked})", server.authority)
    });
    let servers: Vec<String> = http.into_iter().chain(webtransport).collect();
    let paths = [&target.paths.websocket, &target.paths.sse];
    let paths = paths.into_iter().flatten().map(|path| format!("path {path}"));
    format!("yours: {}", servers.into_iter().chain(paths).collect::<Vec<_>>().join(", "))
}

/// A folder named after the current time that does not exist yet.
fn default_folder() -> PathBuf {
    let now = time::OffsetDateTime::now_utc();
    let format = time::macros::format_description!("[year]-[month]-[day]T[hour]-[minute]-[second]Z");
    let name = now.format(format).unwrap_or_else(|_| now.unix_timestamp().to_string());
    let folder = Path::new(RESULTS).join(&name);
    let others = (2..).map(|number| Path::new(RESULTS).join(format!("{name}-{number}")));
    std::iter::once(folder.clone()).chain(others.take(1000)).find(|path| !path.exists()).unwrap_or(folder)
}

fn write(folder: &Path, result: &RunResult) -> Result<(), SetupError> {
    let failed = |error: store::StoreError| PreflightError::Output {
        path: folder.into(),
        source: io::Error::other(error),
    };
    store::write(&folder.join("result.json"), result).map_err(failed)?;
    store::write_text(&folder.join("report.html"), &html::render(result)).map_err(failed)?;
    // A convenience; a run is not lost for it.
    let _ = point_latest_at(folder);
    Ok(())
}

/// `results/latest` leads to the newest result, at every moment to one. A folder of results is not made for a
/// run that asked for another place.
fn point_latest_at(folder: &Path) -> io::Result<()> {
    let results = Path::new(RESULTS);
    if !results.is_dir() {
        return Ok(());
    }
    let target = match folder.strip_prefix(results) {
        Ok(below) => below.to_owned(),
        Err(_) => fs::canonicalize(folder)?,
    };
    let beside = results.join(format!(".{LATEST}.{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    symlink(target, &beside)?;
    fs::rename(&beside, results.join(LATEST)).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}
