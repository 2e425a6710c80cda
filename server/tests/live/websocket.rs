//! What clients may send on a WebSocket, and what they are told for sending anything else. Frames are written and
//! read as bytes here: no library would send what these tests do.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::{Place, Stream, Way, every_way, open, round, soon, until};

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const CLOSE: u8 = 0x88;

/// Most bytes the server takes in one message.
const MESSAGE_LIMIT: usize = 4096;

/// A WebSocket after its handshake.
struct Raw(Box<dyn Stream>);

impl Raw {
    /// Shakes hands, with `early` in the same write as the request.
    async fn open(place: &Place, early: &[u8]) -> Self {
        let mut stream = open(place, "http/1.1").await;
        let request = b"GET /ws/crash HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(&[&request[..], early].concat()).await.expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("a head", stream.read_u8()).await.expect("a head"));
        }
        let head = String::from_utf8(head).expect("text");
        // The key and its answer are the example of RFC 6455.
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self(stream)
    }

    async fn send(&mut self, bytes: &[u8]) {
        // The server may have closed already, for what came before.
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    /// The next frame of the server's: first byte and payload.
    async fn receive(&mut self) -> (u8, Vec<u8>) {
        soon("a frame", async {
            let first = self.0.read_u8().await.expect("a frame");
            let length = match self.0.read_u8().await.expect("a length") {
                126 => usize::from(self.0.read_u16().await.expect("a length")),
                length @ 0..=125 => usize::from(length),
                other => panic!("{other:#x}: masked, or longer than anything these tests provoke"),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.expect("a payload");
            (first, payload)
        })
        .await
    }

    /// The server closes with this code, and ends the connection.
    async fn is_closed_with(&mut self, code: u16, what: &str) {
        let (first, payload) = self.receive().await;
        assert_eq!(first, CLOSE, "{what}: {payload:?}");
        assert_eq!(payload[..2], code.to_be_bytes(), "{what}: {}", String::from_utf8_lossy(&payload[2..]));
        let mut rest = Vec::new();
        soon("the end", self.0.read_to_end(&mut rest)).await.expect("an end in order");
        assert_eq!(rest, b"", "{what}: nothing follows a close");
    }
}

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A header that announces a masked payload, without its mask.
fn header(first: u8, length: u64) -> Vec<u8> {
    match length {
        0..=125 => vec![first, 0x80 | length as u8],
        126..=0xffff => [&[first, 0x80 | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, 0x80 | 127][..], &length.to_be_bytes()].concat(),
    }
}

#[test]
fn what_breaks_the_protocol_is_closed_with_the_code_for_it() {
    let part = |first: u8| frame(first, &[b'x'; 1500]);
    let cases: Vec<(&str, u16, Vec<u8>)> = vec![
        ("an unmasked frame", 1002, b"\x81\x02hi".to_vec()),
        ("a reserved bit", 1002, frame(0xc1, b"x")),
        ("an unknown opcode", 1002, frame(0x83, b"x")),
        ("an unknown control opcode", 1002, frame(0x8b, b"x")),
        ("a continuation of nothing", 1002, frame(0x80, b"x")),
        ("a message inside a message", 1002, [frame(0x01, b"x"), frame(TEXT, b"y")].concat()),
        ("a ping in parts", 1002, frame(0x09, b"x")),
        ("a ping longer than allowed", 1002, header(PING, 126)),
        ("a length longer than needed", 1002, vec![TEXT, 0x80 | 126, 0, 5]),
        ("a close frame of one byte", 1002, frame(CLOSE, b"x")),
        ("a close code that never travels", 1002, frame(CLOSE, &1006u16.to_be_bytes())),
        ("a close reason that is no text", 1002, frame(CLOSE, b"\x03\xe8\xff")),
        ("fragments beyond the limit", 1009, [part(0x01), part(0x00), part(0x00)].concat()),
        ("endless empty fragments are a message", 1009, {
            let empty = frame(0x00, b"");
            [frame(0x01, &[b'x'; MESSAGE_LIMIT]), empty.repeat(100), frame(0x80, b"x")].concat()
        }),
        ("a length beyond the limit", 1009, header(TEXT, MESSAGE_LIMIT as u64 + 1)),
        ("a length of sixty megabytes", 1009, header(0x82, 60 << 20)),
        ("the largest length there is", 1009, header(0x82, u64::MAX >> 1)),
        ("text that is not UTF-8", 1007, frame(TEXT, b"ol\xe1")),
        ("parts of text that are not UTF-8", 1007, [frame(0x01, b"ol\xc3"), frame(0x80, b"l")].concat()),
    ];
    every_way(&[], async |site| {
        let mut bystander = site.connect(Way::WebSocket, "crash").await;
        for (what, code, bytes) in &cases {
            let mut raw = Raw::open(&site.place, b"").await;
            raw.send(bytes).await;
            raw.is_closed_with(*code, what).await;
            // The same along with the handshake.
            Raw::open(&site.place, bytes).await.is_closed_with(*code, what).await;
        }
        let dropped = |reason| site.metric(&format!("lastmile_drops_total{{reason=\"{reason}\"}}"));
        let count = |code| 2 * cases.iter().filter(|case| case.1 == code).count() as u64;
        assert_eq!(dropped("protocol_error"), count(1002));
        assert_eq!(dropped("too_big"), count(1009));
        assert_eq!(dropped("invalid_text"), count(1007));
        site.publish("crash", &round("crash", 1));
        assert_eq!(bystander.next_id().await, 1);
    });
}

#[test]
fn pings_are_answered_and_text_that_is_no_command_is_told_so() {
    every_way(&[], async |site| {
        let mut raw = Raw::open(&site.place, &frame(PING, b"early")).await;
        assert_eq!(raw.receive().await, (PONG, b"early".to_vec()));
        for payload in [&b""[..], b"ping", &[0xff; 125]] {
            raw.send(&frame(PING, payload)).await;
            assert_eq!(raw.receive().await, (PONG, payload.to_vec()));
        }
        raw.send(&frame(PONG, b"unasked")).await;
        for text in [&b"hello"[..], "{\"what\":\"é\"}".as_bytes(), &[b'x'; MESSAGE_LIMIT]] {
            raw.send(&frame(TEXT, text)).await;
            let (first, payload) = raw.receive().await;
            assert_eq!(first, TEXT);
            let answer: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
            assert!(answer["error"].is_string(), "{answer}");
        }
        // In parts, with a ping in between, a byte at a time.
        let bytes =
            [frame(0x01, b"h"), frame(PING, b"between"), frame(0x00, b""), frame(0x80, b"i")].concat();
        for byte in bytes {
            raw.send(&[byte]).await;
        }
        assert_eq!(raw.receive().await, (PONG, b"between".to_vec()));
        assert_eq!(raw.receive().await.0, TEXT);
        // And rounds come as ever.
        site.publish("crash", &round("crash", 3));
        assert_eq!(raw.receive().await, (TEXT, round("crash", 3)));
    });
}

#[test]
fn a_goodbye_is_answered_with_one() {
    every_way(&[], async |site| {
        for goodbye in [frame(CLOSE, &1000u16.to_be_bytes()), frame(CLOSE, b"\x03\xe8bye"), frame(CLOSE, b"")]
        {
            let mut raw = Raw::open(&site.place, b"").await;
            // What follows a goodbye is not heard.
            raw.send(&[goodbye, frame(PING, b"late")].concat()).await;
            raw.is_closed_with(1000, "a close").await;
        }
        until("everyone left", || site.server.metrics().connections() == 0).await;
        assert_eq!(site.metric("lastmile_drops_total{reason=\"client_closed\"}"), 3);
    });
}

#[test]
fn a_client_that_leaves_without_a_word_is_forgotten() {
    every_way(&[], async |site| {
        let raw = Raw::open(&site.place, &frame(0x01, b"the beginning of a mess")).await;
        until("it is there", || site.server.metrics().connections() == 1).await;
        drop(raw);
        until("it is gone", || site.server.metrics().connections() == 0).await;
    });
}

#[test]
fn who_never_answers_a_ping_is_closed_and_who_does_stays() {
    every_way(&["--heartbeat-s", "0.2", "--idle-limit-s", "1"], async |site| {
        let mut answers = site.connect(Way::WebSocket, "crash").await;
        let mut silent = Raw::open(&site.place, b"").await;
        // The library answers pings only while it is asked for a frame.
        let (answering, ()) = tokio::join!(answers.next_or_end(), async {
            let mut pings = 0;
            loop {
                match silent.receive().await {
                    (PING, _) => pings += 1,
                    (CLOSE, payload) => {
                        assert_eq!(payload[..2], 1001u16.to_be_bytes());
                        break;
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(pings > 0, "closed without having been asked");
            assert_eq!(site.metric("lastmile_drops_total{reason=\"idle\"}"), 1);
            site.publish("crash", &round("crash", 1));
        });
        assert_eq!(answering.expect("a round"), round("crash", 1));
    });
}
