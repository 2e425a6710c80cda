//! What sockets report: that they take more, that a client said something, that they have ended.

use std::io::{self, ErrorKind};

use super::Shard;
use super::inbox::MemberKey;
use super::member::{Outlet, Phase};
use super::outlet::SocketOutlet;
use super::poller::SocketEvent;
use super::socket::Socket;
use crate::protocol::CloseReason;

/// What is heard of one client before all others get their turn: some thirty commands, whose answers take a fraction of
/// a millisecond. The poller tells of the rest again.
const HEARD_AT_A_TIME_BYTES: usize = 1024;

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
        self.read(key, &mut buffer);
        self.read_buffer = buffer;
        // Of decrypted bytes that are left the poller does not tell.
        if self.socket_of(key).is_some_and(|outlet| outlet.socket.holds_unread()) {
            self.unheard.insert(key);
        }
    }

    fn read(&mut self, key: MemberKey, buffer: &mut [u8]) {
        let Some(member) = self.members.get(key) else { return };
        let Outlet::Socket(outlet) = &mut member.outlet else { return };
        let room = match member.phase {
            // It is only thrown away.
            Phase::Closing { .. } => buffer.len(),
            _ => HEARD_AT_A_TIME_BYTES,
        };
        match outlet.socket.receive(&mut buffer[..room]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.remove(key, CloseReason::PeerGone),
            Ok(0) => self.remove(key, CloseReason::ClientClosed),
            Ok(count) => self.hear(key, &mut buffer[..count]),
        }
    }

    /// Goes on with those of whose bytes a part was heard.
    pub(super) fn hear_rest(&mut self) {
        for key in std::mem::take(&mut self.unheard) {
            self.on_readable(key);
        }
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Ipv4Addr;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use bytes::Bytes;

    use super::*;
    use crate::guard::{Access, Transport};
    use crate::hub::From;
    use crate::protocol::websocket::WebSocket;
    use crate::published::{Format, Framing};
    use crate::shard::bench::Bench;
    use crate::shard::{ShardInput, SocketJoin};

    /// A masked text frame; a mask of zeroes changes nothing.
    const PING: &[u8] = b"\x81\x8a\0\0\0\0{\"ping\":1}";

    #[tokio::test]
    async fn a_client_that_says_much_is_heard_a_little_at_a_time_and_to_its_end() {
        const COMMANDS: usize = 300;
        let mut bench = Bench::new();
        let (mut client, socket) = UnixStream::pair().expect("two sockets");
        socket.set_nonblocking(true).expect("a socket option");
        let permit = bench.shard.settings.guard.connect(Transport::Tcp, Ipv4Addr::LOCALHOST.into());
        bench.shard.take(ShardInput::JoinSocket(Box::new(SocketJoin {
            socket: Socket::Plain(OwnedFd::from(socket)),
            protocol: &WebSocket,
            format: Format::plain(Framing::WebSocket),
            access: Access::Granted,
            subscription: bench.subscription.clone(),
            from: From::default(),
            head: Bytes::from_static(b"head"),
            early: Vec::new(),
            permit: permit.expect("a place"),
        })));
        let answer = bench.inbox.try_take().expect("an answer of the hub");
        let ShardInput::Attached { member, .. } = answer else { panic!("{answer:?}") };
        bench.shard.take(answer);
        client.read_exact(&mut [0; 4]).expect("the head");
        client.write_all(&PING.repeat(COMMANDS)).expect("room");
        let (mut heard, mut turns) = (0, 0);
        while heard < COMMANDS as u64 {
            bench.shard.on_socket_event(SocketEvent { member, readable: true, writable: false });
            let now = bench.shard.counters().commands.get();
            assert!(now > heard && now - heard <= HEARD_AT_A_TIME_BYTES.div_ceil(PING.len()) as u64);
            (heard, turns) = (now, turns + 1);
        }
        assert_eq!(heard, COMMANDS as u64);
        assert!(turns >= COMMANDS * PING.len() / HEARD_AT_A_TIME_BYTES, "{turns}");
    }
}
