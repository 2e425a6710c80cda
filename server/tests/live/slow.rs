//! A subscriber that takes nothing holds nobody up, costs no more than its backlog, and is told why it ends.

use lastmile_wire::channel::stream_channel;

use http_body_util::BodyExt;

use crate::common::{End, Site, Way, every_way, http2, large_round, round_id, soon, until};

const BACKLOG_BYTES: usize = 256 * 1024;

const ROUND_BYTES: usize = 16 * 1024;

const TOO_SLOW: &str = "lastmile_drops_total{reason=\"too_slow\"}";

/// Far more than all buffers on the way hold together.
const MANY_ROUNDS: u64 = 4000;

/// The ways whose server notices that a client takes nothing; a datagram is sent and forgotten.
const WAYS: [Way; 5] = [Way::WebSocket, Way::Sse, Way::SseHttp2, Way::Stream, Way::Streams];

/// What a client that was too slow is told.
fn told(way: Way) -> End {
    let code = match way {
        Way::WebSocket => Some(1013),
        Way::Sse | Way::SseHttp2 => None,
        Way::Stream | Way::Streams | Way::Datagram => Some(1),
    };
    End::Told { code, words: "subscriber too slow".to_owned() }
}

#[test]
fn others_get_everything_while_one_is_closed_as_too_slow() {
    every_way(&["--backlog-bytes", &BACKLOG_BYTES.to_string()], async |site| {
        for way in WAYS {
            closed_alone(site, way).await;
        }
    });
}

async fn closed_alone(site: &Site, way: Way) {
    let mut others = vec![site.connect(way, "slot").await];
    for other in [Way::WebSocket, Way::Sse, Way::Stream] {
        others.push(site.connect(other, "type/slots").await);
    }
    let mut slow = site.connect(way, "slot").await;
    // All but the slow one have received the latest round, if there is one already.
    site.publish("slot", &large_round("slot", 0, ROUND_BYTES));
    for other in &mut others {
        while other.next_id().await != 0 {}
    }
    let closed_before = site.metric(TOO_SLOW);
    let mut id = 0;
    while site.metric(TOO_SLOW) == closed_before {
        id += 1;
        assert!(id < MANY_ROUNDS, "{way:?}: never too slow");
        let payload = large_round("slot", id, ROUND_BYTES);
        site.publish("slot", &payload);
        for other in &mut others {
            assert!(other.next().await == payload, "{way:?}: another got something else than round {id}");
        }
    }
    let (rounds, end) = slow.drain().await;
    if way == Way::Stream || way == Way::Streams {
        // QUIC drops what a peer has not taken when the session is closed.
        assert_eq!(end, told(way), "{way:?}");
    } else {
        let ids: Vec<u64> = rounds.iter().map(|round| round_id(round)).collect();
        let first = ids.iter().position(|id| *id == 0).expect("the round that everyone got");
        let consecutive: Vec<u64> = (0..(ids.len() - first) as u64).collect();
        assert_eq!(ids[first..], consecutive, "{way:?}: whole rounds, without a gap");
        assert!((ids.len() as u64) < id, "{way:?}: it was slow after all");
        assert_eq!(end, told(way), "{way:?}");
    }
    assert_eq!(site.metric(TOO_SLOW), closed_before + 1, "{way:?}: only one was slow");
    let payload = large_round("slot", id + 1, ROUND_BYTES);
    site.publish("slot", &payload);
    for other in &mut others {
        assert!(other.next().await == payload, "{way:?}: another did not go on");
    }
}

#[test]
fn no_more_than_the_backlog_waits() {
    every_way(&["--backlog-bytes", &BACKLOG_BYTES.to_string()], async |site| {
        // A burst is many times the backlog, and published at one moment.
        for (way, burst) in
            [(Way::WebSocket, 1), (Way::WebSocket, 100), (Way::Sse, 1), (Way::Sse, 100), (Way::SseHttp2, 1)]
        {
            fill(site, way, burst).await;
        }
    });
}

