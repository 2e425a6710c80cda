//! What sockets report: that they take more, that a client said something, that they have ended.

use std::io::{self, ErrorKind};

use super::Shard;
use super::inbox::MemberKey;
use super::member::{Outlet, Phase};
use super::outlet::SocketOutlet;
use super::poller::SocketEvent;
use super::socket::Socket;
use crate::protocol::CloseReason;

/// Reads from one socket before others get their turn.
const READS_IN_A_ROW: usize = 4;

/// What is read and thrown away of a client that has been told goodbye: closing with bytes unread would reset the
/// connection before it has seen why. Who goes on sending beyond that does not listen anyway.
const DISCARD_LIMIT_BYTES: u32 = 256 * 1024;

impl Shard {
    pub(super) fn on_socket_event(&mut self, event: SocketEvent) {
        if event.writable {
            self.on_writable(event.member);
        }
        if event.readable {
            self.on_readable(event.member);
        }
    }

    /// Begins to watch a socket; one that was let in to say who it is is watched already.
    pub(super) fn watch(&mut self, key: MemberKey) -> io::Result<()> {
        let Some(member) = self.members.get(key) else { return Ok(()) };
        let Outlet::Socket(outlet) = &mut member.outlet else { return Ok(()) };
        match self.poller.add(outlet.socket.fd(), key, outlet.watched_for_writing) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            added => added,
        }
    }

    /// Asks to be told when the socket takes more.
    pub(super) fn watch_for_writing(&mut self, key: MemberKey) {
        self.set_watch_for_writing(key, true);
    }

    pub(super) fn set_watch_for_writing(&mut self, key: MemberKey, writing: bool) {
        let Some(member) = self.members.get(key) else { return };
        let Outlet::Socket(outlet) = &mut member.outlet else { return };
        if outlet.watched_for_writing != writing {
            outlet.watched_for_writing = writing;
            // Fails only for a descriptor that is not in the set yet; it is added with its state at that time.
            let _ = self.poller.modify(outlet.socket.fd(), key, writing);
        }
    }

    pub(super) fn socket_of(&mut self, key: MemberKey) -> Option<&mut SocketOutlet> {
        match &mut self.members.get(key)?.outlet {
            Outlet::Socket(outlet) => Some(outlet),
            Outlet::Session(_) | Outlet::Queue(..) => None,
        }
    }

    pub(super) fn on_writable(&mut self, key: MemberKey) {
        match self.members.get(key).map(|member| &member.phase) {
            Some(Phase::Closing { .. }) => self.write_goodbye(key),
            Some(Phase::Unknown(_)) => {
                if let Some(Err(reason)) = self.socket_of(key).map(SocketOutlet::write_own) {
                    self.close(key, reason);
                }
            }
            Some(Phase::Live { .. }) => {
                if let Err(reason) = self.write_on(key) {
                    self.close(key, reason);
                }
            }
            _ => {}
        }
    }

    fn on_readable(&mut self, key: MemberKey) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        for reads in 1.. {
            let Some(outlet) = self.socket_of(key) else { break };
            let count = match outlet.socket.receive(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.remove(key, CloseReason::PeerGone);
                    break;
                }
                Ok(0) => {
                    self.remove(key, CloseReason::ClientClosed);
                    break;
                }
                Ok(count) => count,
            };
            self.hear(key, &mut buffer[..count]);
            // The poller tells of bytes in the kernel again, but not of decrypted ones that are left here.
            if reads >= READS_IN_A_ROW
                && !self.socket_of(key).is_some_and(|outlet| outlet.socket.holds_unread())
            {
                break;
            }
        }
        self.read_buffer = buffer;
    }

    /// Hears what came along with the handshake.
    pub(super) fn hear_early(&mut self, key: MemberKey, early: &mut [u8]) {
        if !early.is_empty() {
            self.hear(key, early);
        }
        // Encrypted bytes may have been taken off the socket before this shard watched it.
        if let Some(SocketOutlet { socket: Socket::Tls(_), .. }) = self.socket_of(key) {
            self.on_readable(key);
        }
    }

    fn hear(&mut self, key: MemberKey, bytes: &mut [u8]) {
        let now_s = self.sweep.now_s();
        let Some(member) = self.members.get(key) else { return };
        let Outlet::Socket(outlet) = &mut member.outlet else { return };
        match &mut member.phase {
            Phase::Live { .. } | Phase::Unknown(_) => {}
            Phase::Closing { discarded_bytes } => {
                *discarded_bytes = discarded_bytes.saturating_add(bytes.len() as u32);
                if *discarded_bytes > DISCARD_LIMIT_BYTES {
                    self.remove(key, CloseReason::PeerGone);
                }
                return;
            }
            Phase::Joining(joining) => {
                if Self::keep_early(joining, bytes).is_err() {
                    self.remove(key, CloseReason::Policy);
                }
                return;
            }
        }
        outlet.heard_s = now_s;
        let mut said = Vec::new();
        let heard = outlet.protocol.hear(&mut outlet.conversation, bytes, &mut said);
        let taken = self.take_said(key, said);
        if let Err(reason) = taken.and(heard) {
            self.close(key, reason);
        }
    }
}
