//! As much of a Redis client as a publisher needs: connect, introduce oneself, write commands without waiting,
//! count what is answered.
//!
//! Leaner than a client library on purpose: the bytes of a publish are prepared before the slice begins, and
//! nothing stands between the clock and the `write`.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use crate::transport::http::Head;

/// How long Redis may take to answer when it is first spoken to.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a Redis is and how to be let in: `redis://[[user]:password@]host[:port][/database]` or
/// `redis+unix:///path[?db=N&user=U&pass=P]`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    given: String,
    place: Place,
    user: Option<String>,
    password: Option<String>,
    database: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Why something is not the address of a Redis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{url:?} is not a Redis address: {problem}; use redis://HOST:PORT or redis+unix:///path/to/redis.sock"
)]
pub struct RedisUrlError {
    url: String,
    problem: &'static str,
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<Self, RedisUrlError> {
        let parsed = if let Some(rest) = url.strip_prefix("redis://") {
            parse_tcp(rest)
        } else if let Some(rest) =
            ["redis+unix://", "unix://"].iter().find_map(|scheme| url.strip_prefix(scheme))
        {
            parse_unix(rest)
        } else if url.starts_with("rediss://") {
            Err("TLS to Redis is not supported")
        } else {
            Err("its scheme is unknown")
        };
        match parsed {
            Ok(parsed) => Ok(Self { given: url.into(), ..parsed }),
            Err(problem) => Err(RedisUrlError { url: url.into(), problem }),
        }
    }
}

fn parse_tcp(rest: &str) -> Result<RedisUrl, &'static str> {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (credentials, host_port) = match authority.rsplit_once('@') {
        Some((credentials, host_port)) => (Some(credentials), host_port),
        None => (None, authority),
    };
    let (user, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
        Some((user, password)) => (named(user), named(password)),
        None => (None, None),
    };
    let (host, port) = match host_port.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().map_err(|_| "its port is not a number up to 65535")?)
        }
        _ => (host_port, 6379),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() { "127.0.0.1" } else { host }.to_owned();
    Ok(RedisUrl {
        given: String::new(),
        place: Place::Tcp { host, port },
        user,
        password,
        database: parse_database(database)?,
    })
}

fn parse_unix(rest: &str) -> Result<RedisUrl, &'static str> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') {
        return Err("the path of its socket must begin with /");
    }
    let parameter = |names: [&str; 2]| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(name, value)| names.contains(&name).then_some(value))
            .unwrap_or_default()
    };
    Ok(RedisUrl {
        given: String::new(),
        place: Place::Unix(PathBuf::from(OsString::from_vec(percent_decode(path)))),
        user: named(parameter(["user", "username"])),
        password: named(parameter(["pass", "password"])),
        database: parse_database(parameter(["db", "database"]))?,
    })
}

fn named(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| String::from_utf8_lossy(&percent_decode(text)).into_owned())
}

/// Takes `%41` for `A`; a `%` without two hexadecimal digits stands for itself.
fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(bytes[at]));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    decoded
}

fn parse_database(text: &str) -> Result<u32, &'static str> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| "its database is not a number") }
}

impl RedisUrl {
    /// The address as it was given, for a program of ours that shall be let in, too.
    pub fn with_password(&self) -> String {
        self.given.clone()
    }
}

