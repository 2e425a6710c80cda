//! What a client says, put together from its frames. Costs no memory until a client leaves a frame or a
//! message unfinished, and never more than the message limit then.

use super::frame::{FrameError, FrameHeader, Masking, Opcode, decode_header, unmask};
use super::{CloseCode, MAX_HEADER_BYTES};

/// One thing a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientEvent<'a> {
    /// A whole text message.
    Text(&'a str),
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// A close frame; `Some` holds its code.
    Close(Option<u16>),
}

/// Why a client is closed for what it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A frame is not acceptable.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Fragments that don't follow each other, or together exceed the limit.
    #[error("fragments above the limit")]
    TooBig,
    /// A continuation without a beginning, or a beginning inside a message.
    #[error("fragments out of order")]
    Fragments,
    /// A text message that is not UTF-8.
    #[error("text that is not UTF-8")]
    InvalidText,
    /// A close frame with a one-byte payload, a forbidden code, or a reason that is not UTF-8.
    #[error("a malformed close frame")]
    Close,
}

impl MessageError {
    /// The code the connection is closed with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::TooBig | Self::Frame(FrameError::TooBig) => CloseCode::TooBig,
            Self::InvalidText => CloseCode::InvalidText,
            Self::Frame(_) | Self::Fragments | Self::Close => CloseCode::ProtocolError,
        }
    }
}

/// Reads a client's frames from arbitrary pieces of its byte stream.
#[derive(Debug)]
pub struct MessageReader {
    max_message_bytes: usize,
    /// Bytes of a frame that has not arrived whole.
    partial: Vec<u8>,
    /// Payload of a message that has not ended, and whether it is text.
    fragments: Option<(bool, Vec<u8>)>,
}

impl MessageReader {
    /// A reader that accepts messages of at most `max_message_bytes`.
    pub fn new(max_message_bytes: usize) -> Self {
        Self { max_message_bytes, partial: Vec::new(), fragments: None }
    }

    /// Nothing is kept: the client is between two messages.
    pub fn is_idle(&self) -> bool {
        self.partial.is_empty() && self.fragments.is_none()
    }

