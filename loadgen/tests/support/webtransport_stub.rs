//! The WebTransport side of the stub, with another implementation of sessions than the one under test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use lastmile_wire::webtransport::{append_message, append_varint};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::oneshot;
use wtransport::endpoint::IncomingSession;
use wtransport::{Connection, Endpoint, Identity, ServerConfig};

use super::stub::{Order, QueuedSubscriber, Subscribers};

/// Type of a unidirectional stream of a session.
const WEBTRANSPORT_STREAM: u64 = 0x54;

/// Ends the server when dropped.
pub struct Handle {
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

pub fn start(subscribers: Subscribers) -> Handle {
    let (tell_address, address) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let identity = Identity::self_signed(["localhost", "127.0.0.1"]).unwrap();
            let config = ServerConfig::builder()
                .with_bind_address("127.0.0.1:0".parse().unwrap())
                .with_identity(identity)
                .build();
            let endpoint = Endpoint::server(config).unwrap();
            tell_address.send(endpoint.local_addr().unwrap()).unwrap();
            let serve = async {
                loop {
                    let incoming = endpoint.accept().await;
                    tokio::spawn(serve_session(incoming, Arc::clone(&subscribers)));
                }
            };
            tokio::select! {
                _ = stopped => {}
                () = serve => {}
            }
        });
    });
    Handle { address: address.recv().unwrap(), _stop: stop }
}

async fn serve_session(incoming: IncomingSession, subscribers: Subscribers) {
    let request = incoming.await.unwrap();
    let Some((path, delivery)) = request.path().split_once("?delivery=") else {
        return request.not_found().await;
    };
    if path != "/wt/crash" {
        return request.not_found().await;
    }
    let delivery = delivery.to_owned();
    let (sender, orders) = unbounded_channel();
    subscribers.lock().unwrap().push(Some(Box::new(QueuedSubscriber(sender))));
    let connection = request.accept().await.unwrap();
    // A client that has gone ends its session, whatever was under way.
    let _ = follow(&connection, &delivery, orders).await;
}

async fn follow(
    connection: &Connection,
    delivery: &str,
    mut orders: UnboundedReceiver<Order>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut stream = if delivery == "stream" { Some(connection.open_uni().await?.await?) } else { None };
    let quic = connection.quic_connection();
    let unsent_datagrams = quic.datagram_send_buffer_space();
    let mut finished = Vec::new();
    while let Some(order) = orders.recv().await {
        match (order, &mut stream) {
            (Order::Close, _) => break,
            (Order::Deliver(message), Some(stream)) => {
                let mut bytes = Vec::new();
                append_message(&mut bytes, &message);
                // In two pieces: messages may arrive in parts.
                stream.write_all(&bytes[..10]).await?;
                stream.write_all(&bytes[10..]).await?;
            }
            (Order::Deliver(message), None) if delivery == "streams" => {
                // Header, message and end in one frame, so that streams arrive in the order they were opened.
                let mut bytes = Vec::new();
                append_varint(&mut bytes, WEBTRANSPORT_STREAM);
                append_varint(&mut bytes, connection.session_id().into_u64());
                bytes.extend_from_slice(&message);
                let mut stream = quic.open_uni().await?;
                stream.write_all(&bytes).await?;
                stream.finish()?;
                finished.push(stream);
            }
            (Order::Deliver(message), None) => connection.send_datagram(&message)?,
        }
    }
    // A close overtakes what has not been sent: first everything has to be on its way.
    if let Some(mut stream) = stream {
        stream.finish().await?;
    }
    for stream in finished {
        stream.stopped().await?;
    }
    while quic.datagram_send_buffer_space() < unsent_datagrams {
        tokio::task::yield_now().await;
    }
    connection.close(1013u32.into(), b"too slow");
    Ok(())
}
