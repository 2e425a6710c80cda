//! What must hold whatever arrives: nothing panics, what is read does not depend on how the network cut it, and what
//! one half writes the other reads back.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::Path;

use lastmile_loadgen::scenario::Scenario;
use lastmile_loadgen::transport::http::{Chunks, Head};
use lastmile_server::connect::{Parsed, RequestHead};
use lastmile_server::guard::{
    Asked, IpNet, MAX_TOKEN_CHARACTERS, Origin, OriginPolicy, TrustedProxies, bearer, parse_tokens,
    query_token,
};
use lastmile_server::protocol::websocket::handshake;
use lastmile_wire::command::{self, Command};
use lastmile_wire::request::{Encoding, StreamRequest, Topic};
use lastmile_wire::round::{Round, peek_round_id};
use lastmile_wire::websocket::{Masking, MessageError, MessageReader};
use lastmile_wire::{batch, msgpack};
use lastmile_wire::{http3 as h3, resp as redis, sse as events, websocket as ws, webtransport as wt};
use wtransport::proto::frame::Frame;
use wtransport::proto::headers::Headers;
use wtransport::proto::session::SessionRequest;

use crate::Random;

/// Largest message the bodies accept: the server's limit for what a client may send.
const LIMIT: usize = 4096;

/// A published round.
pub fn round(input: &[u8]) {
    let peeked = peek_round_id(input);
    let identified = Round::identify(input);
    let Ok(round) = Round::parse(input) else {
        return assert!(identified.is_err(), "the short way takes what the long way refuses: {identified:?}");
    };
    let identity = (round.round_id, round.game_slug.clone());
    assert_eq!(identified.expect("a round is one both ways"), identity);
    assert!(!input.contains(&b'\n') && !input.contains(&b'\r'), "a round has no line breaks");
    // As the contract spells it, and libraries which put spaces behind colons.
    if input.starts_with(b"{\"round_id\":") {
        assert_eq!(peeked, Some(round.round_id), "the identifier without parsing");
    }
    let mut packed = Vec::new();
    msgpack::append_round(&mut packed, &round);
    assert_eq!(msgpack::value_length(&packed), Some(packed.len()));
    assert_eq!(msgpack::peek_round_id(&packed), Some(round.round_id));
    let written = round.to_json();
    assert_eq!(Round::parse(&written).expect("what is written is a round"), round);
    assert_eq!(peek_round_id(&written), Some(round.round_id));
}

/// Several rounds in one message, in both encodings, as a client takes them apart.
pub fn batch(input: &[u8]) {
    type Split = fn(&[u8], &mut dyn FnMut(&[u8])) -> Result<(), batch::NotABatch>;
    let splits: [(Split, bool); 2] = [
        (|message, on| batch::split_json(message, on), true),
        (|message, on| batch::split_msgpack(message, on), false),
    ];
    for (split, is_json) in splits {
        let mut elements: Vec<Vec<u8>> = Vec::new();
        if split(input, &mut |element| elements.push(element.to_vec())).is_err() {
            continue;
        }
        let mut again = Vec::new();
        let slices = elements.iter().map(Vec::as_slice);
        if is_json {
            batch::append_json(&mut again, slices);
        } else {
            batch::append_msgpack(&mut again, slices);
            assert!(msgpack::value_length(&again) == Some(again.len()));
        }
        let mut back: Vec<Vec<u8>> = Vec::new();
        split(&again, &mut |element| back.push(element.to_vec())).expect("what is joined is a batch");
        assert!(back == elements, "what is joined is split again");
    }
    if let Some(length) = msgpack::value_length(input) {
        assert!((1..=input.len()).contains(&length));
        assert_eq!(
            msgpack::value_length(&input[..length]),
            Some(length),
            "a value does not depend on what follows"
        );
        for cut in (0..length).step_by(1 + length / 100) {
            assert_eq!(msgpack::value_length(&input[..cut]), None, "a value that ends twice");
        }
    }
}

