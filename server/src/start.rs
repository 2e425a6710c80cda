//! Starting, and ending.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::catalog::Catalog;
use crate::certificate::{Certificate, CertificateError};
use crate::clock;
use crate::config::Config;
use crate::connect::{Door, Entrance, ListenError, SharedPort, listen};
use crate::guard::{self, Guard, TokenError};
use crate::http::{ConnectionLimits, HttpService, OpenConnections, SharedStreams};
use crate::hub::Hub;
use crate::ingest::{Ingest, IngestError};
use crate::metrics::Metrics;
use crate::past::Past;
use crate::persist::Persist;
use crate::protocol::webtransport::Sessions;
use crate::published::Published;
use crate::replay::ReplayLimits;
use crate::rest::{self, FindProblems, LatestRound, Problem, RestState};
use crate::running::Handle;
use crate::shard::{Shard, ShardId, ShardInput, ShardSender, ShardSettings};
use crate::stages;
use crate::store::{self, Game, Store, StoreError};

/// Time between two looks at whether the self-signed certificate is to be renewed.
const RENEWAL_CHECK_INTERVAL: Duration = Duration::from_secs(600);

/// Time between two looks at whether an older server has given up its UDP port: short, since nobody answers meanwhile.
const UDP_RETRY_INTERVAL: Duration = Duration::from_millis(2);
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

/// What one shard's thread is made of.
struct ShardParts {
    id: ShardId,
    inbox: mpsc::UnboundedReceiver<ShardInput>,
    sender: ShardSender,
    tcp: TcpListener,
    /// Where rounds are served without a protocol.
    bare: Option<TcpListener>,
    /// Connections are accepted once this comes.
    opened: oneshot::Receiver<()>,
    /// Comes with it, or once an older server has left.
    udp: oneshot::Receiver<UdpSocket>,
    /// On the first shard only.
    source: Option<Source>,
}

/// Where rounds come from: shares the first shard's thread.
struct Source {
    ingest: Ingest,
    limit: Duration,
    ready: oneshot::Sender<Result<(), IngestError>>,
}

/// What all shards' threads share.
#[derive(Clone)]
struct Shared {
    settings: ShardSettings,
    catalog: Arc<Catalog>,
    hub: Hub,
    entrance: Arc<Entrance>,
    certificate: Certificate,
    /// Connections are accepted until this is true.
    leaving: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
}

/// The ports of a server that starts.
struct Ports {
    tcp: SharedPort<TcpListener>,
    /// Of those who speak no protocol.
    bare: Option<SharedPort<TcpListener>>,
    /// None where an older server has it still.
    udp: Option<SharedPort<UdpSocket>>,
    webtransport: SocketAddr,
}

impl Ports {
    fn have(config: &Config, count: usize) -> Result<Self, StartError> {
        if config.take_over && (config.listen.port() == 0 || config.wt_listen.port() == 0) {
            return Err(StartError::NothingToTakeOver);
        }
        let tcp = SharedPort::tcp(config.listen, count, "--listen", config.take_over)?;
        let bare = config.tcp_listen.map(|address| SharedPort::tcp(address, count, "--tcp-listen", false));
        let udp = (!config.take_over)
            .then(|| SharedPort::udp(config.wt_listen, count, "--wt-listen"))
            .transpose()?;
        let webtransport = udp.as_ref().map_or(config.wt_listen, |port| port.address);
        Ok(Self { tcp, bare: bare.transpose()?, udp, webtransport })
    }
}

/// What opens a shard to clients.
struct Opening {
    tcp: oneshot::Sender<()>,
    udp: oneshot::Sender<UdpSocket>,
}

/// Gives the shards the UDP port as soon as an older server has given it up. It can't be shared, not even for a
/// moment: with every socket that comes or goes, the kernel gives the packets of standing sessions to others.
async fn take_udp(address: SocketAddr, shards: Vec<oneshot::Sender<UdpSocket>>) {
    loop {
        match SharedPort::udp(address, shards.len(), "--wt-listen") {
            Ok(port) => {
                info!(webtransport = %address, "took WebTransport over");
                // A shard that has ended is told of elsewhere.
                return shards
                    .into_iter()
                    .zip(port.sockets)
                    .for_each(|(shard, socket)| drop(shard.send(socket)));
            }
            Err(ListenError::InUse { .. }) => tokio::time::sleep(UDP_RETRY_INTERVAL).await,
            Err(error) => return error!(%error, "there is no WebTransport"),
        }
    }
}

impl Handle {
    fn spawn_shards(
        &mut self,
        ports: &Ports,
        inboxes: Vec<mpsc::UnboundedReceiver<ShardInput>>,
        shared: &Shared,
        source: Source,
        end: &mpsc::UnboundedSender<usize>,
    ) -> Result<Vec<Opening>, StartError> {
        let mut source = Some(source);
        let mut openings = Vec::new();
        for (index, (inbox, tcp)) in inboxes.into_iter().zip(&ports.tcp.sockets).enumerate() {
            let ((open, opened), (udp, udp_received)) = (oneshot::channel(), oneshot::channel());
            openings.push(Opening { tcp: open, udp });
            let life = ShardParts {
                id: ShardId(index),
                inbox,
                sender: self.shards[index].clone(),
                tcp: tcp.try_clone()?,
                bare: ports.bare.as_ref().map(|port| port.sockets[index].try_clone()).transpose()?,
                opened,
                udp: udp_received,
                source: source.take(),
            };
            self.threads.push(spawn_shard(life, shared.clone(), end.clone())?);
        }
        Ok(openings)
    }

