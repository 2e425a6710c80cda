//! From an accepted connection to a member of a shard: TLS where asked for, the request's head, and the
//! decision who serves it. Streams stay with the shard that accepted them; everything else (REST, pages,
//! HTTP/2) goes to the control runtime, so that a slow database never stands in a round's way.

mod arrival;
mod bare;
mod head;
mod listener;
mod refusal;
mod succession;

pub use arrival::{Underway, Visitor};
pub use head::{Parsed, RequestHead};
pub use listener::{ListenError, SharedPort, listen};
pub use refusal::Refusal;
pub use succession::Door;

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use bytes::Bytes;
use lastmile_wire::request::{Protocol, StreamRequest};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use self::arrival::Spare;
use crate::catalog::{Catalog, Subscription};
use crate::guard::{ACCESS_LOG, Access, Asked, Credentials, Guard, Refused, RequestId, Transport};
use crate::http::HttpService;
use crate::hub::From;
use crate::metrics::Metrics;
use crate::past::Past;
use crate::protocol::{StreamProtocol, sse, websocket};
use crate::published::Format;
use crate::shard::{ShardInput, ShardSender, Socket, SocketJoin};

/// Largest request head accepted.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// What every acceptor needs.
#[derive(Debug)]
pub struct Entrance {
    /// The games there are.
    pub catalog: Arc<Catalog>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Present where HTTPS and WSS are spoken.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Asked before everything else.
    pub guard: Arc<Guard>,
    /// Everything that is no stream.
    pub http: HttpService,
    /// What clients have missed.
    pub past: Arc<Past>,
    /// An unanswered peer is given up after this long.
    pub idle_limit: Duration,
    /// How many are just being told that there is no room for them.
    pub being_answered: Arc<AtomicU32>,
    /// How many connections are in the middle of their handshake, and shards that accept them.
    pub underway: Arc<AtomicU32>,
}

impl Entrance {
    /// What a request for a stream gets.
    ///
    /// # Errors
    /// [`Refusal`] where there is no such game or type, or the request can't be served.
    pub fn resolve(
        &self,
        target: &str,
        protocol: Protocol,
    ) -> Result<(StreamRequest, Subscription), Refusal> {
        let request = match StreamRequest::parse(target) {
            Some(Ok(request)) if request.protocol == protocol => request,
            Some(Err(error)) => return Err(Refusal::from(error)),
            _ => return Err(Refusal::not_found()),
        };
        let subscription = self.catalog.resolve(&request.topic).ok_or_else(Refusal::not_found)?;
        Ok((request, subscription))
    }

    /// Where a client begins that says what it had last.
    pub async fn from(&self, subscription: &Subscription, since: Option<u64>) -> From {
        From { since, older: self.past.of(subscription, since).await }
    }

