//! The WebTransport side of the stub, with another implementation of sessions than the one under test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use lastmile_wire::webtransport::append_message;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use wtransport::endpoint::IncomingSession;
use wtransport::{Connection, Endpoint, Identity, ServerConfig};

use super::stub::{Subscriber, Subscribers};

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

enum Order {
    Deliver(Vec<u8>),
    Close,
}

struct SessionSubscriber(UnboundedSender<Order>);

impl Subscriber for SessionSubscriber {
    fn deliver(&mut self, message: &[u8]) -> std::io::Result<()> {
        self.0.send(Order::Deliver(message.to_vec())).map_err(std::io::Error::other)
    }

    fn close(&mut self) {
        let _ = self.0.send(Order::Close);
    }
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
    subscribers.lock().unwrap().push(Some(Box::new(SessionSubscriber(sender))));
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
    while let Some(order) = orders.recv().await {
        let message = match order {
            Order::Deliver(message) => message,
            Order::Close => {
                connection.close(1013u32.into(), b"too slow");
                return Ok(());
            }
        };
        match &mut stream {
            Some(stream) => {
                let mut bytes = Vec::new();
                append_message(&mut bytes, &message);
                // In two pieces: messages may arrive in parts.
                stream.write_all(&bytes[..10]).await?;
                stream.write_all(&bytes[10..]).await?;
            }
            None if delivery == "streams" => {
                let mut stream = connection.open_uni().await?.await?;
                stream.write_all(&message).await?;
                // wtransport's own would wait for the acknowledgement, which a client delays.
                stream.quic_stream_mut().finish()?;
            }
            None => connection.send_datagram(&message)?,
        }
    }
    Ok(())
}
