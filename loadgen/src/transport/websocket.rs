//! WebSocket, the client's side of RFC 6455.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lastmile_wire::websocket::{
    CloseCode, Masking, Opcode, accept_key, append_client_frame, close_payload, decode_header,
};

use crate::transport::framing::{Framing, Step};
use crate::transport::http::Head;
use crate::transport::{AttachError, HttpServer, MAX_MESSAGE_BYTES, Requested};

/// Masks keep a script in a browser from choosing the bytes a proxy sees. There is no such script here, and a
/// constant mask costs nothing.
const MASK: [u8; 4] = [0x1a, 0x57, 0x31, 0x1e];

/// How a subscription is asked for and how its messages are framed.
#[derive(Debug, Clone)]
pub struct WebSocket {
    server: HttpServer,
    path: Requested<String>,
    key: String,
}

/// Payload of a message whose last fragment has not arrived.
#[derive(Debug, Default)]
pub struct Fragments {
    payload: Vec<u8>,
    /// The message has ended and been handed out.
    is_complete: bool,
}

impl WebSocket {
    /// Subscriptions of `path` on `server`. The key only has to differ from connection to connection where a
    /// cache could answer; `seed` makes it.
    pub fn new(server: HttpServer, path: impl Into<Requested<String>>, seed: u64) -> Self {
        let key = STANDARD.encode([seed.to_be_bytes(), (!seed).to_be_bytes()].concat());
        Self { server, path: path.into(), key }
    }
}

impl Framing for WebSocket {
    const PROTOCOL: &'static str = "WebSocket";
    type State = Fragments;

    fn request(&self, subscriber: usize) -> Vec<u8> {
        let Self { server, path, key } = self;
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
            path.by(subscriber),
            server.host
        )
        .into_bytes()
    }

    fn answer(
        &self,
        _state: &mut Fragments,
        bytes: &[u8],
        at_end: bool,
    ) -> Result<Option<usize>, AttachError> {
        let Some(head) = Head::parse(bytes).map_err(|problem| self.refuse(problem))? else {
            return Ok(None);
        };
        if head.status != 101 {
            return head.refusal(&self.server.host, bytes, at_end).map_or(Ok(None), Err);
        }
        if head.websocket_accept != accept_key(self.key.as_bytes()) {
            return Err(self.refuse("its Sec-WebSocket-Accept does not belong to our key"));
        }
        Ok(Some(head.length))
    }

    #[inline]
    fn next<'a>(&self, state: &'a mut Fragments, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        let header = match decode_header(bytes, Masking::Forbidden, MAX_MESSAGE_BYTES) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(Step::Incomplete),
            Err(error) => return Err(format!("the server broke the WebSocket protocol: {error}")),
        };
        let used = header.frame_len();
        let Some(payload) = bytes.get(header.header_len..used) else { return Ok(Step::Incomplete) };
        match header.opcode {
            Opcode::Text | Opcode::Binary if header.fin => Ok(Step::Message { message: payload, used }),
            Opcode::Text | Opcode::Binary | Opcode::Continuation => {
                fragment(state, payload, header.opcode == Opcode::Continuation, header.fin, used)
            }
            Opcode::Ping => {
                let mut reply = Vec::new();
                append_client_frame(&mut reply, Opcode::Pong, payload, MASK);
                Ok(Step::Reply { reply, used })
            }
            Opcode::Pong => Ok(Step::Nothing { used }),
            Opcode::Close => Err(close_reason(payload)),
        }
    }

    fn goodbye(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        append_client_frame(&mut frame, Opcode::Close, &close_payload(CloseCode::Normal, ""), MASK);
        frame
    }

    fn address(&self) -> &str {
        &self.server.host
    }
}

/// Servers of the contract send whole frames; another may cut a message.
#[cold]
fn fragment<'a>(
    state: &'a mut Fragments,
    payload: &[u8],
    is_continuation: bool,
    is_last: bool,
    used: usize,
) -> Result<Step<'a>, String> {
    if state.is_complete || !is_continuation {
        state.payload.clear();
        state.is_complete = false;
    }
    if state.payload.len() + payload.len() > MAX_MESSAGE_BYTES {
        return Err(format!("the server sent a message of more than {MAX_MESSAGE_BYTES} bytes"));
    }
    state.payload.extend_from_slice(payload);
    state.is_complete = is_last;
    Ok(if is_last { Step::Message { message: &state.payload, used } } else { Step::Nothing { used } })
}

fn close_reason(payload: &[u8]) -> String {
    match payload.split_first_chunk::<2>() {
        None => "the server closed the connection without a code".to_owned(),
        Some((code, text)) => {
            let code = u16::from_be_bytes(*code);
            let text = String::from_utf8_lossy(text);
            let separator = if text.is_empty() { "" } else { ": " };
            format!("the server closed the connection with code {code}{separator}{text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use lastmile_wire::websocket::append_frame;

    use super::*;

    fn websocket() -> WebSocket {
        let server = HttpServer { address: ([127, 0, 0, 1], 1).into(), host: "here:1".into() };
        WebSocket::new(server, "/ws/crash".to_owned(), 7)
    }

    #[test]
    fn only_the_right_answer_attaches() {
        let websocket = websocket();
        let request = String::from_utf8(websocket.request(0)).unwrap();
        assert!(request.starts_with("GET /ws/crash HTTP/1.1\r\nHost: here:1\r\n"), "{request}");
        let accept = accept_key(websocket.key.as_bytes());
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        let answered = |bytes: &str| websocket.answer(&mut Fragments::default(), bytes.as_bytes(), true);
        assert_eq!(answered(&format!("{answer}rest")).unwrap(), Some(answer.len()));
        assert_eq!(answered(&answer[..20]).unwrap(), None);
        let wrong = answered(&answer.replace(&accept, "x")).unwrap_err().to_string();
        assert!(wrong.contains("does not belong to our key"), "{wrong}");
        let refused = answered("HTTP/1.1 503 Busy\r\n\r\nfull").unwrap_err().to_string();
        assert_eq!(refused, "here:1 refused the subscription with status 503: full");
    }

    #[test]
    fn fragments_become_one_message_with_pings_in_between() {
        let mut stream = Vec::new();
        append_frame(&mut stream, Opcode::Text, b"one");
        stream[0] &= 0x7f;
        append_frame(&mut stream, Opcode::Ping, b"?");
        append_frame(&mut stream, Opcode::Continuation, b" message");
        append_frame(&mut stream, Opcode::Text, b"whole");
        append_frame(&mut stream, Opcode::Close, &close_payload(CloseCode::TooSlow, "too slow"));
        let (websocket, mut state) = (websocket(), Fragments::default());
        let mut heard = Vec::new();
        let mut at = 0;
        let end = loop {
            match websocket.next(&mut state, &stream[at..]) {
                Ok(Step::Message { message, used }) => {
                    heard.push(String::from_utf8_lossy(message).into_owned());
                    at += used;
                }
                Ok(Step::Nothing { used } | Step::Reply { used, .. }) => at += used,
                Ok(Step::Incomplete) => panic!("the stream is complete"),
                Err(reason) => break reason,
            }
        };
        assert_eq!(heard, ["one message", "whole"]);
        assert_eq!(end, "the server closed the connection with code 1013: too slow");
        let incomplete = websocket.next(&mut state, &stream[..4]);
        assert!(matches!(incomplete, Ok(Step::Incomplete)));
    }
}
