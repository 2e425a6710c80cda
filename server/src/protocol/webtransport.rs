//! WebTransport: sessions over HTTP/3, each taking its frames from a queue of the shard it lives beside.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastmile_wire::request::{Delivery, Protocol};
use rustls::ServerConfig as TlsConfig;
use tokio::sync::watch;
use tracing::debug;
use wtransport::endpoint::IncomingSession;
use wtransport::endpoint::endpoint_side::Server as ServerSide;
use wtransport::error::SendDatagramError;
use wtransport::quinn::{IdleTimeout, TransportConfig};
use wtransport::{Connection, Endpoint, SendStream, ServerConfig, VarInt};

use super::CloseReason;
use crate::connect::Entrance;
use crate::published::Framing;
use crate::shard::{Batch, QueueReader, ShardId, ShardSender};

/// Time a client has from its first packet until its session stands.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// Time the goodbyes have to leave.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// What one client may make us keep of its own bytes: on a stream, and on all of them together.
const RECEIVE_WINDOW_BYTES: u32 = 64 * 1024;

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
            Ok(Some((connection, delivery, reader))) => self.deliver(&connection, delivery, reader).await,
            Ok(None) | Err(_) => self.entrance.metrics.handshakes_failed.add(1),
        }
    }

    /// The session of a client that asked for a stream there is. It is attached before it is accepted, so that
    /// a client whose session stands misses nothing.
    async fn admit(&self, incoming: IncomingSession) -> Option<(Connection, Delivery, QueueReader)> {
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
        let framing = match wanted.delivery {
            Delivery::Stream => Framing::LengthPrefixed,
            Delivery::Streams | Delivery::Datagram => Framing::Bare,
        };
        let reader = QueueReader::join(&self.shard, framing, subscription).await?;
        let connection =
            request.accept().await.inspect_err(|error| debug!(%error, "a session was not taken")).ok()?;
        Some((connection, wanted.delivery, reader))
    }

    async fn deliver(&self, connection: &Connection, delivery: Delivery, mut reader: QueueReader) {
        let mut courier = Courier { sessions: self, connection, delivery, stream: None };
        let mut gone = std::pin::pin!(connection.closed());
        let reason = loop {
            let batch = tokio::select! {
                biased;
                batch = reader.next() => match batch {
                    Ok(batch) => batch,
                    Err(reason) => break reason,
                },
                _ = &mut gone => return,
            };
            // A peer that takes nothing holds the write up until the shard loses its patience.
            tokio::select! {
                biased;
                carried = courier.carry(&batch) => if carried.is_err() { return },
                reason = reader.closed() => break reason,
            }
        };
        let code = if reason == CloseReason::GoingAway { 0 } else { reason.index() as u32 };
        connection.close(VarInt::from_u32(code), reason.words().as_bytes());
    }
}

/// The session can take no more.
#[derive(Debug)]
struct Gone;

/// Carries batches to a session, in the way its client chose.
struct Courier<'a> {
    sessions: &'a Sessions,
    connection: &'a Connection,
    delivery: Delivery,
    /// The one stream of [`Delivery::Stream`], opened with the first round.
    stream: Option<SendStream>,
}

impl Courier<'_> {
    async fn carry(&mut self, batch: &Batch) -> Result<(), Gone> {
        match batch {
            Batch::Joined(frames) => {
                if self.stream.is_none() {
                    self.stream = Some(self.open().await?);
                }
                let stream = self.stream.as_mut().ok_or(Gone)?;
                write(stream, frames.clone()).await
            }
            Batch::Each(rounds) => {
                for round in rounds.iter() {
                    self.carry_one(round).await?;
                }
                Ok(())
            }
        }
    }

    async fn carry_one(&self, round: &Bytes) -> Result<(), Gone> {
        if self.delivery == Delivery::Datagram {
            match self.connection.send_datagram(round) {
                Ok(()) => return Ok(()),
                Err(SendDatagramError::NotConnected) => return Err(Gone),
                // Too large for this path, or the client takes no datagrams: the round still reaches it.
                Err(SendDatagramError::TooLarge | SendDatagramError::UnsupportedByPeer) => {
                    let shard = &self.sessions.entrance.metrics.shards[self.sessions.id.index()];
                    shard.protocol(Protocol::WebTransport).datagram_fallbacks.add(1);
                }
            }
        }
        let mut stream = self.open().await?;
        write(&mut stream, round.clone()).await?;
        // Fails only where the peer has stopped the stream: it did not want this round.
        let _ = stream.quic_stream_mut().finish();
        Ok(())
    }

    async fn open(&self) -> Result<SendStream, Gone> {
        let opening = self.connection.open_uni().await.map_err(|_| Gone)?;
        opening.await.map_err(|_| Gone)
    }
}

async fn write(stream: &mut SendStream, bytes: Bytes) -> Result<(), Gone> {
    stream.quic_stream_mut().write_chunk(bytes).await.map_err(|_| Gone)
}

fn transport(idle_limit: Duration) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(8u32.into())
        .max_concurrent_uni_streams(8u32.into())
        .stream_receive_window(RECEIVE_WINDOW_BYTES.into())
        .receive_window(RECEIVE_WINDOW_BYTES.into())
        .datagram_receive_buffer_size(Some(RECEIVE_WINDOW_BYTES as usize))
        .keep_alive_interval(Some(idle_limit / 4))
        // A limit of a day at most is far below what the type holds.
        .max_idle_timeout(IdleTimeout::try_from(idle_limit).ok());
    transport
}
