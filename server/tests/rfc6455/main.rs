//! The cases of RFC 6455 that a client can put a server through, as one table: what is sent, how it is cut, and what
//! comes back. They follow the sections of the Autobahn testsuite, which needs a Python that is no longer to be had.
//! The server echoes nothing, so a message that was understood shows by the answer to a text that is no command.
//!
//! `docs/rfc6455.md` is made of the same table.

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod framing;
mod payloads;

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use cases::{Answer, Case, cases};
use common::{Place, Stream, Way, every_way, open, round, soon};
use framing::{CLOSE, PING, PONG, TEXT, frame};

/// A WebSocket after its handshake.
struct Raw(Box<dyn Stream>);

impl Raw {
    async fn open(place: &Place) -> Self {
        let mut stream = open(place, "http/1.1").await;
        let request = b"GET /ws/crash HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                        sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
        stream.write_all(request).await.expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("a head", stream.read_u8()).await.expect("a head"));
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "no extension is accepted: {head}");
        Self(stream)
    }

    async fn send(&mut self, pieces: impl Iterator<Item = &[u8]>) {
        for piece in pieces {
            // The server may have closed already, for what came before.
            let _ = self.0.write_all(piece).await;
            let _ = self.0.flush().await;
        }
    }

    /// The next frame of the server's, which are unmasked, short, and never in parts.
    async fn receive(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.expect("a frame");
        let length = match self.0.read_u8().await.expect("a length") {
            126 => usize::from(self.0.read_u16().await.expect("a length")),
            length @ 0..=125 => usize::from(length),
            other => panic!("{other:#x}: masked, or longer than anything these cases provoke"),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.expect("a payload");
        (first, payload)
    }

    /// Sees that exactly the answers of the case come.
    async fn is_answered(&mut self, case: &Case) {
        for answer in &case.answers {
            let (first, payload) = self.receive().await;
            match answer {
                Answer::Pong(expected) => assert_eq!((first, &payload), (PONG, expected)),
                Answer::Understood => {
                    assert_eq!(first, TEXT);
                    let answer: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
                    assert!(answer["error"].is_string(), "{answer}");
                }
                Answer::Closed(code) => {
                    assert_eq!(first, CLOSE);
                    assert_eq!(
                        payload[..2],
                        code.to_be_bytes(),
                        "{}",
                        String::from_utf8_lossy(&payload[2..])
                    );
                    let mut rest = Vec::new();
                    self.0.read_to_end(&mut rest).await.expect("an end in order");
                    assert_eq!(rest, b"", "nothing follows a close");
                    return;
                }
            }
        }
        let alive = frame(PING, b"alive?");
        self.send(std::iter::once(&alive[..])).await;
        assert_eq!(self.receive().await, (PONG, b"alive?".to_vec()), "it stays open and in step");
    }
}

#[test]
fn every_case_is_answered_as_the_table_says() {
    every_way(&[], async |site| {
        let mut bystander = site.connect(Way::WebSocket, "crash").await;
        for case in cases() {
            // Long ones byte by byte would only take time.
            let sizes = if case.bytes.len() <= 300 { &[usize::MAX, 1][..] } else { &[usize::MAX, 1000] };
            for &size in sizes {
                let what = format!("{} {} in pieces of {size}", case.number, case.what);
                let mut raw = Raw::open(&site.place).await;
                raw.send(case.bytes.chunks(size)).await;
                println!("{what}");
                soon(&what, raw.is_answered(&case)).await;
            }
        }
        site.publish("crash", &round("crash", 1));
        assert_eq!(bystander.next_id().await, 1, "nobody else noticed");
    });
}

/// The table as the document shows it.
fn document() -> String {
    let cases = cases();
    let mut text = format!(
        "# RFC 6455, case by case\n\n\
         {} cases of what a client may send on an open WebSocket, and what the server does. Each is sent at once and \
         again byte by byte (those above 300 bytes in pieces of 1000), over TCP and over TLS. This page is made of the \
         table in `server/tests/rfc6455`, and a test fails where they differ:\n\n    \
         cargo test -p lastmile-server --test rfc6455\n    \
         LASTMILE_WRITE_DOCS=1 cargo test -p lastmile-server --test rfc6455 document\n\n\
         The sections are those of the Autobahn testsuite, which itself needs Python 2 and an echo server. This server \
         echoes nothing: *answered* is a message that was understood, to which the server says that it is no command; \
         *open* is a connection that afterwards still answers a ping. Compression is never negotiated: every handshake \
         of these cases offers permessage-deflate and sees it declined.\n",
        cases.len()
    );
    let mut section = "";
    for case in &cases {
        if case.section != section {
            section = case.section;
            let _ = write!(
                text,
                "\n## {section}\n\n| case | what is sent | begins with | outcome |\n| --- | --- | --- | --- |\n"
            );
        }
        let start: Vec<String> = case.bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let more = if case.bytes.len() > 8 { " …" } else { "" };
        let (number, what, outcome) = (&case.number, &case.what, case.outcome());
        let _ = writeln!(text, "| {number} | {what} | `{}{more}` | {outcome} |", start.join(" "));
    }
    text
}

#[test]
fn the_document_is_that_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rfc6455.md");
    if std::env::var_os("LASTMILE_WRITE_DOCS").is_some() {
        std::fs::write(path, document()).expect("docs can be written");
    }
    let written = std::fs::read_to_string(path).expect("docs/rfc6455.md");
    assert!(
        written == document(),
        "docs/rfc6455.md is not that of the table: write it as it says at its top"
    );
}