    /// Accepts connections for a shard until this process leaves the port; those that wait in its queue then, too.
    ///
    /// # Errors
    /// Where the kernel does not give the listener back.
    pub async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        shard: ShardSender,
        mut leaving: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let _accepting = Underway::new(&self.underway);
        self.give_up_dead_peers(&listener);
        let mut spare = Spare::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = leaving.wait_for(|leaving| *leaving) => break,
            };
            match accepted {
                Ok((stream, peer)) => self.receive(stream, peer.ip(), &shard),
                // Waiting lets some descriptors be given back.
                Err(error) => {
                    spare.close_one(&listener, &error);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        let listener = listener.into_std()?;
        while let Ok((stream, peer)) = listener.accept() {
            stream.set_nonblocking(true)?;
            self.receive(TcpStream::from_std(stream)?, peer.ip(), &shard);
        }
        Ok(())
    }

    /// Lets the connections of a listener inherit when the kernel gives up a peer that is gone, instead of saying it for
    /// each.
    fn give_up_dead_peers(&self, listener: &TcpListener) {
        if let Err(error) = SockRef::from(listener).set_tcp_user_timeout(Some(self.idle_limit)) {
            warn!(%error, "peers that are gone are noticed late: the limit can't be set");
        }
    }

    /// Begins to serve somebody who has connected.
    fn receive(self: &Arc<Self>, stream: TcpStream, peer: IpAddr, shard: &ShardSender) {
        match self.guard.connect(Transport::Tcp, peer) {
            Ok(permit) => {
                let underway = Underway::new(&self.underway);
                let admission = Arc::clone(self).admit(stream, Visitor { peer, permit }, shard.clone());
                tokio::spawn(async move {
                    admission.await;
                    drop(underway);
                });
            }
            Err(reason) => self.turn_away(stream, reason),
        }
    }

    async fn admit(self: Arc<Self>, stream: TcpStream, visitor: Visitor, shard: ShardSender) {
        let metrics = Arc::clone(&self.metrics);
        let admitted = tokio::time::timeout(self.guard.limits().handshake, async {
            match self.tls.clone() {
                None => self.route(stream, visitor, shard).await,
                Some(tls) => {
                    let stream = TlsAcceptor::from(tls).accept(stream).await?;
                    self.route(stream, visitor, shard).await
                }
            }
        });
        match admitted.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                metrics.handshakes_failed.add(1);
                debug!(%error, "a handshake failed");
            }
            Err(_) => metrics.handshakes_failed.add(1),
        }
    }

    /// Reads the request's head and hands the connection to whoever serves it.
    async fn route<C: Connection>(
        &self,
        mut stream: C,
        mut visitor: Visitor,
        shard: ShardSender,
    ) -> io::Result<()> {
        let mut received = Vec::with_capacity(1024);
        loop {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
            let (decision, head_bytes) = match RequestHead::parse(&received) {
                Parsed::Partial if received.len() < MAX_HEAD_BYTES => continue,
                Parsed::Partial => (Some(Err(Refusal::head_too_large())), 0),
                Parsed::Request(_, head_bytes) if head_bytes > MAX_HEAD_BYTES => {
                    (Some(Err(Refusal::head_too_large())), 0)
                }
                Parsed::Request(request, head_bytes) => (self.decide(&request, &mut visitor), head_bytes),
                // What is no HTTP/1 request gets its answer from the HTTP library.
                Parsed::Foreign => (None, 0),
            };
            match decision {
                None => self.http.serve(stream, received, visitor)?,
                Some(Ok(Admission { protocol, format, access, subscription, since, head })) => {
                    let early = received.split_off(head_bytes);
                    let socket = stream.into_socket()?;
                    let permit = visitor.permit;
                    let from = self.from(&subscription, since).await;
                    let join = SocketJoin {
                        socket,
                        protocol,
                        format,
                        access,
                        subscription,
                        from,
                        head,
                        early,
                        permit,
                    };
                    shard.tell(ShardInput::JoinSocket(Box::new(join)));
                }
                Some(Err(refusal)) => {
                    self.metrics.handshakes_failed.add(1);
                    stream.write_all(&refusal.to_http()).await?;
                    stream.shutdown().await?;
                }
            }
            return Ok(());
        }
    }

    /// Whether a request is for a stream, and what it is answered then.
    fn decide(&self, request: &RequestHead<'_>, visitor: &mut Visitor) -> Option<Result<Admission, Refusal>> {
        let client = self.guard.client(visitor.peer, request.all("x-forwarded-for"));
        if let Err(reason) = visitor.permit.count_for(client) {
            return Some(Err(reason.into()));
        }
        if request.method() != "GET" {
            return None;
        }
        let protocol = match StreamRequest::parse(request.target())? {
            Ok(StreamRequest { protocol: Protocol::WebTransport | Protocol::Tcp, .. }) => return None,
            Ok(StreamRequest { protocol, .. }) => protocol,
            Err(error) => return Some(Err(Refusal::from(error))),
        };
        let proxied = self.guard.proxies().contains(visitor.peer);
        let id = RequestId::of(request.header("x-request-id").filter(|_| proxied));
        let admission = self.admission(request, protocol, &id);
        match &admission {
            Ok(_) => {
                debug!(target: ACCESS_LOG, request_id = %id, %client, path = path_of(request), "a stream");
            }
            Err(refusal) => {
                let (status, path) = (refusal.status, path_of(request));
                debug!(target: ACCESS_LOG, request_id = %id, %client, path, status, "a stream refused");
            }
        }
        Some(admission)
    }

    fn admission(
        &self,
        request: &RequestHead<'_>,
        protocol: Protocol,
        id: &RequestId,
    ) -> Result<Admission, Refusal> {
        let origin = request.header("origin");
        let access = self.guard.admit(&Credentials {
            asked: Asked { origin, host: request.header("host"), any_port: false },
            authorization: request.header("authorization"),
            target: request.target(),
        })?;
        if access == Access::AwaitsToken && protocol != Protocol::WebSocket {
            return Err(self.guard.refuse(Refused::Token).into());
        }
        let (mut wanted, subscription) = self.resolve(request.target(), protocol)?;
        let id = [("x-request-id", id.as_str())];
        let (protocol, since, head): (&'static dyn StreamProtocol, _, _) = match protocol {
            Protocol::WebSocket => {
                let head = with_headers(&websocket::handshake(request, &mut wanted)?, &id);
                (&websocket::WebSocket, wanted.since, head)
            }
            _ => {
                let since = sse::since(request.header("last-event-id"), wanted.since)?;
                let head = with_headers(&sse::response_head(), &id);
                let cross_origin = self.guard.cross_origin_headers(origin);
                let head = cross_origin.map_or(head.clone(), |headers| with_headers(&head, &headers));
                (&sse::Sse, since, head)
            }
        };
        let format = Format::requested(protocol.framing(), &wanted);
        Ok(Admission { protocol, format, access, subscription, since, head })
    }
}

