//! What is under test: made from nothing for a slice and unmade entirely, or someone else's.

pub mod command;
pub mod program;

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lastmile_processes::{Child, Launch, PrivateRedis, ProcessError, RedisOptions, ScratchFolder};
use lastmile_wire::channel::stream_channel;
use rustix::thread::CpuSet;
use serde::Deserialize;

use crate::adapter::identity::IdPlace;
use crate::adapter::launch::{LaunchError, Surroundings, launch};
use crate::adapter::{Adapter, Publish};
use crate::channels::Channel;
use crate::feed::{Feed, HttpUrlError};
use crate::message::Game;
use crate::observe::Observed;
use crate::redis::{RedisUrl, RedisUrlError};
use crate::target::{Target, decode_hash};
use crate::transport::webtransport::WebTransportServer;
use crate::transport::{Certificate, HttpServer, HttpsServer};
use crate::variant::{Carrier, Variant};
use command::ServerCommand;
use program::ServerProgram;

/// How long the server may take until it is ready: it waits up to 10 s for Redis and database itself.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// Why there is nothing to measure.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// A process did not start, or ended.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The server said something else than that it is ready.
    #[error("lastmile-server printed {line:?} instead of its ready line; is it the right program?")]
    ReadyLine {
        /// What it printed.
        line: String,
    },
    /// The games could not be handed to the server.
    #[error("the games of this run could not be handed to the server: {0}")]
    Games(io::Error),
    /// A server that is not ours did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Its address makes no URL to publish to.
    #[error("the description says to publish to what is none: {0}")]
    PublishUrl(HttpUrlError),
    /// A description without a start was to be started; it is told before anything begins.
    #[error("the description does not say how the server is started")]
    NoStart,
    /// A Redis that was neither named nor started.
    #[error("there is no Redis to publish to")]
    NoRedis,
    /// A private Redis has an address of another form than expected.
    #[error(transparent)]
    RedisUrl(#[from] RedisUrlError),
}

/// What slices are made of.
#[derive(Debug, Clone)]
pub enum StackPlan {
    /// A server of ours, fresh for each slice.
    Private {
        /// The program.
        program: ServerProgram,
        /// A Redis of someone else's; `None` for a private one.
        redis: Option<RedisUrl>,
        /// The server notes when it has each round.
        stages: bool,
    },
    /// A server that a command starts, fresh for each slice.
    Command {
        /// The command.
        command: ServerCommand,
        /// A Redis of someone else's; `None` for a private one, which listens on TCP too.
        redis: Option<RedisUrl>,
    },
    /// A server of someone else's.
    Foreign {
        /// Where it is.
        target: Box<Target>,
        /// Where it gets its messages from.
        feed: Feed,
        /// Its process, where it runs on this machine and was named.
        pid: Option<u32>,
        /// What it differs in from the contract.
        adapter: Option<Box<Adapter>>,
    },
    /// A server that a description says how to start, fresh for each slice.
    Described {
        /// The description.
        adapter: Box<Adapter>,
        /// A Redis of someone else's; `None` for a private one where one is needed.
        redis: Option<RedisUrl>,
    },
}

impl StackPlan {
    /// Whether a Redis is started for each slice.
    pub fn has_private_redis(&self) -> bool {
        matches!(self, Self::Private { redis: None, .. } | Self::Command { redis: None, .. })
    }

    /// The same with a Redis that is there already.
    #[must_use]
    pub fn with_redis(mut self, url: RedisUrl) -> Self {
        if let Self::Private { redis, .. } | Self::Command { redis, .. } | Self::Described { redis, .. } =
            &mut self
        {
            *redis = Some(url);
        }
        self
    }

