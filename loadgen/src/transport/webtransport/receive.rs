//! What arrives on a session: messages on one stream, on a stream each, or as datagrams.

use std::cell::{RefCell, RefMut};
use std::pin::pin;
use std::rc::Rc;

use futures_util::FutureExt;
use lastmile_wire::request::Delivery;
use lastmile_wire::webtransport::{next_message, read_varint};
use wtransport::quinn;

use crate::clock;
use crate::recorder::Sink;
use crate::transport::MAX_MESSAGE_BYTES;
use crate::transport::webtransport::session::{Session, StreamHead, connection_end, stream_head};
use crate::transport::webtransport::stamped::LatestStamp;

/// Most bytes taken from a stream at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// Hands everything the session receives to `sink` until it ends; returns why, in words.
pub async fn receive_until_end<S: Sink + 'static>(
    mut session: Session,
    subscriber: usize,
    delivery: Delivery,
    stamp: Option<LatestStamp>,
    sink: Rc<RefCell<S>>,
) -> String {
    let connection = session.connection.clone();
    let receiver = Receiver { subscriber, delivery, stamp, sink };
    let mut datagrams = pin!(receiver.clone().datagrams(&connection).fuse());
    let mut streams = pin!(receiver.streams(&connection).fuse());
    let reason = tokio::select! {
        reason = &mut datagrams => reason,
        reason = &mut streams => reason,
        reason = session.ended() => reason,
    };
    // The end may be noticed before everything that arrived ahead of it has been read.
    let _ = datagrams.now_or_never();
    let _ = streams.now_or_never();
    reason
}

struct Receiver<S> {
    subscriber: usize,
    delivery: Delivery,
    /// When the kernel received what came last, where that is wanted.
    stamp: Option<LatestStamp>,
    sink: Rc<RefCell<S>>,
}

impl<S> Clone for Receiver<S> {
    fn clone(&self) -> Self {
        Self {
            subscriber: self.subscriber,
            delivery: self.delivery,
            stamp: self.stamp.clone(),
            sink: Rc::clone(&self.sink),
        }
    }
}

