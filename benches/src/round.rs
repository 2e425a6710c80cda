//! The rounds that are published here.

/// A round of the game `crash` with `payload_bytes` bytes, or as many as a round has at least; see
/// [`least_bytes`].
pub fn round(round_id: u64, payload_bytes: usize) -> Vec<u8> {
    let padding_bytes = payload_bytes.saturating_sub(with_padding(round_id, 0).len());
    with_padding(round_id, padding_bytes)
}

/// The length of the shortest round with such an identifier.
pub fn least_bytes(round_id: u64) -> usize {
    with_padding(round_id, 0).len()
}

fn with_padding(round_id: u64, padding_bytes: usize) -> Vec<u8> {
    format!(
        "{{\"round_id\":{round_id},\"game_id\":1,\"game_slug\":\"crash\",\"game_type\":\"multiplier\",\
         \"finished_at\":\"2026-01-17T00:45:42.735266-03:00\",\"extras\":\"{{\\\"pad\\\":\\\"{}\\\"}}\",\
         \"timestamp\":1768621542123}}",
        "x".repeat(padding_bytes)
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use lastmile_wire::round::Round;

    use super::*;

    #[test]
    fn a_round_is_valid_and_has_the_length_asked_for() {
        for payload_bytes in [0, 256, 16 * 1024] {
            let payload = round(1_000_000_007, payload_bytes);
            assert_eq!(payload.len(), payload_bytes.max(least_bytes(1_000_000_007)));
            assert_eq!(Round::parse(&payload).unwrap().round_id, 1_000_000_007);
        }
    }
}