/// What a client says on an open stream.
pub fn command(input: &[u8]) {
    let answer = match Command::parse(input) {
        Ok(Command::Subscribe(topics) | Command::Unsubscribe(topics)) => {
            assert!((1..=command::MAX_TOPICS).contains(&topics.len()));
            command::subscribed(topics.iter().map(|topic| match topic {
                Topic::Game(name) | Topic::Type(name) => name.as_str(),
            }))
        }
        Ok(Command::Ping(number)) => {
            let answer = command::pong(&number);
            let again = answer.replacen("pong", "ping", 1);
            assert_eq!(Command::parse(again.as_bytes()), Ok(Command::Ping(number)), "an echo");
            answer
        }
        Ok(command @ Command::Auth(_)) => {
            assert_eq!(format!("{command:?}"), "Auth(Token(…))");
            command::authenticated()
        }
        Err(error) => command::error(&error.to_string()),
    };
    // The answer is as bounded as the command.
    assert!(answer.len() <= command::MAX_COMMAND_BYTES + 64);
}

/// The target of a stream's request.
pub fn request(input: &[u8]) {
    let Ok(target) = std::str::from_utf8(input) else { return };
    let Some(Ok(request)) = StreamRequest::parse(target) else { return };
    let path = request.topic.path(request.protocol);
    let again = StreamRequest::parse(&path).expect("a stream's path").expect("without parameters");
    assert_eq!((again.protocol, again.topic), (request.protocol, request.topic));
}

/// What the guard reads of strangers: where a page is from, whom a proxy speaks for, tokens.
pub fn guard(input: &[u8]) {
    let values: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let (proxy, stranger) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([192, 0, 2, 1]));
    let proxies = TrustedProxies::new(&[IpNet::from(IpAddr::from([10, 0, 0, 0]))]);
    let everyone = TrustedProxies::new(&["10.0.0.0/8".parse().expect("a network")]);
    for proxies in [&proxies, &everyone] {
        assert_eq!(
            proxies.client(stranger, values.iter().copied()),
            stranger,
            "who is no proxy speaks for nobody"
        );
    }
    let claimed = IpAddr::from([198, 51, 100, 7]);
    let believed = everyone.client(proxy, values.iter().copied());
    let with_claim = everyone.client(proxy, [&b"198.51.100.7"[..]].into_iter().chain(values.iter().copied()));
    // What a client writes stands to the left of what proxies write, where it counts only if all of them are proxies.
    assert!(with_claim == believed || (with_claim == claimed && everyone.contains(believed)));

    let asked = |origin| Asked { origin: Some(origin), host: Some(b"live.example:3000"), any_port: false };
    let list = OriginPolicy::new(&["https://app.example".parse().expect("an origin")], true);
    for value in &values {
        let is_allowed = list.allows(asked(value));
        let origin = std::str::from_utf8(value).ok().and_then(|text| text.parse::<Origin>().ok());
        let Some(origin) = origin else {
            assert!(!is_allowed, "what is no origin is not allowed");
            continue;
        };
        let written = origin.to_string();
        assert_eq!(written.parse().as_ref(), Ok(&origin), "an origin has one spelling");
        let own = ["https://app.example", "http://live.example:3000", "https://live.example:3000"];
        let is_page = written.ends_with("://live.example:3000");
        assert_eq!(is_allowed, own.contains(&written.as_str()) || is_page, "{written}");
    }

    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(tokens) = parse_tokens(text) {
        for token in tokens {
            assert!((16..=MAX_TOKEN_CHARACTERS).contains(&token.len()));
            assert_eq!(bearer(format!("Bearer {token}").as_bytes()), Some(token.as_bytes()));
            assert_eq!(
                query_token(&format!("/ws/crash?a=b&token={token}")).as_deref(),
                Some(token.as_bytes())
            );
        }
    }
    let _ = query_token(text);
}

