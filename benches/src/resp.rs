//! As much of Redis' protocol as a bare program needs.

/// A command as it travels.
pub fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// Hands the payload of every whole `message` push in `bytes` to `on_payload`; other pushes are passed over.
/// Gives how many bytes were used.
pub fn published(bytes: &[u8], mut on_payload: impl FnMut(&[u8])) -> usize {
    let mut used = 0;
    while let Some((parts, length)) = array(&bytes[used..]) {
        if let [kind, _, payload] = parts[..]
            && kind == b"message"
        {
            on_payload(payload);
        }
        used += length;
    }
    used
}

/// The three-part array at the start of `bytes`, and its length; `None` where it is not whole.
fn array(bytes: &[u8]) -> Option<([&[u8]; 3], usize)> {
    let (header, mut at) = line(bytes, 0)?;
    debug_assert_eq!(header, b"*3");
    let mut parts: [&[u8]; 3] = [&[]; 3];
    for part in &mut parts {
        let (header, next) = line(bytes, at)?;
        at = next;
        // `$LENGTH` is followed by that many bytes; `:NUMBER` stands for itself.
        if let Some(digits) = header.strip_prefix(b"$") {
            let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
            *part = bytes.get(at..at + length)?;
            at += length + 2;
            if at > bytes.len() {
                return None;
            }
        }
    }
    Some((parts, at))
}

fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(from..)?;
    let end = rest.windows(2).position(|window| window == b"\r\n")?;
    Some((&rest[..end], from + end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_found_wherever_the_stream_is_cut() {
        let stream = [
            &b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"[..],
            b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\none!\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\ntwo\r\n",
        ]
        .concat();
        for cut in 0..=stream.len() {
            let mut payloads = Vec::new();
            let used = published(&stream[..cut], |payload| payloads.push(payload.to_vec()));
            published(&stream[used..], |payload| payloads.push(payload.to_vec()));
            assert_eq!(payloads, [b"one!".to_vec(), b"two".to_vec()], "cut at {cut}");
        }
    }
}
