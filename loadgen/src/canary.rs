//! A thread that wants to be woken every millisecond and notes how late it was: what the machine does to a thread of
//! this program that has nothing to do but be on time.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use hdrhistogram::Histogram;
use lastmile_reports::histogram::new_latency_histogram;
use rustix::thread::CpuSet;

use crate::clock;
use crate::cores::keep_this_thread_to;
use crate::recorder::record;

/// Time between two wake-ups.
const PERIOD_NS: u64 = 1_000_000;

/// The name of its thread.
pub const THREAD_NAME: &str = "canary";

/// A canary that sings until it is stopped or dropped.
#[derive(Debug)]
pub struct Canary {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Histogram<u64>>>,
}

impl Canary {
    /// Lets it begin, on the cores that the threads it stands for keep to; `None` for all.
    ///
    /// # Errors
    /// What the system said when it refused a thread.
    pub fn start(cores: Option<CpuSet>) -> io::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread =
            thread::Builder::new().name(THREAD_NAME.into()).spawn(move || sing(&stopped, cores.as_ref()))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it; the delays of all its wake-ups in nanoseconds.
    pub fn stop(mut self) -> Histogram<u64> {
        self.stop.store(true, Ordering::Release);
        let thread =
            self.thread.take().expect("only stopping and dropping take it, and both take the canary");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Nobody wants its delays any more.
            let _ = thread.join();
        }
    }
}

fn sing(stop: &AtomicBool, cores: Option<&CpuSet>) -> Histogram<u64> {
    // As the workers are: the canary is to fare as they do. Only the kernel's own 50 µs are not wanted.
    clock::wake_this_thread_without_slack();
    lastmile_processes::run_in_short_turns();
    keep_this_thread_to(cores);
    let mut delays = new_latency_histogram();
    let mut beyond = 0;
    let mut due_ns = clock::now_ns();
    while !stop.load(Ordering::Acquire) {
        // One that comes late finds the next ones due already, and notes their delay, too: a stall of 10 ms is ten
        // late wake-ups and not one.
        due_ns += PERIOD_NS;
        clock::sleep_until(due_ns);
        record(&mut delays, clock::now_ns().saturating_sub(due_ns), &mut beyond);
    }
    delays
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_sings_once_a_millisecond_until_it_is_stopped() {
        let begun_ns = clock::now_ns();
        let canary = Canary::start(None).unwrap();
        thread::sleep(Duration::from_millis(50));
        let delays = canary.stop();
        let lived_ms = (clock::now_ns() - begun_ns) / PERIOD_NS;
        // Up to the wake-up that found itself stopped; none is left out however late it came.
        assert!((1..=lived_ms + 1).contains(&delays.len()), "{} in {lived_ms} ms", delays.len());
        drop(Canary::start(None).unwrap());
    }
}
