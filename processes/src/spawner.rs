//! The one thread that starts children.
//!
//! The parent-death signal of Linux is tied to the *thread* that forked, not to its process: a child started
//! from a worker thread would be killed when that worker ends. So all children are started from a thread
//! that ends only with the process.

use std::io;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

type Job = Box<dyn FnOnce() + Send>;

static SPAWNER: Mutex<Option<Sender<Job>>> = Mutex::new(None);

/// Starts `command` from the spawner thread and waits until that is done. It runs on `cores`, or where its asker may, as if
/// the asker had forked it.
pub(crate) fn spawn(mut command: Command, cores: Option<CpuSet>) -> io::Result<Child> {
    let (answer, answered) = sync_channel(1);
    let cores = cores.map_or_else(|| sched_getaffinity(None), Ok);
    let job: Job = Box::new(move || {
        // Where that can't be told or set, it runs anywhere.
        if let Ok(cores) = &cores {
            let _ = sched_setaffinity(None, cores);
        }
        // The asker waits for the answer, so it can't be gone.
        let _ = answer.send(command.spawn());
    });
    jobs()?.send(job).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}

fn jobs() -> io::Result<Sender<Job>> {
    let mut spawner = SPAWNER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(jobs) = &*spawner {
        return Ok(jobs.clone());
    }
    let (sender, receiver) = channel::<Job>();
    thread::Builder::new().name("child-spawner".into()).spawn(move || {
        for job in receiver {
            job();
        }
    })?;
    *spawner = Some(sender.clone());
    Ok(sender)
}

fn gone() -> io::Error {
    io::Error::other("the thread that starts children is gone")
}
