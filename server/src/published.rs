//! A round on its way through the server: its published bytes, and its frames, each encoded once.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lastmile_wire::request::{Encoding, StreamRequest};
use lastmile_wire::round::Round;
use lastmile_wire::{batch, msgpack, sse, websocket, webtransport};

use crate::catalog::GameIndex;

/// How a round is framed for a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// A WebSocket frame: text, or binary where the encoding is.
    WebSocket,
    /// A Server-Sent Event.
    SseEvent,
    /// Behind its length, on a WebTransport stream.
    LengthPrefixed,
    /// Behind its length, on a bare TCP connection.
    Bare,
    /// As a whole WebTransport stream of its own, in a connection's first session.
    UniStream,
    /// As a WebTransport datagram, in a connection's first session.
    Datagram,
}

/// In what form a subscriber gets its rounds. Whoever has the same one gets the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// How a message is framed.
    pub framing: Framing,
    /// How a round is written in it.
    pub encoding: Encoding,
    /// How long rounds are gathered into one message, in milliseconds; 0 for not at all.
    pub batch_ms: u8,
}

impl Format {
    /// Each round by itself, as it was published.
    pub const fn plain(framing: Framing) -> Self {
        Self { framing, encoding: Encoding::Json, batch_ms: 0 }
    }

    /// What a request asks for.
    pub fn requested(framing: Framing, request: &StreamRequest) -> Self {
        Self { framing, encoding: request.encoding, batch_ms: request.batch_ms }
    }
}

/// When a subscriber gets a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// On connect: the latest round, or what a client that resumes had missed.
    Attach,
    /// As it is published.
    Live,
}

/// Stands for the time of arrival of what is no round.
pub const NOT_A_ROUND: u64 = u64::MAX;

/// A validated round, a notice among rounds, or several of both in one message. Frames are made by whoever needs
/// them first and shared from then on, so a framing that nobody subscribed to costs nothing.
#[derive(Debug)]
pub struct Published {
    game: GameIndex,
    round_id: u64,
    ingested_ns: u64,
    content: Content,
    json: Encoded,
    msgpack: OnceLock<Box<Encoded>>,
}

#[derive(Debug)]
enum Content {
    Round,
    Gap { from: u64 },
    Batch(Box<Batch>),
}

#[derive(Debug)]
struct Batch {
    rounds: Vec<Arc<Published>>,
    arrivals: Vec<u64>,
}

/// A message in one encoding, and its frames.
#[derive(Debug)]
struct Encoded {
    payload: Bytes,
    websocket: OnceLock<Bytes>,
    sse_initial: OnceLock<Bytes>,
    sse_message: OnceLock<Bytes>,
    length_prefixed: OnceLock<Bytes>,
    uni_stream: OnceLock<Bytes>,
    datagram: OnceLock<Bytes>,
}

impl Encoded {
    fn new(payload: Bytes) -> Self {
        Self {
            payload,
            websocket: OnceLock::new(),
            sse_initial: OnceLock::new(),
            sse_message: OnceLock::new(),
            length_prefixed: OnceLock::new(),
            uni_stream: OnceLock::new(),
            datagram: OnceLock::new(),
        }
    }
}

impl Published {
    /// A round of `game` whose bytes reached this process at `ingested_ns`.
    pub fn new(game: GameIndex, round_id: u64, payload: Bytes, ingested_ns: u64) -> Self {
        Self::with_content(game, round_id, payload, ingested_ns, Content::Round)
    }