impl<S: Sink + 'static> Receiver<S> {
    /// The sink, told when the kernel received what it is about to get.
    fn sink(&self) -> RefMut<'_, S> {
        let mut sink = self.sink.borrow_mut();
        if let Some(stamp) = &self.stamp {
            sink.kernel_receipt(stamp.get());
        }
        sink
    }

    fn receipt(&self, received_ns: u64, message: &[u8]) {
        let mut sink = self.sink();
        sink.receipt(self.subscriber, received_ns, message);
        sink.batch_end();
    }

    async fn datagrams(self, connection: &quinn::Connection) -> String {
        loop {
            match connection.read_datagram().await {
                Err(error) => return connection_end(&error),
                Ok(datagram) => {
                    let received_ns = clock::now_ns();
                    // Behind the session's identifier, which is the only one on this connection.
                    if let Some((_, length)) = read_varint(&datagram) {
                        self.receipt(received_ns, &datagram[length..]);
                    }
                }
            }
        }
    }

    async fn streams(self, connection: &quinn::Connection) -> String {
        // HTTP/3's own streams: dropped, they would tell the server to stop.
        let kept = Rc::new(RefCell::new(Vec::new()));
        loop {
            let stream = match connection.accept_uni().await {
                Ok(stream) => stream,
                Err(error) => return connection_end(&error),
            };
            let mut incoming = Incoming { stream, bytes: bytes::Bytes::new(), more: Vec::new() };
            // Mostly all of a message is there already. Where it is not, it is waited for aside: a stream that
            // lost a packet must not hold up the next one.
            if let Some(next) = incoming.whole_message(self.delivery).now_or_never() {
                self.go_on(incoming, next, &kept);
            } else {
                let (receiver, kept) = (self.clone(), Rc::clone(&kept));
                tokio::task::spawn_local(async move {
                    let next = incoming.whole_message(receiver.delivery).await;
                    receiver.go_on(incoming, next, &kept);
                });
            }
        }
    }

    fn go_on(&self, incoming: Incoming, next: Arrived, kept: &RefCell<Vec<quinn::RecvStream>>) {
        match next {
            Arrived::Message { from } => {
                let received_ns = clock::now_ns();
                let content = &incoming.content()[from..];
                // A server may put the length before the message here, too.
                match next_message(content, MAX_MESSAGE_BYTES) {
                    Ok(Some((message, used))) if used == content.len() => {
                        self.receipt(received_ns, message);
                    }
                    _ => self.receipt(received_ns, content),
                }
            }
            Arrived::Sequence { from } => {
                let receiver = self.clone();
                tokio::task::spawn_local(async move { receiver.sequence(incoming, from).await });
            }
            Arrived::Foreign => kept.borrow_mut().push(incoming.stream),
            // Reset, or the connection is gone: the session's end tells why, and the ledger misses the message.
            Arrived::Broken => {}
        }
    }

    /// Messages behind each other on one stream, each behind its length.
    async fn sequence(self, mut incoming: Incoming, from: usize) {
        let mut partial = incoming.content()[from..].to_vec();
        let used = self.messages(&partial, clock::now_ns());
        partial.drain(..used);
        while let Ok(Some(chunk)) = incoming.stream.read_chunk(CHUNK_BYTES, true).await {
            let received_ns = clock::now_ns();
            if partial.is_empty() {
                let used = self.messages(&chunk.bytes, received_ns);
                partial.extend_from_slice(&chunk.bytes[used..]);
            } else {
                partial.extend_from_slice(&chunk.bytes);
                let used = self.messages(&partial, received_ns);
                partial.drain(..used);
            }
        }
    }

    /// Hands out the whole messages at the start of `bytes` and tells how many bytes they took.
    fn messages(&self, bytes: &[u8], received_ns: u64) -> usize {
        let mut sink = self.sink();
        let mut at = 0;
        loop {
            match next_message(&bytes[at..], MAX_MESSAGE_BYTES) {
                Ok(Some((message, used))) => {
                    sink.receipt(self.subscriber, received_ns, message);
                    at += used;
                }
                Ok(None) => break,
                Err(_) => {
                    // No way back into step: what follows is told as one thing that is no round.
                    sink.receipt(self.subscriber, received_ns, &bytes[at..]);
                    at = bytes.len();
                    break;
                }
            }
        }
        sink.batch_end();
        at
    }
}

/// What a stream brought.
#[derive(Clone, Copy)]
enum Arrived {
    /// Its whole content is one message, from here on.
    Message { from: usize },
    /// Messages behind each other begin here.
    Sequence { from: usize },
    /// It is none of WebTransport.
    Foreign,
    /// It did not come to its end.
    Broken,
}

/// A stream and what has been read of it. A message in one piece is never copied.
struct Incoming {
    stream: quinn::RecvStream,
    bytes: bytes::Bytes,
    /// Everything, once there is more than one piece.
    more: Vec<u8>,
}

impl Incoming {
    fn content(&self) -> &[u8] {
        if self.more.is_empty() { &self.bytes } else { &self.more }
    }

    /// Reads until it is known what the stream brings. Can be cancelled and asked again.
    async fn whole_message(&mut self, delivery: Delivery) -> Arrived {
        loop {
            match stream_head(self.content()) {
                Some(StreamHead::Other) => return Arrived::Foreign,
                Some(StreamHead::WebTransport(from)) if delivery == Delivery::Stream => {
                    return Arrived::Sequence { from };
                }
                _ => {}
            }
            match self.stream.read_chunk(CHUNK_BYTES, true).await {
                Ok(Some(chunk)) => self.take(chunk.bytes),
                Ok(None) => {
                    return match stream_head(self.content()) {
                        Some(StreamHead::WebTransport(from)) => Arrived::Message { from },
                        _ => Arrived::Broken,
                    };
                }
                Err(_) => return Arrived::Broken,
            }
            if self.content().len() > MAX_MESSAGE_BYTES + 16 {
                return Arrived::Broken;
            }
        }
    }

    fn take(&mut self, bytes: bytes::Bytes) {
        if self.bytes.is_empty() {
            self.bytes = bytes;
            return;
        }
        if self.more.is_empty() {
            self.more.extend_from_slice(&self.bytes);
        }
        self.more.extend_from_slice(&bytes);
    }
}
