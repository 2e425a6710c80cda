//! Whether a run can work, found out before anything is measured.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::plan::{Case, Plan, Timestamps};
use crate::variant::Variant;

/// Descriptors a process needs beside its connections: logs, epoll, children's output, sockets of its own.
const OTHER_DESCRIPTORS: u64 = 64;

/// Why a run can't begin.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// More connections than descriptors.
    #[error(
        "{connections} connections need {needed} file descriptors, but a process may open at most {available}; \
         ask for at most --connections {possible}, or raise the hard limit (ulimit -Hn {needed}, as root)"
    )]
    Descriptors {
        /// Connections asked for.
        connections: usize,
        /// What they need.
        needed: u64,
        /// The hard limit.
        available: u64,
        /// How many connections fit.
        possible: u64,
    },
    /// More connections than ports.
    #[error(
        "{connections} connections need as many local ports, but there are {available} \
         (net.ipv4.ip_local_port_range); ask for fewer with --connections, or widen the range with sysctl"
    )]
    Ports {
        /// Connections asked for.
        connections: usize,
        /// Size of the range.
        available: usize,
    },
    /// The results can't be written.
    #[error("results can't be written to {}: {source}; choose another folder with --out", path.display())]
    Output {
        /// Where to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The limits of this machine that bound a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most descriptors a process may ever open.
    pub descriptors: u64,
    /// Local ports for outgoing connections.
    pub ports: usize,
}

impl Limits {
    /// Reads them.
    pub fn read() -> Self {
        let descriptors = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let bounds: Vec<usize> = range.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let ports = match bounds[..] {
            [low, high] => high.saturating_sub(low) + 1,
            _ => usize::from(u16::MAX),
        };
        Self { descriptors, ports }
    }

    /// Whether every case of a plan fits into them.
    ///
    /// # Errors
    /// [`PreflightError`] says what is missing.
    pub fn check(&self, plan: &Plan) -> Result<(), PreflightError> {
        // With the kernel's timestamps a session of WebTransport has a socket, and two descriptors of it.
        let stamped = plan.instruments.timestamps == Timestamps::Kernel;
        let needs = |case: &Case| match case.variant.delivery() {
            Some(_) if stamped => (case.load.connections, 2),
            _ => (case.variant.sockets(case.load.connections), 1),
        };
        let most = plan.cases.iter().map(needs).max_by_key(|(count, each)| *count as u64 * each);
        let (connections, each) = most.unwrap_or((0, 1));
        let needed = connections as u64 * each + OTHER_DESCRIPTORS;
        if needed > self.descriptors {
            return Err(PreflightError::Descriptors {
                connections,
                needed,
                available: self.descriptors,
                possible: self.descriptors.saturating_sub(OTHER_DESCRIPTORS) / each,
            });
        }
        if connections > self.ports {
            return Err(PreflightError::Ports { connections, available: self.ports });
        }
        Ok(())
    }
}

/// Lets this process and its children open as many descriptors as the hard limit allows.
///
/// # Errors
/// What the system said.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// Makes the folder for the results and proves that a file can be written there.
///
/// # Errors
/// [`PreflightError::Output`].
pub fn prepare_output(folder: &Path) -> Result<(), PreflightError> {
    let probe = folder.join(format!(".{}.part", std::process::id()));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&probe, b""))
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|source| PreflightError::Output { path: folder.into(), source })
}

/// The variants of a plan, each once.
pub fn variants(plan: &Plan) -> Vec<Variant> {
    let mut variants = Vec::new();
    for case in &plan.cases {
        if !variants.contains(&case.variant) {
            variants.push(case.variant);
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channels::Channel;
    use crate::cores::Cores;
    use crate::plan::{Instruments, Load};
    use crate::schedule::Arrivals;

    fn plan(variant: Variant, connections: usize) -> Plan {
        let load = Load {
            connections,
            messages_per_second: 1.0,
            in_flight: None,
            arrivals: Arrivals::Constant,
            payload_bytes: 256,
            channels: Channel::synthetic(1).collect(),
        };
        Plan {
            seed: 1,
            cases: vec![Case { variant, load }],
            slices: Vec::new(),
            threads: 1,
            connecting: 1,
            cores: Cores::Shared,
            instruments: Instruments::default(),
        }
    }

    #[test]
    fn too_many_connections_are_told_how_many_fit() {
        let limits = Limits { descriptors: 1064, ports: 1000 };
        assert!(limits.check(&plan(Variant::WS, 1000)).is_ok());
        let error = limits.check(&plan(Variant::SSE, 1001)).unwrap_err().to_string();
        assert!(error.contains("at most 1064") && error.contains("--connections 1000"), "{error}");
        let limits = Limits { descriptors: 100_000, ports: 1000 };
        let error = limits.check(&plan(Variant::SSE, 1001)).unwrap_err().to_string();
        assert!(error.contains("there are 1000"), "{error}");
        assert!(limits.check(&plan(Variant::WT_STREAM, 100_001)).is_ok());
        // Unless each of them has a socket for the kernel's stamps.
        let mut stamped = plan(Variant::WT_STREAM, 501);
        stamped.instruments.timestamps = Timestamps::Kernel;
        let limits = Limits { descriptors: 1064, ports: 1000 };
        let error = limits.check(&stamped).unwrap_err().to_string();
        assert!(error.contains("need 1066") && error.contains("--connections 500"), "{error}");
    }

    #[test]
    fn a_folder_that_can_not_be_made_is_told() {
        let error = prepare_output(Path::new("/proc/nowhere")).unwrap_err().to_string();
        assert!(error.contains("--out"), "{error}");
    }
}
