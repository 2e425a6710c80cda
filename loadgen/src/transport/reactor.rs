//! Subscribers over byte streams: one epoll loop drives all connections of a worker.
//!
//! There is one large read buffer for all of them. Messages are found and judged where the kernel put them; a
//! connection keeps bytes of its own only while a message has not arrived whole. The clock is read once for each
//! `recv`: that is when its bytes came into our hands.

use std::io;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::clock;
use crate::recorder::Sink;
use crate::transport::framing::{Framing, hand_out, keep};
use crate::transport::link::{Address, Link};
use crate::transport::tls::{ROOM_BYTES, TlsClient};
use crate::transport::{AttachError, Pace, Stop, Transport};

/// Room for each `recv`. As large as what a level-2 cache keeps beside everything else. What arrived encrypted may
/// add the record that was begun before.
const READ_BYTES: usize = ROOM_BYTES + 32 * 1024;
/// Readiness events taken at once.
const EVENTS: usize = 1024;
/// The event of [`Stop`]; others carry the index of their connection.
const STOP_KEY: u64 = u64::MAX;

/// Drives subscribers of a protocol over byte streams.
#[derive(Debug, Clone)]
pub struct StreamTransport<F> {
    /// The protocol.
    pub framing: F,
    /// The server.
    pub address: Address,
    /// How connections are encrypted, where they are.
    pub tls: Option<TlsClient>,
}

impl<F: Framing> Transport for StreamTransport<F> {
    fn drive<S: Sink + 'static>(
        &self,
        subscribers: usize,
        pace: Pace,
        stop: &Stop,
        sink: S,
    ) -> Result<S, AttachError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(io::Error::from)?;
        epoll::add(&epoll, stop, epoll::EventData::new_u64(STOP_KEY), epoll::EventFlags::IN)
            .map_err(io::Error::from)?;
        let mut reactor = Reactor {
            framing: &self.framing,
            address: &self.address,
            tls: self.tls.as_ref(),
            epoll,
            connections: Vec::with_capacity(subscribers),
            subscribers,
            connecting: 0,
            pace,
            buffer: vec![0; READ_BYTES],
            encrypted: Vec::new(),
            stamped: sink.wants_kernel_stamps(),
            sink,
        };
        reactor.run()?;
        reactor.say_goodbye();
        Ok(reactor.sink)
    }
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The handshake of the transport layer is under way.
    Connecting,
    /// The handshake of TLS is.
    Securing,
    /// The request is sent.
    Asking,
    /// Attached.
    Open,
}

#[derive(Debug)]
struct Connection<State> {
    link: Link,
    begun_ns: u64,
    /// The beginning of something whose end has not arrived.
    partial: Vec<u8>,
    state: State,
    phase: Phase,
}

struct Reactor<'a, F: Framing, S> {
    framing: &'a F,
    address: &'a Address,
    tls: Option<&'a TlsClient>,
    epoll: OwnedFd,
    /// `None` for those that have ended.
    connections: Vec<Option<Connection<F::State>>>,
    subscribers: usize,
    connecting: usize,
    pace: Pace,
    buffer: Vec<u8>,
    /// What was received and is to be decrypted; empty without TLS.
    encrypted: Vec<u8>,
    /// The kernel is asked when it received what comes.
    stamped: bool,
    sink: S,
}

