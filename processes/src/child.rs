//! A program that is stopped and reaped when its owner drops it.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::thread::CpuSet;

use crate::ProcessError;
use crate::output::{Line, Output};
use crate::spawner;

/// How long a child may take to end after its stop signal, unless the launch says otherwise.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long the rest of a dead child's output is waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What to start, and how to stop it.
#[derive(Debug, Clone)]
pub struct Launch {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    user: Option<(u32, u32)>,
    cores: Option<CpuSet>,
    stop_signal: Signal,
    stop_grace: Duration,
    orphan_signal: Signal,
}

impl Launch {
    /// A launch of `program`, called `name` in messages.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: None,
            user: None,
            cores: None,
            stop_signal: Signal::TERM,
            stop_grace: STOP_GRACE,
            orphan_signal: Signal::KILL,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable; the others are inherited.
    #[must_use]
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it in `folder` instead of the owner's.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Starts it as another user and group; only root can.
    #[must_use]
    pub fn user(mut self, user_id: u32, group_id: u32) -> Self {
        self.user = Some((user_id, group_id));
        self
    }

    /// Lets it run on these cores only; otherwise it may run where the thread that starts it may.
    #[must_use]
    pub fn cores(mut self, cores: Option<CpuSet>) -> Self {
        self.cores = cores;
        self
    }

    /// The signal that asks it to end, `SIGTERM` by default, and how long it may take before it is killed.
    #[must_use]
    pub fn stop_with(mut self, signal: Signal, grace: Duration) -> Self {
        self.stop_signal = signal;
        self.stop_grace = grace;
        self
    }

    /// The signal the kernel sends it when this process dies without dropping it, `SIGKILL` by default.
    #[must_use]
    pub fn orphan_signal(mut self, signal: Signal) -> Self {
        self.orphan_signal = signal;
        self
    }

    /// Starts the program.
    ///
    /// # Errors
    /// [`ProcessError::Spawn`] where the operating system refuses.
    pub fn spawn(&self) -> Result<Child, ProcessError> {
        let failed =
            |source| ProcessError::Spawn { name: self.name.clone(), program: self.program.clone(), source };
        let mut process = spawner::spawn(self.command(), self.cores).map_err(failed)?;
        let attached = attach(&mut process);
        let (pid, pidfd, output) = match attached {
            Ok(attached) => attached,
            Err(source) => {
                let _ = process.kill();
                let _ = process.wait();
                return Err(failed(source));
            }
        };
        Ok(Child {
            name: self.name.clone(),
            stop_signal: self.stop_signal,
            stop_grace: self.stop_grace,
            pid,
            pidfd,
            process: Mutex::new(Process { handle: process, status: None }),
            output,
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C at the terminal goes to the owner alone, who decides what it means.
            .process_group(0);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some((user_id, group_id)) = self.user {
            command.uid(user_id).gid(group_id);
        }
        let owner = rustix::process::getpid();
        let orphan_signal = self.orphan_signal;
        let die_with_owner = move || {
            rustix::process::set_parent_process_death_signal(Some(orphan_signal))?;
            // The owner may have died before the signal was set: then it would never come.
            if rustix::process::getppid() == Some(owner) {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error()))
            }
        };
        // SAFETY: runs between fork and exec, where only async-signal-safe calls are allowed: it makes two
        // plain system calls and neither allocates nor locks. The standard library runs it after it changed
        // the user, which would have cleared the signal.
        unsafe { command.pre_exec(die_with_owner) };
        command
    }
}

/// Takes hold of a process just started: its identity and its output.
fn attach(process: &mut std::process::Child) -> io::Result<(Pid, OwnedFd, Output)> {
    let pid = Pid::from_child(process);
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let (Some(out), Some(error)) = (process.stdout.take(), process.stderr.take()) else {
        return Err(io::Error::other("its output was not piped"));
    };
    Ok((pid, pidfd, Output::collect(out, error)?))
}

/// A running program. Dropping it sends its stop signal, waits for a bounded time, kills it if need be, kills
/// what it left in its process group, and reaps it.
pub struct Child {
    name: String,
    stop_signal: Signal,
    stop_grace: Duration,
    pid: Pid,
    pidfd: OwnedFd,
    process: Mutex<Process>,
    output: Output,
}

/// The standard library's handle, and how the process ended once it has been reaped.
struct Process {
    handle: std::process::Child,
    status: Option<ExitStatus>,
}

impl Child {
    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process identifier.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, `None` while it runs.
    ///
    /// # Errors
    /// [`ProcessError::Control`] where the operating system can't tell.
    pub fn try_wait(&self) -> Result<Option<ExitStatus>, ProcessError> {
        self.wait(Duration::ZERO)
    }

