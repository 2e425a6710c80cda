//! Starting.

mod ports;
mod threads;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use self::ports::Ports;
use self::threads::{Shared, Source};
use crate::catalog::Catalog;
use crate::certificate::{Certificate, CertificateError};
use crate::clock;
use crate::config::Config;
use crate::connect::{Door, Entrance, ListenError};
use crate::guard::{self, Guard, TokenError};
use crate::holes::Holes;
use crate::http::{ConnectionLimits, HttpService, OpenConnections, SharedStreams};
use crate::hub::Hub;
use crate::ingest::{Ingest, IngestError};
use crate::metrics::Metrics;
use crate::past::Past;
use crate::persist::Persist;
use crate::published::Published;
use crate::replay::ReplayLimits;
use crate::rest::{self, FindProblems, LatestRound, Problem, RestState};
use crate::running::Handle;
use crate::shard::{ShardSender, ShardSettings};
use crate::stages;
use crate::store::{self, Game, Store, StoreError};

/// Time between two looks at whether the self-signed certificate is to be renewed.
const RENEWAL_CHECK_INTERVAL: Duration = Duration::from_secs(600);

/// Time between two looks at whether the database answers.
const DATABASE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No Redis.
    #[error(transparent)]
    Redis(#[from] IngestError),
    /// No database.
    #[error(transparent)]
    Database(#[from] StoreError),
    /// No games.
    #[error("the games in {} can't be read: {problem}; give a JSON array of {{\"id\", \"slug\", \"name\", \"type\"}} (--games)", path.display())]
    Games {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// No port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A port that the kernel chooses is nobody else's.
    #[error(
        "--take-over needs the ports of the server to take over; give them with --listen and --wt-listen"
    )]
    NothingToTakeOver,
    /// The machine gives no thread, no descriptor or no memory.
    #[error(
        "could not start: {0}; the machine may be out of file descriptors or threads (ulimit -n, ulimit -u)"
    )]
    Machine(#[from] io::Error),
    /// A thread ended before it had begun.
    #[error("a shard ended while the server was starting; its log tells why")]
    ShardEnded,
}

