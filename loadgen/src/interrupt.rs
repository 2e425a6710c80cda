//! Ctrl-C: the first ends the run and keeps what was measured, the second ends the program at once. Neither
//! leaves a process.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use crate::stack::Processes;

/// Exit code of a run that was interrupted: 128 + SIGINT, as shells expect it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Whether, and how often, the run was asked to end.
#[derive(Debug, Default)]
pub struct Interrupt {
    asked: AtomicU32,
    /// What would outlive an exit without destructors.
    processes: Mutex<Vec<Weak<Processes>>>,
}

impl Interrupt {
    /// One that listens to SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// What the system said when it refused a handler or a thread.
    pub fn listen() -> io::Result<Arc<Self>> {
        let interrupt = Arc::new(Self::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut ctrl_c, mut terminate, mut hang_up) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
            )
        };
        let heard = Arc::clone(&interrupt);
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = ctrl_c.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hang_up.recv() => {}
                    }
                    heard.ask();
                }
            });
        })?;
        Ok(interrupt)
    }

    /// Asks the run to end, as a signal does.
    pub fn ask(&self) {
        if self.asked.fetch_add(1, Ordering::AcqRel) > 0 {
            let all = std::mem::take(&mut *self.processes.lock().unwrap_or_else(PoisonError::into_inner));
            all.iter().filter_map(Weak::upgrade).for_each(|processes| processes.kill());
            std::process::exit(EXIT_INTERRUPTED.into());
        }
    }

    /// The run was asked to end.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire) > 0
    }

    /// These processes are to be killed when the program has to end at once.
    pub fn guard(&self, processes: &Arc<Processes>) {
        let mut all = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|guarded| guarded.strong_count() > 0);
        all.push(Arc::downgrade(processes));
    }
}
