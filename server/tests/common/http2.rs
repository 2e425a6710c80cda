//! Server-Sent Events over HTTP/2, by hyper.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::http::open;
use super::sse::{end_of, next_round};
use super::{Client, End, Events, Message, Place};

/// The smallest window there is without changing what HTTP/2 begins with.
const WINDOW_BYTES: u32 = 65_535;

/// What a request is sent with; its connection lives as long.
pub type Sender = http2::SendRequest<Empty<Bytes>>;

struct EventStream {
    body: Incoming,
    events: Events,
    words: Option<String>,
    _sender: Sender,
}

/// Asks for something over HTTP/2; without TLS by prior knowledge.
pub async fn request(place: &Place, target: &str) -> Result<(Response<Incoming>, Sender), hyper::Error> {
    let io = TokioIo::new(open(place, "h2").await);
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .handshake(io)
        .await?;
    tokio::spawn(connection);
    Ok((sender.send_request(get(place, target)).await?, sender))
}

/// A request, for a connection that stands.
pub fn get(place: &Place, target: &str) -> Request<Empty<Bytes>> {
    let scheme = if place.tls { "https" } else { "http" };
    Request::get(format!("{scheme}://{}{target}", place.http)).body(Empty::new()).expect("a request")
}

/// A subscriber over HTTP/2.
pub async fn connect(place: &Place, target: &str) -> Result<Box<dyn Client>, String> {
    let (response, sender) = request(place, target).await.map_err(|error| error.to_string())?;
    if response.status() != 200 {
        return Err(format!("HTTP/2 {}", response.status()));
    }
    let body = response.into_body();
    Ok(Box::new(EventStream { body, events: Events::default(), words: None, _sender: sender }))
}

impl Client for EventStream {
    fn next(&mut self) -> BoxFuture<'_, Result<Message, End>> {
        Box::pin(async {
            loop {
                if let Some(round) = next_round(&mut self.events, &mut self.words) {
                    return Ok(Message::Rounds(round));
                }
                match self.body.frame().await {
                    None => return Err(end_of(&self.events, self.words.take())),
                    Some(Ok(frame)) => self.events.push(&frame.into_data().unwrap_or_default()),
                    Some(Err(error)) => return Err(End::Broken(format!("{error:?}"))),
                }
            }
        })
    }
}
