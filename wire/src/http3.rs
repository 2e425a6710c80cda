//! As much of HTTP/3 (RFC 9114) as a WebTransport session's beginning needs: stream types and frames, and a look at a
//! header block before a library decodes it.

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

/// The largest integer of a header block (RFC 9204, section 4.1.1).
const MAX_INTEGER: u64 = (1 << 62) - 1;

/// Bytes that an integer takes behind its first at most: seven bits each.
const MAX_INTEGER_BYTES: u32 = 9;

/// Why a header block is not to be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderBlockError {
    /// It ends in the middle of a field.
    #[error("the header block ends in the middle of a field")]
    Cut,
    /// An integer is larger than 62 bits, or written with more bytes than one can need.
    #[error("an integer of the header block is beyond 62 bits")]
    IntegerTooLarge,
    /// It refers to a dynamic table, which nobody has who has not allowed for one.
    #[error("the header block refers to a dynamic table")]
    DynamicTable,
}

/// Walks over a header block (QPACK, RFC 9204) without a dynamic table, and sees that its fields are whole and its
/// integers within bounds. `wtransport-proto` 0.7 shifts by as many bits as an integer has bytes, however many those are.
///
/// # Errors
/// [`HeaderBlockError`].
pub fn check_header_block(mut block: &[u8]) -> Result<(), HeaderBlockError> {
    let rest = &mut block;
    // Required insert count and base.
    skip_integer(rest, 8)?;
    skip_integer(rest, 7)?;
    while let Some(&first) = rest.first() {
        match first {
            // An indexed field line: of the static table where the second bit is set.
            0xc0.. => {
                skip_integer(rest, 6)?;
            }
            // A value with the name of another field; of the static table where the fourth bit is set.
            0x40..=0x7f if first & 0x10 != 0 => {
                skip_integer(rest, 4)?;
                skip_string(rest, 7)?;
            }
            // A name and a value.
            0x20..=0x3f => {
                skip_string(rest, 3)?;
                skip_string(rest, 7)?;
            }
            _ => return Err(HeaderBlockError::DynamicTable),
        }
    }
    Ok(())
}

/// Passes over an integer whose first byte has so many bits of it (RFC 7541, section 5.1), and gives it.
fn skip_integer(bytes: &mut &[u8], prefix_bits: u32) -> Result<u64, HeaderBlockError> {
    let (&first, mut rest) = bytes.split_first().ok_or(HeaderBlockError::Cut)?;
    let mask = u8::MAX >> (8 - prefix_bits);
    let mut value = u64::from(first & mask);
    if first & mask == mask {
        for index in 0.. {
            let (&byte, behind) = rest.split_first().ok_or(HeaderBlockError::Cut)?;
            if index == MAX_INTEGER_BYTES {
                return Err(HeaderBlockError::IntegerTooLarge);
            }
            // 63 bits and a byte's worth: that fits.
            value += u64::from(byte & 0x7f) << (7 * index);
            rest = behind;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    if value > MAX_INTEGER {
        return Err(HeaderBlockError::IntegerTooLarge);
    }
    *bytes = rest;
    Ok(value)
}

/// Passes over a string behind its length.
fn skip_string(bytes: &mut &[u8], prefix_bits: u32) -> Result<(), HeaderBlockError> {
    let length = skip_integer(bytes, prefix_bits)?;
    let length = usize::try_from(length).map_err(|_| HeaderBlockError::Cut)?;
    *bytes = bytes.get(length..).ok_or(HeaderBlockError::Cut)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `:method: GET`, an `origin` with a value, and a field with a name of its own.
    const BLOCK: &[u8] = b"\x00\x00\xd1\x5f\x4b\x01o\x23abc\x02de";

    #[test]
    fn a_header_block_is_walked_to_its_end() {
        assert_eq!(check_header_block(BLOCK), Ok(()));
        for cut in 0..BLOCK.len() {
            let whole = [2, 3, 7].contains(&cut);
            assert_eq!(check_header_block(&BLOCK[..cut]).is_ok(), whole, "cut at {cut}");
        }
        for dynamic in [0x80, 0x4f, 0x10, 0x00] {
            let block = [&BLOCK[..2], &[dynamic, 0, 0]].concat();
            assert_eq!(check_header_block(&block), Err(HeaderBlockError::DynamicTable), "{dynamic:x}");
        }
    }

    #[test]
    fn an_integer_has_62_bits_at_most_wherever_it_stands() {
        let mut below = vec![0xff];
        below.extend([0x80; 8]);
        below.push(0x3f);
        assert_eq!(skip_integer(&mut &below[..], 8), Ok((0x3f << 56) + 255));
        for (before, prefix) in [
            (&b""[..], 0xff),
            (b"\x00", 0x7f),
            (b"\x00\x00", 0xff),
            (b"\x00\x00", 0x5f),
            (b"\x00\x00\x51", 0x7f),
            (b"\x00\x00", 0x27),
            (b"\x00\x00\x21a", 0x7f),
        ] {
            for length in [9, 10, 11, 40, 1000] {
                let mut block = [before, &[prefix], &vec![0xff; length]].concat();
                block.push(0x01);
                assert_eq!(
                    check_header_block(&block),
                    Err(HeaderBlockError::IntegerTooLarge),
                    "{before:?} {length}"
                );
            }
        }
    }

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
