//! What clients may do to their WebTransport session without harm to anybody else.

use std::sync::Arc;

use lastmile_processes::PrivateRedis;
use lastmile_wire::webtransport::append_varint;
use wtransport::quinn::crypto::rustls::QuicClientConfig;
use wtransport::quinn::{ClientConfig, Connection, Endpoint};

use crate::common::{
    Place, Program, Subscriber, Way, every_way, get, metric, pinned, round, run, soon, until, webtransport,
};

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

/// A QUIC connection that says nothing by itself, and its socket.
async fn bare(place: &Place) -> (Connection, Endpoint) {
    let tls = QuicClientConfig::try_from(pinned(place.certificate, "h3")).expect("TLS 1.3");
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls)));
    let connecting = endpoint.connect(place.webtransport, "localhost").expect("a connection begins");
    (soon("a QUIC handshake", connecting).await.expect("a connection"), endpoint)
}

/// A frame of HTTP/3.
fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_varint(&mut bytes, kind);
    append_varint(&mut bytes, payload.len() as u64);
    [&bytes, payload].concat()
}

/// A client that sends SETTINGS, and this in the place of a request.
async fn ask_with(place: &Place, bytes: &[u8]) -> (Connection, Endpoint) {
    let (connection, endpoint) = bare(place).await;
    let mut control = connection.open_uni().await.expect("a stream");
    control.write_all(&[&[0x00], &frame(0x04, b"")[..]].concat()).await.expect("settings");
    let (mut request, _answer) = connection.open_bi().await.expect("a stream");
    request.write_all(bytes).await.expect("a request");
    // Open until the server has ended the connection: dropped streams would end it, too.
    soon("the server ends the connection", connection.closed()).await;
    drop((control, request));
    (connection, endpoint)
}

#[test]
fn headers_that_no_client_sends_end_their_own_connection_and_nothing_else() {
    let redis = PrivateRedis::start().expect("a Redis");
    // A process of its own: one that panics says so on its standard error.
    let program = Program::start(&redis, &[]);
    let long = |before: &[u8], prefix: u8, length: usize| {
        let block = [before, &[prefix], &vec![0xff; length], &[0x01]].concat();
        frame(0x01, &block)
    };
    let mut requests = vec![
        ("no headers", frame(0x01, b"")),
        ("headers that end in the middle", frame(0x01, b"\x00\x00\x5f")),
        ("a dynamic table", frame(0x01, b"\x00\x00\x80")),
        ("an index that no table has", frame(0x01, b"\x00\x00\xff\x70")),
        ("text that is none", frame(0x01, b"\x00\x00\x21\xff\x01a")),
        ("a code that is none", frame(0x01, b"\x00\x00\x29\xff\x81\xfe")),
        ("no CONNECT", frame(0x01, b"\x00\x00\xd1\xd7")),
        ("a CONNECT that is not extended", frame(0x01, b"\x00\x00\xcf\xd7")),
        ("a frame above the limit", b"\x01\xbf\xff\xff\xff".to_vec()),
    ];
    // Each integer of a block, with more bytes than one can have: in debug builds a shift beyond 64 bits panics.
    for (before, prefix) in [
        (&b""[..], 0xff),
        (b"\x00", 0x7f),
        (b"\x00\x00", 0xff),
        (b"\x00\x00", 0x5f),
        (b"\x00\x00\x51", 0x7f),
        (b"\x00\x00\x51", 0xff),
        (b"\x00\x00", 0x27),
        (b"\x00\x00", 0x2f),
        (b"\x00\x00\x21a", 0x7f),
    ] {
        requests.extend([9, 10, 200].map(|length| ("a long integer", long(before, prefix, length))));
    }
    run(async {
        let mut others = Vec::new();
        for way in Way::ALL {
            others.push(Subscriber::connect(&program.place, way, "crash").await);
        }
        for (id, (what, bytes)) in (1..).zip(&requests) {
            let (_connection, _endpoint) = ask_with(&program.place, bytes).await;
            redis.publish("stream:crash", &round("crash", id)).expect("a publish");
            for other in &mut others {
                assert_eq!(other.next_id().await, id, "{:?} beside {what}", other.way);
            }
        }
        let failed = metric(&get(&program.place, "/metrics").await.body, "lastmile_handshakes_failed_total");
        assert_eq!(failed, requests.len() as u64, "all are counted");
        // Someone else gets a session as before.
        let mut newcomer = Subscriber::connect(&program.place, Way::Stream, "crash").await;
        assert_eq!(newcomer.next_id().await, requests.len() as u64);
    });
    let said = program.child.log_tail();
    assert!(!said.contains("panicked"), "{said}");
}
