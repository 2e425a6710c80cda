//! Server-Sent Events (WHATWG HTML, section 9.2): events written by the server, and read by a client however
//! the network cuts them.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// `event:` of the round(s) a subscriber gets on connect.
pub const EVENT_INITIAL: &str = "initial";
/// `event:` of every later round.
pub const EVENT_MESSAGE: &str = "message";
/// `event:` of a notice that rounds are missing.
pub const EVENT_GAP: &str = "gap";
/// What a stream begins with: how long a client waits before it reconnects.
pub const RETRY_LINE: &[u8] = b"retry: 3000\n\n";

/// Appends one event. `data` must have no line break (a validated round has none).
pub fn append_event(out: &mut Vec<u8>, event: &str, id: Option<u64>, data: &[u8]) {
    debug_assert!(memchr::memchr2(b'\n', b'\r', data).is_none());
    out.reserve(event.len() + data.len() + 48);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    if let Some(id) = id {
        out.extend_from_slice(b"\nid: ");
        out.extend_from_slice(id.to_string().as_bytes());
    }
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Bytes as `data:`, which can only be text.
pub fn encode_binary(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of such data, in `out`, whose room is used again. Whether it is such data.
pub fn decode_binary(data: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    STANDARD.decode_vec(data, out).is_ok()
}

/// A comment that keeps proxies and clients awake.
pub fn heartbeat(unix_seconds: u64) -> Vec<u8> {
    format!(": heartbeat {unix_seconds}\n\n").into_bytes()
}

/// The comment a server ends a stream with when it has something to say.
pub fn goodbye(reason: &str) -> Vec<u8> {
    let reason = reason.replace(['\n', '\r'], " ");
    format!(": closed: {reason}\n\n").into_bytes()
}

/// Where the event ends in which the byte at `sent` lies, given a buffer of whole events as written by this
/// module. With `sent` on a border, `sent` itself.
pub fn end_of_event(events: &[u8], sent: usize) -> usize {
    if sent == 0 || events[..sent].ends_with(b"\n\n") {
        return sent;
    }
    // The blank line may have been cut in its middle.
    let from = sent - 1;
    memchr::memmem::find(&events[from..], b"\n\n").map_or(events.len(), |at| from + at + 2)
}

/// One event as a client sees it. Comments and fields without meaning are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event<'a> {
    /// The `event:` field; empty means `message`.
    pub event: &'a [u8],
    /// The `id:` field.
    pub id: Option<&'a [u8]>,
    /// The `data:` lines, joined by line feeds; `None` where the block had none (a comment, a `retry:`).
    pub data: Option<Cow<'a, [u8]>>,
}

/// Reads the first whole block (everything up to a blank line) of `bytes`: the event and how many bytes it
/// took. `None` where the blank line has not arrived yet.
///
/// A carriage return as the very last byte is not yet a line's end: a line feed may follow it. Everything is
/// borrowed except data of several lines.
#[inline]
pub fn next_event(bytes: &[u8]) -> Option<(Event<'_>, usize)> {
    usual_event(bytes).or_else(|| any_event(bytes))
}

/// The same for a whole event as [`append_event`] writes them, in one scan; `None` for whatever else.
#[inline]
fn usual_event(bytes: &[u8]) -> Option<(Event<'_>, usize)> {
    let rest = bytes.strip_prefix(b"event: ")?;
    // A search costs more than it saves in lines as short as these.
    let event_length = rest.iter().position(|byte| !byte.is_ascii_lowercase())?;
    let (event, rest) = rest.split_at(event_length);
    let (id, rest) = match rest.strip_prefix(b"\nid: ") {
        None => (None, rest),
        Some(rest) => {
            let (id, rest) = rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?);
            (Some(id), rest)
        }
    };
    let rest = rest.strip_prefix(b"\ndata: ")?;
    let (data, rest) = rest.split_at(memchr::memchr2(b'\n', b'\r', rest)?);
    let rest = rest.strip_prefix(b"\n\n")?;
    Some((Event { event, id, data: Some(Cow::Borrowed(data)) }, bytes.len() - rest.len()))
}

fn any_event(bytes: &[u8]) -> Option<(Event<'_>, usize)> {
    let mut event = Event::default();
    let mut at = 0;
    loop {
        let (line, next) = next_line(bytes, at)?;
        if line.is_empty() {
            return Some((event, next));
        }
        field(&mut event, line);
        at = next;
    }
}

fn next_line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let end = from + memchr::memchr2(b'\n', b'\r', &bytes[from..])?;
    let line = &bytes[from..end];
    match (bytes[end], bytes.get(end + 1)) {
        (b'\n', _) => Some((line, end + 1)),
        (_, Some(b'\n')) => Some((line, end + 2)),
        (_, Some(_)) => Some((line, end + 1)),
        (_, None) => None,
    }
}

