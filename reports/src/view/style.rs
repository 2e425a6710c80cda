//! Which colour, dash and marker a protocol has: the same in every plot, table and result.

/// Slots for protocols that are not known by name, after those that are.
const OTHERS: std::ops::Range<usize> = 9..12;

/// How many slots renderers must be able to draw.
pub const SLOTS: usize = OTHERS.end;

/// The style slot of a protocol. What is known keeps its slot for ever, so that reports can be laid side by side;
/// variants of one family are neighbours in colour.
pub fn slot(protocol: &str) -> usize {
    match protocol {
        "ws" => 0,
        "sse" => 1,
        "wt-stream" => 2,
        "wt-streams" => 3,
        "wt-datagram" => 4,
        "wss" => 5,
        "sse-tls" => 6,
        "redis" => 7,
        "tcp" => 8,
        other => {
            let sum: usize = other.bytes().map(usize::from).sum();
            OTHERS.start + sum % OTHERS.len()
        }
    }
}

/// Whether a protocol promises to deliver every message once and in order.
pub fn is_reliable(protocol: &str) -> bool {
    !protocol.contains("datagram")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_protocols_have_slots_of_their_own() {
        let known = ["ws", "sse", "wt-stream", "wt-streams", "wt-datagram", "wss", "sse-tls", "redis", "tcp"];
        for (index, protocol) in known.iter().enumerate() {
            assert_eq!(slot(protocol), index);
        }
        assert!(OTHERS.contains(&slot("ws+msgpack")));
        assert!(slot("") < SLOTS);
    }

    #[test]
    fn only_datagrams_may_be_lost() {
        assert!(is_reliable("ws") && is_reliable("wt-streams"));
        assert!(!is_reliable("wt-datagram"));
    }
}
