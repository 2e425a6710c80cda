//! What of a slice under way is missing.

use crate::plan::Load;
use crate::timetable::Timetable;

/// What is due and has not come, seen from look to look.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// Messages sent so far.
    sent: usize,
    /// Deliveries outstanding at the last looks. What is under way comes soon and leaves the smallest of them; what is
    /// lost stays.
    last: [u64; Self::LOOKS],
    looks: usize,
    /// How far the latest message sent was behind its plan.
    pub(super) behind_us: Option<f64>,
}

impl Outstanding {
    /// Looks of a second.
    const LOOKS: usize = 20;

    pub(super) fn look(&mut self, table: &Timetable, load: &Load, received: u64) {
        if table.is_closed_loop() {
            return;
        }
        while let Some(times) = (self.sent < table.len()).then(|| table.times_of(self.sent)).flatten() {
            self.behind_us = Some(times.sent_ns.saturating_sub(times.planned_ns) as f64 / 1_000.0);
            self.sent += 1;
        }
        let expected = load.turns().expected(0, self.sent, load.connections);
        self.last[self.looks % Self::LOOKS] = expected.saturating_sub(received);
        self.looks += 1;
    }

    pub(super) fn missing(&self) -> u64 {
        // At the beginning there were not yet enough looks to tell what is lost from what is under way.
        if self.looks < Self::LOOKS { 0 } else { self.last.iter().copied().min().unwrap_or(0) }
    }
}