/// The server, not started yet.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Starts a server and waits until it is ready: subscribed to Redis, connected to the database, listening.
    ///
    /// # Errors
    /// [`StartError`] says what is missing; nothing of the server is left then.
    pub fn start(config: &Config) -> Result<Handle, StartError> {
        let count = config.shard_count();
        let metrics = Arc::new(Metrics::new(count).with_stages(config.stages.then(Arc::default)));
        let certificate = certificate(config)?;
        let guard = guard(config, &metrics)?;
        for point in guard::open_points(config, &guard) {
            warn!("open: {point}");
        }
        let ports = Ports::have(config, count)?;
        let control =
            Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;

        let (store, catalog) = control.block_on(open_store(config))?;
        metrics.database_reachable.set(1);
        let (shards, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| ShardSender::channel()).unzip();
        let limits = ReplayLimits { rounds: config.replay_rounds, bytes: config.replay_bytes };
        let hub = Hub::with_replay(catalog.len(), shards.clone(), limits);
        control.block_on(remember_latest(&store, &catalog, &hub))?;

        let (stop, stopping) = watch::channel(false);
        let (leaving, left) = watch::channel(false);
        let heartbeat = Duration::from_secs_f64(config.heartbeat_s);
        let (runtime, games) = (control.handle().clone(), Arc::clone(&catalog));
        let holes = Holes::default();
        let past = Past::new(runtime, store.clone(), holes.clone(), games, hub.clone(), config.replay_bytes);
        let past = Arc::new(past);
        let (shared_past, shared_guard) = (Arc::clone(&past), Arc::clone(&guard));
        let streams =
            SharedStreams::new(Arc::clone(&catalog), shared_past, shards.clone(), heartbeat, shared_guard);
        let rest = RestState {
            webtransport_port: ports.webtransport.port(),
            ..rest_state(&store, &catalog, &hub, (&metrics, &guard), &certificate)
        };
        let router = router(streams, rest, &metrics, &guard);
        let idle_limit = Duration::from_secs_f64(config.idle_limit_s);
        // Heartbeats are what is taken of a stream on which nothing happens.
        let idle = idle_limit.max(heartbeat * 3);
        let limits = ConnectionLimits { handshake: guard.limits().handshake, idle };
        let open_http = OpenConnections::default();
        let runtime = control.handle().clone();
        let http = HttpService::new(runtime, router, stopping.clone(), open_http.clone(), limits);
        let entrance = Entrance {
            catalog: Arc::clone(&catalog),
            metrics: Arc::clone(&metrics),
            tls: config.has_tls().then(|| certificate.https()),
            guard: Arc::clone(&guard),
            http,
            past,
            idle_limit,
            being_answered: Arc::default(),
            underway: Arc::default(),
        };
        let underway = Arc::clone(&entrance.underway);
        let persist =
            || Persist::start(&control, store.clone(), holes, Arc::clone(&metrics), stopping.clone());
        let (persist, writer) = config.persist.then(persist).unzip();
        let (ready, subscribed) = oneshot::channel();
        let ingest =
            Ingest::new(&config.redis, Arc::clone(&catalog), hub.clone(), persist, Arc::clone(&metrics))?;
        let source = Source { ingest, limit: config.startup_limit(), ready };
        let (backlog_bytes, shared_guard) = (config.backlog_bytes, Arc::clone(&guard));
        let settings = ShardSettings { backlog_bytes, heartbeat, idle_limit, guard: shared_guard };
        let shared = Shared {
            settings,
            catalog: Arc::clone(&catalog),
            hub,
            entrance: Arc::new(entrance),
            certificate: certificate.clone(),
            leaving: left,
            stop: stopping,
        };
        control.spawn(keep_renewed(certificate.clone()));
        control.spawn(watch_database(store.clone(), Arc::clone(&metrics)));
        let (end, ended) = mpsc::unbounded_channel();
        let mut handle = Handle {
            http: ports.tcp.address,
            webtransport: ports.webtransport,
            bare: ports.bare.as_ref().map(|port| port.address),
            has_tls: config.has_tls(),
            certificate,
            guard,
            metrics,
            door: Door::new(&ports.tcp.sockets, ports.tcp.address)?,
            leaving,
            stop,
            underway,
            drain: Duration::from_secs_f64(config.drain_s),
            shards,
            ended,
            ingest: None,
            threads: Vec::new(),
            open_http,
            control: Some(control),
            store,
            writer,
        };
        // From here on the handle's drop ends what has begun, should a later step fail.
        let openings = handle.spawn_shards(&ports, inboxes, &shared, &end)?;
        handle.spawn_source(source, end)?;
        // The shards have theirs, and an end waits until nobody could take a connection any more.
        drop(shared);
        subscribed.blocking_recv().map_err(|_| StartError::ShardEnded)??;
        handle.open(ports, openings)?;
        info!(http = %handle.http, webtransport = %handle.webtransport, shards = count, "ready");
        Ok(handle)
    }
}

/// The database, and the games it has.
async fn open_store(config: &Config) -> Result<(Store, Arc<Catalog>), StartError> {
    let url = config.database.clone().map_or_else(store::default_url, Ok)?;
    let store = Store::connect(&url, config.startup_limit()).await?;
    if let Some(path) = &config.games {
        store.add_games(&read_games(path)?).await?;
    }
    let games = store.games().await?.into_iter().map(|game| (game.slug, game.game_type));
    let catalog = Arc::new(Catalog::new(games));
    Ok((store, catalog))
}

fn read_games(path: &Path) -> Result<Vec<Game>, StartError> {
    let failed = |problem: String| StartError::Games { path: path.to_owned(), problem };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let games: Vec<Game> = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    // What no path can name and no channel carries would be a game nobody could ask for.
    let is_name = |name: &str| !name.is_empty() && !name.contains(|c: char| c == '/' || c.is_whitespace());
    match games
        .iter()
        .find(|game| !is_name(&game.slug) || !is_name(&game.game_type) || game.id > i64::MAX as u64)
    {
        Some(game) => Err(failed(format!(
            "game {} has slug {:?} and type {:?}, and names have neither blanks nor slashes",
            game.id, game.slug, game.game_type
        ))),
        None => Ok(games),
    }
}

/// The guard that a configuration asks for.
///
/// # Errors
/// Where its tokens can't be read.
pub fn guard(config: &Config, metrics: &Arc<Metrics>) -> Result<Arc<Guard>, TokenError> {
    let descriptors = guard::open_descriptors();
    let beyond = config.listens_beyond_loopback();
    Ok(Arc::new(Guard::new(&config.guard, beyond, descriptors, Arc::clone(metrics))?))
}

