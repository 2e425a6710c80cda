//! How threads share a core.

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
    // Best effort: where it is refused, the thread waits for its turn.
    // SAFETY: the kernel reads SIZE bytes of the structure, which is that large.
    unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}
