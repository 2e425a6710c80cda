//! A subscriber of any protocol: it yields the rounds that arrive, byte for byte, and how its stream ended.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Place, http2, round_id, soon, sse, websocket, webtransport};

/// Bytes that the kernel, or the flow control of a protocol with one of its own, keeps for a client that does
/// not read. Small, so that little fills it.
pub const RECEIVE_BUFFER_BYTES: usize = 32 * 1024;

/// What a test needs of a client.
pub trait Client: Send {
    /// The next round, or how the stream ended. Not cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Bytes, End>>;
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
    client: Box<dyn Client>,
}

impl Subscriber {
    /// A client whose handshake the server has answered with a stream.
    pub async fn connect(place: &Place, way: Way, topic: &str) -> Self {
        let connected = Self::try_connect(place, way, topic).await;
        connected.unwrap_or_else(|error| panic!("{way:?} {topic}: {error}"))
    }

    /// The same where the server may refuse.
    pub async fn try_connect(place: &Place, way: Way, topic: &str) -> Result<Self, String> {
        Self::try_connect_to(place, way, &way.target(topic)).await
    }

    /// The same with a path and a query of the test's own.
    pub async fn try_connect_to(place: &Place, way: Way, target: &str) -> Result<Self, String> {
        let connecting: BoxFuture<'_, Result<Box<dyn Client>, String>> = match way {
            Way::WebSocket => Box::pin(websocket::connect(place, target)),
            Way::Sse => Box::pin(sse::connect(place, target)),
            Way::SseHttp2 => Box::pin(http2::connect(place, target)),
            Way::Stream | Way::Streams | Way::Datagram => Box::pin(webtransport::connect(place, target)),
        };
        let client = soon(&format!("{way:?} {target}: connecting"), connecting).await?;
        Ok(Self { way, client })
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
        let next = self.client.next().await;
        next.unwrap_or_else(|end| panic!("{:?}: ended instead of a round: {end:?}", self.way))
    }

    /// The next round, or how the stream ended.
    pub async fn next_or_end(&mut self) -> Result<Bytes, End> {
        soon(&format!("{:?}: a round", self.way), self.client.next()).await
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
