//! How many pairs fit into the time there is.

use std::time::Duration;

/// What a block takes beside its warm-up and window, before any was measured: starting, attaching, draining, ending.
const AROUND: Duration = Duration::from_millis(500);

/// The time of a gate, planned before it begins and corrected by what blocks really take.
#[derive(Debug, Clone)]
pub struct Budget {
    limit: Option<Duration>,
    planned_block: Duration,
    blocks: u32,
    spent: Duration,
}

impl Budget {
    /// For blocks that publish for so long.
    pub fn new(limit: Option<Duration>, publishing: Duration) -> Self {
        Self { limit, planned_block: publishing + AROUND, blocks: 0, spent: Duration::ZERO }
    }

    /// A block took so long.
    pub fn spend(&mut self, block: Duration) {
        self.blocks += 1;
        self.spent += block;
    }

    /// What a block takes.
    pub fn block(&self) -> Duration {
        if self.blocks == 0 { self.planned_block } else { self.spent / self.blocks }
    }

    /// Whether so many more blocks fit in.
    pub fn holds(&self, blocks: usize) -> bool {
        let needed = self.spent + self.block() * blocks as u32;
        self.limit.is_none_or(|limit| needed <= limit)
    }

    /// Most blocks that fit in from the beginning; `None` without a limit.
    pub fn most_blocks(&self) -> Option<usize> {
        let limit = self.limit?;
        Some((limit.as_secs_f64() / self.planned_block.as_secs_f64()) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_planned_by_and_corrected() {
        let second = Duration::from_secs(1);
        let mut budget = Budget::new(Some(60 * second), Duration::from_millis(4_500));
        assert_eq!(budget.most_blocks(), Some(12));
        assert!(budget.holds(12) && !budget.holds(13));
        // Blocks turn out to take twice as long.
        budget.spend(10 * second);
        assert!(budget.holds(5) && !budget.holds(6));
        assert!(Budget::new(None, second).holds(1_000_000));
    }
}
