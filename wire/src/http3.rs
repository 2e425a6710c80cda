//! As much of HTTP/3 (RFC 9114) as a WebTransport session's beginning needs: stream types and frames.

use crate::webtransport::{MessageTooBig, read_varint};

/// Type of the control stream.
pub const CONTROL_STREAM: u64 = 0x00;
/// Type of a HEADERS frame.
pub const HEADERS_FRAME: u64 = 0x01;
/// Type of a SETTINGS frame.
pub const SETTINGS_FRAME: u64 = 0x04;

/// A frame, borrowed from the stream's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is; types without meaning are to be passed over.
    pub kind: u64,
    /// What it holds.
    pub payload: &'a [u8],
}

/// Reads the frame at the start of `bytes`, and how many bytes it took. `None` where it has not arrived whole.
///
/// # Errors
/// [`MessageTooBig`] as soon as the announced length is above `limit`.
pub fn next_frame(bytes: &[u8], limit: usize) -> Result<Option<(Frame<'_>, usize)>, MessageTooBig> {
    let Some((kind, kind_length)) = read_varint(bytes) else { return Ok(None) };
    let Some((length, prefix)) = read_varint(&bytes[kind_length..]) else { return Ok(None) };
    if length > limit as u64 {
        return Err(MessageTooBig { length, limit });
    }
    let from = kind_length + prefix;
    let end = from + length as usize;
    Ok(bytes.get(from..end).map(|payload| (Frame { kind, payload }, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_waits_for_its_last_byte_and_a_huge_one_for_none() {
        let bytes = [0x01, 0x02, b'a', b'b', b'c'];
        assert_eq!(next_frame(&bytes, 2), Ok(Some((Frame { kind: HEADERS_FRAME, payload: b"ab" }, 4))));
        for cut in 0..4 {
            assert_eq!(next_frame(&bytes[..cut], 2), Ok(None), "cut at {cut}");
        }
        assert_eq!(next_frame(&bytes, 1), Err(MessageTooBig { length: 2, limit: 1 }));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..40)) {
            if let Ok(Some((frame, used))) = next_frame(&bytes, 64) {
                proptest::prop_assert!(frame.payload.len() < used && used <= bytes.len());
            }
        }
    }
}
