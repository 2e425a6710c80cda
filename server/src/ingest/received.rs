//! The bytes that came from Redis and have not been taken yet.

use std::io::{self, Read};
use std::ops::Range;

use lastmile_wire::round::MAX_ROUND_BYTES;

/// Room made before a read.
const READ_BYTES: usize = 16 * 1024;

/// A buffer that has grown beyond this is given back. What the largest round needs is kept: growing anew for each, page by
/// page, would hold up the rounds behind it.
const KEEP_BYTES: usize = 2 * MAX_ROUND_BYTES;

/// See the module's documentation.
#[derive(Debug)]
pub struct Received {
    bytes: Vec<u8>,
    filled: Range<usize>,
}

impl Default for Received {
    fn default() -> Self {
        Self { bytes: vec![0; READ_BYTES], filled: 0..0 }
    }
}

impl Received {
    /// What is to be taken.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.filled.clone()]
    }

    /// So many bytes have been taken.
    pub fn take(&mut self, count: usize) {
        self.filled.start += count;
        debug_assert!(self.filled.start <= self.filled.end);
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
    }

    /// Reads once; gives how many bytes came.
    ///
    /// # Errors
    /// The source's.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let count = source.read(&mut self.bytes[self.filled.end..])?;
        self.filled.end += count;
        Ok(count)
    }

    fn make_room(&mut self) {
        if self.filled.is_empty() && self.bytes.len() > KEEP_BYTES {
            *self = Self::default();
        }
        if self.bytes.len() - self.filled.end >= READ_BYTES / 2 {
            return;
        }
        self.bytes.copy_within(self.filled.clone(), 0);
        self.filled = 0..self.filled.len();
        if self.bytes.len() - self.filled.end < READ_BYTES / 2 {
            self.bytes.resize(2 * self.bytes.len(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_read_comes_out_in_order_however_it_is_taken(takes in proptest::collection::vec(0..40_000_usize, 1..80)) {
            let stream: Vec<u8> = (0..500_000_u32).map(|index| (index % 251) as u8).collect();
            let (mut source, mut received, mut seen) = (&stream[..], Received::default(), 0);
            for take in takes {
                let had = received.bytes().len();
                let is_over = source.is_empty();
                let came = received.read_from(&mut source).expect("memory never fails");
                proptest::prop_assert!(is_over || came > 0, "there is always room");
                proptest::prop_assert_eq!(received.bytes().len(), had + came);
                let take = take.min(received.bytes().len());
                proptest::prop_assert_eq!(&received.bytes()[..take], &stream[seen..seen + take]);
                received.take(take);
                seen += take;
            }
        }
    }

    #[test]
    fn a_buffer_that_has_grown_is_given_back() {
        let stream = vec![1; 4 * KEEP_BYTES];
        let (mut source, mut received) = (&stream[..], Received::default());
        while received.read_from(&mut source).expect("memory never fails") > 0 {}
        assert_eq!(received.bytes(), &stream[..]);
        received.take(stream.len());
        assert_eq!(received.read_from(&mut &b"a"[..]).expect("memory never fails"), 1);
        assert_eq!((received.bytes(), received.bytes.len()), (&b"a"[..], READ_BYTES));
    }
}
