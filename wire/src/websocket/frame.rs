//! Single frames: RFC 6455 section 5.

/// Longest header a frame can have.
pub const MAX_HEADER_BYTES: usize = 14;

/// Longest payload of a control frame.
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a fragmented message.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// Goodbye.
    Close = 8,
    /// Are you there?
    Ping = 9,
    /// I am.
    Pong = 10,
}

impl Opcode {
    /// Close, ping and pong: short, never fragmented, allowed between fragments.
    pub fn is_control(self) -> bool {
        self as u8 >= 8
    }

    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// Which way a frame travels: clients mask, servers don't, and each must refuse the other's habit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masking {
    /// Client to server.
    Required,
    /// Server to client.
    Forbidden,
}

/// A frame's header, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The message ends with this frame.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The client's mask.
    pub mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    pub header_len: usize,
    /// Bytes behind the header.
    pub payload_len: usize,
}

impl FrameHeader {
    /// Bytes of header and payload together.
    pub fn frame_len(&self) -> usize {
        self.header_len + self.payload_len
    }
}

/// Why bytes are not an acceptable frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A reserved bit is set though no extension was negotiated.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// An opcode the RFC does not define.
    #[error("unknown opcode")]
    UnknownOpcode,
    /// A client frame without a mask.
    #[error("a client frame must be masked")]
    Unmasked,
    /// A server frame with a mask.
    #[error("a server frame must not be masked")]
    Masked,
    /// A control frame longer than [`MAX_CONTROL_PAYLOAD`] or in parts.
    #[error("a control frame is too long or fragmented")]
    Control,
    /// A length not written in the fewest bytes, or with its top bit set.
    #[error("a length is not written in its shortest form")]
    Length,
    /// More payload than allowed.
    #[error("a payload above the limit")]
    TooBig,
}

/// Reads the header at the start of `bytes`; `None` where it is not complete yet. Rejects by the header
/// alone, before a byte of an oversized payload is waited for.
///
/// # Errors
/// [`FrameError`] where no continuation of the bytes could be an acceptable frame.
pub fn decode_header(
    bytes: &[u8],
    masking: Masking,
    max_payload: usize,
) -> Result<Option<FrameHeader>, FrameError> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameError::ReservedBit);
    }
    let fin = first & 0x80 != 0;
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(FrameError::UnknownOpcode)?;
    let masked = second & 0x80 != 0;
    match masking {
        Masking::Required if !masked => return Err(FrameError::Unmasked),
        Masking::Forbidden if masked => return Err(FrameError::Masked),
        _ => {}
    }
    let (length, length_bytes) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            None => return Ok(None),
            Some(bytes) => (u64::from(u16::from_be_bytes(*bytes)), 2),
        },
        127 => match rest.first_chunk::<8>() {
            None => return Ok(None),
            Some(bytes) => (u64::from_be_bytes(*bytes), 8),
        },
        short => (u64::from(short), 0),
    };
    if (length_bytes == 2 && length < 126) || (length_bytes == 8 && (length <= 0xffff || length >> 63 != 0)) {
        return Err(FrameError::Length);
    }
    if opcode.is_control() && (!fin || length > MAX_CONTROL_PAYLOAD as u64) {
        return Err(FrameError::Control);
    }
    if length > max_payload as u64 {
        return Err(FrameError::TooBig);
    }
    let mask = if masked {
        match rest[length_bytes..].first_chunk::<4>() {
            None => return Ok(None),
            Some(mask) => Some(*mask),
        }
    } else {
        None
    };
    let header_len = 2 + length_bytes + if masked { 4 } else { 0 };
    Ok(Some(FrameHeader { fin, opcode, mask, header_len, payload_len: length as usize }))
}

/// Appends an unmasked (server) frame.
pub fn append_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    append_header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends a masked (client) frame.
pub fn append_client_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    append_header(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask);
}

fn append_header(out: &mut Vec<u8>, opcode: Opcode, length: usize, mask_bit: u8) {
    out.reserve(MAX_HEADER_BYTES + length);
    out.push(0x80 | opcode as u8);
    if length < 126 {
        out.push(mask_bit | length as u8);
    } else if let Ok(short) = u16::try_from(length) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&short.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

/// Takes the mask off a payload (or puts it on: it is the same operation).
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// Where the frame ends in which the byte at `sent` lies, given a buffer of whole server frames. With `sent`
/// on a border between frames, `sent` itself: nothing has been begun.
pub fn end_of_frame(frames: &[u8], sent: usize) -> usize {
    let mut at = 0;
    while at < sent {
        match decode_header(&frames[at..], Masking::Forbidden, usize::MAX) {
            Ok(Some(header)) => at += header.frame_len(),
            // Not a buffer of whole frames: the end is the only border left.
            _ => return frames.len(),
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_form_is_read_back() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20] {
            let payload = vec![b'x'; length];
            let mut server = Vec::new();
            append_frame(&mut server, Opcode::Text, &payload);
            let header = decode_header(&server, Masking::Forbidden, length).unwrap().unwrap();
            assert_eq!((header.payload_len, header.frame_len()), (length, server.len()));

            let mut client = Vec::new();
            append_client_frame(&mut client, Opcode::Binary, &payload, [1, 2, 3, 4]);
            let header = decode_header(&client, Masking::Required, length).unwrap().unwrap();
            let mut body = client[header.header_len..].to_vec();
            unmask(&mut body, header.mask.unwrap());
            assert_eq!(body, payload);
        }
    }

    #[test]
    fn what_the_rfc_forbids_is_refused_by_the_header_alone() {
        let refuse = |bytes: &[u8]| decode_header(bytes, Masking::Required, 1000).unwrap_err();
        assert_eq!(refuse(&[0xc1, 0x80]), FrameError::ReservedBit);
        assert_eq!(refuse(&[0x83, 0x80]), FrameError::UnknownOpcode);
        assert_eq!(refuse(&[0x81, 0x05]), FrameError::Unmasked);
        assert_eq!(refuse(&[0x09, 0x80]), FrameError::Control);
        assert_eq!(refuse(&[0x89, 0xfe, 0, 126]), FrameError::Control);
        assert_eq!(refuse(&[0x81, 0xfe, 0, 125]), FrameError::Length);
        assert_eq!(refuse(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), FrameError::Length);
        assert_eq!(refuse(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), FrameError::Length);
        assert_eq!(refuse(&[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0]), FrameError::TooBig);
        assert_eq!(decode_header(&[0x81, 0x81, 0, 0, 0, 0], Masking::Forbidden, 9), Err(FrameError::Masked));
    }

    #[test]
    fn the_end_of_a_begun_frame_is_found() {
        let mut frames = Vec::new();
        append_frame(&mut frames, Opcode::Text, b"first");
        let border = frames.len();
        append_frame(&mut frames, Opcode::Text, &[b'x'; 200]);
        assert_eq!(end_of_frame(&frames, 0), 0);
        assert_eq!(end_of_frame(&frames, 1), border);
        assert_eq!(end_of_frame(&frames, border), border);
        assert_eq!(end_of_frame(&frames, border + 1), frames.len());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..32)) {
            for masking in [Masking::Required, Masking::Forbidden] {
                if let Ok(Some(header)) = decode_header(&bytes, masking, 4096) {
                    proptest::prop_assert!(header.header_len <= bytes.len());
                    proptest::prop_assert!(header.payload_len <= 4096);
                }
            }
        }
    }
}
