//! Slices that are measured at once and get the same publishes: one schedule, one publisher, one Redis.
//!
//! Each slice attaches its own subscribers to its own server. The last one that is ready starts the publisher, and all
//! of them follow it. One that fails before does not leave the others waiting.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::thread::CpuSet;

use crate::message::MessageTemplate;
use crate::publisher::Publisher;
use crate::slice::SliceError;
use crate::timetable::Timetable;

/// Time between two looks whether one's own server is still there while the others get ready.
const LOOK: Duration = Duration::from_millis(20);

/// What the slices share.
#[derive(Debug)]
pub struct Together {
    slices: usize,
    /// Where the publisher may run, whatever cores the slices keep to.
    cores: CpuSet,
    state: Mutex<State>,
    changed: Condvar,
}

/// What is published, and when.
#[derive(Debug, Clone)]
pub struct Messages {
    /// When.
    pub table: Arc<Timetable>,
    /// Bytes of the messages, of each channel. They hold the time at which they were made.
    pub templates: Arc<[MessageTemplate]>,
}

#[derive(Debug, Default)]
struct State {
    messages: Option<Messages>,
    ready: usize,
    left: usize,
    publisher: Option<Arc<Publisher>>,
}

impl Together {
    /// For so many slices of the same plan and seed.
    pub fn new(slices: usize, cores: CpuSet) -> Self {
        Self { slices, cores, state: Mutex::default(), changed: Condvar::new() }
    }

    /// The place of one of them; to be taken before the others could wait for it.
    pub fn seat(&self) -> Seat<'_> {
        Seat { together: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slice's place. Giving it up before everyone is ready tells the others not to wait.
#[derive(Debug)]
pub struct Seat<'a> {
    together: &'a Together,
}

impl Seat<'_> {
    /// The messages of all: those of the first that says what it would publish, of the plan and seed that all have in
    /// common.
    pub fn messages(&self, own: Messages) -> Messages {
        self.together.state().messages.get_or_insert(own).clone()
    }

    /// Waits until all are ready; the last one begins to publish. Meanwhile `check` is asked for what else ends a slice.
    ///
    /// # Errors
    /// What `check` or `begin` says; [`SliceError::Abandoned`] where another slice ended before it was ready.
    pub fn meet(
        &self,
        mut check: impl FnMut() -> Result<(), SliceError>,
        begin: impl FnOnce(&CpuSet) -> Result<Publisher, SliceError>,
    ) -> Result<Arc<Publisher>, SliceError> {
        let mut state = self.together.state();
        state.ready += 1;
        if state.ready == self.together.slices && state.left == 0 {
            let publisher = Arc::new(begin(&self.together.cores)?);
            state.publisher = Some(Arc::clone(&publisher));
            self.together.changed.notify_all();
            return Ok(publisher);
        }
        loop {
            if let Some(publisher) = &state.publisher {
                return Ok(Arc::clone(publisher));
            }
            if state.left > 0 {
                return Err(SliceError::Abandoned);
            }
            let waited = self.together.changed.wait_timeout(state, LOOK);
            // Checking takes its time; the others are not to wait for the lock meanwhile.
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            check()?;
            state = self.together.state();
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.together.state().left += 1;
        self.together.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn one_that_gives_up_does_not_leave_the_other_waiting() {
        let together = Together::new(2, CpuSet::new());
        let never = |_: &CpuSet| -> Result<Publisher, SliceError> { unreachable!("nobody is ready") };
        let (first, second) = (together.seat(), together.seat());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| first.meet(|| Ok(()), never));
            drop(second);
            assert!(matches!(waiting.join().unwrap(), Err(SliceError::Abandoned)));
        });
        // Whoever comes later does not begin alone either.
        assert!(matches!(together.seat().meet(|| Ok(()), never), Err(SliceError::Abandoned)));
    }

    #[test]
    fn one_whose_own_server_ends_while_it_waits_says_so() {
        let together = Together::new(2, CpuSet::new());
        let seat = together.seat();
        let never = |_: &CpuSet| -> Result<Publisher, SliceError> { unreachable!("nobody is ready") };
        let mut looks = 0;
        let check = || {
            looks += 1;
            if looks < 3 { Ok(()) } else { Err(SliceError::Interrupted) }
        };
        assert!(matches!(seat.meet(check, never), Err(SliceError::Interrupted)));
    }
}
