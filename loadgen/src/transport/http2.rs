//! Event streams over HTTP/2: many subscribers on a connection, as a browser's tabs or a proxy have them. HTTP/2 by
//! the h2 library.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::recorder::Sink;
use crate::transport::framing::{Framing, hand_out};
use crate::transport::local::{self, until_stopped};
use crate::transport::sse::ServerSentEvents;
use crate::transport::tls::TlsClient;
use crate::transport::{AttachError, HttpServer, MAX_MESSAGE_BYTES, Pace, Requested, Stop, Transport};

/// Subscribers that share a connection: what every HTTP/2 server allows (RFC 9113, section 6.5.2).
pub const STREAMS_PER_CONNECTION: usize = 100;
/// How much of a stream, and of a connection, may be under way. Larger than any burst: a subscriber is not to wait
/// for room here.
const STREAM_WINDOW_BYTES: u32 = MAX_MESSAGE_BYTES as u32 * 2;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
/// How much of a refusal is told.
const REFUSAL_BYTES: usize = 300;

/// Drives subscribers of an event stream over HTTP/2.
#[derive(Debug, Clone)]
pub struct Http2 {
    server: HttpServer,
    path: Requested<String>,
    tls: Option<TlsClient>,
}

impl Http2 {
    /// Subscriptions of `path` on `server`.
    pub fn new(server: HttpServer, path: impl Into<Requested<String>>, tls: Option<TlsClient>) -> Self {
        Self { server, path: path.into(), tls }
    }

    async fn drive_connections<S: Sink + 'static>(
        &self,
        subscribers: usize,
        pace: Pace,
        stop: OwnedFd,
        sink: &Rc<RefCell<S>>,
    ) -> Result<(), AttachError> {
        let turn = Rc::new(Semaphore::new(pace.connecting));
        let mut tasks = JoinSet::new();
        for first in (0..subscribers).step_by(STREAMS_PER_CONNECTION) {
            let these = first..subscribers.min(first + STREAMS_PER_CONNECTION);
            let (this, turn, sink) = (self.clone(), Rc::clone(&turn), Rc::clone(sink));
            tasks.spawn_local(async move { this.subscribe_all(these, &turn, &sink).await });
        }
        let outcome = until_stopped(stop, &mut tasks).await;
        // Dropping the streams resets them: an HTTP/2 client has no other way to take leave of an endless answer.
        tasks.shutdown().await;
        outcome
    }

    /// One connection and its subscribers, until all of them have ended.
    async fn subscribe_all<S: Sink + 'static>(
        &self,
        subscribers: std::ops::Range<usize>,
        turn: &Rc<Semaphore>,
        sink: &Rc<RefCell<S>>,
    ) -> Result<(), AttachError> {
        let (requests, _connection) = {
            let _turn = turn.acquire().await;
            self.connect().await?
        };
        let mut streams = JoinSet::new();
        for subscriber in subscribers {
            let (this, requests) = (self.clone(), requests.clone());
            let (turn, sink) = (Rc::clone(turn), Rc::clone(sink));
            streams.spawn_local(async move { this.subscribe(subscriber, requests, &turn, &sink).await });
        }
        while let Some(ended) = streams.join_next().await {
            ended.map_err(io::Error::other)??;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<(SendRequest<Bytes>, Driver), AttachError> {
        let failed = |source| AttachError::Connect { address: self.server.host.clone(), source };
        let socket = TcpStream::connect(self.server.address).await.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        match &self.tls {
            None => self.greet(socket).await,
            Some(tls) => {
                let connector = TlsConnector::from(tls.config());
                self.greet(connector.connect(tls.name(), socket).await.map_err(failed)?).await
            }
        }
    }

    /// The handshake of HTTP/2.
    async fn greet<C: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
        socket: C,
    ) -> Result<(SendRequest<Bytes>, Driver), AttachError> {
        let (requests, connection): (_, Connection<C, Bytes>) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .enable_push(false)
            .handshake(socket)
            .await
            .map_err(|error| self.refuse(error.to_string()))?;
        // What ends a connection, its streams tell.
        let driving = tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        Ok((requests, Driver(driving.abort_handle())))
    }

    async fn subscribe<S: Sink>(
        &self,
        subscriber: usize,
        requests: SendRequest<Bytes>,
        turn: &Semaphore,
        sink: &RefCell<S>,
    ) -> Result<(), AttachError> {
        let framing = ServerSentEvents::new(self.server.clone(), self.path.clone());
        let open = self.open(requests, self.path.by(subscriber));
        let follow = async |body| receive_until_end(&framing, body, subscriber, sink).await;
        local::subscribe(subscriber, turn, sink, open, follow).await
    }

    /// Asks for a stream.
    async fn open(&self, requests: SendRequest<Bytes>, path: &str) -> Result<h2::RecvStream, AttachError> {
        let broken = |error: h2::Error| self.refuse(error.to_string());
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let request = http::Request::get(format!("{scheme}://{}{path}", self.server.host))
            .header(http::header::ACCEPT, "text/event-stream")
            .body(())
            .map_err(|error| self.refuse(error.to_string()))?;
        let mut requests = requests.ready().await.map_err(broken)?;
        let (answer, _) = requests.send_request(request, true).map_err(broken)?;
        let (head, mut body) = answer.await.map_err(broken)?.into_parts();
        if head.status != http::StatusCode::OK {
            let mut words = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                words.extend_from_slice(&data[..data.len().min(REFUSAL_BYTES - words.len())]);
            }
            return Err(AttachError::Refused {
                address: self.server.host.clone(),
                status: head.status.as_u16(),
                body: String::from_utf8_lossy(&words).trim().to_owned(),
            });
        }
        let content_type = head.headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        if !content_type.is_some_and(|kind| kind.starts_with(b"text/event-stream")) {
            let kind = String::from_utf8_lossy(content_type.unwrap_or_default()).into_owned();
            return Err(self.refuse(format!("its content type is {kind:?}")));
        }
        Ok(body)
    }

    fn refuse(&self, problem: String) -> AttachError {
        AttachError::Protocol { address: self.server.host.clone(), protocol: "HTTP/2", problem }
    }
}

