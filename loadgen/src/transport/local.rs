//! The runtime of a worker whose subscribers are tasks: one thread, so that they share a sink without a lock.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::clock;
use crate::recorder::Sink;
use crate::transport::AttachError;

/// Runs `work` with a sink that its tasks share, and gives the sink back. Tasks end with it.
///
/// # Errors
/// What `work` says, or that the system gives no runtime.
pub fn drive<S>(
    sink: S,
    work: impl AsyncFnOnce(&Rc<RefCell<S>>) -> Result<(), AttachError>,
) -> Result<S, AttachError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sink = Rc::new(RefCell::new(sink));
    let tasks = LocalSet::new();
    let outcome = tasks.block_on(&runtime, work(&sink));
    // Tasks hold the sink until they are dropped with their set.
    drop(tasks);
    drop(runtime);
    outcome?;
    match Rc::try_unwrap(sink) {
        Ok(sink) => Ok(sink.into_inner()),
        Err(_) => Err(io::Error::other("a task outlived its worker").into()),
    }
}

/// Waits for the stop; an attachment that fails ends the wait with its error.
///
/// # Errors
/// That of the task that failed.
pub async fn until_stopped(
    stop: OwnedFd,
    tasks: &mut JoinSet<Result<(), AttachError>>,
) -> Result<(), AttachError> {
    // SAFETY: an owned descriptor stays open and the same for as long as the registration holds it.
    let registered = unsafe { AsyncFd::register_with_interest(stop, Interest::READABLE) };
    let stop = registered.map_err(io::Error::from)?;
    let stopped = stop.readable();
    tokio::pin!(stopped);
    loop {
        tokio::select! {
            stopped = &mut stopped => {
                // The event stays readable: it is for every worker.
                stopped?.retain_ready();
                return Ok(());
            }
            Some(ended) = tasks.join_next() => match ended {
                Ok(outcome) => outcome?,
                Err(error) => return Err(io::Error::other(error).into()),
            },
        }
    }
}

/// One subscriber from its beginning to its end: `open` when it is its turn, then `follow` what comes until it is over and
/// tell why, in words.
///
/// # Errors
/// That of `open`.
pub async fn subscribe<S: Sink, T>(
    subscriber: usize,
    turn: &Semaphore,
    sink: &RefCell<S>,
    open: impl Future<Output = Result<T, AttachError>>,
    follow: impl AsyncFnOnce(T) -> String,
) -> Result<(), AttachError> {
    let opened = {
        // Never closed, so there is always a permit to come.
        let _turn = turn.acquire().await;
        let begun_ns = clock::now_ns();
        let opened = open.await?;
        sink.borrow_mut().attached(subscriber, clock::now_ns() - begun_ns);
        opened
    };
    let reason = follow(opened).await;
    sink.borrow_mut().ended(subscriber, &reason);
    Ok(())
}