    /// Waits until it ends, `None` if it did not within `patience`.
    ///
    /// # Errors
    /// [`ProcessError::Control`] where the operating system can't tell.
    pub fn wait(&self, patience: Duration) -> Result<Option<ExitStatus>, ProcessError> {
        let ended = self.wait_for_end(Some(patience)).map_err(|source| self.control("wait for", source))?;
        if ended { self.reap().map(Some) } else { Ok(None) }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// [`ProcessError::Control`], also where it has already ended.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        // Through the pidfd: it can never reach a stranger who got the same number later.
        rustix::process::pidfd_send_signal(&self.pidfd, signal)
            .map_err(|errno| self.control("signal", errno.into()))
    }

    /// The next line it printed on standard output.
    ///
    /// # Errors
    /// [`ProcessError::Exited`], [`ProcessError::OutputClosed`] or [`ProcessError::TimedOut`], each with the
    /// end of its log.
    pub fn read_line(&self, patience: Duration) -> Result<String, ProcessError> {
        match self.output.next_line(patience) {
            Line::Text(line) => Ok(line),
            Line::TimedOut => Err(self.timed_out("print a line", patience)),
            Line::Closed => match self.wait(LAST_WORDS)? {
                Some(status) => Err(self.exited(status)),
                None => Err(ProcessError::OutputClosed { name: self.name.clone(), log: self.log_tail() }),
            },
        }
    }

    /// An error if it has ended: for owners who need it to run on.
    ///
    /// # Errors
    /// [`ProcessError::Exited`] with the end of its log.
    pub fn check_running(&self) -> Result<(), ProcessError> {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.exited(status)),
        }
    }

    /// The end of what it printed, both streams together.
    pub fn log_tail(&self) -> String {
        self.output.tail()
    }

    /// Stops it as dropping does, and tells how it ended.
    ///
    /// # Errors
    /// [`ProcessError::Control`] where the operating system refuses.
    pub fn stop(&self) -> Result<ExitStatus, ProcessError> {
        if let Some(status) = self.try_wait()? {
            return Ok(status);
        }
        // An error here means that it ended on its own meanwhile, which the waiting below finds out.
        let _ = self.signal(self.stop_signal);
        // A child that was paused (SIGSTOP) would never get to the stop signal.
        let _ = self.signal(Signal::CONT);
        if let Some(status) = self.wait(self.stop_grace)? {
            return Ok(status);
        }
        self.kill()
    }

    /// Kills it at once, as a crash would.
    ///
    /// # Errors
    /// [`ProcessError::Control`] where the operating system refuses.
    pub fn kill(&self) -> Result<ExitStatus, ProcessError> {
        let _ = self.signal(Signal::KILL);
        self.reap()
    }

    /// The error that says it did not do what was expected in time.
    pub fn timed_out(&self, expected: &'static str, waited: Duration) -> ProcessError {
        ProcessError::TimedOut { name: self.name.clone(), expected, waited, log: self.log_tail() }
    }

    fn exited(&self, status: ExitStatus) -> ProcessError {
        self.output.wait_for_end(LAST_WORDS);
        ProcessError::Exited { name: self.name.clone(), status, log: self.log_tail() }
    }

    fn control(&self, action: &'static str, source: io::Error) -> ProcessError {
        ProcessError::Control { name: self.name.clone(), action, source }
    }

    /// Whether it ended within `patience`, or for ever; leaves it unreaped.
    fn wait_for_end(&self, patience: Option<Duration>) -> io::Result<bool> {
        let until = patience.map(|patience| Instant::now() + patience);
        loop {
            let timeout = until.map(|until| {
                let left = until.saturating_duration_since(Instant::now());
                Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
            });
            let mut watched = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
            match poll(&mut watched, timeout.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits for its end, takes what it left in its group with it, and frees its process identifier.
    fn reap(&self) -> Result<ExitStatus, ProcessError> {
        let mut process = self.lock();
        if let Some(status) = process.status {
            return Ok(status);
        }
        self.wait_for_end(None).map_err(|source| self.control("wait for", source))?;
        // Before reaping: as long as the dead leader holds the number, the group is surely its own.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let status = process.handle.wait().map_err(|source| self.control("reap", source))?;
        process.status = Some(status);
        Ok(status)
    }

    fn lock(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nobody is left to be told, and stop() has tried everything down to SIGKILL.
        let _ = self.stop();
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Child")
            .field("name", &self.name)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}