    /// Makes what a variant needs, with the games of these channels. Whatever is started is in `processes` from its
    /// first moment, so that it can be killed from
    /// there before everything is ready. What we start to be measured keeps to `cores`; a Redis that only feeds it does
    /// not.
    ///
    /// # Errors
    /// [`StackError`] with the end of the log of what did not start.
    pub fn make(
        &self,
        variant: Variant,
        processes: Arc<Processes>,
        channels: &[Channel],
        cores: Option<CpuSet>,
    ) -> Result<Stack, StackError> {
        match self {
            Self::Described { adapter, redis } => described(adapter, redis.as_ref(), processes, cores),
            Self::Foreign { target, feed, pid, adapter } => Ok(Stack {
                target: target.as_ref().clone(),
                feed: feed.clone(),
                foreign_server: pid.map(Observed::process),
                processes,
                server_version: None,
                channel: adapter.as_ref().map_or_else(contract_channel, |adapter| adapter.channel_template()),
                id: adapter.as_ref().and_then(|adapter| adapter.id.clone()),
            }),
            Self::Command { command, redis } => {
                let redis_url = match redis {
                    Some(url) => url.clone(),
                    // Few clients of other languages know Unix sockets.
                    None => processes
                        .start_redis(RedisOptions { tcp: true, ..RedisOptions::default() })?
                        .parse()?,
                };
                let target = processes.start_command(command, &redis_url, cores)?;
                Ok(Stack {
                    target,
                    feed: Feed::Redis(redis_url),
                    foreign_server: None,
                    processes,
                    server_version: None,
                    channel: contract_channel(),
                    id: None,
                })
            }
            Self::Private { program, redis, stages } => {
                // Of the floor below everything, Redis is the server.
                let redis_cores = cores.filter(|_| variant.carrier() == Carrier::Redis);
                let options = RedisOptions { cores: redis_cores, ..RedisOptions::default() };
                let redis_url = match redis {
                    Some(url) => url.clone(),
                    None => processes.start_redis(options)?.parse()?,
                };
                let (mut target, mut server_version) = (Target::default(), None);
                // The floor below everything has no server.
                if variant.carrier() != Carrier::Redis {
                    let ready =
                        processes.start_server(program, &redis_url, variant, channels, *stages, cores)?;
                    target = ready.target()?;
                    server_version = Some(ready.version);
                }
                target.redis = Some(redis_url.clone());
                let feed = Feed::Redis(redis_url);
                let channel = contract_channel();
                Ok(Stack { target, feed, foreign_server: None, processes, server_version, channel, id: None })
            }
        }
    }
}

/// Something to be measured. Dropping it ends what we started.
#[derive(Debug)]
pub struct Stack {
    /// Where subscribers attach.
    pub target: Target,
    /// Where to publish.
    pub feed: Feed,
    /// A server that was not started by us, to be observed.
    foreign_server: Option<Observed>,
    /// What we started.
    pub processes: Arc<Processes>,
    /// What our server says of itself.
    pub server_version: Option<String>,
    /// The channels in Redis, with `{game}` in the place of the game.
    pub channel: String,
    /// Where messages have their identifier that do not arrive as they were published.
    pub id: Option<IdPlace>,
}

impl Stack {
    /// The server, to be observed.
    pub fn observed_server(&self) -> Option<Observed> {
        self.foreign_server.clone().or_else(|| self.processes.observed_server())
    }
}

/// Every game's channel as the contract has it.
fn contract_channel() -> String {
    stream_channel("{game}")
}

/// Starts the server of a description, and a Redis for it where it reads from one.
fn described(
    adapter: &Adapter,
    redis: Option<&RedisUrl>,
    processes: Arc<Processes>,
    cores: Option<CpuSet>,
) -> Result<Stack, StackError> {
    let redis_url: Option<RedisUrl> = match (&adapter.publish, redis) {
        (Publish::Http(_), _) => None,
        (Publish::Redis(_), Some(url)) => Some(url.clone()),
        (Publish::Redis(_), None) => Some(processes.start_redis(RedisOptions::default())?.parse()?),
    };
    let address = processes.start_described(adapter, redis_url.as_ref(), cores)?;
    let feed = match (&adapter.publish, &redis_url) {
        (Publish::Http(template), _) => {
            let url = template.replace("{address}", &address.to_string());
            Feed::Http(url.parse().map_err(StackError::PublishUrl)?)
        }
        (Publish::Redis(_), Some(url)) => Feed::Redis(url.clone()),
        (Publish::Redis(_), None) => return Err(StackError::NoRedis),
    };
    let target = Target {
        http: Some(HttpServer { address, host: address.to_string() }),
        redis: redis_url,
        paths: adapter.paths.clone(),
        ..Target::default()
    };
    let (channel, id) = (adapter.channel_template(), adapter.id.clone());
    Ok(Stack { target, feed, foreign_server: None, processes, server_version: None, channel, id })
}

