//! As much of Redis' protocol (RESP 2) as a subscription needs: commands out, pushes in.

/// Most parts a push has: `message`, the channel, the payload.
const MAX_PARTS: usize = 3;

/// Something Redis said to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push<'a> {
    /// A message was published.
    Message {
        /// The channel.
        channel: &'a [u8],
        /// What was published.
        payload: &'a [u8],
    },
    /// A subscription stands.
    Subscribed,
    /// Anything else that is no error: an answer to a ping, `OK`.
    Other,
    /// Redis refuses something, in its own words.
    Refused(&'a [u8]),
}

/// Bytes that are no RESP 2, or announce more than is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis sent something that is not RESP 2")]
pub struct RespError;

/// Appends a command.
pub fn append_command(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads what stands at the start of `bytes`, and how many bytes it took. `None` where it has not arrived whole.
///
/// # Errors
/// [`RespError`] where no continuation could be understood, or a part is announced to be above `limit`.
pub fn next_push(bytes: &[u8], limit: usize) -> Result<Option<(Push<'_>, usize)>, RespError> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((line, mut at)) = line(rest, 1)? else { return Ok(None) };
    match kind {
        b'+' | b':' => return Ok(Some((Push::Other, at))),
        b'-' => return Ok(Some((Push::Refused(line), at))),
        b'*' => {}
        _ => return Err(RespError),
    }
    let count = number(line)?;
    if count > MAX_PARTS {
        return Err(RespError);
    }
    let mut parts: [&[u8]; MAX_PARTS] = [b""; MAX_PARTS];
    for part in parts.iter_mut().take(count) {
        let Some((found, next)) = part_at(bytes, at, limit)? else { return Ok(None) };
        (*part, at) = (found, next);
    }
    let push = match (count, parts) {
        (3, [b"message", channel, payload]) => Push::Message { channel, payload },
        (3, [b"subscribe", ..]) => Push::Subscribed,
        _ => Push::Other,
    };
    Ok(Some((push, at)))
}

/// A bulk string, an integer (as nothing) or a null (as nothing), and where it ends.
fn part_at(bytes: &[u8], at: usize, limit: usize) -> Result<Option<(&[u8], usize)>, RespError> {
    let Some(&kind) = bytes.get(at) else { return Ok(None) };
    let Some((line, from)) = line(&bytes[at + 1..], at + 1)? else { return Ok(None) };
    match kind {
        b':' => Ok(Some((b"", from))),
        b'$' if line == b"-1" => Ok(Some((b"", from))),
        b'$' => {
            let length = number(line)?;
            if length > limit {
                return Err(RespError);
            }
            let end = from + length;
            Ok(bytes.get(from..end).filter(|_| bytes.len() >= end + 2).map(|part| (part, end + 2)))
        }
        _ => Err(RespError),
    }
}

/// The line at the start of `rest`, which begins at `offset`, and where the next one begins.
fn line(rest: &[u8], offset: usize) -> Result<Option<(&[u8], usize)>, RespError> {
    /// An error message is the longest line there is.
    const MAX_LINE_BYTES: usize = 4096;
    match memchr::memchr(b'\r', rest) {
        // The same however much of it has arrived.
        Some(end) if end > MAX_LINE_BYTES => Err(RespError),
        None if rest.len() > MAX_LINE_BYTES => Err(RespError),
        Some(end) if rest.get(end + 1) == Some(&b'\n') => Ok(Some((&rest[..end], offset + end + 2))),
        Some(end) if end + 1 < rest.len() => Err(RespError),
        _ => Ok(None),
    }
}

fn number(line: &[u8]) -> Result<usize, RespError> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(RespError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_understood_wherever_its_stream_is_cut() {
        let stream = [
            &b"+OK\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"[..],
            b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$6\r\n1\r\n2\r\n\r\n",
            b"*2\r\n$4\r\npong\r\n$0\r\n\r\n-ERR no\r\n",
        ]
        .concat();
        let expected = [
            Push::Other,
            Push::Subscribed,
            Push::Message { channel: b"c", payload: b"1\r\n2\r\n" },
            Push::Other,
            Push::Refused(b"ERR no"),
        ];
        for cut in 0..=stream.len() {
            let mut found = Vec::new();
            let mut at = 0;
            for end in [cut, stream.len()] {
                while let Some((push, used)) = next_push(&stream[at..end], 100).unwrap() {
                    found.push(push);
                    at += used;
                }
            }
            assert_eq!(found, expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_redis_is_refused() {
        for bytes in
            [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"*9\r\n", b"*x\r\n", b"*1\r\n$101\r\n", b"*1\r\n%1\r\n"]
        {
            assert_eq!(next_push(bytes, 100), Err(RespError), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_line_has_the_same_limit_however_it_is_cut() {
        for (length, expected) in [(4096, Ok(4099)), (4097, Err(RespError))] {
            let line = format!("-{}\r\n", "x".repeat(length));
            let found = |bytes: &[u8]| next_push(bytes, 100).map(|push| push.map_or(0, |(_, used)| used));
            assert_eq!(found(line.as_bytes()), expected);
            let cut = &line.as_bytes()[..line.len() - 1];
            assert_eq!(found(cut), expected.map(|_| 0), "without its line feed");
        }
    }

    #[test]
    fn a_command_is_an_array_of_its_parts() {
        let mut out = Vec::new();
        append_command(&mut out, &[b"SUBSCRIBE", b"stream:crash"]);
        assert_eq!(out, b"*2\r\n$9\r\nSUBSCRIBE\r\n$12\r\nstream:crash\r\n");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in "[*$:+-]?[0-9]{0,3}(\\r\\n)?[$:]?-?[0-9]{0,2}(\\r\\n)?.{0,20}") {
            if let Ok(Some((_, used))) = next_push(bytes.as_bytes(), 64) {
                proptest::prop_assert!(used <= bytes.len());
            }
        }
    }
}
