//! How sure a run is of its quantiles: a block bootstrap over publishes.
//!
//! All receivers of one publish share its stall, and publishes that follow each other share the machine's: neither
//! deliveries nor single publishes are independent. So whole *blocks* of consecutive publishes, with everything
//! their receivers saw, are drawn with replacement (Künsch 1989 and Carlstein 1986; the percentile interval is
//! Efron's), and the spread of the quantile over many such draws is its interval. Blocks don't reach over slices.
//!
//! A draw is never written out. For each value that occurs and each block it is known how many of the block's
//! latencies lie at or below it; a quantile of a draw is a binary search over the values, with one weighted sum over
//! the blocks a step. So the cost does not depend on the number of deliveries.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::compact::latency_ns;
use super::resolves;
use crate::schema::QuantileIntervals;

/// Most blocks a slice is cut into.
const MOST_BLOCKS: usize = 64;
/// With fewer blocks than this their draws say nothing of each other.
const FEWEST_BLOCKS: usize = 8;
/// How often blocks are drawn.
const DRAWS: usize = 1_000;

/// How many consecutive publishes make a block, of so many in a slice.
///
/// At least the cube root, the rate at which a block bootstrap's error falls fastest (Hall, Horowitz and Jing 1995),
/// and as many as leave no more than 64 blocks a slice: longer blocks cover longer stalls.
pub fn block_length(publishes: usize) -> usize {
    let cube_root = (publishes as f64).cbrt() as usize;
    cube_root.max(publishes.div_ceil(MOST_BLOCKS)).max(1)
}

/// Latencies of a run, block by block.
#[derive(Debug, Clone, Default)]
pub struct Blocks {
    blocks: Vec<Block>,
    publishes: u64,
}

/// Of one block, the codes that occur in ascending order, each with its count.
type Block = Vec<(u16, u32)>;

impl Blocks {
    /// Adds a block of so many publishes: the codes of all latencies in it, which are taken away.
    pub fn add(&mut self, codes: &mut Vec<u16>, publishes: usize) {
        self.publishes += publishes as u64;
        codes.sort_unstable();
        let counted = codes.chunk_by(|left, right| left == right).map(|run| (run[0], run.len() as u32));
        self.blocks.push(counted.collect());
        codes.clear();
    }

    /// Adds the blocks of another slice.
    pub fn merge(&mut self, other: &Self) {
        self.blocks.extend_from_slice(&other.blocks);
        self.publishes += other.publishes;
    }

    /// 95 % intervals of the quantiles; `None` where there are too few blocks for any, and for each quantile that
    /// the publishes don't resolve. The same seed gives the same intervals.
    pub fn intervals(&self, seed: u64) -> Option<QuantileIntervals> {
        if self.blocks.len() < FEWEST_BLOCKS {
            return None;
        }
        let quantiles =
            [0.5, 0.9, 0.99, 0.999].map(|quantile| Some(quantile).filter(|&q| resolves(q, self.publishes)));
        let counts = Counts::of(&self.blocks)?;
        let mut drawn: [Vec<u16>; 4] = [const { Vec::new() }; 4];
        let mut random = SmallRng::seed_from_u64(seed);
        let mut weights = vec![0_u32; self.blocks.len()];
        for _ in 0..DRAWS {
            weights.fill(0);
            for _ in 0..self.blocks.len() {
                weights[random.random_range(0..self.blocks.len())] += 1;
            }
            for (values, quantile) in drawn.iter_mut().zip(quantiles) {
                values.extend(quantile.and_then(|quantile| counts.quantile(&weights, quantile)));
            }
        }
        let [p50, p90, p99, p99_9] = drawn.map(bounds);
        Some(QuantileIntervals { p50, p90, p99, p99_9 })
    }
}

/// The middle 95 % of what was drawn, in microseconds.
fn bounds(mut codes: Vec<u16>) -> Option<(f64, f64)> {
    codes.sort_unstable();
    let at = |share: f64| {
        let place = (share * codes.len() as f64) as usize;
        codes.get(place.min(codes.len().saturating_sub(1))).map(|&code| latency_ns(code) as f64 / 1_000.0)
    };
    Some((at(0.025)?, at(0.975)?))
}

/// How many latencies of each block lie at or below each value.
struct Counts {
    /// The values that occur anywhere, ascending.
    codes: Vec<u16>,
    /// For each of them, one count a block.
    below: Vec<u32>,
    blocks: usize,
}

impl Counts {
    /// `None` where nothing was received.
    fn of(blocks: &[Block]) -> Option<Self> {
        let mut codes: Vec<u16> = blocks.iter().flatten().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        let mut below = vec![0; codes.len() * blocks.len()];
        for (number, block) in blocks.iter().enumerate() {
            let mut counted = block.iter().peekable();
            let mut sum = 0;
            for (place, code) in codes.iter().enumerate() {
                if let Some((_, count)) = counted.next_if(|(next, _)| next == code) {
                    sum += count;
                }
                below[place * blocks.len() + number] = sum;
            }
        }
        (!codes.is_empty()).then_some(Self { codes, below, blocks: blocks.len() })
    }

