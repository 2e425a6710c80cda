//! How the thread that waits for Redis is told to end, wherever it waits.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::connection::Connection;

/// See the module's documentation. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_told: bool,
    connection: Option<Connection>,
}

impl Stop {
    /// Whoever waits on this ends.
    pub fn tell(&self) {
        let mut state = self.state();
        state.is_told = true;
        if let Some(connection) = state.connection.take() {
            connection.cut();
        }
        self.0.changed.notify_all();
    }

    /// It has been told.
    pub fn is_told(&self) -> bool {
        self.state().is_told
    }

    /// Has this connection, instead of the one before, cut when it is told; `false` where it has been already.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn cuts(&self, connection: &Connection) -> io::Result<bool> {
        let connection = connection.try_clone()?;
        let mut state = self.state();
        state.connection = Some(connection);
        Ok(!state.is_told)
    }

    /// The connection is over.
    pub fn forget(&self) {
        self.state().connection = None;
    }

    /// Waits so long, or until it is told.
    pub fn sleep(&self, time: Duration) {
        let waited = self.0.changed.wait_timeout_while(self.state(), time, |state| !state.is_told);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing behind the lock can be left half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
