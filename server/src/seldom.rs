//! Something that is said at most once a second, however often there is reason to.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Time between two times.
const INTERVAL: Duration = Duration::from_secs(1);

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Seldom(AtomicU64);

impl Seldom {
    /// Whether it is time again; if so, for nobody else until the next.
    pub fn is_due(&self) -> bool {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        // Never 0, which is the beginning.
        let now = BEGAN.elapsed().as_millis() as u64 + 1;
        let said = self.0.load(Relaxed);
        let is_due = said == 0 || now >= said + INTERVAL.as_millis() as u64;
        is_due && self.0.compare_exchange(said, now, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_not_again_at_once() {
        let seldom = Seldom::default();
        let began = Instant::now();
        let said = [seldom.is_due(), seldom.is_due(), seldom.is_due()];
        if began.elapsed() < INTERVAL {
            assert_eq!(said, [true, false, false]);
        }
        seldom.0.store(1, Relaxed);
        std::thread::sleep(INTERVAL);
        assert!(seldom.is_due());
    }
}
