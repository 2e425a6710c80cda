//! What one subscriber has received: judges each identifier against those before it.
//!
//! A bounded window, not a set of everything: the highest index seen, and one bit for each of the indices just
//! below it. What was lost needs no bookkeeping at all, it is what was expected and not delivered.

/// Fewest and most indices a window remembers.
const WINDOW_RANGE: (usize, usize) = (64, 4096);

/// What a received index means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The first receipt of this index, after all receipts of lower ones.
    InOrder,
    /// The first receipt of this index, after one of a higher index.
    Reordered,
    /// A further receipt of this index.
    Duplicate,
    /// So far below the highest index that the window no longer knows whether it had been received. Counted as
    /// duplicate, and named among the errors.
    TooOld,
}

/// The window of one subscriber.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// One above the highest index received.
    next: u64,
    /// Bit `index % window` for the indices of `next - window .. next`.
    received: Box<[u64]>,
}

impl Ledger {
    /// A ledger for a slice of `messages` messages. Short slices are remembered whole.
    pub fn new(messages: usize) -> Self {
        let (fewest, most) = WINDOW_RANGE;
        let window = messages.clamp(fewest, most).next_power_of_two();
        Self { next: 0, received: vec![0; window / 64].into_boxed_slice() }
    }

    /// Nothing has been received yet.
    pub fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// One above the highest index received.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes note of a received index.
    #[inline]
    pub fn judge(&mut self, index: u64) -> Judgement {
        if index >= self.next {
            // The bits of skipped indices still hold what a window's length ago was received.
            if index > self.next {
                self.forget(self.next, index);
            }
            self.set(index);
            self.next = index + 1;
            return Judgement::InOrder;
        }
        if self.next - index > self.window() {
            return Judgement::TooOld;
        }
        if self.is_set(index) {
            return Judgement::Duplicate;
        }
        self.set(index);
        Judgement::Reordered
    }

    fn window(&self) -> u64 {
        self.received.len() as u64 * 64
    }

    /// Which word and which bit; the window is a power of two.
    #[inline]
    fn place(&self, index: u64) -> (usize, u64) {
        let bit = index & (self.window() - 1);
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    #[inline]
    fn set(&mut self, index: u64) {
        let (word, bit) = self.place(index);
        self.received[word] |= bit;
    }

    fn is_set(&self, index: u64) -> bool {
        let (word, bit) = self.place(index);
        self.received[word] & bit != 0
    }

    #[cold]
    fn forget(&mut self, from: u64, to: u64) {
        if to - from >= self.window() {
            self.received.fill(0);
            return;
        }
        for index in from..to {
            let (word, bit) = self.place(index);
            self.received[word] &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_kind_of_receipt_has_its_name() {
        let mut ledger = Ledger::new(1000);
        assert!(ledger.is_empty());
        let judged: Vec<_> =
            [0, 1, 3, 2, 2, 3, 4].into_iter().map(|index| format!("{:?}", ledger.judge(index))).collect();
        let names = "InOrder InOrder InOrder Reordered Duplicate Duplicate InOrder";
        assert_eq!(judged.join(" "), names);
        assert_eq!(ledger.next(), 5);
    }

    #[test]
    fn a_window_does_not_take_an_old_receipt_for_a_new_one() {
        let mut ledger = Ledger::new(64);
        for index in 0..64 {
            ledger.judge(index);
        }
        // 64 shares its bit with 0, 70 with 6: neither may look received already.
        assert_eq!(ledger.judge(70), Judgement::InOrder);
        assert_eq!(ledger.judge(64), Judgement::Reordered);
        assert_eq!(ledger.judge(64), Judgement::Duplicate);
        assert_eq!(ledger.judge(6), Judgement::TooOld);
        assert_eq!(ledger.judge(7), Judgement::Duplicate);
        assert_eq!(ledger.judge(10_000), Judgement::InOrder);
        assert_eq!(ledger.judge(9_999), Judgement::Reordered);
    }

    #[test]
    fn within_its_window_it_agrees_with_a_set_of_everything() {
        use rand::rngs::SmallRng;
        use rand::{Rng, SeedableRng};
        let mut random = SmallRng::seed_from_u64(5);
        let mut ledger = Ledger::new(256);
        let mut everything = HashSet::new();
        let mut highest: Option<u64> = None;
        for _ in 0..20_000 {
            let around = highest.map_or(0, |highest| highest + 1);
            let index = (around + random.random_range(0..8)).saturating_sub(random.random_range(0..200));
            let expected = if highest.is_none_or(|highest| index > highest) {
                Judgement::InOrder
            } else if around - index > 256 {
                Judgement::TooOld
            } else if everything.contains(&index) {
                Judgement::Duplicate
            } else {
                Judgement::Reordered
            };
            assert_eq!(ledger.judge(index), expected, "index {index}, highest {highest:?}");
            everything.insert(index);
            highest = highest.max(Some(index));
        }
    }
}
