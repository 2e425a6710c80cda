//! The table.

use super::framing::{
    BINARY, BINARY_PART, CLOSE, CONTINUATION, PART, PING, PONG, TEXT, TEXT_PART, frame, header, in_parts,
};
use super::payloads::{CODES, FORBIDDEN_CODES, INVALID, VALID};

/// Most bytes the server takes in one message.
const MESSAGE_LIMIT: usize = 4096;

/// Something the server sends for what it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A pong with this payload.
    Pong(Vec<u8>),
    /// The answer to a text that is no command.
    Understood,
    /// A close frame with this code, and the end of the connection.
    Closed(u16),
}

/// One row.
#[derive(Debug)]
pub struct Case {
    pub section: &'static str,
    pub number: String,
    pub what: String,
    pub bytes: Vec<u8>,
    pub answers: Vec<Answer>,
}

impl Case {
    /// The outcome in words.
    pub fn outcome(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for answer in &self.answers {
            words.push(match answer {
                Answer::Pong(payload) => format!("pong of {} bytes", payload.len()),
                Answer::Understood => "answered".into(),
                Answer::Closed(code) => format!("closed {code}"),
            });
        }
        if !matches!(self.answers.last(), Some(Answer::Closed(_))) {
            words.push("open".into());
        }
        words.join(", ")
    }
}

/// Collects the rows of one section.
struct Section {
    name: &'static str,
    number: usize,
    cases: Vec<Case>,
}

impl Section {
    fn new(number: usize, name: &'static str) -> Self {
        Self { name, number, cases: Vec::new() }
    }

    fn add(&mut self, what: impl Into<String>, frames: &[Vec<u8>], answers: &[Answer]) {
        self.cases.push(Case {
            section: self.name,
            number: format!("{}.{}", self.number, self.cases.len() + 1),
            what: what.into(),
            bytes: frames.concat(),
            answers: answers.to_vec(),
        });
    }
}

fn pong(payload: &[u8]) -> Answer {
    Answer::Pong(payload.to_vec())
}

const OK: &[Answer] = &[Answer::Understood];
const BROKEN: &[Answer] = &[Answer::Closed(1002)];
const NOT_TEXT: &[Answer] = &[Answer::Closed(1007)];
const TOO_BIG: &[Answer] = &[Answer::Closed(1009)];
const GOODBYE: &[Answer] = &[Answer::Closed(1000)];

/// All rows, in order.
pub fn cases() -> Vec<Case> {
    let sections = [
        framing(),
        pings(),
        reserved_bits(),
        opcodes(),
        fragmentation(),
        utf8(),
        closing(),
        masking_and_lengths(),
        limits(),
    ];
    sections.into_iter().flat_map(|section| section.cases).collect()
}

fn framing() -> Section {
    let mut section = Section::new(1, "Framing");
    for (kind, first) in [("text", TEXT), ("binary", BINARY)] {
        for length in [0, 1, 125, 126, 127, 128, 1000, MESSAGE_LIMIT] {
            section.add(format!("{kind} of {length} bytes"), &[frame(first, &vec![b'*'; length])], OK);
        }
    }
    let two = [frame(TEXT, b"one"), frame(BINARY, b"two")];
    section.add("two messages at once", &two, &[Answer::Understood, Answer::Understood]);
    section
}

