//! Server-Sent Events over HTTP/1.1.

use std::borrow::Cow;

use lastmile_wire::sse::next_event;

use crate::transport::framing::{Framing, Step};
use crate::transport::http::{Chunks, Head};
use crate::transport::{AttachError, HttpServer, MAX_MESSAGE_BYTES, Requested};

/// How a subscription is asked for and how its events are read.
#[derive(Debug, Clone)]
pub struct ServerSentEvents {
    server: HttpServer,
    path: Requested<String>,
}

/// Where a connection is in its stream.
#[derive(Debug, Default)]
pub struct Position {
    chunks: Chunks,
    /// Data of an event of several lines, put together.
    joined: Vec<u8>,
}

impl ServerSentEvents {
    /// Subscriptions of `path` on `server`.
    pub fn new(server: HttpServer, path: impl Into<Requested<String>>) -> Self {
        Self { server, path: path.into() }
    }
}

impl Framing for ServerSentEvents {
    const PROTOCOL: &'static str = "Server-Sent Events";
    type State = Position;

    fn request(&self, subscriber: usize) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n",
            self.path.by(subscriber),
            self.server.host
        )
        .into_bytes()
    }

    fn answer(&self, state: &mut Position, bytes: &[u8], at_end: bool) -> Result<Option<usize>, AttachError> {
        let Some(head) = Head::parse(bytes).map_err(|problem| self.refuse(problem))? else {
            return Ok(None);
        };
        if head.status != 200 {
            return head.refusal(&self.server.host, bytes, at_end).map_or(Ok(None), Err);
        }
        if !head.content_type.starts_with("text/event-stream") {
            return Err(self.refuse(format!("its content type is {:?}", head.content_type)));
        }
        state.chunks = if head.chunked { Chunks::Size(0) } else { Chunks::None };
        Ok(Some(head.length))
    }

    fn undo_transfer_coding(&self, state: &mut Position, piece: &mut [u8]) -> Result<usize, String> {
        state.chunks.undo(piece).map_err(|problem| format!("the server broke the chunked coding: {problem}"))
    }

    #[inline]
    fn next<'a>(&self, state: &'a mut Position, bytes: &'a [u8]) -> Result<Step<'a>, String> {
        match next_event(bytes) {
            None if bytes.len() > MAX_MESSAGE_BYTES => {
                Err(format!("the server sent an event of more than {MAX_MESSAGE_BYTES} bytes"))
            }
            // The last chunk ends the stream, once what came before it has been read.
            None if state.chunks == Chunks::Last => Err("the server ended the stream".to_owned()),
            None => Ok(Step::Incomplete),
            Some((event, used)) => Ok(match event.data {
                None => Step::Nothing { used },
                Some(Cow::Borrowed(message)) => Step::Message { message, used },
                Some(Cow::Owned(message)) => {
                    state.joined = message;
                    Step::Message { message: &state.joined, used }
                }
            }),
        }
    }

    fn address(&self) -> &str {
        &self.server.host
    }
}

#[cfg(test)]
mod tests {
    use lastmile_wire::sse::{EVENT_MESSAGE, RETRY_LINE, append_event, heartbeat};

    use super::*;

    fn events() -> ServerSentEvents {
        let server = HttpServer { address: ([127, 0, 0, 1], 1).into(), host: "here:1".into() };
        ServerSentEvents::new(server, "/sse/crash".to_owned())
    }

    #[test]
    fn only_an_event_stream_attaches() {
        let answered = |bytes: &str| events().answer(&mut Position::default(), bytes.as_bytes(), true);
        let good = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        assert_eq!(answered(good).unwrap(), Some(good.len()));
        let html = answered(&good.replace("event-stream", "html")).unwrap_err().to_string();
        assert!(html.contains("its content type is \"text/html\""), "{html}");
        assert!(answered("HTTP/1.1 404 Not Found\r\n\r\n").unwrap_err().to_string().contains("404"));
    }

    #[test]
    fn messages_are_what_has_data_and_the_last_chunk_ends_the_stream() {
        let mut stream = RETRY_LINE.to_vec();
        append_event(&mut stream, EVENT_MESSAGE, Some(1), b"{\"round_id\":1}");
        stream.extend_from_slice(&heartbeat(5));
        stream.extend_from_slice(b"data: two\ndata: lines\n\n");
        let mut state = Position { chunks: Chunks::Last, joined: Vec::new() };
        let mut heard = Vec::new();
        let mut at = 0;
        let end = loop {
            match events().next(&mut state, &stream[at..]) {
                Ok(Step::Message { message, used }) => {
                    heard.push(String::from_utf8_lossy(message).into_owned());
                    at += used;
                }
                Ok(Step::Nothing { used }) => at += used,
                Ok(other) => panic!("{other:?}"),
                Err(reason) => break reason,
            }
        };
        assert_eq!(heard, ["{\"round_id\":1}", "two\nlines"]);
        assert_eq!(end, "the server ended the stream");
    }
}
