//! What a socket has not taken yet: whole batches, shared with everyone else who waits for them.

use std::collections::VecDeque;

use bytes::Bytes;

/// Frames that wait for a socket. Every chunk begins at a frame's start, so that a backlog can be cut
/// between two frames.
#[derive(Debug, Default)]
pub struct Backlog {
    chunks: VecDeque<Bytes>,
    /// Bytes of the first chunk that the socket has taken.
    sent: usize,
    waiting_bytes: usize,
}

impl Backlog {
    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Appends frames of which `sent` bytes are gone already; only the first chunk can have any.
    pub fn push(&mut self, frames: Bytes, sent: usize) {
        debug_assert!(sent == 0 || self.chunks.is_empty());
        if sent > 0 {
            self.sent = sent;
        }
        self.waiting_bytes += frames.len() - sent;
        self.chunks.push_back(frames);
    }

    /// What is to be sent next; empty where nothing waits.
    pub fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| &chunk[self.sent..])
    }

    /// The socket took so many bytes of [`Self::front`].
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        self.waiting_bytes -= count;
        if self.chunks.front().is_some_and(|chunk| chunk.len() == self.sent) {
            self.chunks.pop_front();
            self.sent = 0;
        }
    }

    /// Drops everything behind the frame that has been begun. `end_of_frame` knows where that ends.
    pub fn keep_begun_frame(&mut self, end_of_frame: impl Fn(&[u8], usize) -> usize) {
        self.chunks.truncate(1);
        let Some(first) = self.chunks.front_mut() else { return };
        let end = end_of_frame(first, self.sent);
        first.truncate(end);
        self.waiting_bytes = end - self.sent;
        if self.waiting_bytes == 0 {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of four bytes.
    fn end_of_four(frames: &[u8], sent: usize) -> usize {
        sent.div_ceil(4) * 4.min(frames.len())
    }

    #[test]
    fn it_is_sent_in_order_and_counted() {
        let mut backlog = Backlog::default();
        backlog.push(Bytes::from_static(b"aaaabbbb"), 3);
        backlog.push(Bytes::from_static(b"cccc"), 0);
        assert_eq!((backlog.front(), backlog.waiting_bytes()), (&b"abbbb"[..], 9));
        backlog.advance(5);
        assert_eq!((backlog.front(), backlog.waiting_bytes()), (&b"cccc"[..], 4));
        backlog.advance(4);
        assert_eq!((backlog.front(), backlog.waiting_bytes()), (&b""[..], 0));
    }

    #[test]
    fn cutting_keeps_the_frame_that_was_begun_and_nothing_else() {
        let mut backlog = Backlog::default();
        backlog.push(Bytes::from_static(b"aaaabbbb"), 3);
        backlog.push(Bytes::from_static(b"cccc"), 0);
        backlog.keep_begun_frame(end_of_four);
        assert_eq!((backlog.front(), backlog.waiting_bytes()), (&b"a"[..], 1));

        let mut untouched = Backlog::default();
        untouched.push(Bytes::from_static(b"aaaa"), 0);
        untouched.keep_begun_frame(end_of_four);
        assert_eq!((untouched.front(), untouched.waiting_bytes()), (&b""[..], 0));
    }
}
