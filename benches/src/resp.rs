//! As much of Redis' protocol as a bare program needs.

use lastmile_wire::resp::{Push, append_command, next_push};

/// Largest payload a bare program takes.
const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// A command as it travels.
pub fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    append_command(&mut out, parts);
    out
}

/// Hands the payload of every whole message in `bytes` to `on_payload`; other pushes are passed over, and so is
/// everything from the first byte on that is none of Redis'. Gives how many bytes were used.
pub fn published(bytes: &[u8], mut on_payload: impl FnMut(&[u8])) -> usize {
    let mut used = 0;
    while let Ok(Some((push, length))) = next_push(&bytes[used..], MAX_PAYLOAD_BYTES) {
        if let Push::Message { payload, .. } = push {
            on_payload(payload);
        }
        used += length;
    }
    used
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