/// Publishes in bursts to one client that reads nothing until it is closed. What was handed to it and did not
/// arrive was waiting.
async fn fill(site: &Site, way: Way, burst: u64) {
    let count = format!("lastmile_deliveries_total{{protocol=\"{}\"}}", way.protocol());
    let handed_before = site.metric(&count);
    let closed_before = site.metric(TOO_SLOW);
    let ingested_before = site.metric("lastmile_ingest_rounds_total");
    let mut slow = site.connect(way, "wall-street").await;
    let channel = stream_channel("wall-street");
    let mut id = 0;
    while site.metric(TOO_SLOW) == closed_before {
        assert!(id < MANY_ROUNDS, "{way:?}: never too slow");
        let rounds: Vec<Vec<u8>> =
            (id..id + burst).map(|id| large_round("wall-street", id, ROUND_BYTES)).collect();
        id += burst;
        // A script publishes all of them at one moment.
        let script = b"for i = 1, #ARGV do redis.call('PUBLISH', KEYS[1], ARGV[i]) end";
        let mut command: Vec<&[u8]> = vec![b"EVAL", script, b"1", channel.as_bytes()];
        command.extend(rounds.iter().map(Vec::as_slice));
        site.redis.command(&command).expect("a burst");
        let ingested = || site.metric("lastmile_ingest_rounds_total") - ingested_before;
        until("the burst is ingested", || ingested() == id).await;
    }
    let (rounds, end) = slow.drain().await;
    let handed = site.metric(&count) - handed_before;
    assert_eq!(end, told(way), "{way:?} in bursts of {burst}");
    let waiting = handed.saturating_sub(rounds.len() as u64) as usize * ROUND_BYTES;
    assert!(waiting <= BACKLOG_BYTES, "{way:?} in bursts of {burst}: {waiting} bytes waited");
}

#[test]
fn a_connection_of_many_streams_that_reads_none_holds_what_is_written_down_and_no_more() {
    // docs/security.md: four backlogs, and for each stream what an empty queue takes and what is on its way.
    const STREAMS: usize = 100;
    const STATED_BYTES: u64 = 4 * BACKLOG_BYTES as u64 + STREAMS as u64 * (16 + 80) * 1024;
    const HANDED: &str = "lastmile_delivered_bytes_total{protocol=\"sse\"}";
    every_way(&["--backlog-bytes", &BACKLOG_BYTES.to_string()], async |site| {
        let (handed_before, closed_before) = (site.metric(HANDED), site.metric(TOO_SLOW));
        let mut other = site.connect(Way::WebSocket, "double").await;
        let (first, mut sender) = http2::request(&site.place, "/sse/double").await.expect("a stream");
        let mut bodies = vec![first.into_body()];
        while bodies.len() < STREAMS {
            sender.ready().await.expect("a connection");
            let answer = sender.send_request(http2::get(&site.place, "/sse/double"));
            bodies.push(soon("another stream", answer).await.expect("a stream").into_body());
        }
        let mut id = 0;
        let mut handed = None;
        while site.metric(TOO_SLOW) < closed_before + STREAMS as u64 {
            id += 1;
            assert!(id < MANY_ROUNDS, "never too slow");
            let payload = large_round("double", id, ROUND_BYTES - 1000);
            site.publish("double", &payload);
            assert!(other.next().await == payload, "another got something else than round {id}");
            if site.metric(TOO_SLOW) == closed_before {
                handed = Some(site.metric(HANDED) - handed_before);
            }
        }
        // Nothing of it was taken off the queues but what was on its way, and nothing was dropped yet.
        let handed = handed.expect("the first rounds are taken");
        assert!(handed <= STATED_BYTES, "{handed} of {STATED_BYTES} bytes");
        println!("{handed} bytes waited when the first of {STREAMS} streams was closed");
        // All at once: each takes of what the client allows on all of them together.
        let reading: Vec<_> = bodies.into_iter().map(|body| tokio::spawn(body.collect())).collect();
        for body in reading {
            let body = soon("the end of a stream", body)
                .await
                .expect("a reader")
                .expect("a whole stream")
                .to_bytes();
            assert!(body.ends_with(b": closed: subscriber too slow\n\n"), "the goodbye comes all the same");
        }
    });
}
