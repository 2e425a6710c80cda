//! Frames as bytes: no library would send what these cases do.

pub const CONTINUATION: u8 = 0x80;
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
/// The same without the bit that ends a message.
pub const TEXT_PART: u8 = 0x01;
pub const BINARY_PART: u8 = 0x02;
pub const PART: u8 = 0x00;

/// A masked frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A header that announces a masked payload, without its mask.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    match length {
        0..=125 => vec![first, 0x80 | length as u8],
        126..=0xffff => [&[first, 0x80 | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, 0x80 | 127][..], &length.to_be_bytes()].concat(),
    }
}

/// A message in parts of `size` bytes.
pub fn in_parts(first: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let last = payload.len().div_ceil(size) - 1;
    for (index, part) in payload.chunks(size).enumerate() {
        let opcode = if index == 0 { first & 0x0f } else { PART };
        let end = if index == last { 0x80 } else { 0 };
        bytes.extend(frame(opcode | end, part));
    }
    bytes
}
