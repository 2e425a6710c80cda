//! A round as `MessagePack` (<https://github.com/msgpack/msgpack/blob/master/spec.md>): a map of the same fields in
//! the same order, every number and text in its shortest form.

use crate::round::Round;

/// What a round begins with: a map of seven fields, the name of the first.
const ROUND_BEGINS: &[u8] = b"\x87\xa8round_id";

/// Appends a round.
pub fn append_round(out: &mut Vec<u8>, round: &Round<'_>) {
    out.extend_from_slice(ROUND_BEGINS);
    append_unsigned(out, round.round_id);
    append_text(out, "game_id");
    append_unsigned(out, round.game_id);
    for (name, value) in [
        ("game_slug", &round.game_slug),
        ("game_type", &round.game_type),
        ("finished_at", &round.finished_at),
        ("extras", &round.extras),
    ] {
        append_text(out, name);
        append_text(out, value);
    }
    append_text(out, "timestamp");
    match u64::try_from(round.timestamp) {
        Ok(timestamp) => append_unsigned(out, timestamp),
        Err(_) => append_negative(out, round.timestamp),
    }
}

/// Appends the notice `{"gap":{"from":…,"to":…}}`.
pub fn append_gap(out: &mut Vec<u8>, from: u64, to: u64) {
    out.push(0x81);
    append_text(out, "gap");
    out.push(0x82);
    append_text(out, "from");
    append_unsigned(out, from);
    append_text(out, "to");
    append_unsigned(out, to);
}

/// Appends the head of an array; its elements follow.
pub fn append_array_head(out: &mut Vec<u8>, elements: usize) {
    match elements {
        0..=15 => out.push(0x90 | elements as u8),
        16..=0xffff => {
            out.push(0xdc);
            out.extend_from_slice(&(elements as u16).to_be_bytes());
        }
        _ => {
            out.push(0xdd);
            out.extend_from_slice(&(elements as u32).to_be_bytes());
        }
    }
}

