//! WebTransport over HTTP/3: QUIC by quinn, sessions and framing here.
//!
//! The session layer is our own because a subscriber needs so little of it: a client library's driver task and
//! its channels would cost more than the messages, and a refusal's status would be lost.
//!
//! Each worker thread runs one single-threaded runtime, so that sessions share a sink without a lock.

mod receive;
mod session;
mod stamped;

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lastmile_wire::request::Delivery;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use wtransport::quinn;
use wtransport::tls::Sha256Digest;

use crate::recorder::Sink;
use crate::transport::local::{self, until_stopped};
use crate::transport::{AttachError, Certificate, Pace, Requested, Stop, Transport};
use receive::receive_until_end;
use session::Session;
use stamped::{LatestStamp, StampedSocket};

/// Receive buffer of each UDP socket. With the default one, 13 to 18 % of datagrams were lost in it.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// Sessions that share a UDP socket, and the most sockets a worker opens.
const SESSIONS_PER_SOCKET: usize = 25;
const MAX_SOCKETS: usize = 16;
/// Streams a server may have open at once. A delivery on a stream of its own must not wait for room here.
const CONCURRENT_STREAMS: u32 = 1024;
/// How much may be unread of one stream, and of a session's datagrams.
const UNREAD_BYTES: u32 = 4 << 20;
/// Keeps a session alive that hears nothing for long.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a server may take to take note of our goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// A server's WebTransport side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebTransportServer {
    /// Where to connect.
    pub address: SocketAddr,
    /// `host:port` as the server is asked for.
    pub authority: String,
    /// How to know it.
    pub certificate: Certificate,
}

/// Drives WebTransport subscribers.
#[derive(Debug, Clone)]
pub struct WebTransport {
    server: WebTransportServer,
    path: Requested<String>,
    delivery: Delivery,
}

impl WebTransport {
    /// Subscriptions of `path` on `server`, whose query asks for `delivery`.
    pub fn new(server: WebTransportServer, path: impl Into<Requested<String>>, delivery: Delivery) -> Self {
        Self { server, path: path.into(), delivery }
    }

    /// Runs inside the worker's runtime; sessions end when their set is dropped.
    async fn drive_sessions<S: Sink + 'static>(
        &self,
        subscribers: usize,
        pace: Pace,
        stop: OwnedFd,
        sink: &Rc<RefCell<S>>,
    ) -> Result<(), AttachError> {
        let stamped = sink.borrow().wants_kernel_stamps();
        // A stamp belongs to a socket: see `stamped`.
        let sockets = if stamped {
            subscribers
        } else {
            subscribers.div_ceil(SESSIONS_PER_SOCKET).clamp(1, MAX_SOCKETS)
        };
        let endpoints = (0..sockets).map(|_| self.endpoint(stamped)).collect::<Result<Vec<_>, _>>()?;
        let turn = Rc::new(Semaphore::new(pace.connecting));
        let mut sessions = JoinSet::new();
        for subscriber in 0..subscribers {
            let (endpoint, stamp) = endpoints[subscriber % sockets].clone();
            let subscription = self.clone();
            let (turn, sink) = (Rc::clone(&turn), Rc::clone(sink));
            sessions.spawn_local(async move {
                subscription.subscribe(subscriber, &endpoint, stamp, &turn, &sink).await
            });
        }
        let outcome = until_stopped(stop, &mut sessions).await;
        // First: or they would take our own goodbye for the server's.
        sessions.shutdown().await;
        say_goodbye(&endpoints).await;
        outcome
    }

    async fn subscribe<S: Sink + 'static>(
        &self,
        subscriber: usize,
        endpoint: &quinn::Endpoint,
        stamp: Option<LatestStamp>,
        turn: &Semaphore,
        sink: &Rc<RefCell<S>>,
    ) -> Result<(), AttachError> {
        let open = Session::open(endpoint, &self.server, self.path.by(subscriber));
        let follow = async |session| {
            receive_until_end(session, subscriber, self.delivery, stamp, Rc::clone(sink)).await
        };
        local::subscribe(subscriber, turn, sink, open, follow).await
    }

    /// A client on a UDP socket of its own, and when the kernel received what came there last, where that is wanted.
    fn endpoint(&self, stamped: bool) -> Result<(quinn::Endpoint, Option<LatestStamp>), AttachError> {
        let any: SocketAddr = match self.server.address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = socket2::Socket::from(UdpSocket::bind(any)?);
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_nonblocking(true)?;
        let (config, runtime) = (quinn::EndpointConfig::default(), Arc::new(quinn::TokioRuntime));
        let (mut endpoint, stamp) = if stamped {
            let (socket, stamp) = StampedSocket::new(socket.into())?;
            (quinn::Endpoint::new_with_abstract_socket(config, None, socket, runtime)?, Some(stamp))
        } else {
            (quinn::Endpoint::new(config, None, socket.into(), runtime)?, None)
        };
        endpoint.set_default_client_config(self.client_config());
        Ok((endpoint, stamp))
    }

    fn client_config(&self) -> quinn::ClientConfig {
        let builder = wtransport::ClientConfig::builder().with_bind_default();
        let builder = match self.server.certificate {
            Certificate::Sha256(hash) => builder.with_server_certificate_hashes([Sha256Digest::new(hash)]),
            Certificate::Unchecked => builder.with_no_cert_validation(),
        };
        let mut config = builder.build().quic_config().clone();
        let mut transport = quinn::TransportConfig::default();
        transport
            .max_concurrent_uni_streams(CONCURRENT_STREAMS.into())
            .stream_receive_window(UNREAD_BYTES.into())
            .datagram_receive_buffer_size(Some(UNREAD_BYTES as usize))
            .keep_alive_interval(Some(KEEP_ALIVE));
        config.transport_config(Arc::new(transport));
        config
    }
}

impl Transport for WebTransport {
    fn drive<S: Sink + 'static>(
        &self,
        subscribers: usize,
        pace: Pace,
        stop: &Stop,
        sink: S,
    ) -> Result<S, AttachError> {
        let stop = stop.watch()?;
        local::drive(sink, async |sink| self.drive_sessions(subscribers, pace, stop, sink).await)
    }
}

/// Best effort, and bounded.
async fn say_goodbye(endpoints: &[(quinn::Endpoint, Option<LatestStamp>)]) {
    for (endpoint, _) in endpoints {
        endpoint.close(0u32.into(), b"");
    }
    let all = async {
        for (endpoint, _) in endpoints {
            endpoint.wait_idle().await;
        }
    };
    // A server that is gone answers nothing.
    let _ = tokio::time::timeout(GOODBYE, all).await;
}