impl<F: Framing, S: Sink> Reactor<'_, F, S> {
    /// Until the stop is said.
    fn run(&mut self) -> Result<(), AttachError> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            while self.connecting < self.pace.connecting && self.connections.len() < self.subscribers {
                self.begin_connection()?;
            }
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    STOP_KEY => return Ok(()),
                    index => self.ready(index as usize)?,
                }
            }
            self.sink.batch_end();
        }
    }

    fn begin_connection(&mut self) -> Result<(), AttachError> {
        let begun_ns = clock::now_ns();
        let link =
            Link::begin(self.address, self.tls, self.stamped).map_err(|error| self.cannot_connect(error))?;
        let index = self.connections.len();
        epoll::add(&self.epoll, &link, epoll::EventData::new_u64(index as u64), epoll::EventFlags::OUT)
            .map_err(io::Error::from)?;
        self.connections.push(Some(Connection {
            link,
            begun_ns,
            partial: Vec::new(),
            state: F::State::default(),
            phase: Phase::Connecting,
        }));
        self.connecting += 1;
        Ok(())
    }

    #[inline]
    fn ready(&mut self, index: usize) -> Result<(), AttachError> {
        // A connection that has ended may still have an event in this batch.
        let Some(connection) = &self.connections[index] else { return Ok(()) };
        match connection.phase {
            Phase::Connecting => self.connected(index),
            Phase::Securing => self.ask(index),
            Phase::Asking | Phase::Open => self.read(index),
        }
    }

    /// The transport layer's handshake is done, or has failed.
    fn connected(&mut self, index: usize) -> Result<(), AttachError> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        if let Err(error) = connection.link.connected() {
            return Err(self.cannot_connect(error));
        }
        connection.phase = Phase::Securing;
        let key = epoll::EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, &connection.link, key, epoll::EventFlags::IN).map_err(io::Error::from)?;
        self.ask(index)
    }

    /// Asks for the subscription, as soon as nobody else can hear it where that is wanted.
    fn ask(&mut self, index: usize) -> Result<(), AttachError> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        // A fresh socket takes a request of a few hundred bytes whole: its buffer holds more than 4 kB.
        let asked = match connection.link.secure(&mut self.encrypted) {
            Ok(false) => return Ok(()),
            Ok(true) => connection.link.send(&self.framing.request(index)),
            Err(error) => Err(error),
        };
        match asked {
            Ok(true) => connection.phase = Phase::Asking,
            Ok(false) => return Err(self.cannot_connect(Errno::NOBUFS.into())),
            Err(error) => return Err(self.cannot_connect(error)),
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), AttachError> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        let held = connection.partial.len();
        if self.buffer.len() < held + READ_BYTES {
            self.buffer.resize(held + READ_BYTES, 0);
        }
        let received = match connection.link.receive(&mut self.encrypted, &mut self.buffer[held..]) {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(()),
            Err(error) if is_passing(&error) => return Ok(()),
            Err(error) => return self.broken(index, error),
        };
        let received_ns = clock::now_ns();
        self.buffer[..held].copy_from_slice(&connection.partial);
        if received == 0 {
            return self.at_end(index, held);
        }
        if self.stamped {
            self.sink.kernel_receipt(connection.link.stamp());
        }
        let end = held + received;
        if connection.phase == Phase::Open {
            self.messages(index, 0, held, end, received_ns);
            return Ok(());
        }
        match self.framing.answer(&mut connection.state, &self.buffer[..end], false)? {
            None => connection.partial.extend_from_slice(&self.buffer[held..end]),
            Some(used) => {
                connection.phase = Phase::Open;
                connection.partial = Vec::new();
                self.connecting -= 1;
                self.sink.attached(index, received_ns - connection.begun_ns);
                self.messages(index, used, used, end, received_ns);
            }
        }
        Ok(())
    }

    /// Hands out the messages of `buffer[from..end]`, of which everything from `fresh` on has just been received,
    /// and keeps what is not whole.
    #[inline]
    fn messages(&mut self, index: usize, from: usize, fresh: usize, end: usize, received_ns: u64) {
        let Some(connection) = &mut self.connections[index] else { return };
        let fresh_bytes = &mut self.buffer[fresh..end];
        let payload = match self.framing.undo_transfer_coding(&mut connection.state, fresh_bytes) {
            Ok(length) => &self.buffer[from..fresh + length],
            Err(reason) => return self.end(index, &reason),
        };
        let Connection { link, state, partial, .. } = connection;
        // A peer that takes no pong now will ask again.
        let reply_with = |reply: &[u8]| drop(link.send(reply));
        let source = (index, received_ns);
        match hand_out((self.framing, state), payload, source, &mut self.sink, reply_with) {
            Ok(used) => keep(partial, &payload[used..]),
            Err(reason) => self.end(index, &reason),
        }
    }

    /// The server has closed its side.
    fn at_end(&mut self, index: usize, held: usize) -> Result<(), AttachError> {
        let Some(connection) = &mut self.connections[index] else { return Ok(()) };
        if connection.phase == Phase::Open {
            self.end(index, "the server closed the connection without a word");
            return Ok(());
        }
        self.framing.answer(&mut connection.state, &self.buffer[..held], true)?;
        Err(AttachError::Closed { address: self.framing.address().to_owned() })
    }

    fn broken(&mut self, index: usize, error: io::Error) -> Result<(), AttachError> {
        match &self.connections[index] {
            Some(connection) if connection.phase == Phase::Open => {
                self.end(index, &format!("the connection broke: {error}"));
                Ok(())
            }
            _ => Err(self.cannot_connect(error)),
        }
    }

    fn end(&mut self, index: usize, reason: &str) {
        // Closing the socket takes it out of the epoll set, too.
        self.connections[index] = None;
        self.sink.ended(index, reason);
    }

    fn cannot_connect(&self, source: io::Error) -> AttachError {
        AttachError::Connect { address: self.framing.address().to_owned(), source }
    }

    /// Best effort: a peer that does not take it is closed all the same.
    fn say_goodbye(&mut self) {
        let goodbye = self.framing.goodbye();
        if goodbye.is_empty() {
            return;
        }
        for connection in self.connections.iter_mut().flatten() {
            let _ = connection.link.send(&goodbye);
        }
    }
}