    /// No round but a notice among rounds: of what came between two of them, something can't be given.
    pub fn gap(game: GameIndex, from: u64, to: u64) -> Self {
        let payload = format!(r#"{{"gap":{{"from":{from},"to":{to}}}}}"#);
        Self::with_content(game, to, payload.into(), NOT_A_ROUND, Content::Gap { from })
    }

    /// All of `rounds`, of which there is one at least, in one message of this encoding.
    fn batch(rounds: Vec<Arc<Self>>, encoding: Encoding) -> Self {
        let game = rounds[0].game;
        let is_round = |round: &&Arc<Self>| !round.is_gap();
        let round_id = rounds.iter().rfind(is_round).or(rounds.last()).map_or(0, |last| last.round_id);
        let mut payload = Vec::new();
        if encoding == Encoding::Json {
            batch::append_json(&mut payload, rounds.iter().map(|round| &round.json.payload[..]));
        }
        let arrivals: Vec<u64> = rounds.iter().flat_map(|round| round.arrivals()).copied().collect();
        let ingested_ns = arrivals.first().copied().unwrap_or(NOT_A_ROUND);
        let content = Content::Batch(Box::new(Batch { rounds, arrivals }));
        Self::with_content(game, round_id, payload.into(), ingested_ns, content)
    }

    fn with_content(
        game: GameIndex,
        round_id: u64,
        payload: Bytes,
        ingested_ns: u64,
        content: Content,
    ) -> Self {
        let json = Encoded::new(payload);
        Self { game, round_id, ingested_ns, content, json, msgpack: OnceLock::new() }
    }

    /// It is a notice of a gap.
    pub fn is_gap(&self) -> bool {
        matches!(self.content, Content::Gap { .. })
    }

    /// The game it belongs to.
    pub fn game(&self) -> GameIndex {
        self.game
    }

    /// Its identifier; of a batch, that of its last round.
    pub fn round_id(&self) -> u64 {
        self.round_id
    }

    /// When the bytes of its rounds reached this process, by [`crate::clock::now_ns`]; [`NOT_A_ROUND`] for a notice.
    pub fn arrivals(&self) -> &[u64] {
        match &self.content {
            Content::Batch(batch) => &batch.arrivals,
            Content::Round | Content::Gap { .. } => std::slice::from_ref(&self.ingested_ns),
        }
    }

    /// How many rounds it holds.
    pub fn round_count(&self) -> usize {
        self.arrivals().iter().filter(|arrival| **arrival != NOT_A_ROUND).count()
    }

    /// When the bytes of its first round reached this process.
    pub fn ingested_ns(&self) -> u64 {
        self.ingested_ns
    }

    /// The bytes as published.
    pub fn payload(&self) -> &Bytes {
        &self.json.payload
    }

    /// The bytes in an encoding, without a frame.
    pub fn payload_in(&self, encoding: Encoding) -> &Bytes {
        &self.encoded(encoding).payload
    }

    /// The bytes as they travel.
    pub fn frame(&self, format: Format, moment: Moment) -> &Bytes {
        let Format { framing, encoding, .. } = format;
        let encoded = self.encoded(encoding);
        let payload = &encoded.payload;
        let encode = |append: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            append(&mut out);
            Bytes::from(out)
        };
        match (framing, moment) {
            (Framing::WebSocket, _) => encoded.websocket.get_or_init(|| {
                let opcode = match encoding {
                    Encoding::Json => websocket::Opcode::Text,
                    Encoding::MessagePack => websocket::Opcode::Binary,
                };
                encode(&|out| websocket::append_frame(out, opcode, payload))
            }),
            (Framing::SseEvent, Moment::Attach) => {
                encoded.sse_initial.get_or_init(|| self.event(sse::EVENT_INITIAL, payload, encoding))
            }
            (Framing::SseEvent, Moment::Live) => {
                encoded.sse_message.get_or_init(|| self.event(sse::EVENT_MESSAGE, payload, encoding))
            }
            (Framing::LengthPrefixed | Framing::Bare, _) => encoded
                .length_prefixed
                .get_or_init(|| encode(&|out| webtransport::append_message(out, payload))),
            (Framing::UniStream, _) => {
                encoded.uni_stream.get_or_init(|| webtransport::uni_stream(0, payload).into())
            }
            (Framing::Datagram, _) => {
                encoded.datagram.get_or_init(|| webtransport::datagram(0, payload).into())
            }
        }
    }

