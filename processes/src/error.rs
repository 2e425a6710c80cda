//! What can go wrong with a child process, said so that its reader knows what to do.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a child process or a private server could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// No program of that name on this machine.
    #[error("{program} was not found; {advice}")]
    NotFound {
        /// Name of the program.
        program: &'static str,
        /// How to get it.
        advice: &'static str,
    },
    /// The operating system refused to start the program.
    #[error("could not start {name} ({}): {source}", program.display())]
    Spawn {
        /// What the program is called in messages.
        name: String,
        /// The file.
        program: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The program ended while something was still expected of it.
    #[error("{name} ended unexpectedly ({status}); {}", quoted_log(log))]
    Exited {
        /// What the program is called in messages.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        log: String,
    },
    /// The program runs, but what was expected of it did not come in time.
    #[error("{name} did not {expected} within {waited:?}; {}", quoted_log(log))]
    TimedOut {
        /// What the program is called in messages.
        name: String,
        /// What was waited for, as a verb phrase.
        expected: &'static str,
        /// How long.
        waited: Duration,
        /// The end of its output.
        log: String,
    },
    /// The program closed its standard output, though it still runs.
    #[error("{name} closed its standard output; {}", quoted_log(log))]
    OutputClosed {
        /// What the program is called in messages.
        name: String,
        /// The end of its output.
        log: String,
    },
    /// A signal could not be sent, or the state of the process not be read.
    #[error("could not {action} {name}: {source}")]
    Control {
        /// What the program is called in messages.
        name: String,
        /// What was tried, as a verb.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The folder of a private server could not be made or handed to its user.
    #[error("could not prepare a folder in {}: {source}; set TMPDIR to a folder that can be written", path.display())]
    Folder {
        /// The folder, or the one it was to be in.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Talking to the private Redis failed.
    #[error("redis at {address}: {source}")]
    Redis {
        /// Where it was looked for.
        address: String,
        /// What went wrong.
        source: io::Error,
    },
}

fn quoted_log(log: &str) -> String {
    if log.trim().is_empty() {
        "it printed nothing".to_owned()
    } else {
        format!("the end of its log:\n{}", log.trim_end())
    }
}
