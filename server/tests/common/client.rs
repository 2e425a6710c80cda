//! A subscriber of any protocol: it yields the rounds that arrive, byte for byte, and how its stream ended.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use lastmile_wire::request::Encoding;
use lastmile_wire::round::Round;
use lastmile_wire::{batch, msgpack, sse};

use super::{Place, http2, round_id, soon, sse as event_stream, websocket, webtransport};

/// Bytes that the kernel, or the flow control of a protocol with one of its own, keeps for a client that does
/// not read. Small, so that little fills it.
pub const RECEIVE_BUFFER_BYTES: usize = 32 * 1024;

/// What a test needs of a client.
pub trait Client: Send {
    /// The next message, or how the stream ended. Not cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Message, End>>;

    /// Says a command, on protocols whose clients can. Gives the answer where it does not come among the rounds.
    fn say<'a>(&'a mut self, command: &'a str) -> BoxFuture<'a, Option<String>> {
        panic!("a client of this protocol can't say {command}")
    }
}

/// What arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A round, or a batch of them, in whatever encoding.
    Rounds(Bytes),
    /// The answer to a command.
    Answer(String),
}

/// How rounds are written and gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Form {
    pub encoding: Encoding,
    pub batch_ms: u8,
}

impl Form {
    /// Some of each kind.
    pub const ALL: [Self; 4] = [
        Self { encoding: Encoding::Json, batch_ms: 0 },
        Self { encoding: Encoding::MessagePack, batch_ms: 0 },
        Self { encoding: Encoding::Json, batch_ms: 5 },
        Self { encoding: Encoding::MessagePack, batch_ms: 5 },
    ];

    /// A published round in this encoding.
    pub fn of(self, payload: &[u8]) -> Vec<u8> {
        match self.encoding {
            Encoding::Json => payload.to_vec(),
            Encoding::MessagePack => {
                let mut out = Vec::new();
                msgpack::append_round(&mut out, &Round::parse(payload).expect("a round"));
                out
            }
        }
    }

    /// The identifier of a round in this encoding.
    pub fn round_id(self, round: &[u8]) -> u64 {
        match self.encoding {
            Encoding::Json => round_id(round),
            Encoding::MessagePack => msgpack::peek_round_id(round).expect("a round"),
        }
    }

    /// The rounds of a message.
    fn unpack(self, way: Way, message: Bytes) -> Vec<Bytes> {
        let mut bytes = Vec::new();
        let message = match (way, self.encoding) {
            (Way::Sse | Way::SseHttp2, Encoding::MessagePack) => {
                assert!(sse::decode_binary(&message, &mut bytes), "base64: {message:?}");
                Bytes::from(bytes)
            }
            _ => message,
        };
        if self.batch_ms == 0 {
            return vec![message];
        }
        let mut rounds = Vec::new();
        let add = |round: &[u8]| rounds.push(Bytes::copy_from_slice(round));
        match self.encoding {
            Encoding::Json => batch::split_json(&message, add),
            Encoding::MessagePack => batch::split_msgpack(&message, add),
        }
        .unwrap_or_else(|error| panic!("{way:?}: {error}: {message:?}"));
        assert!(!rounds.is_empty(), "{way:?}: an empty batch");
        rounds
    }
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The server told why, on protocols that have codes with one.
    Told {
        /// The protocol's own code.
        code: Option<u64>,
        /// The server's words.
        words: String,
    },
    /// It ended without a word.
    Silent,
    /// It broke.
    Broken(String),
}

/// The ways to receive rounds. Each works with and without TLS, but for WebTransport, which always has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    WebSocket,
    Sse,
    SseHttp2,
    Stream,
    Streams,
    Datagram,
}

impl Way {
    pub const ALL: [Self; 6] =
        [Self::WebSocket, Self::Sse, Self::SseHttp2, Self::Stream, Self::Streams, Self::Datagram];

    /// The label of its protocol in the metrics.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::Sse | Self::SseHttp2 => "sse",
            Self::Stream | Self::Streams | Self::Datagram => "wt",
        }
    }

    /// The contract promises rounds in order.
    pub fn is_ordered(self) -> bool {
        !matches!(self, Self::Streams | Self::Datagram)
    }

    /// Its clients can say something.
    pub fn has_commands(self) -> bool {
        !matches!(self, Self::Sse | Self::SseHttp2)
    }

    /// The target of a topic's stream in a form.
    pub fn target_in(self, topic: &str, form: Form) -> String {
        let target = self.target(topic);
        let mark = if target.contains('?') { '&' } else { '?' };
        format!("{target}{mark}encoding={}&batch_ms={}", form.encoding.name(), form.batch_ms)
    }

    /// The target of a topic's stream: `crash`, `type/color`.
    pub fn target(self, topic: &str) -> String {
        let delivery = match self {
            Self::WebSocket | Self::Sse | Self::SseHttp2 | Self::Stream => "",
            Self::Streams => "?delivery=streams",
            Self::Datagram => "?delivery=datagram",
        };
        format!("/{}/{topic}{delivery}", self.protocol())
    }
}