    fn event(&self, event: &str, payload: &[u8], encoding: Encoding) -> Bytes {
        // A notice has no identifier: what the client had last stays what it was.
        let (event, id) = match &self.content {
            Content::Round => (event, Some(self.round_id)),
            Content::Gap { .. } => (sse::EVENT_GAP, None),
            Content::Batch(_) => (event, (self.round_count() > 0).then_some(self.round_id)),
        };
        let mut out = Vec::new();
        match encoding {
            Encoding::Json => sse::append_event(&mut out, event, id, payload),
            // An event stream carries text only.
            Encoding::MessagePack => {
                sse::append_event(&mut out, event, id, sse::encode_binary(payload).as_bytes());
            }
        }
        out.into()
    }

    fn encoded(&self, encoding: Encoding) -> &Encoded {
        match encoding {
            Encoding::Json => &self.json,
            Encoding::MessagePack => {
                self.msgpack.get_or_init(|| Box::new(Encoded::new(self.packed().into())))
            }
        }
    }

    fn packed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.json.payload.len());
        match &self.content {
            Content::Round => match Round::read(&self.json.payload) {
                Ok(round) => msgpack::append_round(&mut out, &round),
                // What is no round does not get here: ingest validates, and the store writes what it has read.
                Err(_) => out.push(0xc0),
            },
            Content::Gap { from } => msgpack::append_gap(&mut out, *from, self.round_id),
            Content::Batch(batch) => {
                let values = batch.rounds.iter().map(|round| &round.payload_in(Encoding::MessagePack)[..]);
                batch::append_msgpack(&mut out, values);
            }
        }
        out
    }
}

/// A batch is complete with this much in it, before its time is over.
const BATCH_BYTES: usize = 64 * 1024;

/// The same for rounds.
const BATCH_ROUNDS: usize = 1000;

/// Rounds that are gathered into one message.
#[derive(Debug, Default)]
pub struct Gathering {
    rounds: Vec<Arc<Published>>,
    bytes: usize,
}

impl Gathering {
    /// Adds a round.
    pub fn push(&mut self, round: &Arc<Published>) {
        self.bytes += round.payload().len();
        self.rounds.push(Arc::clone(round));
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// More are not to be put into one message.
    pub fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.rounds.len() >= BATCH_ROUNDS
    }

    /// The message, where there is anything for one.
    pub fn take(&mut self, encoding: Encoding) -> Option<Arc<Published>> {
        self.bytes = 0;
        let rounds = std::mem::take(&mut self.rounds);
        (!rounds.is_empty()).then(|| Arc::new(Published::batch(rounds, encoding)))
    }
}

/// `rounds` as messages of a format: each by itself, or in as few batches as they need.
pub fn messages(rounds: &[Arc<Published>], format: Format) -> Vec<Arc<Published>> {
    if format.batch_ms == 0 {
        return rounds.to_vec();
    }
    let (mut gathering, mut messages) = (Gathering::default(), Vec::new());
    for round in rounds {
        gathering.push(round);
        if gathering.is_full() {
            messages.extend(gathering.take(format.encoding));
        }
    }
    messages.extend(gathering.take(format.encoding));
    messages
}

