//! What makes a protocol over a byte stream: how to ask for a subscription, and how messages lie in what is received.

use crate::recorder::Sink;
use crate::transport::AttachError;

/// One thing found at the start of received bytes.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing whole yet.
    Incomplete,
    /// A message.
    Message {
        /// Its bytes.
        message: &'a [u8],
        /// How many bytes it took.
        used: usize,
    },
    /// Something that is no message and wants no answer.
    Nothing {
        /// How many bytes it took.
        used: usize,
    },
    /// Something to answer.
    Reply {
        /// The answer.
        reply: Vec<u8>,
        /// How many bytes it took.
        used: usize,
    },
}

/// What makes a protocol over a byte stream: how to ask for a subscription and how messages are framed.
pub trait Framing {
    /// The protocol's name in errors.
    const PROTOCOL: &'static str;

    /// What a connection has to remember between two reads, beside unfinished bytes.
    type State: Default;

    /// What a subscriber of the worker says first.
    fn request(&self, subscriber: usize) -> Vec<u8>;

    /// Reads the server's answer at the start of `bytes`: its length once it is complete. With `at_end` nothing
    /// more will come.
    ///
    /// # Errors
    /// [`AttachError`] where the subscription was refused.
    fn answer(
        &self,
        state: &mut Self::State,
        bytes: &[u8],
        at_end: bool,
    ) -> Result<Option<usize>, AttachError>;

    /// Keeps the payload of a freshly received piece at its beginning and tells its length.
    ///
    /// # Errors
    /// Why the stream can't be read any further, in words.
    fn undo_transfer_coding(&self, _state: &mut Self::State, piece: &mut [u8]) -> Result<usize, String> {
        Ok(piece.len())
    }

    /// What is at the start of `bytes`.
    ///
    /// # Errors
    /// Why the connection is over, in words: the server's goodbye, or what it did wrong.
    fn next<'a>(&self, state: &'a mut Self::State, bytes: &'a [u8]) -> Result<Step<'a>, String>;

    /// What a client says last. Most have no way to take leave of an endless answer but to close.
    fn goodbye(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The server's name in errors.
    fn address(&self) -> &str;

    /// What to say of an answer that breaks the protocol.
    fn refuse(&self, problem: impl Into<String>) -> AttachError {
        let address = self.address().to_owned();
        AttachError::Protocol { address, protocol: Self::PROTOCOL, problem: problem.into() }
    }
}

/// Hands the whole messages at the start of `bytes` to `sink`, what is to be answered to `reply`, and tells how many bytes
/// they took.
///
/// # Errors
/// Why the connection is over, as [`Framing::next`] has it.
#[inline]
pub fn hand_out<F: Framing, S: Sink>(
    (framing, state): (&F, &mut F::State),
    bytes: &[u8],
    (subscriber, received_ns): (usize, u64),
    sink: &mut S,
    mut reply_with: impl FnMut(&[u8]),
) -> Result<usize, String> {
    let mut at = 0;
    loop {
        match framing.next(state, &bytes[at..])? {
            Step::Message { message, used } => {
                sink.receipt(subscriber, received_ns, message);
                at += used;
            }
            Step::Incomplete => return Ok(at),
            Step::Nothing { used } => at += used,
            Step::Reply { reply, used } => {
                reply_with(&reply);
                at += used;
            }
        }
    }
}

/// A connection that has caught up gives its own buffer back when it is larger than this.
const KEPT_BYTES: usize = 512;

/// Keeps the unfinished rest of a read, in no more memory than it needs.
#[inline]
pub fn keep(partial: &mut Vec<u8>, rest: &[u8]) {
    if rest.len() > partial.capacity() {
        // To the byte: a vector that grows by itself doubles, which thousands of subscribers would keep.
        *partial = rest.to_vec();
    } else if rest.is_empty() && partial.capacity() > KEPT_BYTES {
        *partial = Vec::new();
    } else {
        partial.clear();
        partial.extend_from_slice(rest);
    }
}
