//! Several rounds in one message, what `?batch_ms=` asks for: a JSON array of the rounds as they were published, or
//! a `MessagePack` array of the rounds.

use crate::msgpack;

/// Appends a JSON array of these payloads.
pub fn append_json<'a>(out: &mut Vec<u8>, payloads: impl Iterator<Item = &'a [u8]> + Clone) {
    out.reserve(payloads.clone().map(|payload| payload.len() + 1).sum::<usize>() + 2);
    out.push(b'[');
    for (index, payload) in payloads.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(payload);
    }
    out.push(b']');
}

/// Appends a `MessagePack` array of these values.
pub fn append_msgpack<'a>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = &'a [u8]>) {
    msgpack::append_array_head(out, values.len());
    values.for_each(|value| out.extend_from_slice(value));
}

/// A message that is no array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch is one array")]
pub struct NotABatch;

/// Hands the elements of a JSON array to `on_element`, as they stand there. They are told apart, not validated: who
/// gets them will look at them anyway.
///
/// # Errors
/// [`NotABatch`] where the array does not end, or the message not with it; elements may have been handed out then.
pub fn split_json<'a>(message: &'a [u8], mut on_element: impl FnMut(&'a [u8])) -> Result<(), NotABatch> {
    let inner = message.trim_ascii().strip_prefix(b"[").ok_or(NotABatch)?.trim_ascii_start();
    if inner == b"]" {
        return Ok(());
    }
    let (mut begin, mut at, mut depth) = (0, 0, 0u32);
    while let Some(&byte) = inner.get(at) {
        match byte {
            b'"' => at = end_of_string(inner, at + 1).ok_or(NotABatch)?,
            b'[' | b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1).ok_or(NotABatch)?,
            b']' if depth > 0 => depth -= 1,
            b',' | b']' if depth == 0 => {
                let element = inner[begin..at].trim_ascii();
                if element.is_empty() {
                    return Err(NotABatch);
                }
                on_element(element);
                begin = at + 1;
                if byte == b']' {
                    return if begin == inner.len() { Ok(()) } else { Err(NotABatch) };
                }
            }
            _ => {}
        }
        at += 1;
    }
    Err(NotABatch)
}

/// Where the quote stands that ends the string whose content begins at `from`.
fn end_of_string(bytes: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
    }
}

/// Hands the elements of a `MessagePack` array to `on_element`.
///
/// # Errors
/// [`NotABatch`] where the array does not end with the message; elements may have been handed out then.
pub fn split_msgpack<'a>(message: &'a [u8], mut on_element: impl FnMut(&'a [u8])) -> Result<(), NotABatch> {
    let (elements, mut at) = msgpack::array_head(message).ok_or(NotABatch)?;
    for _ in 0..elements {
        let length = msgpack::value_length(&message[at..]).ok_or(NotABatch)?;
        on_element(&message[at..at + length]);
        at += length;
    }
    if at == message.len() { Ok(()) } else { Err(NotABatch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(message: &[u8]) -> Result<Vec<&[u8]>, NotABatch> {
        let mut elements = Vec::new();
        split_json(message, |element| elements.push(element)).map(|()| elements)
    }

    fn msgpack(message: &[u8]) -> Result<Vec<&[u8]>, NotABatch> {
        let mut elements = Vec::new();
        split_msgpack(message, |element| elements.push(element)).map(|()| elements)
    }

    #[test]
    fn what_is_joined_is_split_again() {
        let rounds =
            [&br#"{"round_id":1,"extras":"{\"a\": \"],[{\\\"\"}"}"#[..], b"{}", br#"{"x":[1,[2]],"y":"\\"}"#];
        for count in 0..=rounds.len() {
            let mut out = Vec::new();
            append_json(&mut out, rounds[..count].iter().copied());
            assert_eq!(json(&out).unwrap(), rounds[..count]);
            assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&out).unwrap().as_array().unwrap().len(),
                count
            );
        }
        let values = [&b"\x81\xa1a\x91\x01"[..], b"\xc0", b"\xa3abc"];
        let mut out = Vec::new();
        append_msgpack(&mut out, values.into_iter());
        assert_eq!(msgpack(&out).unwrap(), values);
        assert_eq!(json(b" [ 1 , \"a\" ] ").unwrap(), [&b"1"[..], b"\"a\""]);
        assert_eq!(json(b"[ ]").unwrap(), [&b""[..]; 0]);
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for message in [
            &b""[..],
            b"{}",
            b"[",
            b"[1",
            b"[1]]",
            b"[1,]",
            b"[,1]",
            b"[\"a]",
            b"[\"\\\"]",
            b"[}]",
            b"[1]2",
            b"[{]",
            b"\"]\"",
        ] {
            assert_eq!(json(message), Err(NotABatch), "{}", String::from_utf8_lossy(message));
        }
        for message in
            [&b""[..], b"\x92\x01", b"\x91\x01\x01", b"\x80", b"\xdd\xff\xff\xff\xff\x01", b"\x91\xc1"]
        {
            assert_eq!(msgpack(message), Err(NotABatch), "{message:?}");
        }
    }
}
