//! WebSocket by `fastwebsockets`, which shares no code with the server's.

use bytes::Bytes;
use fastwebsockets::{OpCode, handshake};
use futures_util::future::BoxFuture;
use http_body_util::Empty;
use hyper::Request;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::http::open;
use super::{Client, End, Place};

struct WebSocket(fastwebsockets::WebSocket<TokioIo<Upgraded>>);

/// A subscriber over WebSocket.
pub async fn connect(place: &Place, target: &str) -> Result<Box<dyn Client>, String> {
    let stream = open(place, "http/1.1").await;
    let request = Request::get(target)
        .header("host", "test")
        .header("upgrade", "websocket")
        .header("connection", "upgrade")
        .header("sec-websocket-key", handshake::generate_key())
        .header("sec-websocket-version", "13")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let (socket, _) =
        handshake::client(&TokioExecutor::new(), request, stream).await.map_err(|error| error.to_string())?;
    Ok(Box::new(WebSocket(socket)))
}

impl Client for WebSocket {
    fn next(&mut self) -> BoxFuture<'_, Result<Bytes, End>> {
        Box::pin(async {
            let frame = self.0.read_frame().await.map_err(|error| End::Broken(error.to_string()))?;
            match frame.opcode {
                OpCode::Text => {
                    assert!(frame.fin, "a round is one frame");
                    Ok(Bytes::copy_from_slice(&frame.payload))
                }
                OpCode::Close => {
                    let (code, words) = frame.payload.split_first_chunk::<2>().expect("a close code");
                    let words = String::from_utf8(words.to_vec()).expect("text");
                    Err(End::Told { code: Some(u16::from_be_bytes(*code).into()), words })
                }
                other => panic!("the contract has no {other:?} frames"),
            }
        })
    }
}