fn pings() -> Section {
    let mut section = Section::new(2, "Pings and pongs");
    let all: Vec<u8> = (0..125).collect();
    for (what, payload) in [
        ("a ping of nothing", &b""[..]),
        ("a ping with text", b"Hello, world!"),
        ("a ping with bytes that are no text", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
        ("a ping of 125 bytes", &all),
    ] {
        section.add(what, &[frame(PING, payload)], &[pong(payload)]);
    }
    section.add("a ping of 126 bytes", &[frame(PING, &[b'*'; 126])], BROKEN);
    section.add("a pong nobody asked for, empty", &[frame(PONG, b"")], &[]);
    section.add("a pong nobody asked for, with text", &[frame(PONG, b"unasked")], &[]);
    section.add("a pong of 126 bytes", &[frame(PONG, &[b'*'; 126])], BROKEN);
    section.add("a pong, then a ping", &[frame(PONG, b"unasked"), frame(PING, b"ping")], &[pong(b"ping")]);
    let payloads: Vec<String> = (0..10).map(|index| format!("payload-{index}")).collect();
    let pings: Vec<_> = payloads.iter().map(|payload| frame(PING, payload.as_bytes())).collect();
    let answers: Vec<_> = payloads.iter().map(|payload| pong(payload.as_bytes())).collect();
    section.add("ten pings", &pings, &answers);
    section.add(
        "a ping before a message",
        &[frame(PING, b"x"), frame(TEXT, b"y")],
        &[pong(b"x"), Answer::Understood],
    );
    section
}

fn reserved_bits() -> Section {
    let mut section = Section::new(3, "Reserved bits");
    for bits in 1..=7u8 {
        section.add(format!("text with reserved bits {bits:03b}"), &[frame(TEXT | bits << 4, b"x")], BROKEN);
    }
    for (what, first) in [
        ("binary", BINARY),
        ("a ping", PING),
        ("a pong", PONG),
        ("a close frame", CLOSE),
        ("a first part", TEXT_PART),
    ] {
        section.add(format!("{what} with the bit of compression"), &[frame(first | 0x40, b"")], BROKEN);
    }
    section.add(
        "good text, then a ping with a reserved bit, then a ping",
        &[frame(TEXT, b"x"), frame(PING | 0x10, b""), frame(PING, b"late")],
        &[Answer::Understood, Answer::Closed(1002)],
    );
    section
}

fn opcodes() -> Section {
    let mut section = Section::new(4, "Opcodes");
    for opcode in (3..=7u8).chain(11..=15) {
        let kind = if opcode < 8 { "data" } else { "control" };
        section.add(format!("reserved {kind} opcode {opcode}, empty"), &[frame(0x80 | opcode, b"")], BROKEN);
        section.add(
            format!("text, then reserved {kind} opcode {opcode} with a payload, then a ping"),
            &[frame(TEXT, b"x"), frame(0x80 | opcode, b"payload"), frame(PING, b"late")],
            &[Answer::Understood, Answer::Closed(1002)],
        );
    }
    section
}

fn fragmentation() -> Section {
    let mut section = Section::new(5, "Fragmentation");
    let (first, middle, last) =
        (frame(TEXT_PART, b"one "), frame(PART, b"two "), frame(CONTINUATION, b"three"));
    let ping = frame(PING, b"between");
    let [ponged, understood] = [pong(b"between"), Answer::Understood];
    section.add("a ping in two parts", &[frame(0x09, b"x"), frame(CONTINUATION, b"y")], BROKEN);
    section.add("a pong in two parts", &[frame(0x0a, b"x"), frame(CONTINUATION, b"y")], BROKEN);
    section.add("a close frame in two parts", &[frame(0x08, b"\x03"), frame(CONTINUATION, b"\xe8")], BROKEN);
    section.add("text in two parts", &[first.clone(), last.clone()], OK);
    section.add("text in three parts", &[first.clone(), middle.clone(), last.clone()], OK);
    section.add("binary in two parts", &[frame(BINARY_PART, b"\xff"), last.clone()], OK);
    section.add(
        "text in three empty parts",
        &[frame(TEXT_PART, b""), frame(PART, b""), frame(CONTINUATION, b"")],
        OK,
    );
    section.add(
        "empty parts around one that is not",
        &[frame(TEXT_PART, b""), middle.clone(), frame(CONTINUATION, b"")],
        OK,
    );
    section.add(
        "parts with a ping between",
        &[first.clone(), ping.clone(), last.clone()],
        &[ponged.clone(), understood.clone()],
    );
    section.add(
        "parts with pings and a pong between",
        &[first.clone(), ping.clone(), middle.clone(), frame(PONG, b""), ping.clone(), last.clone()],
        &[ponged.clone(), ponged.clone(), understood.clone()],
    );
    for (what, bytes) in [("an end", &last), ("a middle", &middle)] {
        section.add(format!("{what} without a beginning"), std::slice::from_ref(bytes), BROKEN);
        section.add(
            format!("{what} without a beginning, after a message"),
            &[frame(TEXT, b"x"), bytes.clone(), frame(PING, b"late")],
            &[understood.clone(), Answer::Closed(1002)],
        );
    }
    section.add(
        "an end behind an end",
        &[first.clone(), last.clone(), last.clone()],
        &[understood.clone(), Answer::Closed(1002)],
    );
    for (what, second) in [("text", TEXT), ("binary", BINARY), ("the beginning of another", TEXT_PART)] {
        section.add(format!("{what} inside a message"), &[first.clone(), frame(second, b"x")], BROKEN);
    }
    section.add(
        "a close frame inside a message",
        &[first.clone(), frame(CLOSE, &1000u16.to_be_bytes())],
        GOODBYE,
    );
    section.add("text in parts of one byte", &[in_parts(TEXT, b"every byte by itself", 1)], OK);
    section.add("4096 bytes in parts of 64", &[in_parts(BINARY, &[b'*'; MESSAGE_LIMIT], 64)], OK);
    section
}

fn utf8() -> Section {
    let mut section = Section::new(6, "UTF-8");
    for (what, text) in VALID {
        section.add(what, &[frame(TEXT, text)], OK);
        section.add(format!("{what}, in parts of one byte"), &[in_parts(TEXT, text, 1)], OK);
    }
    for (what, text) in INVALID {
        section.add(what, &[frame(TEXT, text)], NOT_TEXT);
        section.add(format!("{what}, in parts of one byte"), &[in_parts(TEXT, text, 1)], NOT_TEXT);
    }
    for (what, bytes) in &INVALID[..3] {
        section.add(format!("{what}, as binary"), &[frame(BINARY, bytes)], OK);
    }
    let parts =
        [frame(TEXT_PART, b"\xce\xba\xe1"), frame(PING, b"between"), frame(CONTINUATION, b"\xbd\xb9")];
    section.add("a character cut in two by a ping", &parts, &[pong(b"between"), Answer::Understood]);
    section.add("bytes that are no text in a ping", &[frame(PING, b"\xff")], &[pong(b"\xff")]);
    section
}

fn closing() -> Section {
    let mut section = Section::new(7, "Closing");
    let with = |code: u16, reason: &[u8]| frame(CLOSE, &[&code.to_be_bytes()[..], reason].concat());
    section.add("a close frame without a payload", &[frame(CLOSE, b"")], GOODBYE);
    section.add("a close frame of one byte", &[frame(CLOSE, b"x")], BROKEN);
    section.add("a code and a reason", &[with(1000, b"Hello, world!")], GOODBYE);
    section.add("a reason of 123 bytes", &[with(1000, &[b'*'; 123])], GOODBYE);
    section.add("a reason of 124 bytes", &[with(1000, &[b'*'; 124])], BROKEN);
    section.add("a reason that is no text", &[with(1000, b"\xce\xba\xe1\xbd")], BROKEN);
    for (what, after) in
        [("a ping", frame(PING, b"late")), ("text", frame(TEXT, b"late")), ("a goodbye", with(1001, b""))]
    {
        section.add(format!("a goodbye, then {what}"), &[with(1000, b""), after], GOODBYE);
    }
    section.add("a goodbye, then half a frame", &[with(1000, b""), header(TEXT, 100)], GOODBYE);
    section.add(
        "text, then a goodbye",
        &[frame(TEXT, b"x"), with(1000, b"")],
        &[Answer::Understood, Answer::Closed(1000)],
    );
    for code in CODES {
        section.add(format!("code {code}"), &[with(code, b"")], GOODBYE);
    }
    for code in FORBIDDEN_CODES {
        section.add(format!("code {code}"), &[with(code, b"")], BROKEN);
        section.add(format!("code {code} and a reason"), &[with(code, b"reason")], BROKEN);
    }
    section
}

fn masking_and_lengths() -> Section {
    let mut section = Section::new(8, "Masking and lengths");
    section.add("text without a mask", &[b"\x81\x02hi".to_vec()], BROKEN);
    section.add("a ping without a mask", &[b"\x89\x00".to_vec()], BROKEN);
    section.add("a close frame without a mask", &[b"\x88\x02\x03\xe8".to_vec()], BROKEN);
    section.add("a mask of zeros", &[b"\x89\x82\0\0\0\0hi".to_vec()], &[pong(b"hi")]);
    section.add("a length of 125 in two bytes", &[vec![TEXT, 0xfe, 0, 125]], BROKEN);
    section.add("a length of 0 in two bytes", &[vec![TEXT, 0xfe, 0, 0]], BROKEN);
    section.add(
        "a length of 65535 in eight bytes",
        &[vec![BINARY, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]],
        BROKEN,
    );
    section.add("a length with its top bit set", &[vec![BINARY, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0]], BROKEN);
    section.add("a ping whose length takes two bytes", &[vec![PING, 0xfe, 0, 126]], BROKEN);
    section
}

fn limits() -> Section {
    let mut section = Section::new(9, "Limits");
    let limit = MESSAGE_LIMIT as u64;
    for length in [limit + 1, 65_535, 65_536, 60 << 20, u64::MAX >> 1] {
        section.add(format!("a header that announces {length} bytes"), &[header(BINARY, length)], TOO_BIG);
    }
    let part = |first| frame(first, &[b'*'; 1500]);
    section.add("three parts of 1500 bytes", &[part(TEXT_PART), part(PART), part(PART)], TOO_BIG);
    section.add(
        "one byte beyond a message of 4096",
        &[frame(TEXT_PART, &[b'*'; MESSAGE_LIMIT]), frame(CONTINUATION, b"x")],
        TOO_BIG,
    );
    section.add(
        "a full message, a hundred empty parts, an empty end",
        &{
            let mut frames = vec![frame(TEXT_PART, &[b'*'; MESSAGE_LIMIT]), frame(PART, b"").repeat(100)];
            frames.push(frame(CONTINUATION, b""));
            frames
        },
        OK,
    );
    section.add(
        "a character cut by the limit",
        &[frame(TEXT_PART, &[b'*'; MESSAGE_LIMIT - 1]), frame(CONTINUATION, b"\xc3\xa9")],
        TOO_BIG,
    );
    section
}
