//! As much HTTP/1.1 as a subscriber needs: read the head of an answer, say why it is a refusal, undo the chunked
//! transfer coding.

use crate::transport::AttachError;

/// Headers an answer may have.
const MAX_HEADERS: usize = 64;
/// How much of a refusal's body is waited for and shown.
const REFUSAL_BYTES: usize = 4096;
const REFUSAL_SHOWN: usize = 300;

/// The head of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Bytes of the head, blank line included.
    pub length: usize,
    /// The body comes in chunks.
    pub chunked: bool,
    /// Length of the body, where it is told.
    pub content_length: Option<usize>,
    /// `Content-Type`.
    pub content_type: String,
    /// `Sec-WebSocket-Accept`.
    pub websocket_accept: String,
}

impl Head {
    /// Reads the head at the start of `bytes`; `None` where it is not complete.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(format!("no HTTP answer ({error})")),
        };
        let mut head = Self { status: response.code.unwrap_or_default(), length, ..Self::default() };
        for header in response.headers {
            let value = String::from_utf8_lossy(header.value);
            match header.name.to_ascii_lowercase().as_str() {
                "transfer-encoding" => head.chunked = value.to_ascii_lowercase().contains("chunked"),
                "content-length" => head.content_length = value.trim().parse().ok(),
                "content-type" => head.content_type = value.trim().to_ascii_lowercase(),
                "sec-websocket-accept" => value.trim().clone_into(&mut head.websocket_accept),
                _ => {}
            }
        }
        Ok(Some(head))
    }

    /// The refusal this head begins, once its body has arrived or the connection has ended; `None` while more of
    /// the body is to be waited for.
    pub fn refusal(&self, address: &str, bytes: &[u8], at_end: bool) -> Option<AttachError> {
        let body = &bytes[self.length..];
        let wanted = self.content_length.unwrap_or(if self.chunked { REFUSAL_BYTES } else { 0 });
        if !at_end && body.len() < wanted.min(REFUSAL_BYTES) && !body.ends_with(b"0\r\n\r\n") {
            return None;
        }
        let text = String::from_utf8_lossy(body);
        let mut body: String = text.trim().chars().take(REFUSAL_SHOWN).collect();
        if body.is_empty() {
            body.push_str("(nothing more was said)");
        }
        Some(AttachError::Refused { address: address.to_owned(), status: self.status, body })
    }
}

/// Undoes the chunked transfer coding of a body that arrives in arbitrary pieces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Chunks {
    /// The body is not coded.
    #[default]
    None,
    /// Inside the line that tells a chunk's size; what was read of it.
    Size(usize),
    /// Behind the size, before the line's end.
    SizeEnd(usize),
    /// So many bytes of a chunk are still to come.
    Data(usize),
    /// The line's end behind a chunk.
    DataEnd,
    /// The last chunk has been seen.
    Last,
}

impl Chunks {
    /// Keeps the data of `piece` at its beginning and tells how many bytes they are.
    ///
    /// # Errors
    /// Where the coding is broken.
    pub fn undo(&mut self, piece: &mut [u8]) -> Result<usize, &'static str> {
        if *self == Self::None {
            return Ok(piece.len());
        }
        let (mut from, mut to) = (0, 0);
        while let Some(&byte) = piece.get(from) {
            match *self {
                Self::Data(left) => {
                    let length = left.min(piece.len() - from);
                    piece.copy_within(from..from + length, to);
                    from += length;
                    to += length;
                    *self = if left == length { Self::DataEnd } else { Self::Data(left - length) };
                    continue;
                }
                Self::Size(size) => *self = Self::size_byte(size, byte)?,
                Self::SizeEnd(size) if byte == b'\n' => {
                    *self = if size == 0 { Self::Last } else { Self::Data(size) };
                }
                Self::DataEnd if byte == b'\n' => *self = Self::Size(0),
                Self::DataEnd if byte != b'\r' => return Err("a chunk is longer than it said"),
                Self::SizeEnd(_) | Self::DataEnd => {}
                Self::Last | Self::None => break,
            }
            from += 1;
        }
        Ok(to)
    }

    fn size_byte(size: usize, byte: u8) -> Result<Self, &'static str> {
        match (byte as char).to_digit(16) {
            Some(digit) if size < 1 << 40 => Ok(Self::Size(size * 16 + digit as usize)),
            None if byte == b'\n' => Ok(if size == 0 { Self::Last } else { Self::Data(size) }),
            None if matches!(byte, b'\r' | b';' | b' ' | b'\t') => Ok(Self::SizeEnd(size)),
            _ => Err("the size of a chunk is no number"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_complete() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\nbody";
        for length in 0..bytes.len() - 4 {
            assert_eq!(Head::parse(&bytes[..length]), Ok(None), "{length} bytes");
        }
        let head = Head::parse(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.chunked, head.length), (200, true, bytes.len() - 4));
        assert!(head.content_type.starts_with("text/event-stream"));
        assert!(Head::parse(b"SSH-2.0-OpenSSH\r\n").is_err());
    }

    #[test]
    fn a_refusal_waits_for_its_body_and_tells_it() {
        let bytes = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno gameXY";
        let head = Head::parse(bytes).unwrap().unwrap();
        assert!(head.refusal("here", &bytes[..bytes.len() - 1], false).is_none());
        let told = head.refusal("here", bytes, false).unwrap().to_string();
        assert_eq!(told, "here refused the subscription with status 404: no gameXY");
        let told = head.refusal("here", &bytes[..head.length], true).unwrap().to_string();
        assert!(told.ends_with("(nothing more was said)"), "{told}");
    }

    #[test]
    fn chunks_are_undone_wherever_the_stream_is_cut() {
        let coded = b"5\r\nhello\r\n1;name=value\r\n \r\nb\r\nlarge world\r\n0\r\n\r\n";
        for size in 1..=coded.len() {
            let mut chunks = Chunks::Size(0);
            let mut body = Vec::new();
            for piece in coded.chunks(size) {
                let mut piece = piece.to_vec();
                let length = chunks.undo(&mut piece).unwrap();
                body.extend_from_slice(&piece[..length]);
            }
            assert_eq!(body, b"hello large world", "in pieces of {size}");
            assert_eq!(chunks, Chunks::Last);
        }
        assert!(Chunks::Size(0).undo(&mut b"xyz".to_vec()).is_err());
        assert!(Chunks::Size(0).undo(&mut b"1\r\nab".to_vec()).is_err());
        assert_eq!(Chunks::None.undo(&mut b"5\r\n".to_vec()), Ok(3));
    }
}