fn field<'a>(event: &mut Event<'a>, line: &'a [u8]) {
    let (name, value) = match memchr::memchr(b':', line) {
        Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
        None => (line, &[][..]),
    };
    match name {
        b"event" => event.event = value,
        b"id" if !value.contains(&0) => event.id = Some(value),
        b"data" => match &mut event.data {
            None => event.data = Some(Cow::Borrowed(value)),
            Some(data) => {
                let data = data.to_mut();
                data.push(b'\n');
                data.extend_from_slice(value);
            }
        },
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(bytes: &[u8]) -> Vec<(String, Option<String>, Option<String>)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut events = Vec::new();
        let mut at = 0;
        while let Some((event, used)) = next_event(&bytes[at..]) {
            events.push((text(event.event), event.id.map(text), event.data.as_deref().map(text)));
            at += used;
        }
        events
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = RETRY_LINE.to_vec();
        append_event(&mut out, EVENT_INITIAL, Some(7), b"{}");
        out.extend_from_slice(&heartbeat(1_768_621_542));
        append_event(&mut out, EVENT_MESSAGE, None, b"[1]");
        let owned = |text: &str| Some(text.to_owned());
        assert_eq!(
            read_all(&out),
            [
                (String::new(), None, None),
                ("initial".into(), owned("7"), owned("{}")),
                (String::new(), None, None),
                ("message".into(), None, owned("[1]")),
            ]
        );
    }

    #[test]
    fn what_is_written_is_usual() {
        for id in [None, Some(0), Some(u64::MAX)] {
            let mut out = Vec::new();
            append_event(&mut out, EVENT_MESSAGE, id, b"{\"round_id\":7}");
            assert!(usual_event(&out[..out.len() - 1]).is_none());
            out.extend_from_slice(b"event: ");
            assert!(usual_event(&out).is_some());
            assert_eq!(usual_event(&out), any_event(&out));
        }
    }

    #[test]
    fn bytes_travel_as_text() {
        let mut out = b"left over".to_vec();
        for bytes in [&b""[..], b"\x87\xa8round_id\n\r\0", &[0xff; 1000]] {
            let text = encode_binary(bytes);
            assert!(!text.contains(['\n', '\r']));
            assert!(decode_binary(text.as_bytes(), &mut out));
            assert_eq!(out, bytes);
        }
        assert!(!decode_binary(b"{\"round_id\":1}", &mut out));
    }

    #[test]
    fn all_three_line_ends_and_odd_fields_are_understood() {
        let data = |bytes: &[u8]| read_all(bytes).into_iter().filter_map(|event| event.2).collect::<Vec<_>>();
        assert_eq!(data(b"data: a\r\n\r\ndata:b\n\ndata:  c\r\r: x"), ["a", "b", " c"]);
        assert_eq!(data(b"data: one\ndata: two\n\n"), ["one\ntwo"]);
        assert_eq!(data(b"data\n\n"), [""]);
        assert_eq!(data(b"unknown: x\n: comment\n\n"), Vec::<String>::new());
        assert!(next_event(b"data: a\r").is_none());
        assert!(next_event(b"data: a\n").is_none());
    }

    #[test]
    fn the_end_of_a_begun_event_is_found() {
        let mut out = Vec::new();
        append_event(&mut out, EVENT_MESSAGE, Some(1), b"a");
        let border = out.len();
        append_event(&mut out, EVENT_MESSAGE, Some(2), b"b");
        assert_eq!(end_of_event(&out, 0), 0);
        for sent in 1..=border {
            assert_eq!(end_of_event(&out, sent), border, "sent {sent}");
        }
        assert_eq!(end_of_event(&out, border + 1), out.len());
    }

    proptest::proptest! {
        #[test]
        fn a_usual_event_is_read_as_any_other(
            stream in "event: [a-z:é\r]{0,3}\n(id: [0-9 ]{0,3}\n)?data: ?[a-c:\n\r]{0,5}(\n|\n\n|\r\n)[a:d\r\n]{0,3}",
        ) {
            let any = any_event(stream.as_bytes());
            let usual = usual_event(stream.as_bytes());
            proptest::prop_assert!(usual.is_none() || usual == any, "{usual:?}, {any:?}");
        }

        #[test]
        fn a_stream_means_the_same_wherever_it_is_cut(
            stream in "[a:d \\r\\n]{0,60}", cut in 0usize..60,
        ) {
            let stream = stream.as_bytes();
            let cut = cut.min(stream.len());
            let whole = read_all(stream);
            // Read as a client does: what is not consumed is kept and the rest appended.
            let mut kept = stream[..cut].to_vec();
            let mut pieces = read_all(&kept);
            let mut used = 0;
            while let Some((_, more)) = next_event(&kept[used..]) { used += more; }
            kept.drain(..used);
            kept.extend_from_slice(&stream[cut..]);
            pieces.extend(read_all(&kept));
            proptest::prop_assert_eq!(pieces, whole);
        }
    }
}
