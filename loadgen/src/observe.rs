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

/// What a thread has used so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadUsage {
    /// Its number.
    pub id: u32,
    /// Its name, cut by the kernel to 15 bytes.
    pub name: String,
    /// Processor time.
    pub cpu_ns: u64,
    /// Time it could have run, and waited for a core.
    pub waited_ns: u64,
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

    /// The same, with resident memory as the kernel's quick counters have it: they lag behind by up to 64 pages a
    /// thread, and reading them does not hold up a process that is being measured.
    ///
    /// # Errors
    /// What the system said; the process may have ended.
    pub fn quick_usage(&self) -> io::Result<Usage> {
        let pages = fs::read_to_string(self.folder.join("statm"))?;
        let resident = first_number(pages.split_once(' ').map_or("", |(_, rest)| rest))?;
        Ok(Usage { cpu_ns: self.cpu_ns()?, resident_bytes: resident * rustix::param::page_size() as u64 })
    }

    /// Its living threads.
    ///
    /// # Errors
    /// What the system said; the process may have ended.
    pub fn threads(&self) -> io::Result<Vec<ThreadUsage>> {
        let mut threads = Vec::new();
        for thread in fs::read_dir(self.folder.join("task"))? {
            let thread = thread?;
            let read = |name: &str| fs::read_to_string(thread.path().join(name));
            // A thread may end while we look.
            if let (Ok(name), Ok(schedstat)) = (read("comm"), read("schedstat"))
                && let Some(id) = thread.file_name().to_str().and_then(|id| id.parse().ok())
            {
                let (cpu_ns, rest) = (first_number(&schedstat)?, schedstat.split_once(' '));
                let waited_ns = first_number(rest.map_or("", |(_, rest)| rest))?;
                threads.push(ThreadUsage { id, name: name.trim_end().into(), cpu_ns, waited_ns });
            }
        }
        Ok(threads)
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
        let quick = this.quick_usage().unwrap();
        assert!(quick.cpu_ns >= after.cpu_ns && quick.resident_bytes > 1 << 20, "{quick:?}");
        assert!(after.resident_bytes >= before.resident_bytes + (16 << 20), "{before:?} {after:?}");
    }

    #[test]
    fn threads_are_told_by_name() {
        let named = std::thread::Builder::new().name("a thread to find".into());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = named.spawn(move || {
            tell.send(()).unwrap();
            let _ = wait.recv();
        });
        told.recv().unwrap();
        let threads = Observed::this_process().threads().unwrap();
        assert!(threads.iter().any(|thread| thread.name == "a thread to fin"), "{threads:?}");
        drop(go);
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(Observed::process(u32::MAX).usage().is_err());
    }
}
