//! Rounds on WebTransport streams: each behind its length as a QUIC variable-length integer (RFC 9000
//! section 16).

/// Longest integer a varint can hold.
pub const MAX_VARINT: u64 = (1 << 62) - 1;

/// Appends `value` in its shortest form. Values above [`MAX_VARINT`] don't occur: a length in memory is smaller.
pub fn append_varint(out: &mut Vec<u8>, value: u64) {
    debug_assert!(value <= MAX_VARINT);
    match value {
        0..=0x3f => out.push(value as u8),
        0x40..=0x3fff => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        0x4000..=0x3fff_ffff => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Reads the varint at the start of `bytes`: its value and its length. `None` where it is not complete.
pub fn read_varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let &first = bytes.first()?;
    let length = 1 << (first >> 6);
    let value = bytes
        .get(1..length)?
        .iter()
        .fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte));
    Some((value, length))
}

/// Type of a WebTransport unidirectional stream, what such a stream begins with (draft-ietf-webtrans-http3,
/// section 4.2).
const UNI_STREAM_TYPE: u64 = 0x54;

/// All bytes of a unidirectional stream that carries one round of a session: the stream's type, the session and
/// the payload.
pub fn uni_stream(session_id: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    append_varint(&mut out, UNI_STREAM_TYPE);
    append_varint(&mut out, session_id);
    out.extend_from_slice(payload);
    out
}

/// A QUIC datagram that carries one round of a session: a quarter of the session's number (RFC 9297, section
/// 2.1) and the payload.
pub fn datagram(session_id: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 8);
    append_varint(&mut out, session_id / 4);
    out.extend_from_slice(payload);
    out
}

/// What a bidirectional stream of a session begins with (draft-ietf-webtrans-http3, section 4.3).
const BIDI_STREAM_TYPE: u64 = 0x41;

/// The beginning of a bidirectional stream of a session.
pub fn bidi_stream(session_id: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    append_varint(&mut out, BIDI_STREAM_TYPE);
    append_varint(&mut out, session_id);
    out
}

/// A stream that belongs to no session, or to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no stream of this session")]
pub struct ForeignStream;

/// How many bytes stand before the payload of a session's bidirectional stream; `None` where they have not all
/// arrived.
///
/// # Errors
/// [`ForeignStream`].
pub fn bidi_stream_payload(bytes: &[u8], session_id: u64) -> Result<Option<usize>, ForeignStream> {
    let Some((kind, at)) = read_varint(bytes) else { return Ok(None) };
    if kind != BIDI_STREAM_TYPE {
        return Err(ForeignStream);
    }
    match read_varint(&bytes[at..]) {
        None => Ok(None),
        Some((session, more)) if session == session_id => Ok(Some(at + more)),
        Some(_) => Err(ForeignStream),
    }
}

/// What a datagram of a session carries; `None` where it is none.
pub fn datagram_payload(datagram: &[u8], session_id: u64) -> Option<&[u8]> {
    let (quarter, at) = read_varint(datagram)?;
    (quarter.checked_mul(4) == Some(session_id)).then(|| &datagram[at..])
}

/// Appends a round as it travels on a stream.
pub fn append_message(out: &mut Vec<u8>, payload: &[u8]) {
    out.reserve(payload.len() + 8);
    append_varint(out, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// A length no message of the contract has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes on a stream, but at most {limit} are accepted")]
pub struct MessageTooBig {
    /// What the peer announced.
    pub length: u64,
    /// What is accepted.
    pub limit: usize,
}

/// Reads the message at the start of `bytes`: its payload and how many bytes it took. `None` where it has not
/// arrived whole.
///
/// # Errors
/// [`MessageTooBig`] as soon as the announced length is above `limit`.
pub fn next_message(bytes: &[u8], limit: usize) -> Result<Option<(&[u8], usize)>, MessageTooBig> {
    let Some((length, prefix)) = read_varint(bytes) else { return Ok(None) };
    if length > limit as u64 {
        return Err(MessageTooBig { length, limit });
    }
    let end = prefix + length as usize;
    Ok(bytes.get(prefix..end).map(|payload| (payload, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_examples_are_read() {
        assert_eq!(
            read_varint(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            Some((151_288_809_941_952_652, 8))
        );
        assert_eq!(read_varint(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(read_varint(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(read_varint(&[0x25]), Some((37, 1)));
        assert_eq!(read_varint(&[0x7b]), None);
        assert_eq!(read_varint(&[]), None);
    }

    #[test]
    fn a_message_waits_for_its_last_byte_and_a_huge_one_for_none() {
        let mut bytes = Vec::new();
        append_message(&mut bytes, &[7; 100]);
        assert_eq!(next_message(&bytes[..bytes.len() - 1], 100), Ok(None));
        assert_eq!(next_message(&bytes, 100), Ok(Some((&[7u8; 100][..], bytes.len()))));
        assert_eq!(next_message(&bytes[..2], 99), Err(MessageTooBig { length: 100, limit: 99 }));
    }

    #[test]
    fn what_belongs_to_a_session_is_told_from_what_does_not() {
        for session in [0, 4, 256, 1 << 40] {
            let mut stream = bidi_stream(session);
            for cut in 0..stream.len() {
                assert_eq!(bidi_stream_payload(&stream[..cut], session), Ok(None));
            }
            let length = stream.len();
            stream.extend_from_slice(b"more");
            assert_eq!(bidi_stream_payload(&stream, session), Ok(Some(length)));
            assert_eq!(bidi_stream_payload(&stream, session + 4), Err(ForeignStream));
            assert_eq!(datagram_payload(&datagram(session, b"x"), session), Some(&b"x"[..]));
            assert_eq!(datagram_payload(&datagram(session, b"x"), session + 4), None);
        }
        assert_eq!(bidi_stream_payload(b"\x01", 0), Err(ForeignStream), "a request's HEADERS");
    }

    proptest::proptest! {
        #[test]
        fn every_integer_is_read_back(value in 0..=MAX_VARINT, tail in proptest::num::u8::ANY) {
            let mut bytes = Vec::new();
            append_varint(&mut bytes, value);
            let length = bytes.len();
            bytes.push(tail);
            proptest::prop_assert_eq!(read_varint(&bytes), Some((value, length)));
        }
    }
}
