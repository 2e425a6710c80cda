//! How far a run is and how it does, on a terminal. Silent elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use lastmile_reports::figures::{ABSENT, fixed, time_us, whole};

use crate::live::{LatencyCounts, Live};
use crate::observe::Observed;
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
    fn measuring(&self, _elapsed: Duration, _warmup: Duration, _live: &dyn Fn() -> Live) {}
    fn draining(&self, _received: u64) {}
}

impl RunWatcher for Silent {
    fn slice_begins(&self, _name: &str, _number: usize, _of: usize, _slice: Slice) {}
    fn finish(&self) {}
}

/// Time between two looks at the figures.
const LOOK: Duration = Duration::from_millis(500);
/// More protocols than this would fill the screen; the line of the current one is always there.
const MOST_LINES: usize = 16;

/// Lines on standard error: a bar over the publishing time of the whole run with the phase, and below it a line for
/// each protocol with what it has shown so far.
#[derive(Debug)]
pub struct Line {
    lines: MultiProgress,
    bar: ProgressBar,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Publishing time of the slices already over.
    over: Duration,
    current: Duration,
    title: String,
    name: String,
    protocols: BTreeMap<String, Protocol>,
    /// When the figures were looked at last, receipts and processor time of this program until then.
    seen: Option<(Instant, u64, Option<u64>)>,
}

/// What a protocol has shown so far.
#[derive(Debug)]
struct Protocol {
    line: ProgressBar,
    /// Of the slices that are over.
    before: Past,
    live: Live,
    receipts_per_s: f64,
    generator_cores: Option<f64>,
}

#[derive(Debug, Default)]
struct Past {
    latencies: LatencyCounts,
    missing: u64,
    disconnected: u64,
}

impl Protocol {
    /// `ws  9,998/s p50 1.06 ms p99 1.88 ms missing 0 generator 0.31 cores, 12.0 µs late`, receipts a second: what is asked
    /// first fits a terminal of 80 columns.
    fn words(&self, name: &str) -> String {
        let mut latencies = self.before.latencies.clone();
        latencies.plus(&self.live.latencies);
        let quantile = |of: f64| latencies.quantile_us(of).map_or_else(|| ABSENT.to_owned(), time_us);
        let mut words = format!(
            "  {name:<12}{:>8}/s p50 {:>7} p99 {:>7} missing {}",
            whole(self.receipts_per_s as u64),
            quantile(0.5),
            quantile(0.99),
            whole(self.before.missing + self.live.missing),
        );
        let disconnected = self.before.disconnected + self.live.disconnected;
        if disconnected > 0 {
            let _ = write!(words, " disconnected {}", whole(disconnected));
        }
        if let Some(cores) = self.generator_cores {
            let _ = write!(words, " generator {} cores", fixed(cores, 2));
        }
        if let Some(behind_us) = self.live.behind_us {
            let _ = write!(words, ", {} late", time_us(behind_us));
        }
        words
    }

    /// The slice is over: its figures belong to what was before.
    fn close(&mut self) {
        let live = std::mem::take(&mut self.live);
        self.before.latencies.plus(&live.latencies);
        self.before.missing += live.missing;
        self.before.disconnected += live.disconnected;
    }
}