    /// Takes the next piece of the stream (its bytes are unmasked in place) and hands every event in it to
    /// `on_event`, in order, until one answers `false`.
    ///
    /// # Errors
    /// [`MessageError`] where the client broke the protocol; nothing after it is to be read.
    pub fn read(
        &mut self,
        piece: &mut [u8],
        mut on_event: impl FnMut(ClientEvent<'_>) -> bool,
    ) -> Result<(), MessageError> {
        let mut held = std::mem::take(&mut self.partial);
        let bytes = if held.is_empty() {
            piece
        } else {
            held.extend_from_slice(piece);
            &mut held[..]
        };
        let mut at = 0;
        while let Some(header) = decode_header(&bytes[at..], Masking::Required, self.max_message_bytes)? {
            let Some(payload) = bytes.get_mut(at + header.header_len..at + header.frame_len()) else { break };
            unmask(payload, header.mask.unwrap_or_default());
            at += header.frame_len();
            if !self.frame(&header, payload, &mut on_event)? {
                return Ok(());
            }
        }
        let rest = &bytes[at..];
        debug_assert!(rest.len() < self.max_message_bytes + MAX_HEADER_BYTES);
        // A fresh vector: what is left is small, and a large buffer must not stay with an idle client.
        self.partial = if rest.is_empty() { Vec::new() } else { rest.to_vec() };
        Ok(())
    }

    fn frame(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
        on_event: &mut impl FnMut(ClientEvent<'_>) -> bool,
    ) -> Result<bool, MessageError> {
        match header.opcode {
            Opcode::Ping => Ok(on_event(ClientEvent::Ping(payload))),
            Opcode::Pong => Ok(on_event(ClientEvent::Pong)),
            Opcode::Close => Ok(on_event(ClientEvent::Close(close_code(payload)?))),
            Opcode::Text | Opcode::Binary => {
                if self.fragments.is_some() {
                    return Err(MessageError::Fragments);
                }
                let is_text = header.opcode == Opcode::Text;
                if header.fin {
                    return message(is_text, payload, on_event);
                }
                self.fragments = Some((is_text, payload.to_vec()));
                Ok(true)
            }
            Opcode::Continuation => {
                let (is_text, whole) = self.fragments.as_mut().ok_or(MessageError::Fragments)?;
                if whole.len() + payload.len() > self.max_message_bytes {
                    return Err(MessageError::TooBig);
                }
                whole.extend_from_slice(payload);
                if !header.fin {
                    return Ok(true);
                }
                let (is_text, whole) = (*is_text, std::mem::take(whole));
                self.fragments = None;
                message(is_text, &whole, on_event)
            }
        }
    }
}

fn message(
    is_text: bool,
    payload: &[u8],
    on_event: &mut impl FnMut(ClientEvent<'_>) -> bool,
) -> Result<bool, MessageError> {
    if is_text {
        let text = std::str::from_utf8(payload).map_err(|_| MessageError::InvalidText)?;
        Ok(on_event(ClientEvent::Text(text)))
    } else {
        Ok(on_event(ClientEvent::Binary(payload)))
    }
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, MessageError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(MessageError::Close) };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455 section 7.4: 1004–1006 and 1015 never travel; below 3000 only registered codes may.
    let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !allowed || std::str::from_utf8(reason).is_err() {
        return Err(MessageError::Close);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::super::frame::append_client_frame;
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        append_client_frame(&mut bytes, Opcode::Text, payload, [9, 8, 7, 6]);
        bytes[0] = first;
        bytes
    }

    /// Everything heard, in words, when `stream` arrives in pieces of `size`.
    fn heard(stream: &[u8], size: usize) -> Result<Vec<String>, MessageError> {
        let mut reader = MessageReader::new(100);
        let mut events = Vec::new();
        for piece in stream.chunks(size) {
            reader.read(&mut piece.to_vec(), |event| {
                events.push(format!("{event:?}"));
                true
            })?;
        }
        assert!(reader.is_idle(), "every stream of these tests ends between messages");
        Ok(events)
    }

    #[test]
    fn messages_survive_being_split_anywhere_and_pings_in_between() {
        let stream = [
            frame(0x81, b"whole"),
            frame(0x01, b"in "),
            frame(0x89, b"ping"),
            frame(0x00, b"three "),
            frame(0x80, b"parts"),
            frame(0x82, b"\xff"),
            frame(0x8a, b""),
            frame(0x88, &[0x03, 0xe8]),
        ]
        .concat();
        let expected = [
            "Text(\"whole\")",
            "Ping([112, 105, 110, 103])",
            "Text(\"in three parts\")",
            "Binary([255])",
            "Pong",
            "Close(Some(1000))",
        ];
        for size in 1..=stream.len() {
            assert_eq!(heard(&stream, size).unwrap(), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn fragments_count_together_against_the_limit() {
        let stream = [frame(0x01, &[b'x'; 60]), frame(0x80, &[b'x'; 60])].concat();
        assert_eq!(heard(&stream, 7), Err(MessageError::TooBig));
        assert_eq!(MessageError::TooBig.close_code(), CloseCode::TooBig);
    }

    #[test]
    fn broken_streams_are_refused() {
        assert_eq!(heard(&frame(0x80, b"x"), 99), Err(MessageError::Fragments));
        assert_eq!(heard(&[frame(0x01, b"a"), frame(0x81, b"b")].concat(), 99), Err(MessageError::Fragments));
        assert_eq!(heard(&frame(0x81, b"\xff"), 99), Err(MessageError::InvalidText));
        assert_eq!(heard(&frame(0x88, b"\x03"), 99), Err(MessageError::Close));
        assert_eq!(heard(&frame(0x88, &1005u16.to_be_bytes()), 99), Err(MessageError::Close));
    }

    proptest::proptest! {
        #[test]
        fn no_stream_makes_the_reader_panic_or_hoard(
            stream in proptest::collection::vec(proptest::num::u8::ANY, 0..400), size in 1usize..50,
        ) {
            let mut reader = MessageReader::new(64);
            for piece in stream.chunks(size) {
                if reader.read(&mut piece.to_vec(), |_| true).is_err() {
                    break;
                }
                proptest::prop_assert!(reader.partial.len() <= 64 + MAX_HEADER_BYTES);
            }
        }
    }
}
