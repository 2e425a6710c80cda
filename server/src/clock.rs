//! The one clock of the server: `CLOCK_MONOTONIC` in nanoseconds, comparable between processes of one host.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since an arbitrary point that all processes of this host share.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
