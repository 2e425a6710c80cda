//! WebTransport: sessions over HTTP/3. Here they are accepted; their rounds come right from the shard.

mod commands;
mod handshake;
mod socket;
mod tls;

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use lastmile_wire::request::{Delivery, Protocol, StreamRequest};
use lastmile_wire::webtransport;
use rustls::ServerConfig as TlsConfig;
use tokio::sync::watch;
use tracing::debug;
use wtransport::quinn::{
    AckFrequencyConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, Incoming, SendStream,
    ServerConfig, TokioRuntime, TransportConfig,
};

use self::handshake::{SessionOffer, SessionStreams};
use self::socket::SingleDatagrams;
use self::tls::BriefTls;
use crate::catalog::Subscription;
use crate::connect::{Entrance, Refusal, Underway};
use crate::guard::{Access, Permit, Refused, Transport};
use crate::protocol::CloseReason;
use crate::shard::{OpenSession, SessionOutlet, SessionSeat, ShardId, ShardSender, end};

/// Clients that may be in the middle of their handshake before new ones have to show that their address is theirs,
/// which costs them a round trip.
const UNPROVEN_HANDSHAKES: u32 = 256;

/// Time the goodbyes have to leave.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// What one client may make us keep of its own bytes: on a stream, and on all of them together.
const RECEIVE_WINDOW_BYTES: u32 = 64 * 1024;

/// Packets a client may take before it acknowledges, where it can be asked to
/// (draft-ietf-quic-ack-frequency): reading an acknowledgement costs about as much as sending a round. A gap in
/// the packets is still told at once.
const PACKETS_PER_ACKNOWLEDGEMENT: u32 = 10;

/// Sessions that arrive at one shard's socket.
#[derive(Debug)]
pub struct Sessions {
    endpoint: Endpoint,
    entrance: Arc<Entrance>,
    id: ShardId,
    shard: ShardSender,
    /// Clients in the middle of their handshake.
    handshaking: Arc<AtomicU32>,
}

/// An admitted session, until it ends.
struct Served {
    connection: Connection,
    streams: SessionStreams,
    session_id: u64,
    seat: Arc<SessionSeat>,
    _permit: Permit,
}

impl Sessions {
    /// Receives on `socket`. To be called on the shard's runtime.
    ///
    /// # Errors
    /// What the kernel or the QUIC library says.
    pub fn new(
        socket: UdpSocket,
        tls: &Arc<TlsConfig>,
        entrance: Arc<Entrance>,
        id: ShardId,
        shard: ShardSender,
    ) -> io::Result<Self> {
        let crypto = BriefTls::new(Arc::clone(tls)).map_err(io::Error::other)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(Arc::new(transport(entrance.idle_limit)));
        let runtime = Arc::new(TokioRuntime);
        let socket = SingleDatagrams::wrap(socket, &TokioRuntime)?;
        let endpoint =
            Endpoint::new_with_abstract_socket(EndpointConfig::default(), Some(config), socket, runtime)?;
        Ok(Self { endpoint, entrance, id, shard, handshaking: Arc::default() })
    }