/// The head of a request, as the server reads it, and the WebSocket handshake it may be.
pub fn http_request(input: &[u8]) {
    let Parsed::Request(head, length) = RequestHead::parse(input) else { return };
    assert!(length <= input.len());
    assert!(head.target().is_ascii() || std::str::from_utf8(head.target().as_bytes()).is_ok());
    let Some(Ok(mut wanted)) = StreamRequest::parse("/ws/crash") else { panic!("a stream's path") };
    if let Ok(answer) = handshake(&head, &mut wanted) {
        assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
        // What a client sent must not begin a header of its own in the answer.
        let lines = if wanted.encoding == Encoding::MessagePack { 7 } else { 6 };
        assert_eq!(answer.split(|&byte| byte == b'\n').count(), lines);
    }
    let least = 1 + length / 100;
    for cut in (0..length).step_by(least) {
        assert!(!matches!(RequestHead::parse(&input[..cut]), Parsed::Request(..)), "a head that ends twice");
    }
}

/// The head of an answer and its chunked body, as the load generator reads them.
pub fn http_answer(input: &[u8]) {
    let body = match Head::parse(input) {
        Ok(Some(head)) => {
            assert!(head.length <= input.len());
            // Must not panic; what it says is for a person.
            let _ = head.refusal("server", input, true);
            &input[head.length..]
        }
        _ => input,
    };
    let undone = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut chunks, mut data) = (Chunks::Size(0), Vec::new());
        for piece in pieces {
            let mut piece = piece.to_vec();
            match chunks.undo(&mut piece) {
                Ok(length) => data.extend_from_slice(&piece[..length]),
                Err(_) => return None,
            }
        }
        assert!(data.len() <= body.len());
        Some((data, chunks))
    };
    let whole = undone(&mut std::iter::once(body));
    assert!(undone(&mut pieces(body)) == whole, "a body depends on how it was cut");
}

/// What clients of a WebSocket send.
pub fn websocket_client(input: &[u8]) {
    let whole = heard(std::iter::once(input));
    // Not `assert_eq`: it would print both, which may be long.
    assert!(heard(pieces(input)) == whole, "what is heard depends on how it was cut");
}

fn heard<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Result<(), MessageError>) {
    let mut reader = MessageReader::new(LIMIT);
    let mut events = Vec::new();
    for piece in pieces {
        let read = reader.read(&mut piece.to_vec(), |event| {
            match event {
                ws::ClientEvent::Text(text) => assert!(text.len() <= LIMIT),
                ws::ClientEvent::Binary(bytes) => assert!(bytes.len() <= LIMIT),
                ws::ClientEvent::Ping(bytes) => assert!(bytes.len() <= ws::MAX_CONTROL_PAYLOAD),
                ws::ClientEvent::Pong | ws::ClientEvent::Close(_) => {}
            }
            // With its bytes as text, which is less to format than a list of numbers.
            events.push(match event {
                ws::ClientEvent::Binary(bytes) => format!("Binary {}", String::from_utf8_lossy(bytes)),
                ws::ClientEvent::Ping(bytes) => format!("Ping {}", String::from_utf8_lossy(bytes)),
                other => format!("{other:?}"),
            });
            true
        });
        if read.is_err() {
            return (events, read);
        }
    }
    (events, Ok(()))
}

/// What the server of a WebSocket sends, as the load generator takes it apart.
pub fn websocket_server(input: &[u8]) {
    let mut borders = vec![0];
    let mut at = 0;
    while let Ok(Some(header)) = ws::decode_header(&input[at..], Masking::Forbidden, LIMIT) {
        assert!(header.header_len <= ws::MAX_HEADER_BYTES && header.payload_len <= LIMIT);
        if input.len() - at < header.frame_len() {
            break;
        }
        let frame = &input[at..at + header.frame_len()];
        let mut again = Vec::new();
        ws::append_frame(&mut again, header.opcode, &frame[header.header_len..]);
        // The only thing the writer never says is "more of this message follows".
        again[0] &= if header.fin { 0xff } else { 0x7f };
        assert_eq!(again, frame, "every frame has one spelling");
        at += header.frame_len();
        borders.push(at);
    }
    for sent in (0..=at).step_by(1 + at / 100) {
        let end = ws::end_of_frame(&input[..at], sent);
        assert!(end >= sent && borders.contains(&end), "{end} is no border behind {sent}: {borders:?}");
    }
}

