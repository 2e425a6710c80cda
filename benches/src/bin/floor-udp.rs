//! The floor under WebTransport datagrams: a bare loop of `sendto`.
//!
//! One thread, one UDP socket, no QUIC and no encryption: what a datagram costs here is what the kernel takes for
//! it. `--batch` hands up to 64 datagrams to the kernel in one call, which is the floor of whoever can gather
//! them.
//!
//! ```text
//! floor-udp --redis /path/redis.sock [--listen 127.0.0.1:0] [--batch]
//! ```
//!
//! Prints a ready line like the server's. A datagram `subscribe NAME` is answered with `subscribed`, and every round
//! is sent there from then on, once for each name, until a datagram `unsubscribe` comes. `bare-udp-client` is its
//! client.

use std::collections::HashSet;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;

use lastmile_benches::floor::{self, Options};
use lastmile_benches::resp;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg, sendto};

/// Tokens of the two descriptors.
const SUBSCRIBERS: u64 = 0;
const REDIS: u64 = 1;

/// Datagrams handed over at a time with `--batch`.
const BATCH: usize = 64;

fn main() {
    floor::run("floor-udp", "--batch", serve);
}

fn serve(options: &Options) -> io::Result<()> {
    let socket = UdpSocket::bind(&options.listen)?;
    socket.set_nonblocking(true)?;
    let mut redis = UnixStream::connect(&options.redis)?;
    redis.write_all(&resp::command(&[b"SUBSCRIBE", b"stream:crash"]))?;
    redis.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &socket, EventData::new_u64(SUBSCRIBERS), EventFlags::IN)?;
    epoll::add(&epoll, &redis, EventData::new_u64(REDIS), EventFlags::IN)?;
    println!(
        "{{\"ready\":true,\"pid\":{},\"udp\":\"{}\",\"tls\":false}}",
        std::process::id(),
        socket.local_addr()?
    );

    let mut subscribers = Subscribers::default();
    let mut received = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    let mut events: Vec<Event> = Vec::with_capacity(2);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        for token in events.iter().map(|&Event { data, .. }| data.u64()) {
            if token == SUBSCRIBERS {
                subscribers.hear(&socket)?;
                continue;
            }
            match redis.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => received.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            let used = resp::published(&received, |round| {
                if options.switch {
                    subscribers.send_in_batches(&socket, round);
                } else {
                    subscribers.send_one_by_one(&socket, round);
                }
            });
            received.drain(..used);
        }
    }
}

#[derive(Default)]
struct Subscribers {
    /// Who has subscribed, with its name.
    known: HashSet<(SocketAddr, Vec<u8>)>,
    addresses: Vec<SocketAddr>,
    /// The same as the kernel wants them.
    raw: Vec<SocketAddrAny>,
}

impl Subscribers {
    /// Takes one datagram from a subscriber.
    fn hear(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut datagram = [0; 64];
        let (length, from) = match socket.recv_from(&mut datagram) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(name) = datagram[..length].strip_prefix(b"subscribe ") {
            // Asked again where the answer was lost.
            if self.known.insert((from, name.to_vec())) {
                self.addresses.push(from);
                self.raw.push(from.as_any());
            }
            socket.send_to(b"subscribed", from)?;
        } else if &datagram[..length] == b"unsubscribe" {
            self.known.retain(|(address, _)| *address != from);
            self.addresses.retain(|address| *address != from);
            self.raw = self.addresses.iter().map(SocketAddrArg::as_any).collect();
        }
        Ok(())
    }

    fn send_one_by_one(&self, socket: &UdpSocket, round: &[u8]) {
        for address in &self.raw {
            // A full socket is waited for: this is a floor, not a server. Whatever else goes wrong is a loss, which
            // the client counts.
            while sendto(socket, round, SendFlags::NOSIGNAL, address) == Err(Errno::AGAIN) {
                std::thread::yield_now();
            }
        }
    }

    fn send_in_batches(&self, socket: &UdpSocket, round: &[u8]) {
        let round = [IoSlice::new(round)];
        for addresses in self.raw.chunks(BATCH) {
            let mut nothing: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
                std::array::from_fn(|_| <_>::default());
            let mut datagrams: Vec<MMsgHdr<'_>> = addresses
                .iter()
                .zip(&mut nothing)
                .map(|(address, nothing)| MMsgHdr::new_with_addr(address, &round, nothing))
                .collect();
            let mut sent = 0;
            while sent < datagrams.len() {
                match sendmmsg(socket, &mut datagrams[sent..], SendFlags::NOSIGNAL) {
                    Ok(count) => sent += count,
                    Err(Errno::AGAIN) => std::thread::yield_now(),
                    // The first that is left can't be sent: a loss, which the client counts.
                    Err(_) => sent += 1,
                }
            }
        }
    }
}