    /// Accepts sessions until this process leaves the port, which is given up with the last of them. When told to
    /// stop, the goodbyes get time to leave.
    pub async fn accept(self, mut leaving: watch::Receiver<bool>, mut stop: watch::Receiver<bool>) {
        let sessions = Arc::new(self);
        loop {
            let is_leaving = *leaving.borrow_and_update();
            tokio::select! {
                incoming = sessions.endpoint.accept() => {
                    let Some(incoming) = incoming else { return };
                    // Not refused: a client that gets no answer tries again, and may reach a successor then.
                    if is_leaving {
                        incoming.ignore();
                    } else {
                        sessions.take(incoming);
                    }
                }
                changed = leaving.changed(), if !is_leaving => if changed.is_err() { break },
                () = sessions.endpoint.wait_idle(), if is_leaving => return,
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        // Whoever is still there after the limit is cut off when the process ends.
        let _ = tokio::time::timeout(GOODBYE_LIMIT, sessions.endpoint.wait_idle()).await;
    }

    /// Begins to serve a client whose first packet has come. Until it has answered one of ours, its address may be
    /// made up: so while many are in the middle of their handshake, each has to show first that it is there.
    fn take(self: &Arc<Self>, incoming: Incoming) {
        let guard = &self.entrance.guard;
        if !incoming.remote_address_validated() && self.handshaking.load(Relaxed) >= UNPROVEN_HANDSHAKES {
            // Fails only for an address that has been proven.
            let _ = incoming.retry();
            return;
        }
        match guard.connect(Transport::Quic, incoming.remote_address().ip()) {
            Ok(permit) => {
                // Boxed, so that a session that stands does not keep the room its handshake took.
                let admission = Box::pin(Arc::clone(self).admit_in_time(Box::new(incoming), permit));
                drop(tokio::spawn(async move {
                    if let Some(mut served) = admission.await {
                        served.hear().await;
                    }
                }));
            }
            Err(_) => {
                self.entrance.metrics.handshakes_failed.add(1);
                incoming.refuse();
            }
        }
    }

    async fn admit_in_time(self: Arc<Self>, incoming: Box<Incoming>, permit: Permit) -> Option<Box<Served>> {
        let _underway = Underway::new(&self.handshaking);
        let limit = self.entrance.guard.limits().handshake;
        let admitted = tokio::time::timeout(limit, self.admit(incoming, permit)).await.ok().flatten();
        if admitted.is_none() {
            self.entrance.metrics.handshakes_failed.add(1);
        }
        admitted
    }

    /// The session of a client that asked for a stream there is. It is attached before it is accepted, so that
    /// a client whose session stands misses nothing.
    async fn admit(&self, incoming: Box<Incoming>, permit: Permit) -> Option<Box<Served>> {
        let connection =
            (*incoming).await.inspect_err(|error| debug!(%error, "a QUIC handshake failed")).ok()?;
        let offer = SessionOffer::receive(&connection)
            .await
            .inspect_err(|error| debug!(%error, "a session did not come about"))
            .ok()?;
        let (wanted, subscription, access) = match self.wanted(&offer) {
            Ok(found) => found,
            Err(refusal) => {
                // A client that does not wait for its refusal needs none.
                let _ = offer.refuse(refusal.status).await;
                connection.close(0u32.into(), b"");
                return None;
            }
        };
        let outlet = SessionOutlet::new(&wanted, Arc::clone(&self.entrance.metrics), self.id);
        let session_id = offer.session_id();
        let from = self.entrance.from(&subscription, wanted.since).await;
        let join = SessionSeat::join(&self.shard, outlet, subscription, from);
        let (seat, streams, identified) = match access {
            Access::Granted => {
                let seat = join.await?;
                (seat, accept(offer).await?, None)
            }
            Access::AwaitsToken => {
                let streams = accept(offer).await?;
                let guard = &self.entrance.guard;
                let check = |token: &[u8]| guard.check_token(token);
                let Some(identified) = commands::identify(&connection, session_id, check).await else {
                    guard.refuse(Refused::Token);
                    end(&connection, CloseReason::Unauthorized);
                    return None;
                };
                (join.await?, streams, Some(identified))
            }
        };
        let seat = Arc::new(seat);
        let stream = match wanted.delivery {
            Delivery::Stream => Some(open_stream(&connection, session_id).await?),
            Delivery::Streams | Delivery::Datagram => None,
        };
        let open =
            OpenSession { connection: connection.clone(), session_id, stream, seat: Arc::downgrade(&seat) };
        seat.open(open);
        if let Some(identified) = identified {
            identified.go_on(&seat);
        }
        Some(Box::new(Served { connection, streams, session_id, seat, _permit: permit }))
    }

    /// What a session is for, and whether its client may have it at once.
    fn wanted(&self, offer: &SessionOffer) -> Result<(StreamRequest, Subscription, Access), Refusal> {
        let access = self.entrance.guard.admit(&offer.credentials())?;
        let (request, subscription) = self.entrance.resolve(offer.path(), Protocol::WebTransport)?;
        Ok((request, subscription, access))
    }
}

impl Served {
    /// The shard delivers; what is left to do here is to hear what the client says, and to notice the end.
    async fn hear(&mut self) {
        tokio::select! {
            () = self.streams.ended() => {}
            () = commands::serve(&self.connection, self.session_id, &self.seat) => {}
        }
        self.connection.close(0u32.into(), b"");
    }
}

/// Tells the client that its session stands.
async fn accept(offer: SessionOffer) -> Option<SessionStreams> {
    offer.accept().await.inspect_err(|error| debug!(%error, "a session was not taken")).ok()
}

/// Opens the one stream of [`Delivery::Stream`].
async fn open_stream(connection: &Connection, session_id: u64) -> Option<SendStream> {
    let mut stream = connection.open_uni().await.ok()?;
    stream.write_all(&webtransport::uni_stream(session_id, b"")).await.ok()?;
    Some(stream)
}

fn transport(idle_limit: Duration) -> TransportConfig {
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(PACKETS_PER_ACKNOWLEDGEMENT.into());
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(4u32.into())
        .max_concurrent_uni_streams(4u32.into())
        .stream_receive_window(RECEIVE_WINDOW_BYTES.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .ack_frequency_config(Some(acknowledgements))
        .datagram_receive_buffer_size(Some(RECEIVE_WINDOW_BYTES as usize))
        .keep_alive_interval(Some(idle_limit / 4))
        // A limit of a day at most is far below what the type holds.
        .max_idle_timeout(IdleTimeout::try_from(idle_limit).ok());
    transport
}
