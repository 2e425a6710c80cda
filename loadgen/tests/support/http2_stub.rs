//! The stub's event streams over HTTP/2: the server's half of the library whose client's half is under test.

use std::net::TcpStream;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::SendResponse;
use http::Response;
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::LocalSet;

use super::stub::{Order, QueuedSubscriber, Subscribers, event};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Serves a connection until its end.
pub fn serve(socket: TcpStream, subscribers: &Subscribers) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A client that has gone ends its connection, whatever was under way.
    let _ = LocalSet::new().block_on(&runtime, serve_streams(socket, subscribers));
}

async fn serve_streams(socket: TcpStream, subscribers: &Subscribers) -> Outcome {
    socket.set_nonblocking(true)?;
    let mut connection = h2::server::handshake(tokio::net::TcpStream::from_std(socket)?).await?;
    while let Some(request) = connection.accept().await {
        let (request, answer) = request?;
        let (path, subscribers) = (request.uri().path().to_owned(), Arc::clone(subscribers));
        tokio::task::spawn_local(async move {
            let _ = follow(&path, answer, &subscribers).await;
        });
    }
    Ok(())
}

async fn follow(path: &str, mut answer: SendResponse<Bytes>, subscribers: &Subscribers) -> Outcome {
    if path != "/sse/crash" {
        let mut body = answer.send_response(Response::builder().status(404).body(())?, false)?;
        return Ok(body.send_data(Bytes::from_static(b"no game"), true)?);
    }
    let (sender, mut orders) = unbounded_channel();
    // Registered before the answer can be seen: whoever sees it is attached.
    subscribers.lock().unwrap().push(Some(Box::new(QueuedSubscriber(sender))));
    let head = Response::builder().header("content-type", "text/event-stream").body(())?;
    let mut body = answer.send_response(head, false)?;
    while let Some(order) = orders.recv().await {
        match order {
            // A frame ends anywhere.
            Order::Deliver(message) => {
                for piece in event(&message).chunks(67) {
                    body.send_data(Bytes::copy_from_slice(piece), false)?;
                }
            }
            Order::Close => return Ok(body.send_data(Bytes::new(), true)?),
        }
    }
    Ok(())
}
