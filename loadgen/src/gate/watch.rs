//! How far a gate is, on a terminal: one line.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lastmile_reports::gate::Role;

use crate::live::Live;
use crate::plan::Slice;
use crate::progress::{RunWatcher, Silent};
use crate::slice::Watcher;

use super::GateWatcher;

/// A bar over the pairs until the next look.
#[derive(Debug)]
pub struct GateLine {
    bar: ProgressBar,
}

impl GateLine {
    /// Nothing measured yet.
    ///
    /// # Panics
    /// Never: the template is constant and valid.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{bar:20} {msg}").expect("a constant, valid template");
        bar.set_style(style);
        Self { bar }
    }
}

impl Default for GateLine {
    fn default() -> Self {
        Self::new()
    }
}

impl Watcher for GateLine {
    fn attaching(&self, _attached: u64, _connections: u64) {}
    fn measuring(&self, _elapsed: Duration, _warmup: Duration, _live: &dyn Fn() -> Live) {}
    fn draining(&self, _received: u64) {}
}

impl RunWatcher for GateLine {
    fn slice_begins(&self, _name: &str, _number: usize, _of: usize, _slice: Slice) {}
    // The end of a block, of which there are many.
    fn finish(&self) {}
}

impl GateWatcher for GateLine {
    fn block_begins(&self, pair: usize, pairs: usize, role: Role, left: Duration) {
        self.bar.set_length(pairs as u64);
        self.bar.set_position(pair as u64);
        let who = match role {
            Role::Base => "base",
            Role::Candidate => "candidate",
            Role::BaseAgain => "base again",
        };
        self.bar.set_message(format!(
            "pair {}/{pairs} {who}, {} s to the next look",
            pair + 1,
            left.as_secs()
        ));
    }

    fn gate_ends(&self) {
        self.bar.finish_and_clear();
    }
}

impl GateWatcher for Silent {
    fn block_begins(&self, _pair: usize, _pairs: usize, _role: Role, _left: Duration) {}
    fn gate_ends(&self) {}
}
