//! WebSocket by `fastwebsockets`, which shares no code with the server's.

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, handshake};
use futures_util::future::BoxFuture;
use http_body_util::Empty;
use hyper::Request;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::http::open;
use super::{Client, End, Message, Place};

/// What answers to commands begin with.
const ANSWERS: [&str; 4] = ["{\"subscribed\"", "{\"pong\"", "{\"authenticated\"", "{\"error\""];

struct WebSocket {
    socket: fastwebsockets::WebSocket<TokioIo<Upgraded>>,
    /// Rounds come in binary frames.
    is_binary: bool,
}

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
    Ok(Box::new(WebSocket { socket, is_binary: target.contains("encoding=msgpack") }))
}

impl Client for WebSocket {
    fn next(&mut self) -> BoxFuture<'_, Result<Message, End>> {
        Box::pin(async {
            let frame = self.socket.read_frame().await.map_err(|error| End::Broken(error.to_string()))?;
            match frame.opcode {
                OpCode::Text | OpCode::Binary => {
                    assert!(frame.fin, "a round is one frame");
                    assert!(self.is_binary || frame.opcode == OpCode::Text, "text as asked for");
                    let text = String::from_utf8_lossy(&frame.payload);
                    let is_answer = ANSWERS.iter().any(|begin| text.starts_with(begin));
                    assert!(!self.is_binary || is_answer == (frame.opcode == OpCode::Text), "{text}");
                    Ok(if is_answer {
                        Message::Answer(text.into_owned())
                    } else {
                        Message::Rounds(Bytes::copy_from_slice(&frame.payload))
                    })
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

    fn say<'a>(&'a mut self, command: &'a str) -> BoxFuture<'a, Option<String>> {
        Box::pin(async {
            let frame = Frame::text(Payload::Borrowed(command.as_bytes()));
            // One that has been closed tells so when it is read.
            let _ = self.socket.write_frame(frame).await;
            None
        })
    }
}
