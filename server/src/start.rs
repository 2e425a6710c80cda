//! Starting, and ending.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::catalog::Catalog;
use crate::certificate::{Certificate, CertificateError};
use crate::clock;
use crate::config::Config;
use crate::connect::{Entrance, ListenError, SharedPort};
use crate::guard::{self, Guard, TokenError, Tokens};
use crate::http::{ConnectionLimits, HttpService, OpenConnections, SharedStreams};
use crate::hub::Hub;
use crate::ingest::{Ingest, IngestError};
use crate::metrics::Metrics;
use crate::protocol::webtransport::Sessions;
use crate::published::Published;
use crate::replay::ReplayLimits;
use crate::rest::{self, FindProblems, LatestRound, Problem, RestState};
use crate::shard::{Shard, ShardId, ShardInput, ShardSender, ShardSettings};
use crate::stages;
use crate::store::{self, Game, Store, StoreError};

/// Time everyone has to end once the server was told to.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(4);

/// Time between two looks at whether the self-signed certificate is to be renewed.
const RENEWAL_CHECK_INTERVAL: Duration = Duration::from_secs(600);

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
    /// The machine gives no thread, no descriptor or no memory.
    #[error(
        "could not start: {0}; the machine may be out of file descriptors or threads (ulimit -n, ulimit -u)"
    )]
    Machine(#[from] io::Error),
    /// A thread ended before it had begun.
    #[error("a shard ended while the server was starting; its log tells why")]
    ShardEnded,
}

/// Why a running server ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A thread that owns connections is gone.
    #[error("shard {0} ended unexpectedly; its log tells why")]
    ShardEnded(usize),
    /// Signals can't be received.
    #[error("could not wait for signals: {0}")]
    Signals(#[from] io::Error),
}

/// What could not be read again.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The tokens.
    #[error(transparent)]
    Tokens(#[from] TokenError),
}

/// The server, not started yet.
#[derive(Debug)]
pub struct Server;

/// A running server. Dropping it shuts it down.
#[derive(Debug)]
pub struct Handle {
    http: SocketAddr,
    webtransport: SocketAddr,
    has_tls: bool,
    certificate: Certificate,
    guard: Arc<Guard>,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
    shards: Vec<ShardSender>,
    ended: mpsc::UnboundedReceiver<usize>,
    threads: Vec<JoinHandle<()>>,
    open_http: OpenConnections,
    control: Option<Runtime>,
    store: Store,
}

/// What one shard's thread is made of.
struct ShardParts {
    id: ShardId,
    inbox: mpsc::UnboundedReceiver<ShardInput>,
    sender: ShardSender,
    tcp: TcpListener,
    udp: UdpSocket,
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
    games: usize,
    hub: Hub,
    entrance: Arc<Entrance>,
    certificate: Certificate,
    /// Connections are accepted once this is true.
    open: watch::Receiver<bool>,
    stop: watch::Receiver<bool>,
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
        let tcp = SharedPort::tcp(config.listen, count, "--listen")?;
        let udp = SharedPort::udp(config.wt_listen, count, "--wt-listen")?;
        let control =
            Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;

        let (store, catalog) = control.block_on(open_store(config))?;
        let (shards, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| ShardSender::channel()).unzip();
        let limits = ReplayLimits { rounds: config.replay_rounds, bytes: config.replay_bytes };
        let hub = Hub::with_replay(catalog.len(), shards.clone(), limits);
        control.block_on(remember_latest(&store, &catalog, &hub))?;

