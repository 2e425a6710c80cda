//! The one clock of every figure: `CLOCK_MONOTONIC`, in nanoseconds.
//!
//! Planned, sent and received times of one host are comparable because nothing else is ever read.

use std::num::NonZeroU64;
use std::time::Duration;

use nix::libc;
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

/// Asks the kernel for short turns on a core (0.1 ms, the shortest there are): a thread that wakes then goes ahead of one
/// that has had a longer turn, instead of waiting up to milliseconds for the end of it. It gets no more of the core than before.
///
/// Linux before 6.12 knows no such wish and ignores it. Source: the kernel's change "sched/eevdf: Use
/// `sched_attr::sched_runtime` to set request/slice suggestion"; `sched_setattr(2)`.
pub fn run_in_short_turns() {
    /// `struct sched_attr` as of Linux 3.14.
    #[repr(C)]
    #[derive(Default)]
    struct SchedulingAttributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
    }
    const SIZE: u32 = size_of::<SchedulingAttributes>() as u32;
    const SHORTEST_TURN_NS: u64 = 100_000;

    let mut attributes = SchedulingAttributes::default();
    // SAFETY: the kernel writes at most SIZE bytes into the structure, which is that large.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    if got != 0 || attributes.policy != libc::SCHED_OTHER as u32 {
        return;
    }
    attributes.size = SIZE;
    attributes.runtime_ns = SHORTEST_TURN_NS;
    // Best effort: where it is refused the canary is late, and says so.
    // SAFETY: the kernel reads SIZE bytes of the structure, which is that large.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// Lets the kernel wake this thread as near to the asked time as it can: without gathering wake-ups within the
/// 50 µs it allows itself by default, and ahead of threads that are busy.
pub fn wake_this_thread_precisely() {
    // Best effort: with the default slack the spin covers most of the difference, and only root may go ahead.
    wake_this_thread_without_slack();
    // On Linux a niceness belongs to the thread, not to the process.
    let _ = rustix::process::setpriority_process(None, -20);
    run_in_short_turns();
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