/// An event stream.
pub fn sse(input: &[u8]) {
    let read = |bytes: &[u8]| {
        events::next_event(bytes).map(|(event, used)| {
            assert!(event.id.is_none_or(|id| !id.contains(&0)), "an id has no NUL");
            let data = event.data.map(std::borrow::Cow::into_owned);
            ((event.event.to_vec(), event.id.map(<[u8]>::to_vec), data), used)
        })
    };
    is_read_alike(input, |bytes| Ok::<_, ()>(read(bytes)));
    // Whatever a round is, it comes out as it went in.
    if !input.contains(&b'\n') && !input.contains(&b'\r') {
        let mut written = Vec::new();
        events::append_event(&mut written, events::EVENT_MESSAGE, Some(input.len() as u64), input);
        let (event, used) = events::next_event(&written).expect("an event");
        assert_eq!((event.data.as_deref(), used), (Some(input), written.len()));
        for sent in (1..written.len()).step_by(1 + written.len() / 100) {
            assert_eq!(events::end_of_event(&written, sent), written.len());
        }
    }
}

/// What travels on a WebTransport session: integers, messages behind their length, streams, datagrams.
pub fn webtransport(input: &[u8]) {
    is_read_alike(input, |bytes| {
        wt::next_message(bytes, LIMIT).map(|next| next.map(|(message, used)| (message.to_vec(), used)))
    });
    let Some((value, length)) = wt::read_varint(input) else { return };
    assert!(value <= wt::MAX_VARINT && length <= input.len());
    let mut shortest = Vec::new();
    wt::append_varint(&mut shortest, value);
    assert!(shortest.len() <= length);
    assert_eq!(wt::read_varint(&shortest), Some((value, shortest.len())));
    // The rest as the payload of a session whose number begins the input.
    let (session, payload) = (value & !3, &input[length..]);
    let stream = wt::uni_stream(session, payload);
    let (kind, at) = wt::read_varint(&stream).expect("a type");
    let (number, more) = wt::read_varint(&stream[at..]).expect("a session");
    assert_eq!((kind, number, &stream[at + more..]), (0x54, session, payload));
    let datagram = wt::datagram(session, payload);
    assert_eq!(wt::datagram_payload(&datagram, session), Some(payload));
    is_read_alike(input, |bytes| {
        wt::bidi_stream_payload(bytes, session).map(|used| used.map(|used| ((), used)))
    });
}

/// Frames of HTTP/3, and header blocks: what is let through to the library that decodes them does it no harm.
pub fn http3(input: &[u8]) {
    decode_headers(input);
    if let Ok(Some((frame, _))) = h3::next_frame(input, LIMIT) {
        decode_headers(frame.payload);
    }
    is_read_alike(input, |bytes| {
        h3::next_frame(bytes, LIMIT).map(|next| {
            next.map(|(frame, used)| {
                assert!(frame.payload.len() <= LIMIT);
                ((frame.kind, frame.payload.to_vec()), used)
            })
        })
    });
}

fn decode_headers(block: &[u8]) {
    if h3::check_header_block(block).is_ok()
        && let Ok(headers) = Headers::with_frame(&Frame::new_headers(Cow::Borrowed(block)))
        && let Ok(request) = SessionRequest::try_from(headers)
    {
        let _ = (request.path(), request.authority(), request.origin());
    }
}

