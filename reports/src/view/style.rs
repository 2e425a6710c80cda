//! Which colour, dash and marker a protocol has: the same in every plot, table and result.

/// Slots for protocols that are not known by name, after those that are.
const OTHERS: std::ops::Range<usize> = 9..12;
/// Slots for variants of a known protocol, two for each: its colour, other dashes and markers.
const VARIANTS: std::ops::Range<usize> = 12..12 + 2 * OTHERS.start;

/// How many slots renderers must be able to draw.
pub const SLOTS: usize = VARIANTS.end;

/// Slots whose colours all differ, for what is no protocol: runs, builds.
pub const COLOURS: usize = OTHERS.end;

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
            match other.split_once('+').map(|(base, _)| slot(base)) {
                Some(base) if base < OTHERS.start => VARIANTS.start + 2 * base + sum % 2,
                _ => OTHERS.start + sum % OTHERS.len(),
            }
        }
    }
}

/// Whether a protocol encrypts, for results that don't say.
pub fn is_encrypted(protocol: &str) -> bool {
    let base = protocol.split('+').next().unwrap_or_default();
    base.starts_with("wt") || base.starts_with("wss") || base.ends_with("-tls")
}

/// Whether a protocol promises to deliver every message once.
pub fn is_reliable(protocol: &str) -> bool {
    !protocol.contains("datagram")
}

/// Whether a protocol promises to deliver messages in the order published. Streams of their own overtake each other: that
/// is what they are for.
pub fn is_ordered(protocol: &str) -> bool {
    is_reliable(protocol) && !protocol.starts_with("wt-streams")
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
        assert!(OTHERS.contains(&slot("mqtt")) && OTHERS.contains(&slot("mqtt+json")));
        assert!(VARIANTS.contains(&slot("ws+msgpack")) && VARIANTS.contains(&slot("tcp+batch5")));
        assert_ne!(slot("ws+msgpack"), slot("sse+msgpack"));
        assert!(slot("") < SLOTS);
    }

    #[test]
    fn what_encrypts_is_known_by_name() {
        let encrypted = ["wss", "wss+msgpack", "sse-tls", "sse-tls+h2", "wt-stream", "wt-datagram"];
        assert!(encrypted.into_iter().all(is_encrypted));
        assert!(!["ws", "sse", "sse+h2", "redis", "tcp", ""].into_iter().any(is_encrypted));
    }

    #[test]
    fn only_datagrams_may_be_lost_and_only_they_and_streams_of_their_own_overtake() {
        assert!(is_reliable("ws") && is_reliable("wt-streams"));
        assert!(!is_reliable("wt-datagram"));
        assert!(is_ordered("sse-tls") && is_ordered("wt-stream+batch5"));
        assert!(!is_ordered("wt-streams") && !is_ordered("wt-streams+msgpack") && !is_ordered("wt-datagram"));
    }
}
