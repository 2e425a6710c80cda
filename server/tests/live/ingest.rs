//! What is no round of its channel reaches nobody, and is counted.

use crate::common::{Way, every_way, large_round, round, until};

/// Payloads that are no rounds of `stream:crash`, and the reasons they are counted under.
fn bad_payloads() -> Vec<(&'static str, Vec<u8>)> {
    let good = String::from_utf8(round("crash", 7)).expect("text");
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replacen(from, to, 1).into_bytes()
    };
    vec![
        ("malformed", Vec::new()),
        ("malformed", b"not json".to_vec()),
        ("malformed", b"\xff\xfe\x00".to_vec()),
        ("malformed", good.as_bytes()[..good.len() - 1].to_vec()),
        ("malformed", [good.as_bytes(), b"x"].concat()),
        ("malformed", format!("[{good}]").into_bytes()),
        // The contract fixes the order, the names and the types.
        ("malformed", changed("{\"round_id\":7, \"game_id\":1,", "{\"game_id\":1,\"round_id\":7,")),
        ("malformed", changed("\"round_id\":7", "\"round_id\":\"7\"")),
        ("malformed", changed("\"game_slug\"", "\"slug\"")),
        ("malformed", changed("\"timestamp\":1768621542123", "\"timestamp\":1768621542123,\"more\":1")),
        ("malformed", changed(",\"timestamp\":1768621542123", "")),
        ("line_break", changed(", \"game_id\"", ",\n\"game_id\"")),
        ("line_break", changed(", \"game_id\"", ",\r\"game_id\"")),
        ("finished_at", changed("-03:00", "")),
        ("finished_at", changed("2026-01-17", "yesterday")),
        ("extras", changed("{\\\"point\\\"", "\\\"point\\\"")),
        ("identifier_range", changed("\"round_id\":7", "\"round_id\":9223372036854775808")),
        ("slug_mismatch", round("double", 7)),
        ("too_large", large_round("crash", 7, 1 << 20)),
    ]
}

#[test]
fn what_is_no_round_reaches_nobody_and_is_counted_by_reason() {
    every_way(&[], async |site| {
        let mut subscribers = site.connect_all("crash").await;
        subscribers.extend(site.connect_all("type/multiplier").await);
        for (id, (reason, payload)) in bad_payloads().into_iter().enumerate() {
            let counter = format!("lastmile_ingest_rejected_total{{reason=\"{reason}\"}}");
            let before = site.metric(&counter);
            site.publish("crash", &payload);
            until(&format!("{reason} is counted"), || site.metric(&counter) > before).await;
            assert_eq!(site.metric(&counter), before + 1);
            let valid = round("crash", 1000 + id as u64);
            site.publish("crash", &valid);
            for subscriber in &mut subscribers {
                let shown = String::from_utf8_lossy(&payload[..payload.len().min(60)]);
                assert_eq!(subscriber.next().await, valid, "{:?} after {shown:?}", subscriber.way);
            }
        }
        assert_eq!(site.metric("lastmile_ingest_rounds_total"), bad_payloads().len() as u64);
    });
}

#[test]
fn the_latest_round_is_never_one_that_was_rejected() {
    every_way(&[], async |site| {
        let mut watcher = site.connect(Way::WebSocket, "crash").await;
        site.publish("crash", &round("crash", 1));
        assert_eq!(watcher.next_id().await, 1);
        for (_, payload) in bad_payloads() {
            site.publish("crash", &payload);
        }
        site.publish("double", &round("double", 2));
        let mut other = site.connect(Way::Sse, "double").await;
        assert_eq!(other.next_id().await, 2, "everything before it has been ingested");
        for subscriber in &mut site.connect_all("crash").await {
            assert_eq!(subscriber.next_id().await, 1, "{:?}", subscriber.way);
        }
    });
}