/// Without the password: an address is printed and kept in results.
impl fmt::Display for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => write!(formatter, "redis://[{host}]:{port}"),
            Place::Tcp { host, port } => write!(formatter, "redis://{host}:{port}"),
            Place::Unix(path) => write!(formatter, "redis+unix://{}", path.display()),
        }?;
        match (self.database, &self.place) {
            (0, _) => Ok(()),
            (database, Place::Tcp { .. }) => write!(formatter, "/{database}"),
            (database, Place::Unix(_)) => write!(formatter, "?db={database}"),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// Why Redis can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// No connection, or it broke.
    #[error("Redis at {url} can't be reached: {source}; start it, or leave --redis away for a private one")]
    Unreachable {
        /// Where it was looked for.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// Redis answered with an error.
    #[error("Redis at {url} refused {command}: {answer}")]
    Refused {
        /// Which Redis.
        url: String,
        /// What it was asked.
        command: &'static str,
        /// What it said.
        answer: String,
    },
}

/// A connection to Redis, over TCP or a Unix socket.
#[derive(Debug)]
pub struct RedisConnection {
    socket: Socket,
    url: RedisUrl,
}

/// A connection on which commands are written without waiting for their answers.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl RedisConnection {
    /// Connects, authenticates, selects the database and has Redis answer a `PING`.
    ///
    /// # Errors
    /// [`RedisError`] says where it failed.
    pub fn open(url: &RedisUrl) -> Result<Self, RedisError> {
        let unreachable = |source| RedisError::Unreachable { url: url.to_string(), source };
        let socket = url.place.connect().map_err(unreachable)?;
        let mut connection = Self { socket, url: url.clone() };
        match (&url.user, &url.password) {
            (_, None) => {}
            (None, Some(password)) => connection.ask("AUTH", &[password])?,
            (Some(user), Some(password)) => connection.ask("AUTH", &[user, password])?,
        }
        if url.database != 0 {
            connection.ask("SELECT", &[&url.database.to_string()])?;
        }
        connection.ask("PING", &[])?;
        connection.socket.set_nonblocking().map_err(unreachable)?;
        Ok(connection)
    }

    /// One command and its one-line answer, before anything is measured.
    fn ask(&mut self, name: &'static str, arguments: &[&str]) -> Result<(), RedisError> {
        let mut command = Vec::new();
        let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
        append_command(&mut command, name, &arguments);
        let answer = self
            .exchange(&command)
            .map_err(|source| RedisError::Unreachable { url: self.url.to_string(), source })?;
        match answer.strip_prefix('-') {
            None => Ok(()),
            Some(error) => Err(RedisError::Refused {
                url: self.url.to_string(),
                command: name,
                answer: error.to_owned(),
            }),
        }
    }

    fn exchange(&mut self, command: &[u8]) -> io::Result<String> {
        self.socket.write_all(command)?;
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            self.socket.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
    }

    /// The connection as it is, introduced.
    pub fn into_wire(self) -> Wire {
        Wire { socket: self.socket }
    }
}

impl Wire {
    /// A connection over TCP that does not block.
    pub fn over_tcp(socket: TcpStream) -> Self {
        Self { socket: Socket::Tcp(socket) }
    }

