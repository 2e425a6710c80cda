//! Server-Sent Events over HTTP/1.1: after the response head the connection carries nothing but events, and
//! ends with them.

use bytes::Bytes;
use lastmile_wire::request::Protocol;
use lastmile_wire::sse;

use super::{CloseReason, Conversation, Said, StreamProtocol};
use crate::connect::Refusal;
use crate::published::Framing;

/// Headers of every event stream, whatever HTTP version carries it.
pub const HEADERS: [(&str, &str); 3] =
    [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no")];

/// A client has nothing to say after its request; this much is overlooked.
const MAX_UNASKED_BYTES: u32 = 4096;

/// The protocol's one instance.
#[derive(Debug)]
pub struct Sse;

/// The head of the response and the stream's first line. The body has no length and no chunks: it ends with
/// the connection, which spares every event the chunk framing.
pub fn response_head() -> Bytes {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in HEADERS {
        head.extend_from_slice(name.as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"connection: close\r\n\r\n");
    head.extend_from_slice(sse::RETRY_LINE);
    Bytes::from(head)
}

/// What a client had last: its `Last-Event-ID`, which is newer than the `since` of an address it comes back to.
///
/// # Errors
/// [`Refusal`] where that is no event of ours. An empty one says that there was none.
pub fn since(last_event_id: Option<&[u8]>, since: Option<u64>) -> Result<Option<u64>, Refusal> {
    let Some(id) = last_event_id.map(<[u8]>::trim_ascii).filter(|id| !id.is_empty()) else {
        return Ok(since);
    };
    let round_id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    round_id.map(Some).ok_or_else(|| Refusal::bad_request("Last-Event-ID must be the round_id of a round"))
}

impl StreamProtocol for Sse {
    fn protocol(&self) -> Protocol {
        Protocol::Sse
    }

    fn framing(&self) -> Framing {
        Framing::SseEvent
    }

    fn heartbeat(&self, unix_seconds: u64) -> Vec<u8> {
        sse::heartbeat(unix_seconds)
    }

    fn sweeps_per_heartbeat(&self) -> u32 {
        1
    }

    fn client_answers(&self) -> bool {
        false
    }

    fn goodbye(&self, reason: CloseReason) -> Vec<u8> {
        sse::goodbye(reason.words())
    }

    fn end_of_frame(&self, frames: &[u8], sent: usize) -> usize {
        sse::end_of_event(frames, sent)
    }

    fn answer(&self, _answer: &str) -> Vec<u8> {
        // A client of an event stream has no way to ask.
        Vec::new()
    }

    fn hear(
        &self,
        conversation: &mut Conversation,
        bytes: &mut [u8],
        _said: &mut Vec<Said>,
    ) -> Result<(), CloseReason> {
        conversation.unasked_bytes = conversation.unasked_bytes.saturating_add(bytes.len() as u32);
        if conversation.unasked_bytes > MAX_UNASKED_BYTES { Err(CloseReason::Policy) } else { Ok(()) }
    }
}