fn append_text(out: &mut Vec<u8>, text: &str) {
    match text.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        // A round has at most a mebibyte.
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn append_unsigned(out: &mut Vec<u8>, value: u64) {
    match value {
        0..=0x7f => out.push(value as u8),
        0x80..=0xff => out.extend_from_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend_from_slice(&(value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend_from_slice(&(value as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

fn append_negative(out: &mut Vec<u8>, value: i64) {
    match value {
        -32.. => out.push(value as u8),
        -0x80..-32 => out.extend_from_slice(&[0xd0, value as u8]),
        -0x8000..-0x80 => {
            out.push(0xd1);
            out.extend_from_slice(&(value as i16).to_be_bytes());
        }
        -0x8000_0000..-0x8000 => {
            out.push(0xd2);
            out.extend_from_slice(&(value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

/// What stands at the start of a value: how many bytes it has by itself, and how many values follow that belong to
/// it. `None` where the head is not complete, or is the one byte that means nothing.
fn head(bytes: &[u8]) -> Option<(usize, u64)> {
    let number = |from: usize, size: usize| {
        let digits = bytes.get(from..from + size)?;
        Some(digits.iter().fold(0u64, |value, &byte| value << 8 | u64::from(byte)))
    };
    // A length in front of so many bytes of content, behind the marker.
    let sized =
        |size: usize, more: usize| Some((1 + size + more + usize::try_from(number(1, size)?).ok()?, 0));
    let &marker = bytes.first()?;
    match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Some((1, 0)),
        0x80..=0x8f => Some((1, 2 * u64::from(marker & 0x0f))),
        0x90..=0x9f => Some((1, u64::from(marker & 0x0f))),
        0xa0..=0xbf => Some((1 + usize::from(marker & 0x1f), 0)),
        0xc1 => None,
        0xc4 | 0xd9 => sized(1, 0),
        0xc5 | 0xda => sized(2, 0),
        0xc6 | 0xdb => sized(4, 0),
        0xc7 => sized(1, 1),
        0xc8 => sized(2, 1),
        0xc9 => sized(4, 1),
        0xcc | 0xd0 => Some((2, 0)),
        0xcd | 0xd1 => Some((3, 0)),
        0xca | 0xce | 0xd2 => Some((5, 0)),
        0xcb | 0xcf | 0xd3 => Some((9, 0)),
        0xd4..=0xd8 => Some((2 + (1 << (marker - 0xd4)), 0)),
        0xdc => Some((3, number(1, 2)?)),
        0xdd => Some((5, number(1, 4)?)),
        0xde => Some((3, 2 * number(1, 2)?)),
        0xdf => Some((5, 2 * number(1, 4)?)),
    }
}

/// How many bytes the value at the start of `bytes` has; `None` where it is not whole or no value. Takes no more
/// steps than there are bytes, and no memory, whatever is announced.
pub fn value_length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut to_come) = (0, 1u64);
    while to_come > 0 {
        let (length, inner) = head(&bytes[at..])?;
        at = at.checked_add(length).filter(|at| *at <= bytes.len())?;
        to_come = to_come - 1 + inner;
        // Every value has a byte at least.
        if to_come > (bytes.len() - at) as u64 {
            return None;
        }
    }
    Some(at)
}

/// How many elements the array at the start of `bytes` has, and where the first begins; `None` where there is none.
pub fn array_head(bytes: &[u8]) -> Option<(u64, usize)> {
    match bytes.first()? {
        0x90..=0x9f | 0xdc | 0xdd => head(bytes).map(|(length, elements)| (elements, length)),
        _ => None,
    }
}

/// The identifier of a received round, read without the rest; `None` where there is none at the place the contract
/// fixes.
pub fn peek_round_id(message: &[u8]) -> Option<u64> {
    let number = message.strip_prefix(ROUND_BEGINS)?;
    let (length, _) = head(number)?;
    let &marker = number.first()?;
    match marker {
        0x00..=0x7f => Some(u64::from(marker)),
        0xcc..=0xcf => {
            Some(number.get(1..length)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(round_id: u64, extras: &str, timestamp: i64) -> Round<'_> {
        Round {
            round_id,
            game_id: 1,
            game_slug: "crash".into(),
            game_type: "multiplier".into(),
            finished_at: "2026-01-17T00:45:42.735266-03:00".into(),
            extras: extras.into(),
            timestamp,
        }
    }

    /// What another implementation makes of the same struct.
    fn by_another_hand(round: &Round<'_>) -> Vec<u8> {
        rmp_serde::to_vec_named(round).unwrap()
    }

    #[test]
    fn a_round_is_what_another_implementation_makes_of_it() {
        let lengths = [0, 1, 31, 32, 255, 256, 65_535, 65_536, 70_000];
        for (index, id) in [0, 127, 128, 255, 256, 65_535, 65_536, 1 << 32, (1 << 32) - 1, i64::MAX as u64]
            .into_iter()
            .enumerate()
        {
            let extras =
                "é".repeat(lengths[index % lengths.len()] / 2) + if index % 2 == 0 { "" } else { "x" };
            for timestamp in [
                0,
                -1,
                -32,
                -33,
                -128,
                -129,
                -32_768,
                -32_769,
                i64::from(i32::MIN),
                i64::MIN,
                1_768_621_542_123,
            ] {
                let round = round(id, &extras, timestamp);
                let mut out = Vec::new();
                append_round(&mut out, &round);
                assert!(out == by_another_hand(&round), "{id} {timestamp} {}", extras.len());
                assert_eq!(value_length(&out), Some(out.len()));
                assert_eq!(peek_round_id(&out), Some(id));
                assert_eq!(value_length(&out[..out.len() - 1]), None);
            }
        }
    }

    #[test]
    fn arrays_and_gaps_are_read_by_another_hand() {
        for elements in [0, 1, 15, 16, 65_535, 65_536] {
            let mut out = Vec::new();
            append_array_head(&mut out, elements);
            assert_eq!(array_head(&out), Some((elements as u64, out.len())));
            out.resize(out.len() + elements, 0);
            let read: Vec<u8> = rmp_serde::from_slice(&out).unwrap();
            assert_eq!((read.len(), value_length(&out)), (elements, Some(out.len())));
        }
        let mut out = Vec::new();
        append_gap(&mut out, 5, 300);
        let read: serde_json::Value = rmp_serde::from_slice(&out).unwrap();
        assert_eq!(read, serde_json::json!({ "gap": { "from": 5, "to": 300 } }));
    }

    #[test]
    fn what_announces_more_than_there_is_costs_nothing() {
        for bytes in [
            &b"\xdd\xff\xff\xff\xff\x00"[..],
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xc1",
            b"\x91",
            b"",
        ] {
            assert_eq!(value_length(bytes), None, "{bytes:?}");
        }
        assert_eq!(value_length(&[0x91; 10_000]), None, "no recursion to exhaust");
    }
}