/// What Redis says to a subscriber.
pub fn resp(input: &[u8]) {
    is_read_alike(input, |bytes| {
        redis::next_push(bytes, LIMIT).map(|next| next.map(|(push, used)| (said(push), used)))
    });
    let (channel, payload) = input.split_at(input.len() / 3);
    let mut written = Vec::new();
    redis::append_command(&mut written, &[b"message", channel, payload]);
    let push = redis::next_push(&written, LIMIT);
    if payload.len() <= LIMIT && channel.len() <= LIMIT {
        assert_eq!(push, Ok(Some((redis::Push::Message { channel, payload }, written.len()))));
    } else {
        assert_eq!(push, Err(redis::RespError));
    }
}

/// A push that owns its parts.
fn said(push: redis::Push<'_>) -> (u8, Vec<u8>, Vec<u8>) {
    match push {
        redis::Push::Message { channel, payload } => (0, channel.to_vec(), payload.to_vec()),
        redis::Push::Subscribed => (1, Vec::new(), Vec::new()),
        redis::Push::Other => (2, Vec::new(), Vec::new()),
        redis::Push::Refused(words) => (3, words.to_vec(), Vec::new()),
    }
}

/// A result file.
pub fn results(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let path = Path::new("result.json");
    let Ok(result) = lastmile_reports::store::parse(text, path) else { return };
    let written = lastmile_reports::store::to_json(&result);
    let again = lastmile_reports::store::parse(&written, path).expect("what is written can be read");
    assert_eq!(lastmile_reports::store::to_json(&again), written);
}

/// A scenario file, with the search for capacity and the description of a target that may be in it: what is understood
/// can be kept in a result and is understood again as the same; what is not is told with a place that is there.
pub fn scenario(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let scenario = match Scenario::parse("s.toml", text) {
        Ok(scenario) => scenario,
        Err(mistake) => {
            assert!(
                mistake.to_string().starts_with(&format!("s.toml:{}:{}: ", mistake.line, mistake.column))
            );
            let line = text.split('\n').nth(mistake.line - 1).expect("a line of the file");
            assert!(mistake.column <= line.chars().count() + 1, "{mistake}");
            return;
        }
    };
    let kept = scenario.to_json();
    let written = toml::to_string(&kept).expect("what is kept has nothing that TOML lacks");
    let again = Scenario::parse("kept", &written).expect("what is kept can be read");
    assert_eq!(again.to_json(), kept);
}

/// Reads `input` whole, and as a peer does to whom it comes in pieces, with `next`: what stands at the start of the
/// bytes and how many of them it took. Both must come to the same things and the same end.
fn is_read_alike<T: PartialEq, E: PartialEq>(
    input: &[u8],
    next: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let (mut held, mut found) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let mut at = 0;
            loop {
                match next(&held[at..]) {
                    Ok(None) => break,
                    Ok(Some((thing, used))) => {
                        assert!(used > 0 && at + used <= held.len(), "{used} bytes of {}", held.len() - at);
                        at += used;
                        found.push(thing);
                    }
                    Err(error) => return (found, Some(error)),
                }
            }
            held.drain(..at);
        }
        (found, None)
    };
    let whole = read(&mut std::iter::once(input));
    assert!(read(&mut pieces(input)) == whole, "what is read depends on how it was cut");
}

/// The input in pieces whose sizes follow from it, so that a failing input fails again.
fn pieces(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut random = Random::new(
        input
            .iter()
            .fold(input.len() as u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
    );
    // Some inputs come byte by byte, others in large pieces.
    let bound = random.below(64) + 1;
    let largest = 1 + random.below(bound);
    // Long ones don't come in thousands: readers start over with every piece.
    let least = 1 + input.len() / 100;
    let mut rest = input;
    std::iter::from_fn(move || {
        let size = (least + random.below(largest)).min(rest.len());
        let (piece, after) = rest.split_at(size);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