        let (stop, stopping) = watch::channel(false);
        let (open, opening) = watch::channel(false);
        let heartbeat = Duration::from_secs_f64(config.heartbeat_s);
        let streams = SharedStreams::new(Arc::clone(&catalog), shards.clone(), heartbeat, Arc::clone(&guard));
        let rest = RestState {
            webtransport_port: udp.address.port(),
            ..rest_state(&store, &catalog, &hub, &metrics, &certificate)
        };
        let rest = rest::router(rest);
        let stages = stages::router(metrics.stages.clone());
        let guarded = axum::middleware::from_fn_with_state(Arc::clone(&guard), guard::guarded);
        let router = Arc::new(streams).router().merge(stages).merge(rest).layer(guarded);
        let idle_limit = Duration::from_secs_f64(config.idle_limit_s);
        let limits = ConnectionLimits { handshake: guard.limits().handshake, idle: idle_limit };
        let open_http = OpenConnections::default();
        let entrance = Entrance {
            catalog: Arc::clone(&catalog),
            metrics: Arc::clone(&metrics),
            tls: config.has_tls().then(|| certificate.https()),
            guard: Arc::clone(&guard),
            http: HttpService::new(
                control.handle().clone(),
                router,
                stopping.clone(),
                open_http.clone(),
                limits,
            ),
            idle_limit,
            being_answered: Arc::default(),
        };
        let (ready, subscribed) = oneshot::channel();
        let source = Source {
            ingest: Ingest::new(&config.redis, Arc::clone(&catalog), hub.clone(), Arc::clone(&metrics))?,
            limit: config.startup_limit(),
            ready,
        };
        let shared = Shared {
            settings: ShardSettings { backlog_bytes: config.backlog_bytes, heartbeat, idle_limit },
            games: catalog.len(),
            hub,
            entrance: Arc::new(entrance),
            certificate: certificate.clone(),
            open: opening,
            stop: stopping,
        };
        control.spawn(keep_renewed(certificate.clone()));
        let (end, ended) = mpsc::unbounded_channel();
        let mut handle = Handle {
            http: tcp.address,
            webtransport: udp.address,
            has_tls: config.has_tls(),
            certificate,
            guard,
            metrics,
            stop,
            shards: shards.clone(),
            ended,
            threads: Vec::new(),
            open_http,
            control: Some(control),
            store,
        };
        // From here on the handle's drop ends what has begun, should a later step fail.
        let mut source = Some(source);
        let sockets = tcp.sockets.into_iter().zip(udp.sockets);
        for (index, ((sender, inbox), (tcp, udp))) in shards.into_iter().zip(inboxes).zip(sockets).enumerate()
        {
            let parts = ShardParts { id: ShardId(index), inbox, sender, tcp, udp, source: source.take() };
            handle.threads.push(spawn_shard(parts, shared.clone(), end.clone())?);
        }
        // The shards have theirs, and an end waits until nobody could take a connection any more.
        drop(shared);
        subscribed.blocking_recv().map_err(|_| StartError::ShardEnded)??;
        open.send_replace(true);
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

/// What REST answers from, but for the port of WebTransport.
fn rest_state(
    store: &Store,
    catalog: &Arc<Catalog>,
    hub: &Hub,
    metrics: &Arc<Metrics>,
    certificate: &Certificate,
) -> RestState {
    let (rendered, certificate) = (Arc::clone(metrics), certificate.clone());
    RestState {
        store: store.clone(),
        latest: latest_round(catalog, hub),
        problems: find_problems(metrics),
        metrics: Arc::new(move || rendered.render()),
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
async fn run_shard(parts: ShardParts, mut common: Shared) -> io::Result<()> {
    let metrics = Arc::clone(&common.entrance.metrics);
    let shard = Shard::new(parts.id, common.games, common.settings, common.hub, metrics)?;
    let listener = tokio::net::TcpListener::from_std(parts.tcp)?;
    let tls = common.certificate.webtransport();
    let entrance = Arc::clone(&common.entrance);
    let sessions = Sessions::new(parts.udp, &tls, entrance, parts.id, parts.sender.clone())?;
    if let Some(source) = parts.source {
        tokio::spawn(source.ingest.run(source.limit, source.ready));
    }
    let (stop, mut stopped) = (common.stop.clone(), common.stop);
    let accepting = tokio::spawn(async move {
        let is_open = tokio::select! {
            open = common.open.wait_for(|open| *open) => open.is_ok(),
            // A start that has failed never opens.
            _ = stopped.wait_for(|stop| *stop) => false,
        };
        if is_open {
            let connections = common.entrance.accept(listener, parts.sender, stop.clone());
            tokio::join!(connections, sessions.accept(stop));
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

impl Handle {
    /// Where HTTP is served.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where WebTransport is served (UDP).
    pub fn webtransport(&self) -> SocketAddr {
        self.webtransport
    }

    /// The certificate that clients meet.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// SHA-256 of the certificate, in lower-case hexadecimal.
    pub fn certificate_sha256(&self) -> String {
        self.certificate.leaf_sha256()
    }

    /// Connections open now, those in the middle of their handshake among them.
    pub fn open_connections(&self) -> u32 {
        self.guard.open_connections()
    }

    /// The server's counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Reads the certificate's files and the tokens again: new clients meet those, connected ones are left alone. What
    /// can't be read stays as it was, and is told in the log and in what this returns. (A certificate of our own making
    /// stays until its time has come: clients know it by its hash.)
    pub fn reload(&self) -> Vec<ReloadError> {
        let mut errors = Vec::new();
        if !self.certificate.is_self_signed() {
            match self.certificate.renew() {
                Ok(()) => info!(sha256 = self.certificate.leaf_sha256(), "certificate reloaded"),
                Err(error) => errors.push(ReloadError::Certificate(error)),
            }
        }
        match self.guard.tokens().map(Tokens::reload) {
            None => {}
            Some(Ok(count)) => info!(count, "tokens reloaded"),
            Some(Err(error)) => errors.push(ReloadError::Tokens(error)),
        }
        for error in &errors {
            error!(%error, "not reloaded; what was valid before stays so");
        }
        self.metrics.reloads.add(1);
        self.metrics.reload_errors.add(errors.len() as u64);
        errors
    }

    /// One line of JSON that tells whoever started the program where to find it.
    pub fn ready_line(&self) -> String {
        serde_json::json!({
            "ready": true,
            "pid": std::process::id(),
            "http": self.http,
            "webtransport": self.webtransport,
            "tls": self.has_tls,
            "certificate_sha256": self.certificate_sha256(),
            "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string()
    }

    /// Serves until SIGTERM or Ctrl-C, then says goodbye to everyone. `on_ready` is called as soon as signals are
    /// heard: whoever it tells may send one at once.
    ///
    /// # Errors
    /// [`ServeError`] where the server could not go on.
    pub fn run_until_signal(mut self, on_ready: impl FnOnce(&Self)) -> Result<(), ServeError> {
        let Some(control) = self.control.take() else { return Ok(()) };
        let served = control.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut hangup = signal(SignalKind::hangup())?;
            on_ready(&self);
            loop {
                tokio::select! {
                    _ = terminate.recv() => return Ok(()),
                    _ = interrupt.recv() => return Ok(()),
                    _ = hangup.recv() => drop(self.reload()),
                    shard = self.ended.recv() => {
                        return Err(ServeError::ShardEnded(shard.unwrap_or_default()));
                    }
                }
            }
        });
        self.control = Some(control);
        info!("shutting down");
        self.shutdown();
        served
    }

    /// Stops accepting, says goodbye in each protocol's words, and ends all threads within five seconds.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        for shard in &self.shards {
            shard.tell(ShardInput::Stop);
        }
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        // What the control runtime still serves, event streams over HTTP/2 among it, ends with a goodbye too.
        let has_ended = || self.threads.iter().all(JoinHandle::is_finished) && self.open_http.have_ended();
        while Instant::now() < deadline && !has_ended() {
            std::thread::sleep(Duration::from_millis(2));
        }
        for thread in self.threads.drain(..) {
            if thread.is_finished() {
                // A panic has been reported where it happened.
                let _ = thread.join();
            }
        }
        if let Some(control) = self.control.take() {
            // Not by blocking on it: this may run inside another runtime, where that is forbidden.
            let (closed, is_closed) = std::sync::mpsc::channel();
            let store = self.store.clone();
            control.spawn(async move {
                store.close().await;
                // Nobody waits any more where this took too long.
                let _ = closed.send(());
            });
            let _ = is_closed.recv_timeout(Duration::from_millis(500));
            control.shutdown_timeout(Duration::from_millis(500));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
