//! Starts the server of a description.

use std::env;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use lastmile_processes::{Child, Launch, ProcessError, ScratchFolder};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CpuSet;

use super::text::fill;
use super::{Adapter, Ready, Start};

/// How long it may take until it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at its port.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long one look may take.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);

/// Why it is not running.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A placeholder without a value.
    #[error("{title} can't be started: the environment variable {variable} is not set{}", hint(needs.as_deref()))]
    Variable {
        /// The server.
        title: String,
        /// What is missing.
        variable: String,
        /// What the description says is needed.
        needs: Option<String>,
    },
    /// It wants a Redis on a Unix socket.
    #[error("{title} wants the socket of a Redis, and the one given is reached over TCP; leave --redis away")]
    NoSocket {
        /// The server.
        title: String,
    },
    /// A file it needs can't be made.
    #[error("{title} can't be started: {} could not be written: {source}", path.display())]
    File {
        /// The server.
        title: String,
        /// Which file, or its template.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no port.
    #[error("no port could be found for {title}: {source}")]
    Port {
        /// The server.
        title: String,
        /// What the system said.
        source: io::Error,
    },
    /// It said something else than that it is ready.
    #[error("{title} printed {line:?} instead of a JSON object with its \"http\" address")]
    ReadyLine {
        /// The server.
        title: String,
        /// What it printed.
        line: String,
    },
    /// It did not open its port.
    #[error("{title} did not accept connections on port {port} within {waited:?}")]
    NotReady {
        /// The server.
        title: String,
        /// Where it was to be.
        port: u16,
        /// How long was waited.
        waited: Duration,
    },
    /// It did not start, or ended.
    #[error("{source}{}", hint(needs.as_deref()))]
    Process {
        /// What happened.
        source: ProcessError,
        /// What the description says is needed.
        needs: Option<String>,
    },
}

fn hint(needs: Option<&str>) -> String {
    needs.map_or_else(String::new, |needs| format!("; it needs {needs}"))
}

/// What a start is given.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// A folder for its files.
    pub scratch: &'a ScratchFolder,
    /// The Redis, as a URL.
    pub redis: Option<&'a str>,
    /// Its socket.
    pub redis_socket: Option<&'a str>,
    /// The cores the program keeps to; `None` for any.
    pub cores: Option<CpuSet>,
}

/// A program that is starting.
#[derive(Debug)]
pub struct Starting<'a> {
    adapter: &'a Adapter,
    start: &'a Start,
    port: u16,
}

/// Starts the program. It is ready after [`Starting::await_ready`].
///
/// # Errors
/// [`LaunchError`] says what is missing.
pub fn launch<'a>(
    adapter: &'a Adapter,
    start: &'a Start,
    surroundings: &Surroundings<'_>,
) -> Result<(Child, Starting<'a>), LaunchError> {
    let title = &adapter.title;
    // Free a moment ago; whoever takes it meanwhile is told by the program that can't have it.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.map_err(|source| LaunchError::Port { title: title.clone(), source })?.port();
    let values = values(adapter, start, surroundings, port)?;
    for (from, to) in &start.files {
        let failed = |path: PathBuf| move |source| LaunchError::File { title: title.clone(), path, source };
        let from = adapter.folder.join(from);
        let template = fs::read_to_string(&from).map_err(failed(from.clone()))?;
        let to = PathBuf::from(fill(to, "{", "}", &values));
        fs::write(&to, fill(&template, "@", "@", &values)).map_err(failed(to.clone()))?;
    }
    let mut words = start.command.iter().map(|word| fill(word, "{", "}", &values));
    let program = words.next().unwrap_or_default();
    let child = Launch::new(title.as_str(), program).arguments(words).cores(surroundings.cores).spawn();
    let child = child.map_err(|source| LaunchError::Process { source, needs: start.needs.clone() })?;
    Ok((child, Starting { adapter, start, port }))
}

fn values<'a>(
    adapter: &Adapter,
    start: &'a Start,
    surroundings: &Surroundings<'_>,
    port: u16,
) -> Result<Vec<(&'a str, String)>, LaunchError> {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    let mut values = vec![
        ("folder", adapter.folder.to_string_lossy().into_owned()),
        ("scratch", surroundings.scratch.path().to_string_lossy().into_owned()),
        ("port", port.to_string()),
        ("open-files", files.to_string()),
    ];
    values.extend(surroundings.redis.map(|url| ("redis", url.to_owned())));
    values.extend(surroundings.redis_socket.map(|path| ("redis-socket", path.to_owned())));
    if surroundings.redis_socket.is_none() && start.command.iter().any(|word| word.contains("{redis-socket}"))
    {
        return Err(LaunchError::NoSocket { title: adapter.title.clone() });
    }
    for (name, variable) in &start.variables {
        let said = variable
            .environment
            .as_ref()
            .and_then(|name| env::var(name).ok())
            .filter(|value| !value.is_empty());
        let value = said.or_else(|| variable.value.as_ref().map(|value| fill(value, "{", "}", &values)));
        let missing = || LaunchError::Variable {
            title: adapter.title.clone(),
            variable: variable.environment.clone().unwrap_or_default(),
            needs: start.needs.clone(),
        };
        values.push((name, value.ok_or_else(missing)?));
    }
    Ok(values)
}

impl Starting<'_> {
    /// Waits until it is ready; tells its address.
    ///
    /// # Errors
    /// [`LaunchError`] with the end of its log.
    pub fn await_ready(self, child: &Child) -> Result<SocketAddr, LaunchError> {
        let failed = |source| LaunchError::Process { source, needs: self.start.needs.clone() };
        match self.start.ready {
            Ready::Line => {
                let line = child.read_line(READY_PATIENCE).map_err(failed)?;
                let wrong =
                    || LaunchError::ReadyLine { title: self.adapter.title.clone(), line: line.clone() };
                let said: serde_json::Value = serde_json::from_str(&line).map_err(|_| wrong())?;
                let address = said["http"].as_str().ok_or_else(wrong)?;
                address.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(wrong)
            }
            Ready::Port => {
                let address = SocketAddr::from(([127, 0, 0, 1], self.port));
                let until = Instant::now() + READY_PATIENCE;
                while TcpStream::connect_timeout(&address, LOOK_PATIENCE).is_err() {
                    child.check_running().map_err(failed)?;
                    if Instant::now() > until {
                        let (title, port) = (self.adapter.title.clone(), self.port);
                        return Err(LaunchError::NotReady { title, port, waited: READY_PATIENCE });
                    }
                    thread::sleep(LOOK_INTERVAL);
                }
                Ok(address)
            }
        }
    }
}
