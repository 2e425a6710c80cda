//! From what a transport hands out to rounds: base64 undone where an event stream carries bytes, batches taken apart.
//! Each round of a batch is a receipt of its own, at the time its batch was complete.

use lastmile_wire::{batch, sse};

use crate::recorder::Sink;
use crate::variant::{Carrier, Encoding, Variant};

/// A sink before another sink. Room is used again: nothing is allocated for a receipt.
#[derive(Debug)]
pub struct Unpacked<S> {
    inner: S,
    encoding: Encoding,
    is_batched: bool,
    /// Bytes come as text.
    is_text: bool,
    decoded: Vec<u8>,
}

impl<S: Sink> Unpacked<S> {
    /// Takes apart what subscribers of this variant receive.
    pub fn new(variant: Variant, inner: S) -> Self {
        let encoding = variant.encoding();
        let is_text = matches!(variant.carrier(), Carrier::Sse(..)) && encoding == Encoding::MessagePack;
        Self { inner, encoding, is_batched: variant.batch_ms() > 0, is_text, decoded: Vec::new() }
    }

    /// Whether there is anything to take apart.
    pub fn is_needed(variant: Variant) -> bool {
        let unpacked = Unpacked::new(variant, NoSink);
        unpacked.is_batched || unpacked.is_text
    }

    /// The sink behind.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: Sink> Sink for Unpacked<S> {
    fn attached(&mut self, subscriber: usize, took_ns: u64) {
        self.inner.attached(subscriber, took_ns);
    }

    #[inline]
    fn receipt(&mut self, subscriber: usize, received_ns: u64, message: &[u8]) {
        let Self { inner, decoded, .. } = self;
        // What can't be taken apart goes on as it is: the sink behind finds that it is no round.
        let message = if self.is_text && sse::decode_binary(message, decoded) { decoded } else { message };
        if !self.is_batched {
            return inner.receipt(subscriber, received_ns, message);
        }
        let mut on_round = |round: &[u8]| inner.receipt(subscriber, received_ns, round);
        let split = match self.encoding {
            Encoding::Json => batch::split_json(message, &mut on_round),
            Encoding::MessagePack => batch::split_msgpack(message, &mut on_round),
        };
        if split.is_err() {
            on_round(message);
        }
    }

    fn ended(&mut self, subscriber: usize, reason: &str) {
        self.inner.ended(subscriber, reason);
    }

    #[inline]
    fn batch_end(&mut self) {
        self.inner.batch_end();
    }
}

/// Hears nothing.
struct NoSink;

impl Sink for NoSink {
    fn attached(&mut self, _subscriber: usize, _took_ns: u64) {}
    fn receipt(&mut self, _subscriber: usize, _received_ns: u64, _message: &[u8]) {}
    fn ended(&mut self, _subscriber: usize, _reason: &str) {}
    fn batch_end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers receipts.
    #[derive(Default)]
    struct Heard(Vec<Vec<u8>>);

    impl Sink for Heard {
        fn attached(&mut self, _subscriber: usize, _took_ns: u64) {}
        fn receipt(&mut self, subscriber: usize, received_ns: u64, message: &[u8]) {
            assert_eq!((subscriber, received_ns), (3, 9));
            self.0.push(message.to_vec());
        }
        fn ended(&mut self, _subscriber: usize, _reason: &str) {}
        fn batch_end(&mut self) {}
    }

    fn heard(variant: &str, messages: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut unpacked = Unpacked::new(variant.parse().unwrap(), Heard::default());
        for message in messages {
            unpacked.receipt(3, 9, message);
        }
        unpacked.into_inner().0
    }

    #[test]
    fn each_round_of_a_batch_is_a_receipt() {
        assert_eq!(
            heard("ws+batch5", &[b"[{\"a\":1},{\"b\":[2]}]", b"[3]"]),
            [&b"{\"a\":1}"[..], b"{\"b\":[2]}", b"3"]
        );
        assert_eq!(heard("wt-stream+msgpack+batch5", &[b"\x92\x01\xa1x"]), [&b"\x01"[..], b"\xa1x"]);
        let text = sse::encode_binary(b"\x92\x01\xa1x");
        assert_eq!(heard("sse+msgpack+batch5", &[text.as_bytes()]), [&b"\x01"[..], b"\xa1x"]);
        let text = sse::encode_binary(b"\x81\xa1a\x01");
        assert_eq!(heard("sse+msgpack", &[text.as_bytes()]), [b"\x81\xa1a\x01"]);
    }

    #[test]
    fn what_can_not_be_taken_apart_is_not_lost() {
        assert_eq!(heard("ws+batch5", &[b"{\"round_id\":1}"]), [b"{\"round_id\":1}"]);
        assert_eq!(heard("sse+msgpack", &[b"{}"]), [b"{}"]);
        // What came before the break, and the whole.
        assert_eq!(heard("ws+batch5", &[b"[1,2"]), [&b"1"[..], b"[1,2"]);
        let needed = |name: &str| Unpacked::<NoSink>::is_needed(name.parse().unwrap());
        assert!(!needed("ws") && !needed("ws+msgpack") && needed("sse+msgpack") && needed("ws+batch1"));
    }
}
