//! A running server: what it can be asked and told, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info};

use crate::certificate::{Certificate, CertificateError};
use crate::connect::Door;
use crate::guard::{Guard, TokenError, Tokens};
use crate::http::OpenConnections;
use crate::ingest;
use crate::metrics::Metrics;
use crate::shard::{ShardInput, ShardSender};
use crate::store::Store;

/// Time everyone has to end once the server was told to.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(4);

/// Time the database has to take what still waits for it then.
const PERSIST_LIMIT: Duration = Duration::from_secs(2);

/// Time those in the middle of their handshake have when a successor takes over.
const HANDSHAKES_LIMIT: Duration = Duration::from_secs(1);

/// Why a running server ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A thread that owns connections is gone.
    #[error("shard {0} ended unexpectedly; its log tells why")]
    ShardEnded(usize),
    /// The thread that brings the rounds is gone.
    #[error("the thread that follows Redis ended unexpectedly; the log tells why")]
    IngestEnded,
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

/// A running server. Dropping it shuts it down.
#[derive(Debug)]
pub struct Handle {
    pub(crate) http: SocketAddr,
    pub(crate) webtransport: SocketAddr,
    pub(crate) bare: Option<SocketAddr>,
    pub(crate) has_tls: bool,
    pub(crate) certificate: Certificate,
    pub(crate) guard: Arc<Guard>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) door: Door,
    /// No connection is accepted any more.
    pub(crate) leaving: watch::Sender<bool>,
    /// Everyone is to end.
    pub(crate) stop: watch::Sender<bool>,
    /// Connections in the middle of their handshake, and shards that accept them.
    pub(crate) underway: Arc<AtomicU32>,
    pub(crate) drain: Duration,
    pub(crate) shards: Vec<ShardSender>,
    pub(crate) ended: mpsc::UnboundedReceiver<ServeError>,
    /// Ends the thread that brings the rounds.
    pub(crate) ingest: Option<ingest::Stop>,
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) open_http: OpenConnections,
    pub(crate) control: Option<Runtime>,
    pub(crate) store: Store,
    /// Ends when everything is written that was to be stored.
    pub(crate) writer: Option<tokio::task::JoinHandle<()>>,
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
            "tcp": self.bare,
            "tls": self.has_tls,
            "certificate_sha256": self.certificate_sha256(),
            "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string()
    }

    /// Serves until SIGTERM or Ctrl-C, then says goodbye to everyone; after SIGUSR2 to one after the other. `on_ready` is called as soon as signals are
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
            let mut drain = signal(SignalKind::user_defined2())?;
            on_ready(&self);
            loop {
                tokio::select! {
                    _ = terminate.recv() => return Ok(()),
                    _ = interrupt.recv() => return Ok(()),
                    _ = hangup.recv() => drop(self.reload()),
                    _ = drain.recv() => {
                        self.begin_drain();
                        tokio::select! {
                            () = tokio::time::sleep(self.drain) => {}
                            _ = terminate.recv() => {}
                            _ = interrupt.recv() => {}
                        }
                        return Ok(());
                    }
                    // Whatever ended first; a channel without senders would be all of them.
                    ended = self.ended.recv() => return Err(ended.unwrap_or(ServeError::IngestEnded)),
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

    /// Accepts nobody any more: new connections are a successor's, where there is one. Those in the middle of their
    /// handshake get what they came for.
    fn leave(&self) {
        let has_successor = self.door.leave();
        self.leaving.send_replace(true);
        if !has_successor {
            return;
        }
        let deadline = Instant::now() + HANDSHAKES_LIMIT;
        while Instant::now() < deadline && self.underway.load(Relaxed) > 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        // The shards have heard of the last ones then, and at the second time have answered them.
        for _ in 0..2 {
            let (done, is_done) = std::sync::mpsc::channel();
            for shard in &self.shards {
                shard.tell(ShardInput::Echo(done.clone()));
            }
            drop(done);
            for _ in &self.shards {
                // After the limit the end is not held up any longer.
                let _ = is_done.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            }
        }
    }

    fn begin_drain(&self) {
        info!(within = ?self.drain, "saying goodbye to one client after the other");
        self.leave();
        for shard in &self.shards {
            shard.tell(ShardInput::Drain(self.drain));
        }
    }

    fn end(&mut self) {
        self.leave();
        self.stop.send_replace(true);
        for shard in &self.shards {
            shard.tell(ShardInput::Stop);
        }
        if let Some(ingest) = self.ingest.take() {
            ingest.tell();
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
            let (store, writer) = (self.store.clone(), self.writer.take());
            let patience =
                if writer.is_some() { PERSIST_LIMIT } else { Duration::ZERO } + Duration::from_millis(500);
            control.spawn(async move {
                if let Some(writer) = writer {
                    // What a database has not taken by then is lost.
                    let _ = tokio::time::timeout(PERSIST_LIMIT, writer).await;
                }
                store.close().await;
                // Nobody waits any more where this took too long.
                let _ = closed.send(());
            });
            let _ = is_closed.recv_timeout(patience);
            control.shutdown_timeout(Duration::from_millis(500));
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