/// A client that knows its way, for messages, and never waits for ever.
pub struct Subscriber {
    pub way: Way,
    pub form: Form,
    client: Box<dyn Client>,
    /// Rounds that came with others.
    pending: VecDeque<Bytes>,
}

impl Subscriber {
    /// A client whose handshake the server has answered with a stream.
    pub async fn connect(place: &Place, way: Way, topic: &str) -> Self {
        let connected = Self::try_connect(place, way, topic).await;
        connected.unwrap_or_else(|error| panic!("{way:?} {topic}: {error}"))
    }

    /// The same in a form.
    pub async fn connect_in(place: &Place, way: Way, topic: &str, form: Form) -> Self {
        let target = way.target_in(topic, form);
        let connected = Self::try_connect_to(place, way, &target).await;
        let mut subscriber = connected.unwrap_or_else(|error| panic!("{way:?} {target}: {error}"));
        subscriber.form = form;
        subscriber
    }

    /// The same where the server may refuse.
    pub async fn try_connect(place: &Place, way: Way, topic: &str) -> Result<Self, String> {
        Self::try_connect_to(place, way, &way.target(topic)).await
    }

    /// The same with a path and a query of the test's own.
    pub async fn try_connect_to(place: &Place, way: Way, target: &str) -> Result<Self, String> {
        let connecting: BoxFuture<'_, Result<Box<dyn Client>, String>> = match way {
            Way::WebSocket => Box::pin(websocket::connect(place, target)),
            Way::Sse => Box::pin(event_stream::connect(place, target)),
            Way::SseHttp2 => Box::pin(http2::connect(place, target)),
            Way::Stream | Way::Streams | Way::Datagram => Box::pin(webtransport::connect(place, target)),
        };
        let client = soon(&format!("{way:?} {target}: connecting"), connecting).await?;
        Ok(Self { way, form: Form::default(), client, pending: VecDeque::new() })
    }

    /// The next round.
    pub async fn next(&mut self) -> Bytes {
        let next = self.next_or_end().await;
        next.unwrap_or_else(|end| panic!("{:?}: ended instead of a round: {end:?}", self.way))
    }

    /// The identifier of the next round.
    pub async fn next_id(&mut self) -> u64 {
        round_id(&self.next().await)
    }

    /// The next round, without a limit of time of its own: for crowds, where that would cost too much.
    pub async fn next_patiently(&mut self) -> Bytes {
        let next = self.take().await;
        next.unwrap_or_else(|end| panic!("{:?}: ended instead of a round: {end:?}", self.way))
    }

    /// The next round, or how the stream ended.
    pub async fn next_or_end(&mut self) -> Result<Bytes, End> {
        soon(&format!("{:?}: a round", self.way), self.take()).await
    }

    async fn take(&mut self) -> Result<Bytes, End> {
        loop {
            if let Some(round) = self.pending.pop_front() {
                return Ok(round);
            }
            match self.client.next().await? {
                Message::Rounds(message) => self.pending.extend(self.form.unpack(self.way, message)),
                Message::Answer(answer) => panic!("{:?}: an answer nobody asked for: {answer}", self.way),
            }
        }
    }

    /// How many rounds have arrived and have not been taken.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The same for a client that had this round last.
    pub async fn resume_in(place: &Place, way: Way, topic: &str, form: Form, since: u64) -> Self {
        let target = format!("{}&since={since}", way.target_in(topic, form));
        let connected = Self::try_connect_to(place, way, &target).await;
        let mut subscriber = connected.unwrap_or_else(|error| panic!("{way:?} {target}: {error}"));
        subscriber.form = form;
        subscriber
    }

    /// Says a command and gives the answer. Rounds that come before it are kept for later.
    pub async fn say(&mut self, command: &str) -> String {
        self.try_say(command).await.expect("an answer")
    }

    /// The same where the stream may have ended.
    pub async fn try_say(&mut self, command: &str) -> Result<String, End> {
        soon(&format!("{:?}: an answer to {command}", self.way), async {
            match self.client.say(command).await {
                Some(answer) => Ok(answer),
                None => self.answer_or_end().await,
            }
        })
        .await
    }

    /// The answer to something said before; rounds that come before it are kept for later.
    pub async fn answer_or_end(&mut self) -> Result<String, End> {
        soon("an answer", async {
            loop {
                match self.client.next().await? {
                    Message::Rounds(message) => self.pending.extend(self.form.unpack(self.way, message)),
                    Message::Answer(answer) => return Ok(answer),
                }
            }
        })
        .await
    }

    /// Says a command without waiting for its answer, where answers come among the rounds.
    pub async fn say_only(&mut self, command: &str) {
        self.client.say(command).await;
    }

    /// Takes what is still to come: the rounds, and how the stream ended.
    pub async fn drain(&mut self) -> (Vec<Bytes>, End) {
        let mut rounds = Vec::new();
        loop {
            match self.next_or_end().await {
                Ok(round) => rounds.push(round),
                Err(end) => return (rounds, end),
            }
        }
    }
}