    /// Takes clients from now on.
    fn open(&self, ports: Ports, shards: Vec<Opening>) -> Result<(), StartError> {
        let bare = ports.bare.iter().flat_map(|port| &port.sockets);
        ports.tcp.sockets.iter().chain(bare).try_for_each(listen)?;
        let (tcp, udp): (Vec<_>, Vec<_>) = shards.into_iter().map(|shard| (shard.tcp, shard.udp)).unzip();
        tcp.into_iter().try_for_each(|shard| shard.send(())).map_err(|()| StartError::ShardEnded)?;
        let Some(control) = &self.control else { return Ok(()) };
        match ports.udp {
            Some(port) => {
                for (shard, socket) in udp.into_iter().zip(port.sockets) {
                    shard.send(socket).map_err(|_| StartError::ShardEnded)?;
                }
            }
            None => {
                control.spawn(self.door.clone().settle());
                control.spawn(take_udp(ports.webtransport, udp));
            }
        }
        Ok(())
    }
}

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
        let (shards, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| ShardSender::channel()).unzip();
        let limits = ReplayLimits { rounds: config.replay_rounds, bytes: config.replay_bytes };
        let hub = Hub::with_replay(catalog.len(), shards.clone(), limits);
        control.block_on(remember_latest(&store, &catalog, &hub))?;

        let (stop, stopping) = watch::channel(false);
        let (leaving, left) = watch::channel(false);
        let heartbeat = Duration::from_secs_f64(config.heartbeat_s);
        let (runtime, games) = (control.handle().clone(), Arc::clone(&catalog));
        let past = Arc::new(Past::new(runtime, store.clone(), games, hub.clone(), config.replay_bytes));
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
        let (persist, writer) = config
            .persist
            .then(|| Persist::start(control.handle(), store.clone(), Arc::clone(&metrics), stopping.clone()))
            .unzip();
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
            threads: Vec::new(),
            open_http,
            control: Some(control),
            store,
            writer,
        };
        // From here on the handle's drop ends what has begun, should a later step fail.
        let openings = handle.spawn_shards(&ports, inboxes, &shared, source, &end)?;
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

/// What keeps the server from delivering.
fn find_problems(metrics: &Arc<Metrics>) -> FindProblems {
    let metrics = Arc::clone(metrics);
    Arc::new(move || {
        let connected = metrics.ingest.connected.get() > 0;
        let problem = (!connected)
            .then(|| Problem { name: "redis", problem: "not subscribed; trying to reconnect".to_owned() });
        Box::pin(std::future::ready(problem.into_iter().collect()))
    })
}

fn spawn_shard(
    parts: ShardParts,
    shared: Shared,
    end: mpsc::UnboundedSender<usize>,
) -> io::Result<JoinHandle<()>> {
    /// Tells that a thread has ended, however it ended.
    struct Ending(usize, mpsc::UnboundedSender<usize>);
    impl Drop for Ending {
        fn drop(&mut self) {
            // With nobody left to be told, everything is ending.
            let _ = self.1.send(self.0);
        }
    }
    let index = parts.id.index();
    std::thread::Builder::new().name(format!("shard {index}")).spawn(move || {
        let _ending = Ending(index, end);
        let ran = Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| runtime.block_on(run_shard(parts, shared)));
        if let Err(error) = ran {
            warn!(shard = index, %error, "a shard could not run");
        }
    })
}

/// The life of a shard's thread.
async fn run_shard(parts: ShardParts, common: Shared) -> io::Result<()> {
    let metrics = Arc::clone(&common.entrance.metrics);
    let shard = Shard::new(parts.id, common.catalog, common.settings, common.hub, metrics)?;
    if let Some(source) = parts.source {
        tokio::spawn(source.ingest.run(source.limit, source.ready));
    }
    // A start that has failed never opens.
    let Ok(()) = parts.opened.await else { return Ok(()) };
    let listener = tokio::net::TcpListener::from_std(parts.tcp)?;
    let Shared { entrance, certificate, leaving, mut stop, .. } = common;
    let connections = Arc::clone(&entrance).accept(listener, parts.sender.clone(), leaving.clone());
    if let Some(listener) = parts.bare {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (entrance, shard) = (Arc::clone(&entrance), parts.sender.clone());
        tokio::spawn(entrance.accept_bare(listener, shard, leaving.clone()));
    }
    let sessions = async move {
        let udp = tokio::select! {
            udp = parts.udp => udp,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let Ok(udp) = udp else { return Ok(()) };
        let sessions = Sessions::new(udp, &certificate.webtransport(), entrance, parts.id, parts.sender)?;
        sessions.accept(leaving, stop).await;
        Ok(())
    };
    let accepting = tokio::spawn(async move {
        let (connections, sessions): (io::Result<()>, io::Result<()>) = tokio::join!(connections, sessions);
        if let Err(error) = connections.and(sessions) {
            error!(%error, "a shard takes no clients");
        }
    });
    // As a task like the others: the future a runtime blocks on is polled only after a look at its sockets.
    if let Err(error) = tokio::spawn(shard.run(parts.inbox)).await
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
    // What still runs then, a goodbye that nobody takes, ends with the thread.
    let _ = accepting.await;
    Ok(())
}
