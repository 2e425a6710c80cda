//! The numbers are true.

use crate::common::{Way, every_way, get, metric, round, until};

const PROTOCOLS: [&str; 3] = ["ws", "sse", "wt"];

#[test]
fn connections_deliveries_and_latencies_add_up() {
    every_way(&[], async |site| {
        let of = |name: &str, protocol: &str| site.metric(&format!("{name}{{protocol=\"{protocol}\"}}"));
        let mut watcher = site.connect(Way::WebSocket, "crash").await;
        site.publish("crash", &round("crash", 0));
        assert_eq!(watcher.next_id().await, 0);

        let mut subscribers = site.connect_all("crash").await;
        subscribers.extend(site.connect_all("type/multiplier").await);
        let rounds = 20;
        for id in 1..=rounds {
            site.publish("crash", &round("crash", id));
            for subscriber in subscribers.iter_mut().chain([&mut watcher]) {
                while subscriber.next_id().await != id {}
            }
        }
        let connected = |protocol: &str| {
            let subscribers = subscribers.iter().chain([&watcher]);
            subscribers.filter(|subscriber| subscriber.way.protocol() == protocol).count() as u64
        };
        for protocol in PROTOCOLS {
            assert_eq!(of("lastmile_connections", protocol), connected(protocol), "{protocol}");
            // The watcher's first round was a live one, everyone else's the latest.
            let first = connected(protocol) - u64::from(protocol == "ws");
            let live = connected(protocol) * rounds + u64::from(protocol == "ws");
            // A subscriber may have a round before it is counted.
            let name = "lastmile_deliveries_total";
            until("all deliveries are counted", || of(name, protocol) >= first + live).await;
            assert_eq!(of(name, protocol), first + live, "{protocol}");
            let timed = of("lastmile_ingest_to_written_seconds_count", protocol);
            assert_eq!(timed, live, "{protocol}: every live delivery is timed");
            let infinite =
                format!("lastmile_ingest_to_written_seconds_bucket{{protocol=\"{protocol}\",le=\"+Inf\"}}");
            assert_eq!(site.metric(&infinite), timed);
            let payload = round("crash", 1).len() as u64;
            assert!(of("lastmile_delivered_bytes_total", protocol) >= (first + live) * (payload - 1));
        }
        assert_eq!(site.metric("lastmile_ingest_rounds_total"), rounds + 1);
        let published: u64 = (0..=rounds).map(|id| round("crash", id).len() as u64).sum();
        assert_eq!(site.metric("lastmile_ingest_bytes_total"), published);
        assert_eq!(site.metric("lastmile_redis_connected"), 1);

        // What is scraped is what is counted.
        let scrape = get(&site.place, "/metrics").await;
        assert_eq!(scrape.status, 200);
        assert_eq!(metric(&scrape.body, "lastmile_ingest_rounds_total"), rounds + 1);
        assert_eq!(metric(&scrape.body, "lastmile_connections{protocol=\"wt\"}"), connected("wt"));

        let everyone: u64 = PROTOCOLS.iter().map(|protocol| connected(protocol)).sum();
        drop((subscribers, watcher));
        until("everyone left", || site.server.metrics().connections() == 0).await;
        for protocol in PROTOCOLS {
            assert_eq!(of("lastmile_connections", protocol), 0, "{protocol}");
        }
        let left: u64 = ["client_closed", "peer_gone"]
            .iter()
            .map(|reason| site.metric(&format!("lastmile_drops_total{{reason=\"{reason}\"}}")))
            .sum();
        assert_eq!(left, everyone);
        site.publish("crash", &round("crash", 99));
        until("the last round is ingested", || site.metric("lastmile_ingest_rounds_total") == rounds + 2)
            .await;
        assert_eq!(site.server.metrics().connections(), 0);
    });
}

#[test]
fn refused_handshakes_are_counted_and_leave_nothing() {
    every_way(&[], async |site| {
        let before = site.metric("lastmile_handshakes_failed_total");
        for target in ["/ws/poker", "/sse/type/cards", "/ws/crash"] {
            assert!(get(&site.place, target).await.status >= 400);
        }
        until("all three are counted", || site.metric("lastmile_handshakes_failed_total") == before + 3)
            .await;
        assert_eq!(site.server.metrics().connections(), 0);
    });
}
