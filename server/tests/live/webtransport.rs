//! What clients may do to their WebTransport session without harm to anybody else.

use crate::common::{every_way, round, soon, until, webtransport};

#[test]
fn a_stream_that_its_client_stops_stops_nothing_else() {
    every_way(&["--shards", "1"], async |site| {
        let mut others = site.connect_all("crash").await;
        let (one, _endpoint) = webtransport::session(&site.place, "/wt/crash").await.expect("a session");
        let (many, _endpoint) =
            webtransport::session(&site.place, "/wt/crash?delivery=streams").await.expect("a session");
        for id in 1..=10 {
            site.publish("crash", &round("crash", id));
            if id == 1 {
                soon("the one stream", one.accept_uni()).await.expect("a stream").stop(7u32.into());
            }
            soon("a stream", many.accept_uni()).await.expect("a stream").stop(7u32.into());
            for other in &mut others {
                assert_eq!(other.next_id().await, id, "{:?}", other.way);
            }
        }
        drop((one, many));
        drop(others);
        until("everyone left", || site.server.metrics().connections() == 0).await;
    });
}