/// Nothing is wrong: there is only nothing to be read now.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;

    use lastmile_wire::sse::{EVENT_INITIAL, EVENT_MESSAGE, RETRY_LINE, append_event, heartbeat};

    use super::*;
    use crate::transport::HttpServer;
    use crate::transport::sse::ServerSentEvents;

    /// Keeps what it is told, and ends the drive with the first subscriber.
    struct Told {
        stop: Arc<Stop>,
        messages: Vec<String>,
        attached: usize,
        reason: String,
    }

    impl Sink for Told {
        fn attached(&mut self, _subscriber: usize, _took_ns: u64) {
            self.attached += 1;
        }
        fn receipt(&mut self, _subscriber: usize, _received_ns: u64, message: &[u8]) {
            assert_eq!(self.attached, 1, "a message before the attachment");
            self.messages.push(String::from_utf8_lossy(message).into_owned());
        }
        fn ended(&mut self, _subscriber: usize, reason: &str) {
            reason.clone_into(&mut self.reason);
            self.stop.say();
        }
        fn batch_end(&mut self) {}
    }

    /// What one subscriber of an event stream is told when the server's bytes come in pieces of `size`.
    fn told(answer: &[u8], size: usize) -> Result<Told, AttachError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = HttpServer { address, host: address.to_string() };
        let transport = StreamTransport {
            framing: ServerSentEvents::new(server, "/sse/crash".to_owned()),
            address: Address::Tcp(address),
            tls: None,
        };
        let stop = Arc::new(Stop::new().unwrap());
        let sink = Told { stop: Arc::clone(&stop), messages: vec![], attached: 0, reason: String::new() };
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut socket = listener.accept().unwrap().0;
                socket.set_nodelay(true).unwrap();
                let mut request = [0; 1024];
                assert!(socket.read(&mut request).unwrap() > 0);
                for piece in answer.chunks(size) {
                    // A client that has refused the answer no longer listens.
                    if socket.write_all(piece).is_err() {
                        return;
                    }
                }
            });
            transport.drive(1, Pace { connecting: 1 }, &stop, sink)
        })
    }

    #[test]
    fn an_event_stream_means_the_same_however_it_is_cut_and_coded() {
        let mut body = RETRY_LINE.to_vec();
        append_event(&mut body, EVENT_INITIAL, Some(6), br#"{"round_id":6}"#);
        body.extend_from_slice(&heartbeat(1));
        append_event(&mut body, EVENT_MESSAGE, Some(7), br#"{"round_id":7}"#);
        body.extend_from_slice(b"data: in\r\ndata: lines\r\n\r\n");
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
        let plain = [head, b"\r\n".as_slice(), &body].concat();
        let mut coded = [head, b"Transfer-Encoding: chunked\r\n\r\n".as_slice()].concat();
        for chunk in body.chunks(10) {
            coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            coded.extend_from_slice(chunk);
            coded.extend_from_slice(b"\r\n");
        }
        coded.extend_from_slice(b"0\r\n\r\n");
        for size in (1..40).chain([plain.len(), coded.len()]) {
            for (answer, end) in [
                (&plain, "the server closed the connection without a word"),
                (&coded, "the server ended the stream"),
            ] {
                let told = told(answer, size).unwrap();
                let expected = [r#"{"round_id":6}"#, r#"{"round_id":7}"#, "in\nlines"];
                assert_eq!(
                    (told.messages.as_slice(), told.reason.as_str()),
                    (&expected.map(String::from)[..], end)
                );
            }
        }
    }

    #[test]
    fn a_refusal_tells_status_and_body_however_it_is_cut() {
        let answer = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\n\r\nslow down";
        for size in [1, 20, answer.len()] {
            let Err(error) = told(answer, size) else { panic!("attached in pieces of {size}") };
            assert!(error.to_string().ends_with("with status 429: slow down"), "{error}");
        }
        let Err(error) = told(&answer[..30], 30) else { panic!("attached to half an answer") };
        assert!(matches!(error, AttachError::Closed { .. }), "{error}");
    }
}