/// Follows a certificate of our own making with a new one in time. Looks at the clock on the wall, which goes on while
/// a machine sleeps.
async fn keep_renewed(certificate: Certificate) {
    loop {
        tokio::time::sleep(RENEWAL_CHECK_INTERVAL).await;
        if certificate.is_renewal_due(time::OffsetDateTime::now_utc()) {
            match certificate.renew() {
                Ok(()) => info!(sha256 = certificate.leaf_sha256(), "a new self-signed certificate"),
                Err(error) => warn!(%error, "the self-signed certificate was not renewed; trying again"),
            }
        }
    }
}

/// The certificate that a configuration asks for.
///
/// # Errors
/// Where its files can't be used.
pub fn certificate(config: &Config) -> Result<Certificate, CertificateError> {
    match (&config.tls_cert, &config.tls_key) {
        (Some(certificates), Some(key)) => Certificate::from_pem_files(certificates, key),
        _ => Certificate::self_signed(),
    }
}

/// Tells the hub the latest rounds the database knows.
async fn remember_latest(store: &Store, catalog: &Catalog, hub: &Hub) -> Result<(), StoreError> {
    for (game, slug) in catalog.games() {
        if let Some(round) = store.latest(slug).await? {
            let payload = Bytes::from(round.to_json());
            let round = Published::new(game, round.round_id, payload, clock::now_ns());
            hub.remember(Arc::new(round));
        }
    }
    Ok(())
}

/// Everything that is asked for over HTTP, behind the guard.
fn router(streams: SharedStreams, rest: RestState, metrics: &Metrics, guard: &Arc<Guard>) -> Router {
    let guarded = axum::middleware::from_fn_with_state(Arc::clone(guard), guard::guarded);
    let stages = stages::router(metrics.stages.clone());
    Arc::new(streams).router().merge(stages).merge(rest::router(rest)).layer(guarded)
}

/// What REST answers from, but for the port of WebTransport.
fn rest_state(
    store: &Store,
    catalog: &Arc<Catalog>,
    hub: &Hub,
    (metrics, guard): (&Arc<Metrics>, &Arc<Guard>),
    certificate: &Certificate,
) -> RestState {
    let (rendered, guard, certificate) = (Arc::clone(metrics), Arc::clone(guard), certificate.clone());
    RestState {
        store: store.clone(),
        latest: latest_round(catalog, hub),
        problems: find_problems(metrics),
        metrics: Arc::new(move || rendered.render() + &guard.render()),
        certificate_sha256: Arc::new(move || certificate.is_self_signed().then(|| certificate.leaf_sha256())),
        webtransport_port: 0,
    }
}

/// How REST asks for the newest round of a game.
fn latest_round(catalog: &Arc<Catalog>, hub: &Hub) -> LatestRound {
    let (catalog, hub) = (Arc::clone(catalog), hub.clone());
    Arc::new(move |slug: &str| {
        let (game, hub) = (catalog.game(slug), hub.clone());
        Box::pin(async move { Some(hub.latest(game?)?.payload().clone()) })
    })
}

/// What keeps the server from its work, as far as that is known without asking anybody.
fn find_problems(metrics: &Arc<Metrics>) -> FindProblems {
    let metrics = Arc::clone(metrics);
    Arc::new(move || {
        let problems = [
            (metrics.ingest.connected.get(), "redis", "not subscribed; trying to reconnect"),
            (metrics.database_reachable.get(), rest::DATABASE, "it did not answer"),
        ]
        .into_iter()
        .filter(|(is_there, ..)| *is_there <= 0)
        .map(|(_, name, problem)| Problem { name, problem: problem.to_owned() });
        Box::pin(std::future::ready(problems.collect()))
    })
}

/// Notes whether the database answers, for those who must not wait for it themselves.
async fn watch_database(store: Store, metrics: Arc<Metrics>) {
    let mut was_there = true;
    loop {
        let answered = store.ping().await;
        metrics.database_reachable.set(i64::from(answered.is_ok()));
        match &answered {
            Err(error) if was_there => warn!(%error, "the database does not answer"),
            Ok(()) if !was_there => info!("the database answers again"),
            _ => {}
        }
        was_there = answered.is_ok();
        tokio::time::sleep(DATABASE_CHECK_INTERVAL).await;
    }
}
