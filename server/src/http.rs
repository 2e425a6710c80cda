//! Everything that is no stream on a socket of its own: REST, pages, metrics, and event streams over HTTP/2.
//! Runs on the control runtime, away from the shards.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Request, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use lastmile_wire::request::{Protocol, StreamRequest};
use lastmile_wire::sse;
use tokio::io::AsyncReadExt;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tower::ServiceExt;
use tracing::debug;

use crate::catalog::Catalog;
use crate::clock;
use crate::connect::{Connection, MAX_HEAD_BYTES, Refusal, Visitor};
use crate::guard::{Client, Guard, Peer, Permit, Transport, refuse};
use crate::hub::From;
use crate::past::Past;
use crate::protocol;
use crate::published::{Format, Framing};
use crate::shard::{ConnectionBacklog, QueueReader, ShardSender};

/// Time that answers and goodbyes have to leave when the server stops.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// Time that a connection's first request has to be read where the server stops meanwhile.
const FIRST_REQUEST_LIMIT: Duration = Duration::from_millis(500);

/// Bytes kept for a stream of HTTP/2 whose client does not take them; beyond that its source has to wait.
const MAX_SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Serves HTTP on connections that the entrance hands over.
#[derive(Debug, Clone)]
pub struct HttpService {
    control: Handle,
    router: Router,
    stop: watch::Receiver<bool>,
    open: OpenConnections,
    limits: ConnectionLimits,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// For its first request to be complete.
    pub handshake: Duration,
    /// To answer that it is still there, and to take or ask for something.
    pub idle: Duration,
}

/// Knows whether connections are still being served.
#[derive(Debug, Clone, Default)]
pub struct OpenConnections(Arc<()>);

impl OpenConnections {
    /// There are none left, and no service that could take more.
    pub fn have_ended(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl HttpService {
    /// A service on the control runtime, until told to stop.
    pub fn new(
        control: Handle,
        router: Router,
        stop: watch::Receiver<bool>,
        open: OpenConnections,
        limits: ConnectionLimits,
    ) -> Self {
        Self { control, router, stop, open, limits }
    }

    /// Serves a connection of which `received` has been read already. HTTP/1.1 connections end with their
    /// response: so every request begins a connection, and a stream is always recognised by the entrance.
    ///
    /// # Errors
    /// Where the control runtime can't take the connection.
    pub fn serve<C: Connection>(&self, stream: C, received: Vec<u8>, visitor: Visitor) -> io::Result<()> {
        let (reader, writer) = tokio::io::split(stream.move_to(&self.control)?);
        let io = TokioIo::new(tokio::io::join(std::io::Cursor::new(received).chain(reader), writer));
        let Visitor { peer, permit } = visitor;
        let asked = Arc::new(AtomicBool::new(false));
        let progress = Progress::default();
        let service = {
            let (asked, on_request, on_frame) = (Arc::clone(&asked), progress.clone(), progress.clone());
            let backlog = ConnectionBacklog::default();
            let router = self.router.clone().map_request(move |mut request: Request<Incoming>| {
                asked.store(true, Relaxed);
                on_request.note();
                request.extensions_mut().insert(Peer(peer));
                request.extensions_mut().insert(backlog.clone());
                request
            });
            TowerToHyperService::new(router.map_response(move |response: Response| on_frame.watch(response)))
        };
        let mut stop = self.stop.clone();
        let open = self.open.clone();
        let limits = self.limits;
        self.control.spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().keep_alive(false).max_buf_size(MAX_HEAD_BYTES);
            builder
                .http2()
                .timer(TokioTimer::new())
                .max_concurrent_streams(100)
                .max_header_list_size(MAX_HEAD_BYTES as u32)
                .max_send_buf_size(MAX_SEND_BUFFER_BYTES)
                .keep_alive_interval(Some(limits.idle / 4))
                .keep_alive_timeout(limits.idle);
            let mut connection = std::pin::pin!(builder.serve_connection(io, service));
            let in_time = async {
                tokio::time::sleep(limits.handshake).await;
                if asked.load(Relaxed) {
                    std::future::pending::<()>().await;
                }
            };
            let served = tokio::select! {
                served = &mut connection => Ok(served),
                () = in_time => return,
                () = progress.ceased_for(limits.idle) => {
                    // A client that takes nothing does not hear it; one that only has nothing to ask for does.
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(GOODBYE_LIMIT, connection).await
                }
                () = stopped(&mut stop) => {
                    // What was handed over a moment ago has come with a request.
                    if !asked.load(Relaxed) {
                        let first = tokio::time::timeout(FIRST_REQUEST_LIMIT, connection.as_mut());
                        if let Ok(served) = first.await {
                            return drop(served);
                        }
                    }
                    connection.as_mut().graceful_shutdown();
                    tokio::time::timeout(GOODBYE_LIMIT, connection).await
                }
            };
            if let Ok(Err(error)) = served {
                debug!(error, "an HTTP connection failed");
            }
            drop((open, permit));
        });
        Ok(())
    }
}

