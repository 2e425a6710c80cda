//! One module a protocol: its handshake, its framing, its goodbye, and what its clients may say. Everything a
//! shard must know to write bytes for a protocol is [`StreamProtocol`]; WebTransport, which is not a byte
//! stream, takes its frames from a queue instead.

pub mod bare;
pub mod sse;
pub mod websocket;
pub mod webtransport;

use lastmile_wire::command::{Command, CommandError};
use lastmile_wire::request::Protocol;
use lastmile_wire::websocket::MessageReader;

use crate::published::Framing;

/// Why a subscriber's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The server shuts down.
    GoingAway,
    /// Its backlog was full.
    TooSlow,
    /// It broke its protocol.
    ProtocolError,
    /// It sent text that is not UTF-8.
    InvalidText,
    /// It sent a message above the limit.
    TooBig,
    /// It sent what nobody asked for.
    Policy,
    /// It was silent for too long.
    Idle,
    /// It said goodbye.
    ClientClosed,
    /// Its connection broke.
    PeerGone,
    /// Its client said too much in a second.
    CommandRate,
    /// Its client did not say who it is.
    Unauthorized,
}

impl CloseReason {
    /// How many there are.
    pub const COUNT: usize = 11;

    /// All of them; the position is [`Self::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::GoingAway,
        Self::TooSlow,
        Self::ProtocolError,
        Self::InvalidText,
        Self::TooBig,
        Self::Policy,
        Self::Idle,
        Self::ClientClosed,
        Self::PeerGone,
        Self::CommandRate,
        Self::Unauthorized,
    ];

    /// Position in [`Self::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The `reason` label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::GoingAway => "going_away",
            Self::TooSlow => "too_slow",
            Self::ProtocolError => "protocol_error",
            Self::InvalidText => "invalid_text",
            Self::TooBig => "too_big",
            Self::Policy => "policy",
            Self::CommandRate => "command_rate",
            Self::Unauthorized => "unauthorized",
            Self::Idle => "idle",
            Self::ClientClosed => "client_closed",
            Self::PeerGone => "peer_gone",
        }
    }

    /// What the client is told.
    pub fn words(self) -> &'static str {
        match self {
            Self::GoingAway => "server going away",
            Self::TooSlow => "subscriber too slow",
            Self::ProtocolError => "protocol error",
            Self::InvalidText => "text is not UTF-8",
            Self::TooBig => "message too big",
            Self::Policy => "unexpected data",
            Self::CommandRate => "too many commands",
            Self::Unauthorized => "authentication required",
            Self::Idle => "silent for too long",
            Self::ClientClosed | Self::PeerGone => "",
        }
    }
}

/// What is kept of a client's words between two reads. Empty while the client is silent.
#[derive(Debug, Default)]
pub struct Conversation {
    reader: Option<Box<MessageReader>>,
    unasked_bytes: u32,
}

/// What a client said.
#[derive(Debug)]
pub enum Said {
    /// Something the protocol answers by itself, with these bytes.
    Answer(Vec<u8>),
    /// A command, or what should have been one.
    Command(Result<Command, CommandError>),
}

/// A protocol that is a stream of bytes on a socket.
pub trait StreamProtocol: std::fmt::Debug + Sync {
    /// Which one.
    fn protocol(&self) -> Protocol;

    /// How rounds are framed on it.
    fn framing(&self) -> Framing;

    /// What keeps the connection alive, sent every [`Self::sweeps_per_heartbeat`]-th sweep.
    fn heartbeat(&self, unix_seconds: u64) -> Vec<u8>;

    /// How many sweeps lie between two heartbeats.
    fn sweeps_per_heartbeat(&self) -> u32;

    /// A live client answers heartbeats, so a silent one is dead.
    fn client_answers(&self) -> bool;

    /// The last bytes a client gets.
    fn goodbye(&self, reason: CloseReason) -> Vec<u8>;

    /// Where the frame ends in which the byte at `sent` of `frames` lies.
    fn end_of_frame(&self, frames: &[u8], sent: usize) -> usize;

    /// An answer to a command, framed.
    fn answer(&self, answer: &str) -> Vec<u8>;

    /// Takes what the client sent, and appends what it said.
    ///
    /// # Errors
    /// The reason to close the connection for, once that has been dealt with.
    fn hear(
        &self,
        conversation: &mut Conversation,
        bytes: &mut [u8],
        said: &mut Vec<Said>,
    ) -> Result<(), CloseReason>;
}
