//! As much of a Redis client as a publisher needs: connect, introduce oneself, write commands without waiting,
//! count what is answered.
//!
//! Leaner than a client library on purpose: the bytes of a publish are prepared before the slice begins, and
//! nothing stands between the clock and the `write`.

mod url;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use lastmile_wire::resp;
use rustix::event::{PollFd, PollFlags, poll};
use socket2::Socket;

use self::url::Place;
pub use self::url::{RedisUrl, RedisUrlError};
use crate::transport::http::Head;

/// How long Redis may take to answer when it is first spoken to.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

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
        connection.socket.set_nonblocking(true).map_err(unreachable)?;
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
        Self { socket: socket.into() }
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
        self.socket.as_fd()
    }
}

impl Place {
    fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                Ok(socket.into())
            }
            Self::Tcp { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT) {
                        Ok(socket) => {
                            socket.set_nodelay(true)?;
                            socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                            socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                            return Ok(socket.into());
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

/// Appends a command as Redis reads it: an array of bulk strings.
pub fn append_command(out: &mut Vec<u8>, name: &str, arguments: &[&[u8]]) {
    let parts: Vec<&[u8]> = std::iter::once(name.as_bytes()).chain(arguments.iter().copied()).collect();
    resp::append_command(out, &parts);
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