/// Processes of our own. The server comes first, so that it ends before its Redis.
#[derive(Debug, Default)]
pub struct Processes {
    server: OnceLock<Child>,
    redis: Mutex<Option<PrivateRedis>>,
    /// Files of a server that is not ours.
    scratch: Mutex<Option<ScratchFolder>>,
}

impl Processes {
    /// Starts a Redis and returns its address. Holds the lock meanwhile: a half-made Redis could not be ended.
    ///
    /// # Errors
    /// [`ProcessError`] with the end of its log.
    pub fn start_redis(&self, options: RedisOptions) -> Result<String, ProcessError> {
        let mut redis = self.redis();
        let redis = redis.insert(PrivateRedis::start_with(options)?);
        Ok(redis.tcp_url().unwrap_or_else(|| redis.url()))
    }

    fn start_command(
        &self,
        command: &ServerCommand,
        redis: &RedisUrl,
        cores: Option<CpuSet>,
    ) -> Result<Target, StackError> {
        let (spawned, address) = command.spawn(redis, cores)?;
        let server = self.server.get_or_init(|| spawned);
        Ok(command.wait_until_it_listens(server, address, READY_PATIENCE)?)
    }

    fn start_server(
        &self,
        program: &ServerProgram,
        redis: &RedisUrl,
        variant: Variant,
        channels: &[Channel],
        stages: bool,
        cores: Option<CpuSet>,
    ) -> Result<ReadyLine, StackError> {
        let games = channels_file(channels)?;
        let mut launch = Launch::new("lastmile-server", program.path())
            .arguments(["--listen", "127.0.0.1:0", "--wt-listen", "127.0.0.1:0"])
            .arguments(["--database", "sqlite::memory:"])
            // No origins are checked, no tokens asked for, and nobody is limited, wherever it listens. Not as a flag: a
            // build from before there were limits would not start with it, and has none.
            .environment("LASTMILE_LIMITS", "off")
            .arguments(stages.then_some("--stages"))
            // Not as an argument: everyone on the machine can read those, and there may be a password in it.
            .environment("LASTMILE_REDIS", redis.with_password());
        if let Some(games) = &games {
            // Of this process, because the child has it no longer: nothing of it is ever in the file system.
            let path = format!("/proc/{}/fd/{}", std::process::id(), games.as_raw_fd());
            launch = launch.arguments(["--games", path.as_str()]);
        }
        if variant.has_tls() {
            launch = launch.arguments(["--tls", "self-signed"]);
        }
        if variant.carrier() == Carrier::Tcp {
            launch = launch.arguments(["--tcp-listen", "127.0.0.1:0"]);
        }
        launch = launch.arguments(program.arguments());
        let spawned = launch.cores(cores).spawn()?;
        let server = self.server.get_or_init(|| spawned);
        let line = server.read_line(READY_PATIENCE)?;
        match serde_json::from_str::<ReadyLine>(&line) {
            Ok(ready) if ready.ready => Ok(ready),
            _ => Err(StackError::ReadyLine { line }),
        }
    }

