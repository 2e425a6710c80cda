//! WebSocket, RFC 6455, as far as both sides need it: the handshake's key, frames, close codes, and the
//! messages a client may send.

mod frame;
mod reader;

pub use frame::{
    FrameError, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER_BYTES, Masking, Opcode, append_client_frame,
    append_frame, decode_header, end_of_frame, unmask,
};
pub use reader::{ClientEvent, MessageError, MessageReader};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Why an endpoint closes: the codes this project sends (RFC 6455 section 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// The purpose is fulfilled; the answer to a client's own close.
    Normal = 1000,
    /// The server is going away.
    GoingAway = 1001,
    /// The peer broke the protocol.
    ProtocolError = 1002,
    /// A text message that is not UTF-8.
    InvalidText = 1007,
    /// Not allowed: authentication, origin, rate.
    Policy = 1008,
    /// A message larger than the limit.
    TooBig = 1009,
    /// The subscriber is too slow; try again later.
    TooSlow = 1013,
}

/// The payload of a close frame.
pub fn close_payload(code: CloseCode, reason: &str) -> Vec<u8> {
    let mut payload = (code as u16).to_be_bytes().to_vec();
    let mut length = reason.len().min(MAX_CONTROL_PAYLOAD - 2);
    while !reason.is_char_boundary(length) {
        length -= 1;
    }
    payload.extend_from_slice(&reason.as_bytes()[..length]);
    payload
}

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
pub fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_own_key_is_answered_as_it_says() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        let payload = close_payload(CloseCode::TooSlow, &"é".repeat(100));
        assert!(payload.len() <= MAX_CONTROL_PAYLOAD);
        assert_eq!(payload[..2], 1013u16.to_be_bytes());
        assert!(std::str::from_utf8(&payload[2..]).is_ok());
    }
}
