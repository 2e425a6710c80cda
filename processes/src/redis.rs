//! A Redis of one's own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::thread::CpuSet;
use tempfile::TempDir;

use crate::folder;
use crate::program::find_redis_server;
use crate::resp::{RedisConnection, Reply};
use crate::{Child, Launch, ProcessError};

/// How long it may take until it answers. A loaded machine is slow; a broken server exits, which is seen at once.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long one command may take.
const COMMAND_PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks whether it is up.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How often another port is tried when someone else took the chosen one.
const PORT_ATTEMPTS: usize = 5;

/// What a private Redis has beyond its Unix socket.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// Whether it listens on a TCP port of 127.0.0.1 too, chosen by the kernel.
    pub tcp: bool,
    /// Further arguments of `redis-server`, such as `--io-threads 2`.
    pub arguments: Vec<String>,
    /// The cores it keeps to; `None` for those of the thread that starts it.
    pub cores: Option<CpuSet>,
}

/// A `redis-server` on a Unix socket in a folder of its own, without persistence, gone when dropped.
#[derive(Debug)]
pub struct PrivateRedis {
    // Declared before the folder, so that the server ends before its folder is removed.
    server: Option<Child>,
    program: PathBuf,
    options: RedisOptions,
    tcp_address: Option<SocketAddr>,
    socket: PathBuf,
    folder: TempDir,
}

impl PrivateRedis {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// [`ProcessError::NotFound`] where `redis-server` is not installed, or why it did not start.
    pub fn start() -> Result<Self, ProcessError> {
        Self::start_with(RedisOptions::default())
    }

    /// Starts one with options and waits until it answers.
    ///
    /// # Errors
    /// As for [`PrivateRedis::start`].
    pub fn start_with(options: RedisOptions) -> Result<Self, ProcessError> {
        let program = find_redis_server()?;
        let folder = folder::create("lastmile-redis-")?;
        let socket = folder.path().join("redis.sock");
        let mut redis = Self { server: None, program, options, tcp_address: None, socket, folder };
        redis.launch()?;
        Ok(redis)
    }

    /// Its address on the Unix socket: `redis+unix:///…`.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", folder::encode_path(&self.socket))
    }

    /// Its address over TCP, where the options asked for it: `redis://127.0.0.1:PORT`.
    pub fn tcp_url(&self) -> Option<String> {
        self.tcp_address.map(|address| format!("redis://{address}"))
    }

    /// The Unix socket.
    pub fn socket_path(&self) -> &Path {
        &self.socket
    }

    /// The folder it works in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The running process, `None` after [`PrivateRedis::stop`].
    pub fn process(&self) -> Option<&Child> {
        self.server.as_ref()
    }

    /// Stops it; its folder and address stay reserved for [`PrivateRedis::restart`].
    ///
    /// # Errors
    /// [`ProcessError::Control`] where the operating system refuses.
    pub fn stop(&mut self) -> Result<(), ProcessError> {
        match self.server.take() {
            Some(server) => server.stop().map(drop),
            None => Ok(()),
        }
    }

    /// Starts it again at the same address, empty. Stops it before, if it still runs.
    ///
    /// # Errors
    /// As for [`PrivateRedis::start`].
    pub fn restart(&mut self) -> Result<(), ProcessError> {
        self.stop()?;
        self.launch()
    }

    /// Opens a connection for several commands.
    ///
    /// # Errors
    /// [`ProcessError::Redis`], also where it is stopped.
    pub fn connect(&self) -> Result<RedisConnection, ProcessError> {
        RedisConnection::connect(&self.socket, COMMAND_PATIENCE).map_err(|source| self.failed(source))
    }

    /// Sends one command on a connection of its own.
    ///
    /// # Errors
    /// [`ProcessError::Redis`], also where Redis answers with an error.
    pub fn command(&self, words: &[&[u8]]) -> Result<Reply, ProcessError> {
        match self.connect()?.command(words).map_err(|source| self.failed(source))? {
            Reply::Error(message) => Err(self.failed(io::Error::other(message))),
            reply => Ok(reply),
        }
    }

    /// Publishes a message and tells how many subscribers Redis handed it to.
    ///
    /// # Errors
    /// As for [`PrivateRedis::command`].
    pub fn publish(&self, channel: &str, message: &[u8]) -> Result<i64, ProcessError> {
        let reply = self.command(&[b"PUBLISH", channel.as_bytes(), message])?;
        reply.integer().ok_or_else(|| self.failed(io::Error::other("PUBLISH was not answered with a number")))
    }

    /// How many subscribers a channel has.
    ///
    /// # Errors
    /// As for [`PrivateRedis::command`].
    pub fn subscriber_count(&self, channel: &str) -> Result<i64, ProcessError> {
        let reply = self.command(&[b"PUBSUB", b"NUMSUB", channel.as_bytes()])?;
        reply
            .elements()
            .and_then(|elements| elements.get(1)?.integer())
            .ok_or_else(|| self.failed(io::Error::other("PUBSUB NUMSUB was not answered with a count")))
    }

    fn launch(&mut self) -> Result<(), ProcessError> {
        for _ in 1..PORT_ATTEMPTS {
            match self.try_launch() {
                // Between choosing a free port and Redis taking it someone else was faster: choose again,
                // unless the port has already been told to others.
                Err(ProcessError::Exited { log, .. })
                    if self.options.tcp
                        && self.tcp_address.is_none()
                        && log.contains("Address already in use") => {}
                result => return result,
            }
        }
        self.try_launch()
    }

    fn try_launch(&mut self) -> Result<(), ProcessError> {
        let tcp_address = match self.tcp_address {
            None if self.options.tcp => Some(free_address().map_err(|source| self.failed(source))?),
            known => known,
        };
        let server = self.launch_of(tcp_address).spawn()?;
        wait_until_it_answers(&server, &self.socket)?;
        self.server = Some(server);
        self.tcp_address = tcp_address;
        Ok(())
    }

    fn launch_of(&self, tcp_address: Option<SocketAddr>) -> Launch {
        let port = tcp_address.map_or(0, |address| address.port()).to_string();
        Launch::new("redis-server", &self.program)
            .arguments(["--port", port.as_str(), "--bind", "127.0.0.1"])
            .argument("--unixsocket")
            .argument(&self.socket)
            .arguments(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            // In words of their own: Redis 6 takes them no other way.
            .arguments(["--client-output-buffer-limit", "pubsub", "0", "0", "0"])
            .argument("--dir")
            .argument(self.folder.path())
            .arguments(&self.options.arguments)
            .folder(self.folder.path())
            .cores(self.options.cores)
    }

    fn failed(&self, source: io::Error) -> ProcessError {
        ProcessError::Redis { address: self.url(), source }
    }
}

/// Polls until the server answers PING. There is nothing to wait on: a path can't be connected to before the
/// server has made its socket there.
fn wait_until_it_answers(server: &Child, socket: &Path) -> Result<(), ProcessError> {
    let until = Instant::now() + START_PATIENCE;
    while Instant::now() < until {
        let answer = RedisConnection::connect(socket, COMMAND_PATIENCE)
            .and_then(|mut connection| connection.command(&[b"PING"]));
        if answer.is_ok_and(|reply| reply == Reply::Status("PONG".into())) {
            return Ok(());
        }
        if server.wait(POLL_INTERVAL)?.is_some() {
            server.check_running()?;
        }
    }
    Err(server.timed_out("answer PING", START_PATIENCE))
}

/// A port nobody listens on at this moment.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
