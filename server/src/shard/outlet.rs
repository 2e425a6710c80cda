//! A member's socket: what it speaks, and what only it is to get.

use std::io::{self, ErrorKind};

use super::log::ByteLog;
use super::member::Progress;
use super::socket::Socket;
use crate::guard::Permit;
use crate::protocol::{CloseReason, Conversation, StreamProtocol};
use crate::published::Format;

/// A member's socket.
#[derive(Debug)]
pub struct SocketOutlet {
    /// The connection.
    pub socket: Socket,
    /// What it speaks.
    pub protocol: &'static dyn StreamProtocol,
    /// In what form it gets rounds.
    pub format: Format,
    /// What is kept of the client's words.
    pub conversation: Conversation,
    /// When its client was last heard, in seconds of the shard's clock.
    pub heard_s: u32,
    /// The poller tells when the socket takes more.
    pub watched_for_writing: bool,
    /// Bytes for this member alone that wait for the socket or for the end of a frame; none, mostly.
    own: Option<Box<Own>>,
    _permit: Permit,
}

#[derive(Debug, Default)]
struct Own {
    bytes: Vec<u8>,
    sent: usize,
    /// Where what the client began with ends: what it had missed is as much as that is, and none of it its slowness.
    begun_with: usize,
    /// The bytes begin in the middle of a frame.
    is_begun: bool,
}

impl Own {
    /// Bytes that wait because the client takes them slowly.
    fn waiting(&self) -> usize {
        self.bytes.len() - self.sent.max(self.begun_with)
    }
}

impl SocketOutlet {
    /// A socket that has just come.
    pub fn new(
        socket: Socket,
        protocol: &'static dyn StreamProtocol,
        format: Format,
        now_s: u32,
        permit: Permit,
    ) -> Self {
        Self {
            socket,
            protocol,
            format,
            conversation: Conversation::default(),
            heard_s: now_s,
            watched_for_writing: false,
            own: None,
            _permit: permit,
        }
    }

    /// Adds bytes for this member alone: answers, heartbeats, the goodbye. They are sent by [`Self::write`],
    /// between two frames of the log.
    ///
    /// # Errors
    /// `TooSlow` where more than `limit_bytes` would wait.
    pub fn add_own(&mut self, bytes: &[u8], limit_bytes: usize) -> Result<(), CloseReason> {
        if bytes.is_empty() {
            return Ok(());
        }
        let own = self.own.get_or_insert_default();
        // Alone it may be longer than the limit, or a large latest round could never be sent.
        if own.waiting() > 0 && own.waiting() + bytes.len() > limit_bytes {
            return Err(CloseReason::TooSlow);
        }
        own.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Adds what the client begins with, however much that is.
    pub fn begin(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let own = self.own.get_or_insert_default();
            own.bytes.extend_from_slice(bytes);
            own.begun_with = own.bytes.len();
        }
    }

    /// Sends what is for this member alone and what follows its place in the log, as far as the socket takes
    /// it, and moves the place on.
    ///
    /// # Errors
    /// `PeerGone` where the connection broke.
    pub fn write(&mut self, log: &ByteLog, place: &mut u64) -> Result<Progress, CloseReason> {
        match self.try_write(log, place) {
            Ok(()) if self.socket.holds_unsent() => Ok(Progress::Waiting),
            Ok(()) => Ok(Progress::Written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Progress::Waiting),
            Err(_) => Err(CloseReason::PeerGone),
        }
    }

    /// Sends what is for this member alone, where there is no log.
    ///
    /// # Errors
    /// `PeerGone` where the connection broke.
    pub fn write_own(&mut self) -> Result<Progress, CloseReason> {
        self.write(&ByteLog::default(), &mut 0)
    }

    fn try_write(&mut self, log: &ByteLog, place: &mut u64) -> io::Result<()> {
        if self.own.is_some() {
            let border = log.border(*place);
            let begun = &log.from(*place)[..(border - *place) as usize];
            self.send_all(begun, place)?;
            self.send_own()?;
        }
        self.send_all(log.from(*place), place)
    }

    fn send_all(&mut self, mut bytes: &[u8], place: &mut u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.socket.send(bytes)?;
            *place += sent as u64;
            bytes = &bytes[sent..];
            // A socket that takes a part is full: asking again would only cost a call. (TLS takes what it can
            // buffer, and says by itself when that is full.)
            if !bytes.is_empty() && matches!(self.socket, Socket::Plain(_)) {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
        self.socket.flush()
    }

    fn send_own(&mut self) -> io::Result<()> {
        while let Some(own) = &mut self.own {
            if own.sent == own.bytes.len() {
                self.own = None;
                break;
            }
            own.sent += self.socket.send(&own.bytes[own.sent..])?;
        }
        self.socket.flush()
    }

    /// Leaves the log: keeps of it only the rest of a frame that has been begun, drops what else was to be sent
    /// unless it has been begun, and adds the protocol's goodbye.
    pub fn prepare_goodbye(&mut self, log: &ByteLog, place: u64, reason: CloseReason) {
        let begun = &log.from(place)[..(log.border(place) - place) as usize];
        let mut last = begun.to_vec();
        if let Some(own) = self.own.take().filter(|own| begun.is_empty() && (own.sent > 0 || own.is_begun)) {
            last.extend_from_slice(&own.bytes[own.sent..]);
        }
        last.extend_from_slice(&self.protocol.goodbye(reason));
        self.own = Some(Box::new(Own { bytes: last, sent: 0, begun_with: 0, is_begun: false }));
    }

    /// Leaves the log for another one: what is still to come of it is kept for this member alone.
    ///
    /// # Errors
    /// `TooSlow` where more than `limit_bytes` would wait; nothing has changed then.
    pub fn keep(&mut self, log: &ByteLog, place: u64, limit_bytes: usize) -> Result<(), CloseReason> {
        let rest = log.from(place);
        if rest.is_empty() {
            return Ok(());
        }
        let own = self.own.as_ref().map_or(&[][..], |own| &own.bytes[own.sent..]);
        let waiting = self.own.as_ref().map_or(0, |own| own.waiting());
        if rest.len() + waiting > limit_bytes {
            return Err(CloseReason::TooSlow);
        }
        // A frame of the log that has been begun comes first, then what waited for its end.
        let (begun, later) = rest.split_at((log.border(place) - place) as usize);
        let is_begun = !begun.is_empty() || self.own.as_ref().is_some_and(|own| own.sent > 0 || own.is_begun);
        let begun_with = own.len() - waiting;
        let begun_with = if begun_with == 0 { 0 } else { begun.len() + begun_with };
        self.own = Some(Box::new(Own { bytes: [begun, own, later].concat(), sent: 0, begun_with, is_begun }));
        Ok(())
    }
}
