//! What processes cost, read from /proc: processor time in nanoseconds, resident memory.

use std::fs;
use std::io;
use std::path::PathBuf;

/// A process to be observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    folder: PathBuf,
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all its threads that live.
    pub cpu_ns: u64,
    /// Resident memory.
    pub resident_bytes: u64,
}

impl Observed {
    /// Another process of this machine.
    pub fn process(pid: u32) -> Self {
        Self { folder: format!("/proc/{pid}").into() }
    }

    /// This process.
    pub fn this_process() -> Self {
        Self { folder: "/proc/self".into() }
    }

    /// What it has used until now.
    ///
    /// # Errors
    /// What the system said; the process may have ended.
    pub fn usage(&self) -> io::Result<Usage> {
        Ok(Usage { cpu_ns: self.cpu_ns()?, resident_bytes: self.resident_bytes()? })
    }

    /// Processor time of all living threads. The scheduler's own account, exact to the nanosecond where
    /// `utime + stime` count in hundredths of a second.
    fn cpu_ns(&self) -> io::Result<u64> {
        let mut sum_ns = 0;
        for thread in fs::read_dir(self.folder.join("task"))? {
            // A thread may end while we look.
            if let Ok(schedstat) = fs::read_to_string(thread?.path().join("schedstat")) {
                sum_ns += first_number(&schedstat)?;
            }
        }
        Ok(sum_ns)
    }

    fn resident_bytes(&self) -> io::Result<u64> {
        // The rollup counts pages; the cheaper figures of `status` lag behind by up to 64 pages a thread.
        let text = fs::read_to_string(self.folder.join("smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        Ok(first_number(line.unwrap_or_default())? * 1024)
    }
}

fn first_number(text: &str) -> io::Result<u64> {
    let number = text.split_whitespace().next().and_then(|word| word.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no number where /proc has one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_are_seen() {
        let this = Observed::process(std::process::id());
        let before = this.usage().unwrap();
        let mut memory = vec![1u8; 32 << 20];
        for round in 0..20u8 {
            for byte in &mut memory {
                *byte = byte.wrapping_mul(3).wrapping_add(round);
            }
        }
        let after = Observed::this_process().usage().unwrap();
        assert!(std::hint::black_box(memory)[0] > 0);
        assert!(after.cpu_ns > before.cpu_ns);
        assert!(after.resident_bytes >= before.resident_bytes + (16 << 20), "{before:?} {after:?}");
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Observed::process(u32::MAX).usage().is_err());
    }
}