    /// The smallest value that at least this share of the drawn latencies does not exceed; `None` where only empty
    /// blocks were drawn.
    fn quantile(&self, weights: &[u32], quantile: f64) -> Option<u16> {
        let all = self.weighted(self.codes.len() - 1, weights);
        let rank = ((quantile * all as f64).ceil() as u64).clamp(1, all.max(1));
        let (mut low, mut high) = (0, self.codes.len() - 1);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.weighted(middle, weights) >= rank {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        (all > 0).then(|| self.codes[low])
    }

    fn weighted(&self, place: usize, weights: &[u32]) -> u64 {
        let counts = &self.below[place * self.blocks..][..self.blocks];
        counts.iter().zip(weights).map(|(&count, &weight)| u64::from(count) * u64::from(weight)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::compact::code_of;

    /// Publishes whose latency is shared by all receivers and drifts along: a first-order autoregression around
    /// 1 ms, whose median is known.
    fn run(publishes: usize, receivers: usize, persistence: f64, seed: u64) -> Blocks {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut normal = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let length = block_length(publishes);
        let mut state = normal();
        let mut blocks = Blocks::default();
        let mut codes = Vec::new();
        for publish in 0..publishes {
            state = persistence * state + (1.0 - persistence * persistence).sqrt() * normal();
            let latency_ns = (1e6 * (0.2 * state).exp()) as u64;
            codes.extend((0..receivers as u64).map(|receiver| code_of(latency_ns + receiver)));
            if (publish + 1) % length == 0 || publish + 1 == publishes {
                let held = publish % length + 1;
                blocks.add(&mut codes, held);
            }
        }
        blocks
    }

    fn p50(blocks: &Blocks, seed: u64) -> (f64, f64) {
        blocks.intervals(seed).and_then(|intervals| intervals.p50).expect("a median is resolved")
    }

    #[test]
    fn blocks_cover_stalls_and_stay_few() {
        assert_eq!([1, 8, 27, 1_000, 100_000].map(block_length), [1, 2, 3, 16, 1_563]);
        assert!(100_000_usize.div_ceil(block_length(100_000)) <= MOST_BLOCKS);
    }

    #[test]
    fn the_true_median_lies_inside_about_as_often_as_promised() {
        // Independent publishes, and ones that remember twenty before them: blocks are longer than their memory. Over
        // 400 seeds, 93 to 96 % were covered.
        for (persistence, promised) in [(0.0, 90), (0.8, 88)] {
            let covers = |seed: &u64| {
                let (low, high) = p50(&run(2_000, 3, persistence, 1_000 + seed * 7_919), *seed);
                low <= 1_000.5 && 999.5 <= high
            };
            let covered = (0..100).filter(covers).count();
            assert!(covered >= promised, "{covered} of 100 at {persistence}");
        }
    }

    #[test]
    fn receivers_add_no_certainty_and_publishes_do() {
        let width = |publishes, receivers| {
            let (low, high) = p50(&run(publishes, receivers, 0.0, 3), 1);
            high - low
        };
        let (few, many_receivers, many_publishes) = (width(500, 2), width(500, 200), width(8_000, 2));
        assert!(many_receivers > 0.7 * few, "{many_receivers} after {few}");
        assert!(many_publishes < 0.5 * few, "{many_publishes} after {few}");
    }

    #[test]
    fn what_publishes_do_not_resolve_has_no_interval() {
        let told = |publishes| {
            let intervals = run(publishes, 1_000, 0.0, 5).intervals(1).expect("blocks enough");
            [intervals.p50, intervals.p90, intervals.p99, intervals.p99_9].map(|interval| interval.is_some())
        };
        assert_eq!(told(298), [true, true, false, false]);
        assert_eq!(told(299), [true, true, true, false]);
        assert_eq!(run(7, 10, 0.0, 5).intervals(1), None);
        assert_eq!(Blocks::default().intervals(1), None);
    }

    #[test]
    fn a_seed_repeats_and_slices_add_up() {
        let blocks = run(1_000, 5, 0.5, 7);
        assert_eq!(blocks.intervals(3), blocks.intervals(3));
        assert_ne!(blocks.intervals(3), blocks.intervals(4));
        let mut both = blocks.clone();
        both.merge(&run(1_000, 5, 0.5, 8));
        let (low, high) = p50(&both, 1);
        let (one_low, one_high) = p50(&blocks, 1);
        assert!(high - low < one_high - one_low);
    }

    #[test]
    fn blocks_in_which_nothing_arrived_are_part_of_it() {
        let mut blocks = Blocks::default();
        for number in 0..40 {
            let mut codes = if number % 2 == 0 { vec![code_of(1_000_000); 10] } else { Vec::new() };
            blocks.add(&mut codes, 10);
        }
        let (low, high) = p50(&blocks, 1);
        assert!((low - 1_000.0).abs() < 1.0 && (high - 1_000.0).abs() < 1.0);
        let mut nothing = Blocks::default();
        (0..40).for_each(|_| nothing.add(&mut Vec::new(), 10));
        assert_eq!(nothing.intervals(1), None);
    }
}