impl Line {
    /// Lines for a run.
    ///
    /// # Panics
    /// Never: the templates are constant and valid.
    pub fn new(plan: &Plan) -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        let bar = lines.add(ProgressBar::new(plan.length().as_millis() as u64));
        let style = ProgressStyle::with_template("{bar:20} {wide_msg}").expect("a constant, valid template");
        bar.set_style(style);
        Self { lines, bar, state: RefCell::default() }
    }

    fn show(&self, elapsed: Duration, what: &str) {
        let state = self.state.borrow();
        let position = state.over + elapsed.min(state.current);
        self.bar.set_position(position.as_millis() as u64);
        let left_ms = self.bar.length().unwrap_or_default().saturating_sub(self.bar.position());
        self.bar.set_message(format!("{} {what}, {} s left", state.title, left_ms.div_ceil(1000)));
    }

    /// Looks at the figures, where the last look is long enough ago.
    fn look(&self, live: &dyn Fn() -> Live) {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        let cpu_ns = || Observed::this_process().quick_usage().ok().map(|usage| usage.cpu_ns);
        let Some((at, received, cpu_before)) = state.seen else {
            state.seen = Some((now, live().received, cpu_ns()));
            return;
        };
        let passed = now - at;
        if passed < LOOK {
            return;
        }
        let (live, cpu_now) = (live(), cpu_ns());
        state.seen = Some((now, live.received, cpu_now));
        let name = state.name.clone();
        let Some(protocol) = state.protocols.get_mut(&name) else { return };
        protocol.receipts_per_s = live.received.saturating_sub(received) as f64 / passed.as_secs_f64();
        protocol.generator_cores = cpu_now
            .zip(cpu_before)
            .map(|(now_ns, before_ns)| now_ns.saturating_sub(before_ns) as f64 / passed.as_nanos() as f64);
        protocol.live = live;
        protocol.line.set_message(protocol.words(&name));
    }
}

impl Watcher for Line {
    fn attaching(&self, attached: u64, connections: u64) {
        self.show(Duration::ZERO, &format!("attaching {attached} of {connections}"));
    }

    fn measuring(&self, elapsed: Duration, warmup: Duration, live: &dyn Fn() -> Live) {
        self.look(live);
        self.show(elapsed, if elapsed < warmup { "warm-up" } else { "measuring" });
    }

    fn draining(&self, _received: u64) {
        self.show(Duration::MAX, "waiting for the last receipts");
    }
}

impl RunWatcher for Line {
    fn slice_begins(&self, name: &str, number: usize, of: usize, slice: Slice) {
        let mut state = self.state.borrow_mut();
        let last_name = std::mem::take(&mut state.name);
        if let Some(last) = state.protocols.get_mut(&last_name) {
            last.close();
        }
        if !state.protocols.contains_key(name) && state.protocols.len() < MOST_LINES {
            let line = self.lines.add(ProgressBar::no_length());
            line.set_style(ProgressStyle::with_template("{wide_msg}").expect("a constant, valid template"));
            let protocol = Protocol {
                line,
                before: Past::default(),
                live: Live::default(),
                receipts_per_s: 0.0,
                generator_cores: None,
            };
            state.protocols.insert(name.to_owned(), protocol);
        }
        let current = state.current;
        state.over += current;
        state.current = slice.warmup + slice.measured;
        state.title = format!("{number}/{of} {name}");
        name.clone_into(&mut state.name);
        state.seen = None;
    }

    fn finish(&self) {
        for protocol in self.state.borrow().protocols.values() {
            protocol.line.finish_and_clear();
        }
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::LiveLatencies;

    #[test]
    fn a_line_tells_what_a_protocol_has_shown_in_all_its_slices() {
        let latencies = LiveLatencies::default();
        (0..100).for_each(|_| latencies.count(1_000_000));
        let mut counts = LatencyCounts::default();
        counts.add(&latencies);
        let mut protocol = Protocol {
            line: ProgressBar::hidden(),
            before: Past::default(),
            live: Live { latencies: counts, missing: 2, behind_us: Some(12.0), ..Live::default() },
            receipts_per_s: 9_998.4,
            generator_cores: Some(0.31),
        };
        let words = protocol.words("ws");
        assert!(words.contains("9,998/s") && words.contains("missing 2"), "{words}");
        assert!(words.contains("generator 0.31 cores, 12.0 µs late"), "{words}");
        let cores = words.find("cores").map(|at| words[..at + 5].chars().count());
        assert!(cores.is_some_and(|width| width < 80), "{words}");
        let figures = |words: &str| words.split("p50").nth(1).map(|rest| rest[..10].to_owned());
        let before = figures(&words);
        protocol.close();
        protocol.live = Live { disconnected: 3, ..Live::default() };
        let words = protocol.words("ws");
        assert_eq!(figures(&words), before, "the figures of the slice before stay");
        assert!(words.contains("missing 2") && words.contains("disconnected 3"), "{words}");
    }
}