    /// Writes `commands` and tells how many of their bytes were written: all, unless `give_up` said so while
    /// Redis took no more. Meanwhile `replies` reads what it answers: were both sides only to write, neither
    /// would go on.
    ///
    /// # Errors
    /// What the system said when the connection broke.
    pub fn write(
        &self,
        commands: &[u8],
        replies: &mut Replies,
        give_up: impl Fn() -> bool,
    ) -> io::Result<usize> {
        let mut written = 0;
        while written < commands.len() {
            match rustix::net::send(self.as_fd(), &commands[written..], rustix::net::SendFlags::NOSIGNAL) {
                Ok(more) => written += more,
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    if give_up() {
                        break;
                    }
                    self.wait_for(PollFlags::IN | PollFlags::OUT)?;
                    self.read_replies(replies)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(written)
    }

    /// Reads whatever replies have arrived, without waiting.
    ///
    /// # Errors
    /// What the system said when the connection broke.
    pub fn read_replies(&self, replies: &mut Replies) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match rustix::net::recv(self.as_fd(), &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((length, _)) => {
                    replies.read(&buffer[..length]);
                    if length < buffer.len() {
                        return Ok(());
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits until something has arrived, at most 20 ms: callers look around in between.
    ///
    /// # Errors
    /// What the system said.
    pub fn wait_for_replies(&self) -> io::Result<()> {
        self.wait_for(PollFlags::IN)
    }

    fn wait_for(&self, events: PollFlags) -> io::Result<()> {
        let at_most = rustix::time::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        match poll(&mut [PollFd::from_borrowed_fd(self.as_fd(), events)], Some(&at_most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Place {
    fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                Ok(Socket::Unix(socket))
            }
            Self::Tcp { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT) {
                        Ok(socket) => {
                            socket.set_nodelay(true)?;
                            socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                            socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                            return Ok(Socket::Tcp(socket));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

impl Socket {
    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.write_all(bytes),
            Self::Unix(socket) => socket.write_all(bytes),
        }
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.read_exact(bytes),
            Self::Unix(socket) => socket.read_exact(bytes),
        }
    }
}

/// Appends a command as Redis reads it: an array of bulk strings.
pub fn append_command(out: &mut Vec<u8>, name: &str, arguments: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", arguments.len() + 1).as_bytes());
    for part in [name.as_bytes()].iter().chain(arguments) {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

/// What Redis, or who takes its place, answered to the publishes so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies {
    /// Answers read.
    pub count: u64,
    /// Publishes that nobody was subscribed to.
    pub without_subscriber: u64,
    /// Errors, and the first of them.
    pub errors: u64,
    /// The first error's text.
    pub first_error: Option<String>,
    /// A line, or the head of an answer, that has not ended yet.
    partial: Vec<u8>,
    /// Answers are those of HTTP; so many bytes of a body are still to come.
    http_body: Option<usize>,
}

impl Replies {
    /// Answers of HTTP, none so far.
    pub fn of_http() -> Self {
        Self { http_body: Some(0), ..Self::default() }
    }

    /// Takes the next piece of the stream of answers.
    pub fn read(&mut self, mut piece: &[u8]) {
        if let Some(body) = self.http_body {
            return self.read_http(piece, body);
        }
        while let Some(end) = piece.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = piece.split_at(end + 1);
            if self.partial.is_empty() {
                self.line(line.trim_ascii_end());
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(whole.trim_ascii_end());
            }
            piece = rest;
        }
        self.partial.extend_from_slice(piece);
    }

    /// Answers of HTTP with bodies of a told length.
    fn read_http(&mut self, piece: &[u8], mut body: usize) {
        self.partial.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let skipped = body.min(self.partial.len() - at);
            (at, body) = (at + skipped, body - skipped);
            let head = match Head::parse(&self.partial[at..]) {
                _ if body > 0 || at == self.partial.len() => break,
                Ok(None) => break,
                Ok(Some(head)) if head.chunked => Err("an answer whose length is not told".to_owned()),
                Ok(Some(head)) => Ok(head),
                Err(problem) => Err(problem),
            };
            self.count += 1;
            match head {
                Ok(head) => {
                    if !(200..300).contains(&head.status) {
                        self.errors += 1;
                        self.first_error.get_or_insert_with(|| format!("status {}", head.status));
                    }
                    (at, body) = (at + head.length, head.content_length.unwrap_or(0));
                }
                Err(problem) => {
                    self.errors += 1;
                    self.first_error.get_or_insert(problem);
                    at = self.partial.len();
                }
            }
        }
        self.partial.drain(..at);
        self.http_body = Some(body);
    }

    fn line(&mut self, line: &[u8]) {
        self.count += 1;
        match line {
            b":0" => self.without_subscriber += 1,
            [b'-', error @ ..] => {
                self.errors += 1;
                self.first_error.get_or_insert_with(|| String::from_utf8_lossy(error).into_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood_and_told_without_the_password() {
        for (url, shown) in [
            ("redis://127.0.0.1:7000", "redis://127.0.0.1:7000"),
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://:secret@host:1/3", "redis://host:1/3"),
            ("redis://user:secret@[::1]:1", "redis://[::1]:1"),
            ("redis://[::1]", "redis://[::1]:6379"),
            ("redis+unix:///tmp/x.sock?db=2&pass=secret", "redis+unix:///tmp/x.sock?db=2"),
            ("unix:///tmp/x.sock", "redis+unix:///tmp/x.sock"),
            ("redis+unix:///tmp/a%20b%", "redis+unix:///tmp/a b%"),
        ] {
            assert_eq!(url.parse::<RedisUrl>().unwrap().to_string(), shown);
        }
        let url: RedisUrl = "redis://user:p:w@host".parse().unwrap();
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("user"), Some("p:w")));
        for url in ["", "http://x", "rediss://x", "redis://x:port", "redis://x/y", "redis+unix://relative"] {
            let error = url.parse::<RedisUrl>().unwrap_err().to_string();
            assert!(error.contains("use redis://HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        append_command(&mut out, "PUBLISH", &[b"stream:crash", b"{}"]);
        assert_eq!(out, b"*3\r\n$7\r\nPUBLISH\r\n$12\r\nstream:crash\r\n$2\r\n{}\r\n");
    }

    #[test]
    fn answers_of_http_are_counted_however_they_are_cut() {
        let stream = b"HTTP/1.1 201 Created\r\nContent-Length: 6\r\n\r\nqueuedHTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n\
            HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n\r\n";
        for size in 1..=stream.len() {
            let mut replies = Replies::of_http();
            stream.chunks(size).for_each(|piece| replies.read(piece));
            assert_eq!((replies.count, replies.errors, replies.http_body), (3, 1, Some(0)), "{size}");
            assert_eq!(replies.first_error.as_deref(), Some("status 403"));
            assert!(replies.partial.is_empty());
        }
    }

    #[test]
    fn replies_are_counted_however_they_are_cut() {
        let stream = b":1\r\n:0\r\n-NOPERM no\r\n:12\r\n";
        for size in 1..=stream.len() {
            let mut replies = Replies::default();
            stream.chunks(size).for_each(|piece| replies.read(piece));
            assert_eq!((replies.count, replies.without_subscriber, replies.errors), (4, 1, 1));
            assert_eq!(replies.first_error.as_deref(), Some("NOPERM no"));
            assert!(replies.partial.is_empty());
        }
    }
}
