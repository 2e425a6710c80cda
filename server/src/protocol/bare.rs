//! No protocol: rounds on a TCP connection, each behind its length. The same shard, the same writes as for the
//! protocols, and nothing of theirs: what is measured here is what they are compared with.

use bytes::Bytes;
use lastmile_wire::request::Protocol;
use lastmile_wire::webtransport::read_varint;

use super::{CloseReason, Conversation, Said, StreamProtocol};
use crate::connect::Refusal;
use crate::published::Framing;

/// What a client that is attached is told, before its first round.
pub const ATTACHED: &[u8] = b"+attached\n";

/// Longest line that asks for a stream.
pub const MAX_LINE_BYTES: usize = 512;

/// The one instance.
#[derive(Debug)]
pub struct Bare;

/// What a client is told that gets no stream.
pub fn refusal(refusal: &Refusal) -> Bytes {
    format!("-{} {}\n", refusal.status, refusal.error).into()
}

impl StreamProtocol for Bare {
    fn protocol(&self) -> Protocol {
        Protocol::Tcp
    }

    fn framing(&self) -> Framing {
        Framing::Bare
    }

    fn heartbeat(&self, _unix_seconds: u64) -> Vec<u8> {
        Vec::new()
    }

    fn sweeps_per_heartbeat(&self) -> u32 {
        1
    }

    fn client_answers(&self) -> bool {
        false
    }

    fn goodbye(&self, _reason: CloseReason) -> Vec<u8> {
        Vec::new()
    }

    fn end_of_frame(&self, frames: &[u8], sent: usize) -> usize {
        let mut at = 0;
        while at <= sent {
            let Some((length, prefix)) = frames.get(at..).and_then(read_varint) else { return frames.len() };
            at += prefix + length as usize;
        }
        at.min(frames.len())
    }

    fn answer(&self, _answer: &str) -> Vec<u8> {
        Vec::new()
    }

    /// There is nothing to say.
    fn hear(
        &self,
        _conversation: &mut Conversation,
        bytes: &mut [u8],
        _said: &mut Vec<Said>,
    ) -> Result<(), CloseReason> {
        if bytes.is_empty() { Ok(()) } else { Err(CloseReason::Policy) }
    }
}

#[cfg(test)]
mod tests {
    use lastmile_wire::webtransport::append_message;

    use super::*;

    #[test]
    fn a_frame_ends_behind_its_payload() {
        let mut frames = Vec::new();
        append_message(&mut frames, &[1; 100]);
        let first = frames.len();
        append_message(&mut frames, b"{}");
        for (sent, end) in [(0, first), (first - 1, first), (first, frames.len()), (first + 2, frames.len())]
        {
            assert_eq!(Bare.end_of_frame(&frames, sent), end, "{sent}");
        }
    }
}
