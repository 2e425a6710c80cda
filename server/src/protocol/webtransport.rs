//! WebTransport: sessions over HTTP/3. Here they are accepted; their rounds come right from the shard.

use std::sync::Arc;
use std::time::Duration;

use lastmile_wire::request::{Delivery, Protocol};
use rustls::ServerConfig as TlsConfig;
use tokio::sync::watch;
use tracing::debug;
use wtransport::endpoint::IncomingSession;
use wtransport::endpoint::endpoint_side::Server as ServerSide;
use wtransport::quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig};
use wtransport::{Connection, Endpoint, ServerConfig};

use crate::connect::Entrance;
use crate::shard::{OpenSession, SessionOutlet, SessionSeat, ShardId, ShardSender};

/// Time a client has from its first packet until its session stands.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Time the goodbyes have to leave.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// What one client may make us keep of its own bytes: on a stream, and on all of them together.
const RECEIVE_WINDOW_BYTES: u32 = 64 * 1024;

/// Packets a client may take before it acknowledges, where it can be asked to
/// (draft-ietf-quic-ack-frequency): reading an acknowledgement costs about as much as sending a round. A gap in
/// the packets is still told at once.
const PACKETS_PER_ACKNOWLEDGEMENT: u32 = 10;

/// Sessions that arrive at one shard's socket.
pub struct Sessions {
    endpoint: Endpoint<ServerSide>,
    entrance: Arc<Entrance>,
    id: ShardId,
    shard: ShardSender,
}

impl Sessions {
    /// Receives on `socket`. To be called on the shard's runtime.
    ///
    /// # Errors
    /// What the kernel or the QUIC library says.
    pub fn new(
        socket: std::net::UdpSocket,
        tls: &TlsConfig,
        entrance: Arc<Entrance>,
        id: ShardId,
        shard: ShardSender,
    ) -> std::io::Result<Self> {
        let transport = transport(entrance.idle_limit);
        let config = ServerConfig::builder()
            .with_bind_socket(socket)
            .with_custom_tls_and_transport(tls.clone(), transport)
            .build();
        Ok(Self { endpoint: Endpoint::server(config)?, entrance, id, shard })
    }

    /// Accepts sessions until told to stop, then gives the goodbyes time to leave.
    pub async fn accept(self, mut stop: watch::Receiver<bool>) {
        let sessions = Arc::new(self);
        loop {
            tokio::select! {
                incoming = sessions.endpoint.accept() => {
                    tokio::spawn(Arc::clone(&sessions).serve(incoming));
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        // Whoever is still there after the limit is cut off when the process ends.
        let _ = tokio::time::timeout(GOODBYE_LIMIT, sessions.endpoint.wait_idle()).await;
    }

    async fn serve(self: Arc<Self>, incoming: IncomingSession) {
        match tokio::time::timeout(HANDSHAKE_LIMIT, self.admit(incoming)).await {
            // The shard delivers; what is left to do here is to notice the end.
            Ok(Some((connection, _seat))) => drop(connection.closed().await),
            Ok(None) | Err(_) => self.entrance.metrics.handshakes_failed.add(1),
        }
    }

    /// The session of a client that asked for a stream there is. It is attached before it is accepted, so that
    /// a client whose session stands misses nothing.
    async fn admit(&self, incoming: IncomingSession) -> Option<(Connection, Arc<SessionSeat>)> {
        let request = incoming.await.inspect_err(|error| debug!(%error, "a QUIC handshake failed")).ok()?;
        let (wanted, subscription) = match self.entrance.resolve(request.path(), Protocol::WebTransport) {
            Ok(found) => found,
            Err(refusal) if refusal.status == 404 => {
                request.not_found().await;
                return None;
            }
            Err(_) => {
                // The library can say 403, 404 and 429 only.
                request.forbidden().await;
                return None;
            }
        };
        let outlet = SessionOutlet::new(wanted.delivery, Arc::clone(&self.entrance.metrics), self.id);
        let seat = Arc::new(SessionSeat::join(&self.shard, outlet, subscription).await?);
        let connection =
            request.accept().await.inspect_err(|error| debug!(%error, "a session was not taken")).ok()?;
        let stream = match wanted.delivery {
            Delivery::Stream => Some(connection.open_uni().await.ok()?.await.ok()?),
            Delivery::Streams | Delivery::Datagram => None,
        };
        seat.open(OpenSession {
            connection: connection.quic_connection().clone(),
            session_id: connection.session_id().into_u64(),
            stream,
            seat: Arc::downgrade(&seat),
        });
        Some((connection, seat))
    }
}

fn transport(idle_limit: Duration) -> TransportConfig {
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements.ack_eliciting_threshold(PACKETS_PER_ACKNOWLEDGEMENT.into());
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(8u32.into())
        .max_concurrent_uni_streams(8u32.into())
        .stream_receive_window(RECEIVE_WINDOW_BYTES.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .ack_frequency_config(Some(acknowledgements))
        .datagram_receive_buffer_size(Some(RECEIVE_WINDOW_BYTES as usize))
        .keep_alive_interval(Some(idle_limit / 4))
        // A limit of a day at most is far below what the type holds.
        .max_idle_timeout(IdleTimeout::try_from(idle_limit).ok());
    transport
}