/// The task that serves a connection. It ends with its subscribers.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Hands the events of a stream to `sink` until it ends; returns why, in words.
async fn receive_until_end<S: Sink>(
    framing: &ServerSentEvents,
    mut body: h2::RecvStream,
    subscriber: usize,
    sink: &RefCell<S>,
) -> String {
    let mut state = <ServerSentEvents as Framing>::State::default();
    let mut partial: Vec<u8> = Vec::new();
    loop {
        let data = match body.data().await {
            None => return "the server ended the stream".to_owned(),
            Some(Err(error)) => return format!("the stream broke: {error}"),
            Some(Ok(data)) => data,
        };
        let received_ns = clock::now_ns();
        // What is taken is to be allowed again; a connection that has ended needs no room.
        let _ = body.flow_control().release_capacity(data.len());
        let bytes: &[u8] = if partial.is_empty() {
            &data
        } else {
            partial.extend_from_slice(&data);
            &partial
        };
        let mut sink = sink.borrow_mut();
        // Nothing in an event stream wants an answer.
        let used = match hand_out((framing, &mut state), bytes, (subscriber, received_ns), &mut *sink, |_| {})
        {
            Ok(used) => used,
            Err(reason) => return reason,
        };
        sink.batch_end();
        partial = bytes[used..].to_vec();
    }
}

impl Transport for Http2 {
    fn drive<S: Sink + 'static>(
        &self,
        subscribers: usize,
        pace: Pace,
        stop: &Stop,
        sink: S,
    ) -> Result<S, AttachError> {
        let stop = stop.watch()?;
        local::drive(sink, async |sink| self.drive_connections(subscribers, pace, stop, sink).await)
    }
}