/// When a client last asked for something or took something. Of a stream's body HTTP/2 asks for a piece only when its
/// client has room for it, so one that does not read stands still here, whatever its library answers to pings.
#[derive(Debug, Clone)]
struct Progress(Arc<AtomicU64>);

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(clock::now_ns())))
    }
}

impl Progress {
    fn note(&self) {
        self.0.store(clock::now_ns(), Relaxed);
    }

    /// A response whose body notes when it is taken.
    fn watch(&self, response: Response) -> Response {
        let progress = self.clone();
        response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                progress.note();
                frame
            }))
        })
    }

    /// Resolves when there has been none for so long.
    async fn ceased_for(&self, limit: Duration) {
        loop {
            let still = Duration::from_nanos(clock::now_ns().saturating_sub(self.0.load(Relaxed)));
            match limit.checked_sub(still) {
                None | Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }
}

/// Resolves when the server stops; what `wait_for` gives can't be held in a task that may change threads.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone altogether.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Event streams for connections that carry several requests.
#[derive(Debug)]
pub struct SharedStreams {
    catalog: Arc<Catalog>,
    past: Arc<Past>,
    shards: Vec<ShardSender>,
    next_shard: AtomicUsize,
    heartbeat: Duration,
    guard: Arc<Guard>,
}

impl SharedStreams {
    /// Streams of the catalog's games, spread over the shards.
    pub fn new(
        catalog: Arc<Catalog>,
        past: Arc<Past>,
        shards: Vec<ShardSender>,
        heartbeat: Duration,
        guard: Arc<Guard>,
    ) -> Self {
        Self { catalog, past, shards, next_shard: AtomicUsize::new(0), heartbeat, guard }
    }

    /// The routes of the streams.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/sse/{*topic}", get(event_stream))
            .route("/ws/{*topic}", get(|| async { refuse(&Refusal::upgrade_required()) }))
            .method_not_allowed_fallback(|| async { refuse(&Refusal::method_not_allowed()) })
            .with_state(self)
    }

    async fn join(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        client: IpAddr,
        backlog: ConnectionBacklog,
    ) -> Result<Reading, Refusal> {
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let request = match StreamRequest::parse(target) {
            Some(Ok(request)) if request.protocol == Protocol::Sse => request,
            Some(Err(error)) => return Err(Refusal::from(error)),
            _ => return Err(Refusal::not_found()),
        };
        let subscription = self.catalog.resolve(&request.topic).ok_or_else(Refusal::not_found)?;
        let last_event_id = headers.get("last-event-id").map(axum::http::HeaderValue::as_bytes);
        let since = protocol::sse::since(last_event_id, request.since)?;
        let permit = self.guard.connect(Transport::Shared, client)?;
        let shard = &self.shards[self.next_shard.fetch_add(1, Relaxed) % self.shards.len()];
        let format = Format::requested(Framing::SseEvent, &request);
        let from = From { since, older: self.past.of(&subscription, since).await };
        let reader = QueueReader::resume(shard, format, subscription, from, backlog)
            .await
            .ok_or_else(Refusal::shutting_down)?;
        Ok(Reading { reader: Some(reader), heartbeat: self.heartbeat, _permit: permit })
    }
}

async fn event_stream(
    State(streams): State<Arc<SharedStreams>>,
    Extension(Client(client)): Extension<Client>,
    Extension(backlog): Extension<ConnectionBacklog>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let reading = match streams.join(&uri, &headers, client, backlog).await {
        Ok(reading) => reading,
        Err(refusal) => return refuse(&refusal),
    };
    let retry = stream::iter([Ok::<_, Infallible>(Bytes::from_static(sse::RETRY_LINE))]);
    let events = stream::unfold(reading, next_events);
    let body = Body::from_stream(futures_util::StreamExt::chain(retry, events));
    (protocol::sse::HEADERS, body).into_response()
}

/// A client's event stream.
struct Reading {
    reader: Option<QueueReader>,
    heartbeat: Duration,
    _permit: Permit,
}

async fn next_events(mut reading: Reading) -> Option<(Result<Bytes, Infallible>, Reading)> {
    let reader = reading.reader.as_mut()?;
    let events = match tokio::time::timeout(reading.heartbeat, reader.next()).await {
        Ok(Ok(events)) => events,
        Ok(Err(reason)) => {
            reading.reader = None;
            Bytes::from(sse::goodbye(reason.words()))
        }
        Err(_) => {
            let unix_seconds =
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            Bytes::from(sse::heartbeat(unix_seconds))
        }
    };
    Some((Ok(events), reading))
}
