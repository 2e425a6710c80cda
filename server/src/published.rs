//! A round on its way through the server: its published bytes, and its frames, each encoded once.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lastmile_wire::{sse, websocket, webtransport};

use crate::catalog::GameIndex;

/// How a round is framed for a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// A WebSocket text frame.
    WebSocketText,
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

/// When a subscriber gets a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// On connect: the latest round, or what a client that resumes had missed.
    Attach,
    /// As it is published.
    Live,
}

/// A validated round. Frames are made by whoever needs them first and shared from then on, so a framing that
/// nobody subscribed to costs nothing.
#[derive(Debug)]
pub struct Published {
    game: GameIndex,
    round_id: u64,
    ingested_ns: u64,
    payload: Bytes,
    is_gap: bool,
    websocket: OnceLock<Bytes>,
    sse_initial: OnceLock<Bytes>,
    sse_message: OnceLock<Bytes>,
    length_prefixed: OnceLock<Bytes>,
    uni_stream: OnceLock<Bytes>,
    datagram: OnceLock<Bytes>,
}

impl Published {
    /// A round of `game` whose bytes reached this process at `ingested_ns`.
    pub fn new(game: GameIndex, round_id: u64, payload: Bytes, ingested_ns: u64) -> Self {
        Self {
            game,
            round_id,
            ingested_ns,
            payload,
            is_gap: false,
            websocket: OnceLock::new(),
            sse_initial: OnceLock::new(),
            sse_message: OnceLock::new(),
            length_prefixed: OnceLock::new(),
            uni_stream: OnceLock::new(),
            datagram: OnceLock::new(),
        }
    }

    /// No round but a notice among rounds: of what came between two of them, something can't be given.
    pub fn gap(game: GameIndex, from: u64, to: u64) -> Self {
        let payload = format!(r#"{{"gap":{{"from":{from},"to":{to}}}}}"#);
        Self { is_gap: true, ..Self::new(game, to, payload.into(), 0) }
    }

    /// It is a notice of a gap.
    pub fn is_gap(&self) -> bool {
        self.is_gap
    }

    /// The game it belongs to.
    pub fn game(&self) -> GameIndex {
        self.game
    }

    /// Its identifier.
    pub fn round_id(&self) -> u64 {
        self.round_id
    }

    /// When its bytes reached this process, by [`crate::clock::now_ns`].
    pub fn ingested_ns(&self) -> u64 {
        self.ingested_ns
    }

    /// The bytes as published.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The bytes as they travel.
    pub fn frame(&self, framing: Framing, moment: Moment) -> &Bytes {
        let encode = |append: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            append(&mut out);
            Bytes::from(out)
        };
        let sse = |event| {
            // A notice has no identifier: what the client had last stays what it was.
            let (event, id) = if self.is_gap { (sse::EVENT_GAP, None) } else { (event, Some(self.round_id)) };
            encode(&|out| sse::append_event(out, event, id, &self.payload))
        };
        match (framing, moment) {
            (Framing::WebSocketText, _) => self.websocket.get_or_init(|| {
                encode(&|out| websocket::append_frame(out, websocket::Opcode::Text, &self.payload))
            }),
            (Framing::SseEvent, Moment::Attach) => self.sse_initial.get_or_init(|| sse(sse::EVENT_INITIAL)),
            (Framing::SseEvent, Moment::Live) => self.sse_message.get_or_init(|| sse(sse::EVENT_MESSAGE)),
            (Framing::LengthPrefixed | Framing::Bare, _) => self
                .length_prefixed
                .get_or_init(|| encode(&|out| webtransport::append_message(out, &self.payload))),
            (Framing::UniStream, _) => {
                self.uni_stream.get_or_init(|| webtransport::uni_stream(0, &self.payload).into())
            }
            (Framing::Datagram, _) => {
                self.datagram.get_or_init(|| webtransport::datagram(0, &self.payload).into())
            }
        }
    }
}

/// The frames of `rounds` behind each other.
pub fn join(rounds: &[Arc<Published>], framing: Framing, moment: Moment) -> Bytes {
    if let [round] = rounds {
        return round.frame(framing, moment).clone();
    }
    let frames = || rounds.iter().map(|round| round.frame(framing, moment));
    let mut joined = Vec::with_capacity(frames().map(Bytes::len).sum());
    frames().for_each(|frame| joined.extend_from_slice(frame));
    Bytes::from(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn a_frame_is_encoded_once_and_carries_the_published_bytes() {
        let game = Catalog::new([("crash".to_owned(), "multiplier".to_owned())]).game("crash").unwrap();
        let round = Published::new(game, 7, Bytes::from_static(b"{\"round_id\":7}"), 0);
        for framing in [Framing::WebSocketText, Framing::SseEvent, Framing::LengthPrefixed, Framing::Datagram]
        {
            for moment in [Moment::Attach, Moment::Live] {
                let first = round.frame(framing, moment);
                assert_eq!(first.as_ptr(), round.frame(framing, moment).as_ptr());
                assert!(first.windows(14).any(|window| window == &round.payload[..]));
            }
        }
        assert!(round.frame(Framing::SseEvent, Moment::Attach).starts_with(b"event: initial\nid: 7\n"));
        assert!(round.frame(Framing::SseEvent, Moment::Live).starts_with(b"event: message\n"));
    }
}