    /// Starts the server of a description; tells its address.
    fn start_described(
        &self,
        adapter: &Adapter,
        redis: Option<&RedisUrl>,
        cores: Option<CpuSet>,
    ) -> Result<SocketAddr, StackError> {
        let Some(start) = &adapter.start else { return Err(StackError::NoStart) };
        let url = redis.map(ToString::to_string);
        let socket = url.as_deref().and_then(|url| url.strip_prefix("redis+unix://"));
        let (child, starting) = {
            let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
            let scratch = scratch.insert(ScratchFolder::new()?);
            let surroundings = Surroundings { scratch, redis: url.as_deref(), redis_socket: socket, cores };
            launch(adapter, start, &surroundings)?
        };
        let server = self.server.get_or_init(|| child);
        Ok(starting.await_ready(server)?)
    }

    fn redis(&self) -> MutexGuard<'_, Option<PrivateRedis>> {
        self.redis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error if one of them has ended.
    ///
    /// # Errors
    /// [`ProcessError::Exited`] with the end of its log.
    pub fn check_running(&self) -> Result<(), ProcessError> {
        // Redis first: a server may end because its Redis did.
        if let Some(redis) = self.redis().as_ref().and_then(PrivateRedis::process) {
            redis.check_running()?;
        }
        self.server.get().map_or(Ok(()), Child::check_running)
    }

    /// Ends everything at once, without a goodbye, for an exit that runs no destructors.
    pub fn kill(&self) {
        // Errors: nobody is left to be told.
        if let Some(server) = self.server.get() {
            let _ = server.kill();
        }
        if let Some(redis) = self.redis().take() {
            if let Some(process) = redis.process() {
                let _ = process.kill();
            }
            drop(redis);
        }
        drop(self.scratch.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// The server, to be observed.
    pub fn observed_server(&self) -> Option<Observed> {
        self.server.get().map(|child| Observed::process(child.pid()))
    }

    /// Redis, to be observed.
    pub fn observed_redis(&self) -> Option<Observed> {
        let redis = self.redis();
        redis.as_ref()?.process().map(|child| Observed::process(child.pid()))
    }
}

/// The games of channels as the server reads them, in memory; `None` where every database has them.
fn channels_file(channels: &[Channel]) -> Result<Option<File>, StackError> {
    let is_known =
        |channel: &Channel| Game::known(&channel.game.slug).is_some_and(|game| game == channel.game);
    if channels.iter().all(is_known) {
        return Ok(None);
    }
    let game = |channel: &Channel| {
        let game = &channel.game;
        serde_json::json!({ "id": game.id, "slug": game.slug, "name": game.slug, "type": game.game_type })
    };
    let games: serde_json::Value = channels.iter().map(game).collect();
    let file = rustix::fs::memfd_create("games", rustix::fs::MemfdFlags::CLOEXEC).map_err(io::Error::from);
    let mut file = File::from(file.map_err(StackError::Games)?);
    file.write_all(games.to_string().as_bytes()).map_err(StackError::Games)?;
    Ok(Some(file))
}

/// The line a server prints when it is ready.
#[derive(Debug, Deserialize)]
struct ReadyLine {
    ready: bool,
    http: std::net::SocketAddr,
    webtransport: std::net::SocketAddr,
    /// Where the floor `tcp` is served, if it is.
    #[serde(default)]
    tcp: Option<std::net::SocketAddr>,
    tls: bool,
    certificate_sha256: String,
    version: String,
}

impl ReadyLine {
    fn target(&self) -> Result<Target, StackError> {
        let certificate =
            decode_hash(&self.certificate_sha256).map(Certificate::Sha256).ok_or_else(|| {
                StackError::ReadyLine { line: format!("certificate_sha256 {:?}", self.certificate_sha256) }
            })?;
        let server = HttpServer { address: self.http, host: self.http.to_string() };
        let (http, https) =
            if self.tls { (None, Some(HttpsServer { server, certificate })) } else { (Some(server), None) };
        Ok(Target {
            http,
            https,
            tcp: self.tcp,
            webtransport: Some(WebTransportServer {
                address: self.webtransport,
                authority: self.webtransport.to_string(),
                certificate,
            }),
            ..Target::default()
        })
    }
}
