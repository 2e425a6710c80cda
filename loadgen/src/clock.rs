//! The one clock of every figure: `CLOCK_MONOTONIC`, in nanoseconds.
//!
//! Planned, sent and received times of one host are comparable because nothing else is ever read.

use std::num::NonZeroU64;
use std::time::Duration;

use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::{Timespec, clock_gettime};

/// Nanoseconds of one second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// The current time in nanoseconds since an arbitrary point that stays the same until the machine restarts.
#[inline]
pub fn now_ns() -> u64 {
    let now = clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

/// What the wall clock shows, in nanoseconds since 1970. Only to be compared with what the kernel stamps by it.
#[inline]
pub fn wall_ns() -> u64 {
    let now = clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

/// A duration in the clock's unit. Durations of this program are far below the 584 years that fit.
pub fn duration_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sleeps until the clock shows `instant_ns`; at once where it already does. Wakes later than asked by what the
/// kernel's scheduler needs, which is why the publisher spins the last stretch.
pub fn sleep_until(instant_ns: u64) {
    let request =
        Timespec { tv_sec: (instant_ns / SECOND_NS) as i64, tv_nsec: (instant_ns % SECOND_NS) as i64 };
    // A signal ends the sleep early; the rest is slept by the next round.
    while now_ns() < instant_ns {
        if clock_nanosleep_absolute(ClockId::Monotonic, &request).is_ok() {
            break;
        }
    }
}

/// Busily waits until the clock shows `instant_ns`.
pub fn spin_until(instant_ns: u64) {
    while now_ns() < instant_ns {
        std::hint::spin_loop();
    }
}

/// Lets the kernel wake this thread without gathering wake-ups within the 50 µs it allows itself by default.
pub fn wake_this_thread_without_slack() {
    // Best effort: a canary with the default slack is 50 µs late and says so.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Lets the kernel wake this thread as near to the asked time as it can: without gathering wake-ups within the
/// 50 µs it allows itself by default, and ahead of threads that are busy.
pub fn wake_this_thread_precisely() {
    // Best effort: with the default slack the spin covers most of the difference, and only root may go ahead.
    wake_this_thread_without_slack();
    // On Linux a niceness belongs to the thread, not to the process.
    let _ = rustix::process::setpriority_process(None, -20);
    lastmile_processes::run_in_short_turns();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_never_ends_before_its_time() {
        let until = now_ns() + 2_000_000;
        sleep_until(until - 1_000_000);
        assert!(now_ns() >= until - 1_000_000);
        spin_until(until);
        assert!(now_ns() >= until);
        sleep_until(0);
    }

    #[test]
    fn durations_convert() {
        assert_eq!(duration_ns(Duration::from_millis(1500)), 1_500_000_000);
        assert_eq!(duration_ns(Duration::MAX), u64::MAX);
    }
}