/// What of a request may stand in a log: its path. The query may hold a token.
fn path_of<'a>(request: &'a RequestHead<'_>) -> &'a str {
    request.target().split('?').next().unwrap_or_default()
}

/// A response's head with more headers, behind its first line.
fn with_headers(head: &[u8], headers: &[(&str, &str)]) -> Bytes {
    let line = head.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
    let mut with = head[..line].to_vec();
    for (name, value) in headers {
        with.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    with.extend_from_slice(&head[line..]);
    Bytes::from(with)
}

/// What a stream's request gets.
struct Admission {
    protocol: &'static dyn StreamProtocol,
    format: Format,
    access: Access,
    subscription: Subscription,
    since: Option<u64>,
    head: Bytes,
}

/// A connection on which a request is read, and which can then become a shard's.
pub trait Connection: AsyncRead + AsyncWrite + Send + Sized + Unpin + 'static {
    /// Takes it from this thread's runtime to another, which alone hears of it then.
    ///
    /// # Errors
    /// What the runtime says.
    fn move_to(self, runtime: &Handle) -> io::Result<Self>;

    /// Takes it off this thread's runtime.
    ///
    /// # Errors
    /// What the runtime says.
    fn into_socket(self) -> io::Result<Socket>;
}

impl Connection for TcpStream {
    fn move_to(self, runtime: &Handle) -> io::Result<Self> {
        let stream = self.into_std()?;
        let _entered = runtime.enter();
        Self::from_std(stream)
    }

    fn into_socket(self) -> io::Result<Socket> {
        Ok(Socket::Plain(self.into_std()?.into()))
    }
}

impl Connection for TlsStream<TcpStream> {
    fn move_to(mut self, runtime: &Handle) -> io::Result<Self> {
        // A connection can be taken out of its TLS, but not put back: so its descriptor is doubled, and the new
        // one takes the place of the old one.
        let doubled = self.get_ref().0.as_fd().try_clone_to_owned()?;
        let _entered = runtime.enter();
        *self.get_mut().0 = TcpStream::from_std(doubled.into())?;
        Ok(self)
    }

    fn into_socket(self) -> io::Result<Socket> {
        let (stream, tls) = self.into_inner();
        Ok(Socket::tls(stream.into_std()?.into(), tls))
    }
}
