//! The entrance of those who speak no protocol.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastmile_wire::request::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Connection, Entrance};
use crate::guard::{Access, Permit, Transport};
use crate::protocol::bare;
use crate::published::{Format, Framing};
use crate::shard::{ShardInput, ShardSender, SocketJoin};

impl Entrance {
    /// Accepts connections without a protocol for a shard until told to stop.
    pub async fn accept_bare(
        self: Arc<Self>,
        listener: TcpListener,
        shard: ShardSender,
        mut leaving: watch::Receiver<bool>,
    ) {
        self.give_up_dead_peers(&listener);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = leaving.wait_for(|leaving| *leaving) => return,
            };
            let admitted = accepted.ok().and_then(|(stream, peer)| {
                Some((stream, self.guard.connect(Transport::Tcp, peer.ip()).ok()?))
            });
            match admitted {
                Some((stream, permit)) => {
                    let (entrance, shard) = (Arc::clone(&self), shard.clone());
                    tokio::spawn(async move {
                        let limit = entrance.guard.limits().handshake;
                        let routed = tokio::time::timeout(limit, entrance.route_bare(stream, permit, shard));
                        if !matches!(routed.await, Ok(Ok(()))) {
                            entrance.metrics.handshakes_failed.add(1);
                        }
                    });
                }
                // Waiting lets some descriptors be given back.
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Reads the line that asks for a stream without a protocol.
    async fn route_bare(&self, mut stream: TcpStream, permit: Permit, shard: ShardSender) -> io::Result<()> {
        let mut received = Vec::with_capacity(64);
        let length = loop {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
            match received.iter().position(|byte| *byte == b'\n') {
                Some(length) => break length,
                None if received.len() > bare::MAX_LINE_BYTES => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                None => {}
            }
        };
        let early = received.split_off(length + 1);
        match self.resolve(String::from_utf8_lossy(&received).trim_end(), Protocol::Tcp) {
            Ok((wanted, subscription)) => {
                let from = self.from(&subscription, wanted.since).await;
                shard.tell(ShardInput::JoinSocket(Box::new(SocketJoin {
                    socket: stream.into_socket()?,
                    protocol: &bare::Bare,
                    format: Format::requested(Framing::Bare, &wanted),
                    access: Access::Granted,
                    subscription,
                    from,
                    head: Bytes::from_static(bare::ATTACHED),
                    early,
                    permit,
                })));
            }
            Err(refusal) => {
                self.metrics.handshakes_failed.add(1);
                stream.write_all(&bare::refusal(&refusal)).await?;
                stream.shutdown().await?;
            }
        }
        Ok(())
    }
}
