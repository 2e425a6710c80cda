//! What becomes of a subscriber, drawn by lot.

/// Random numbers that are the same for the same seed: splitmix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// How a subscriber is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It leaves between two rounds.
    Leave,
    /// It is gone while rounds wait for it.
    Die,
    /// It stalls for so long that it is closed; where it is not, it goes on until the end.
    StallLong,
}

/// How many rounds a subscriber gets, and what happens then.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    pub rounds: u64,
    pub end: End,
}

impl Fate {
    pub fn draw(random: &mut Random, lives_long: bool) -> Self {
        // Short lives, mostly.
        let bound = if lives_long { 4096 } else { 1 << random.below(9) };
        let end = match random.below(16) {
            0..9 => End::Leave,
            9..15 => End::Die,
            _ => End::StallLong,
        };
        Self { rounds: 1 + random.below(bound), end }
    }
}

/// The round a subscriber says that it had, if it says any. `last` is the newest that the one before it in its place has
/// received, however long ago, `published` the newest there is.
pub fn draw_since(random: &mut Random, last: Option<u64>, published: u64) -> Option<u64> {
    // What was before the first round is no round.
    let back = |rounds: u64| Some(published.saturating_sub(rounds)).filter(|since| *since > 0);
    match random.below(24) {
        // Where it left off.
        0..6 => last,
        // From anywhere: mostly from where neither ring nor database go, as far as they are to be given.
        6 => back(random.below(published.max(1))),
        // Beyond what the ring keeps, not beyond what the database gives.
        7 => back(super::RING_ROUNDS + random.below(super::RING_ROUNDS)),
        _ => None,
    }
}
