//! Subscribers: one trait, one implementation for each protocol.
//!
//! A worker thread drives many subscribers of one protocol. What they receive goes to a [`Sink`] and nowhere
//! else: a transport knows nothing of schedules, ledgers or histograms.

pub mod framing;
pub mod http;
pub mod http2;
pub mod link;
pub mod local;
pub mod prefixed;
pub mod reactor;
pub mod redis;
pub mod sse;
pub mod tls;
pub mod websocket;
pub mod webtransport;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::channels::Turns;
use crate::recorder::Sink;

/// Largest message any client accepts, in bytes: twice the largest round.
pub const MAX_MESSAGE_BYTES: usize = 2 << 20;

/// What each subscriber of a worker asks for.
#[derive(Debug, Clone)]
pub struct Requested<T> {
    /// One a channel.
    each: Arc<[T]>,
    turns: Turns,
}

impl<T> Requested<T> {
    /// Something for each channel, at least one, over which subscribers take turns.
    pub fn in_turn(each: impl IntoIterator<Item = T>, turns: Turns) -> Self {
        Self { each: each.into_iter().collect(), turns }
    }

    /// What a subscriber asks for.
    pub fn by(&self, subscriber: usize) -> &T {
        &self.each[self.turns.of_subscriber(subscriber)]
    }
}

impl<T> From<T> for Requested<T> {
    /// The same for everyone.
    fn from(one: T) -> Self {
        Self::in_turn([one], Turns::new(1))
    }
}

/// Drives subscribers of one protocol.
pub trait Transport {
    /// Attaches `subscribers` of them, at most [`Pace::connecting`] at a time, then hands everything they
    /// receive to `sink` until `stop` says so, and says goodbye.
    ///
    /// # Errors
    /// [`AttachError`] as soon as one of them could not be attached.
    fn drive<S: Sink + 'static>(
        &self,
        subscribers: usize,
        pace: Pace,
        stop: &Stop,
        sink: S,
    ) -> Result<S, AttachError>;
}

/// How fast connections are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Connections in the middle of being opened, at most.
    pub connecting: usize,
}

/// Tells all workers of a slice to end. Once said it stays said.
#[derive(Debug)]
pub struct Stop {
    /// Readable from the moment it is said; never read, so that it wakes everyone.
    event: OwnedFd,
}

impl Stop {
    /// A stop that has not been said.
    ///
    /// # Errors
    /// What the system said when it refused a file descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Says it.
    pub fn say(&self) {
        // Fails only when the counter is about to overflow: then it has been said often enough.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    /// A descriptor of its own on the same event, for runtimes that want to own what they watch.
    ///
    /// # Errors
    /// What the system said when it refused a file descriptor.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        self.event.try_clone()
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Why a subscriber could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No connection.
    #[error("{address} can't be connected to: {source}")]
    Connect {
        /// Where to.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server answered, but not with a stream.
    #[error("{address} refused the subscription with status {status}: {body}")]
    Refused {
        /// Which server.
        address: String,
        /// HTTP status.
        status: u16,
        /// What it said, shortened.
        body: String,
    },
    /// The server's answer breaks the protocol.
    #[error("{address} answered what a {protocol} client can't accept: {problem}")]
    Protocol {
        /// Which server.
        address: String,
        /// The protocol spoken.
        protocol: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The connection ended before the subscriber was attached.
    #[error("{address} closed the connection before the subscription was accepted")]
    Closed {
        /// Which server.
        address: String,
    },
    /// This process could not do its part.
    #[error("this process can't drive its connections: {0}")]
    System(#[from] io::Error),
}

/// How a server that encrypts is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// By the SHA-256 of its certificate.
    Sha256([u8; 32]),
    /// Whatever certificate it has is taken.
    Unchecked,
}

/// A server's HTTP side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpServer {
    /// Where to connect.
    pub address: SocketAddr,
    /// What to put into the `Host` header.
    pub host: String,
}

/// The same over TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsServer {
    /// Where it is and what it is called.
    pub server: HttpServer,
    /// How to know it.
    pub certificate: Certificate,
}
