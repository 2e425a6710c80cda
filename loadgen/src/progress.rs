//! How far a run is, on a terminal. Silent elsewhere.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::plan::{Plan, Slice};
use crate::slice::Watcher;

/// Shows a run to whoever watches.
pub trait RunWatcher: Watcher {
    /// A slice begins: its protocol's name, its number from 1, and how many there are.
    fn slice_begins(&self, name: &str, number: usize, of: usize, slice: Slice);
    /// Nothing more to show.
    fn finish(&self);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Watcher for Silent {
    fn attaching(&self, _attached: u64, _connections: u64) {}
    fn measuring(&self, _elapsed: Duration, _warmup: Duration, _received: u64) {}
    fn draining(&self, _received: u64) {}
}

impl RunWatcher for Silent {
    fn slice_begins(&self, _name: &str, _number: usize, _of: usize, _slice: Slice) {}
    fn finish(&self) {}
}

/// One line on standard error: a bar over the publishing time of the whole run, the phase, the live rate.
#[derive(Debug)]
pub struct Line {
    bar: ProgressBar,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Publishing time of the slices already over.
    over: Duration,
    current: Duration,
    title: String,
    seen: Option<(Instant, u64)>,
    rate: f64,
}

impl Line {
    /// A line for a run.
    ///
    /// # Panics
    /// Never: the template is constant and valid.
    pub fn new(plan: &Plan) -> Self {
        let bar = ProgressBar::with_draw_target(
            Some(plan.length().as_millis() as u64),
            ProgressDrawTarget::stderr_with_hz(5),
        );
        let style = ProgressStyle::with_template("{bar:20} {msg}").expect("a constant, valid template");
        bar.set_style(style);
        Self { bar, state: RefCell::default() }
    }

    fn show(&self, elapsed: Duration, what: &str) {
        let state = self.state.borrow();
        let position = state.over + elapsed.min(state.current);
        self.bar.set_position(position.as_millis() as u64);
        let left_ms = self.bar.length().unwrap_or_default().saturating_sub(self.bar.position());
        self.bar.set_message(format!("{} {what}, {} s left", state.title, left_ms.div_ceil(1000)));
    }

    /// Receipts a second since the last look that is at least half a second old.
    fn rate(&self, received: u64) -> f64 {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        match state.seen {
            Some((at, before)) if now - at >= Duration::from_millis(500) => {
                state.rate = received.saturating_sub(before) as f64 / (now - at).as_secs_f64();
                state.seen = Some((now, received));
            }
            None => state.seen = Some((now, received)),
            Some(_) => {}
        }
        state.rate
    }
}

impl Watcher for Line {
    fn attaching(&self, attached: u64, connections: u64) {
        self.show(Duration::ZERO, &format!("attaching {attached} of {connections}"));
    }

    fn measuring(&self, elapsed: Duration, warmup: Duration, received: u64) {
        let phase = if elapsed < warmup { "warm-up" } else { "measuring" };
        let rate = self.rate(received);
        self.show(elapsed, &format!("{phase}, {rate:.0} receipts/s"));
    }

    fn draining(&self, _received: u64) {
        self.show(Duration::MAX, "waiting for the last receipts");
    }
}

impl RunWatcher for Line {
    fn slice_begins(&self, name: &str, number: usize, of: usize, slice: Slice) {
        let mut state = self.state.borrow_mut();
        let over = state.over + state.current;
        *state = State {
            over,
            current: slice.warmup + slice.measured,
            title: format!("{number}/{of} {name}"),
            ..State::default()
        };
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
