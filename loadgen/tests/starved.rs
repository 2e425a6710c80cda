//! A generator that does not get its share of the machine says so, instead of calling the server slow.

mod support;

use std::os::unix::process::CommandExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use support::stub::{Action, Stub};
use support::{case, finish, lastmile, result_of, text};

/// Threads that keep a core busy until dropped.
struct Burners {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Burners {
    fn start(count: usize, core: CpuSet) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let burn = |stop: Arc<AtomicBool>| {
            move || {
                sched_setaffinity(None, &core).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        let threads = (0..count).map(|_| thread::spawn(burn(Arc::clone(&stop)))).collect();
        Self { stop, threads }
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_generator_pinned_to_a_busy_core_is_called_invalid_and_not_the_server_slow() {
    let stub = Stub::start(|_| Action::Deliver);
    let allowed = sched_getaffinity(None).unwrap();
    let number = (0..CpuSet::MAX_CPU).find(|&core| allowed.is_set(core)).unwrap();
    let mut core = CpuSet::new();
    core.set(number);
    let burners = Burners::start(6, core);
    let folder = tempfile::tempdir().unwrap();
    let mut command = lastmile(&["run", "--json", "--strict", "--out"]);
    command.arg(folder.path()).args(stub.flags());
    command.args("--connections 10 --rate 100 --warmup 0s --duration 4s --protocols ws".split(' '));
    // SAFETY: between fork and exec only a system call is made, on memory of the closure's own.
    unsafe { command.pre_exec(move || Ok(sched_setaffinity(None, &core)?)) };
    let output = finish(command.spawn().unwrap());
    drop(burners);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("INVALID"), "{}", text(&output.stderr));
    let result = result_of(&output);
    assert_eq!(result.verdict.as_deref(), Some("INVALID"));
    let names_it = |objection: &String| objection.starts_with("ws: generator headroom: ");
    assert!(result.objections.iter().any(names_it), "{:?}", result.objections);
    assert_eq!(case(&result, "ws").accounting.lost, 0);
}
