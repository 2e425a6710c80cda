//! What is done with hostile input, once, for two drivers: the `cargo fuzz` targets beside this package, and a
//! seeded random run on the stable toolchain, which the test suite makes briefly and `soak` for as long as wanted.

pub mod bodies;
mod mutate;
mod random;
mod run;

pub use random::Random;
pub use run::{Failure, run, seeds};

/// One kind of input and what has to hold for every instance of it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of the `cargo fuzz` target and of the folder of its seeds.
    pub name: &'static str,
    /// Panics where something does not hold.
    pub body: fn(&[u8]),
    /// Words and numbers that mean something in this kind of input.
    pub tokens: &'static [&'static [u8]],
    /// Random inputs the test suite gives it.
    pub executions: u64,
}

/// Random inputs the test suite gives a target whose inputs are small.
const EXECUTIONS: u64 = 20_000;

/// Numbers on both sides of where a QUIC variable-length integer grows, and those that announce far too much.
const VARINTS: &[&[u8]] = &[
    b"\x00",
    b"\x01",
    b"\x04",
    b"\x3f",
    b"\x40\x40",
    b"\x7f\xff",
    b"\x80\x00\x40\x00",
    b"\xbf\xff\xff\xff",
    b"\xc0\x00\x00\x00\x40\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x40\x54",
    b"\x54",
];

/// All targets, by name.
pub const TARGETS: [Target; 12] = [
    Target {
        name: "guard",
        body: bodies::guard,
        tokens: &[
            b"https://",
            b"http://",
            b"://",
            b"app.example",
            b"live.example:3000",
            b":443",
            b":80",
            b":65536",
            b"[::1]",
            b"null",
            b"*.",
            b"10.0.0.2",
            b"203.0.113.5",
            b", ",
            b"::ffff:10.0.0.3",
            b"\n",
            b"#",
            b"a-token-of-twenty-ch",
            b"?token=",
            b"%2B",
        ],
        executions: EXECUTIONS,
    },
    Target {
        name: "http_answer",
        body: bodies::http_answer,
        tokens: &[
            b"\r\n",
            b"\n",
            b"HTTP/1.1 200 OK\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 18446744073709551616\r\n",
            b"0\r\n\r\n",
            b"5\r\nhello\r\n",
            b";name=value",
            b"ffffffffff",
            b"10000000000\r\n",
            b"\xff",
        ],
        executions: EXECUTIONS,
    },
    Target {
        name: "http_request",
        body: bodies::http_request,
        tokens: &[
            b"\r\n",
            b"\r\n\r\n",
            b"GET ",
            b" HTTP/1.1\r\n",
            b"upgrade: websocket\r\n",
            b"connection: upgrade\r\n",
            b"sec-websocket-version: 13\r\n",
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            b"host: \xff\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b",",
            b"\0",
            b"a: b\r\n",
        ],
        executions: EXECUTIONS / 2,
    },
    Target { name: "http3", body: bodies::http3, tokens: VARINTS, executions: EXECUTIONS },
    Target {
        name: "request",
        body: bodies::request,
        tokens: &[
            b"/ws/",
            b"/sse/",
            b"/wt/",
            b"type/",
            b"crash",
            b"?",
            b"&",
            b"=",
            b"%00",
            b"..",
            b"delivery=datagram",
            b"delivery=",
            b"encoding=msgpack",
            b"batch_ms=100",
            b"batch_ms=",
            b"since=18446744073709551616",
        ],
        executions: EXECUTIONS,
    },
    Target {
        name: "resp",
        body: bodies::resp,
        tokens: &[
            b"\r\n",
            b"*3\r\n",
            b"*2\r\n",
            b"$-1\r\n",
            b"$7\r\nmessage\r\n",
            b"$0\r\n\r\n",
            b":1\r\n",
            b"-ERR ",
            b"*-1\r\n",
            b"$18446744073709551615\r\n",
            b"$4097\r\n",
            b"+OK\r\n",
            b"$+1\r\n",
        ],
        executions: EXECUTIONS,
    },
    Target {
        name: "results",
        body: bodies::results,
        tokens: &[
            b"null",
            b"-1",
            b"1e999",
            b"18446744073709551616",
            b"0.1",
            b"[]",
            b"{}",
            b"\"\"",
            b"\"schema\"",
            b"true",
        ],
        // A result is a thousand times as long as the others' inputs.
        executions: 500,
    },
    Target {
        name: "round",
        body: bodies::round,
        tokens: &[
            b"\"round_id\":",
            b" ",
            b"\n",
            b"\r",
            b"\\u0000",
            b"\\ud800",
            b"\xff",
            b"-1",
            b"9223372036854775808",
            b"18446744073709551616",
            b"1e3",
            b"null",
            b"\"extras\":",
            b"{}",
            b"+14:00",
            b"T24:00:00Z",
            b"\\n",
        ],
        executions: EXECUTIONS,
    },
    Target {
        name: "sse",
        body: bodies::sse,
        tokens: &[
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"data:",
            b"data: ",
            b"event: ",
            b"id: ",
            b"id\0",
            b"retry: 3000",
            b": ",
            b"\xef\xbb\xbf",
        ],
        executions: EXECUTIONS / 2,
    },
    Target {
        name: "websocket_client",
        body: bodies::websocket_client,
        tokens: FRAMES,
        executions: EXECUTIONS,
    },
    Target {
        name: "websocket_server",
        body: bodies::websocket_server,
        tokens: FRAMES,
        executions: EXECUTIONS,
    },
    Target { name: "webtransport", body: bodies::webtransport, tokens: VARINTS, executions: EXECUTIONS },
];

/// Headers of frames, masked and not, with every form of length.
const FRAMES: &[&[u8]] = &[
    b"\x81\x80\0\0\0\0",
    b"\x01\x81\0\0\0\0x",
    b"\x00\x80\0\0\0\0",
    b"\x80\x81\0\0\0\0x",
    b"\x89\x80\0\0\0\0",
    b"\x8a\x80\0\0\0\0",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\x88\x80\0\0\0\0",
    b"\x81\xfe\x00\x7e",
    b"\x82\xfe\x10\x00",
    b"\x82\xfe\x10\x01",
    b"\x82\xff\0\0\0\0\0\x01\0\0",
    b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\x05hello",
    b"\x89\x00",
    b"\x82\x7e\x00\x7e",
    b"\x82\x7f\0\0\0\0\0\x01\0\0",
    b"\xc1",
    b"\x83",
    b"\xed\xa0\x80",
    b"\xc3\xa9",
];