/// The frames of `messages` behind each other.
pub fn join(messages: &[Arc<Published>], format: Format, moment: Moment) -> Bytes {
    if let [message] = messages {
        return message.frame(format, moment).clone();
    }
    let frames = || messages.iter().map(|message| message.frame(format, moment));
    let mut joined = Vec::with_capacity(frames().map(Bytes::len).sum());
    frames().for_each(|frame| joined.extend_from_slice(frame));
    Bytes::from(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    const FRAMINGS: [Framing; 5] = [
        Framing::WebSocket,
        Framing::SseEvent,
        Framing::LengthPrefixed,
        Framing::UniStream,
        Framing::Datagram,
    ];

    fn game() -> GameIndex {
        Catalog::new([("crash".to_owned(), "multiplier".to_owned())]).game("crash").unwrap()
    }

    fn round(round_id: u64) -> Arc<Published> {
        let payload = format!(
            "{{\"round_id\":{round_id}, \"game_id\":1,\"game_slug\":\"crash\",\"game_type\":\"multiplier\",\
             \"finished_at\":\"2026-01-17T00:45:42Z\",\"extras\":\"{{}}\",\"timestamp\":1}}"
        );
        Arc::new(Published::new(game(), round_id, payload.into(), round_id))
    }

    fn contains(frame: &[u8], part: &[u8]) -> bool {
        frame.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn a_frame_is_encoded_once_and_carries_the_round() {
        let round = round(7);
        for framing in FRAMINGS {
            for encoding in Encoding::ALL {
                for moment in [Moment::Attach, Moment::Live] {
                    let format = Format { encoding, ..Format::plain(framing) };
                    let frame = round.frame(format, moment);
                    assert_eq!(frame.as_ptr(), round.frame(format, moment).as_ptr());
                    let text = sse::encode_binary(round.payload_in(encoding));
                    let payload = match (framing, encoding) {
                        (Framing::SseEvent, Encoding::MessagePack) => text.as_bytes(),
                        _ => &round.payload_in(encoding)[..],
                    };
                    assert!(contains(frame, payload), "{format:?}");
                }
            }
        }
        let event = |moment| round.frame(Format::plain(Framing::SseEvent), moment);
        assert!(event(Moment::Attach).starts_with(b"event: initial\nid: 7\n"));
        assert!(event(Moment::Live).starts_with(b"event: message\n"));
        let first =
            |encoding| round.frame(Format { encoding, ..Format::plain(Framing::WebSocket) }, Moment::Live)[0];
        assert_eq!(Encoding::ALL.map(first), [0x81, 0x82], "text and binary");
        assert!(round.payload_in(Encoding::MessagePack).starts_with(b"\x87\xa8round_id\x07"));
    }

    #[test]
    fn a_batch_holds_its_rounds_in_order_and_has_the_identifier_of_the_last() {
        let gap = Arc::new(Published::gap(game(), 3, 9));
        let rounds = [round(9), round(10), gap];
        for encoding in Encoding::ALL {
            let format = Format { encoding, batch_ms: 5, framing: Framing::SseEvent };
            let [message] = &messages(&rounds, format)[..] else { panic!("one message") };
            assert_eq!((message.round_id(), message.round_count()), (10, 2));
            assert_eq!(message.arrivals(), [9, 10, NOT_A_ROUND]);
            assert!(message.frame(format, Moment::Live).starts_with(b"event: message\nid: 10\ndata: "));
            let mut elements = Vec::new();
            let payload = message.payload_in(encoding);
            match encoding {
                Encoding::Json => batch::split_json(payload, |element| elements.push(element)),
                Encoding::MessagePack => batch::split_msgpack(payload, |element| elements.push(element)),
            }
            .unwrap();
            assert_eq!(elements, rounds.each_ref().map(|round| round.payload_in(encoding).as_ref()));
        }
        assert_eq!(messages(&rounds, Format::plain(Framing::WebSocket)).len(), 3);
    }

    #[test]
    fn a_batch_is_bounded() {
        let large = Arc::new(Published::new(game(), 1, Bytes::from(vec![b'1'; BATCH_BYTES]), 0));
        let format = Format { batch_ms: 100, ..Format::plain(Framing::WebSocket) };
        let counts = |rounds: Vec<Arc<Published>>| -> Vec<usize> {
            messages(&rounds, format).iter().map(|message| message.round_count()).collect()
        };
        assert_eq!(counts(vec![Arc::clone(&large), large, round(2)]), [1, 1, 1]);
        let size = round(1).payload().len();
        let many = counts((0..1000).map(round).collect());
        assert!(many.iter().all(|count| (count - 1) * size < BATCH_BYTES), "{many:?}");
        assert_eq!((many.iter().sum::<usize>(), many.len()), (1000, 1000 * (size + 2) / BATCH_BYTES + 1));
        assert_eq!(counts(Vec::new()), [0usize; 0]);
    }
}
