//! Just enough of the Redis protocol to drive a private server: blocking, one command at a time.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Deepest nesting of arrays accepted; no command answers with more.
const MAX_DEPTH: usize = 8;

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status, such as `OK`.
    Status(String),
    /// An error, such as `WRONGTYPE …`.
    Error(String),
    /// A number.
    Integer(i64),
    /// A string of bytes, `None` where there is no value.
    Bulk(Option<Vec<u8>>),
    /// Several replies, `None` where there is no value.
    Array(Option<Vec<Reply>>),
}

impl Reply {
    /// The number, if it is one.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The bytes, if it is a string that has a value.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(Some(bytes)) => Some(bytes),
            Self::Status(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// The elements, if it is an array that has a value.
    pub fn elements(&self) -> Option<&[Reply]> {
        match self {
            Self::Array(Some(elements)) => Some(elements),
            _ => None,
        }
    }
}

/// A connection to a Redis on a Unix socket.
#[derive(Debug)]
pub struct RedisConnection {
    stream: BufReader<UnixStream>,
}

impl RedisConnection {
    /// Connects; every read and write after is bounded by `patience`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn connect(socket: &Path, patience: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// What the operating system says, or [`io::ErrorKind::InvalidData`] for what is no reply.
    pub fn command(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request)?;
        self.read_reply()
    }

    /// Waits for a reply: for what follows a `SUBSCRIBE`.
    ///
    /// # Errors
    /// As for [`RedisConnection::command`].
    pub fn read_reply(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.stream, 0)
    }
}

fn read_reply(source: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    if depth > MAX_DEPTH {
        return Err(invalid("arrays nested too deep"));
    }
    let line = read_line(source)?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| invalid("an empty line"))?;
    let number = || rest.parse::<i64>().map_err(|_| invalid("a length that is no number"));
    match kind {
        "+" => Ok(Reply::Status(rest.to_owned())),
        "-" => Ok(Reply::Error(rest.to_owned())),
        ":" => Ok(Reply::Integer(number()?)),
        "$" => Ok(Reply::Bulk(match usize::try_from(number()?) {
            Ok(length) => Some(read_bulk(source, length)?),
            Err(_) => None,
        })),
        "*" => Ok(Reply::Array(match usize::try_from(number()?) {
            Ok(length) => Some((0..length).map(|_| read_reply(source, depth + 1)).collect::<Result<_, _>>()?),
            Err(_) => None,
        })),
        _ => Err(invalid("an unknown kind of reply")),
    }
}

fn read_line(source: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    source.read_until(b'\n', &mut line)?;
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    String::from_utf8(text.to_vec()).map_err(|_| invalid("a line that is no text"))
}

fn read_bulk(source: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(length as u64 + 2).read_to_end(&mut bytes)?;
    if bytes.len() == length + 2 && bytes.ends_with(b"\r\n") {
        bytes.truncate(length);
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mut bytes: &[u8]) -> io::Result<Reply> {
        read_reply(&mut bytes, 0)
    }

    #[test]
    fn every_kind_of_reply_is_read() {
        assert_eq!(parse(b"+OK\r\n").expect("status"), Reply::Status("OK".into()));
        assert_eq!(parse(b"-ERR no\r\n").expect("error"), Reply::Error("ERR no".into()));
        assert_eq!(parse(b":-3\r\n").expect("integer").integer(), Some(-3));
        assert_eq!(parse(b"$4\r\na\r\nb\r\n").expect("bulk").bytes(), Some(&b"a\r\nb"[..]));
        assert_eq!(parse(b"$-1\r\n").expect("no value"), Reply::Bulk(None));
        let array = parse(b"*2\r\n:1\r\n$1\r\nx\r\n").expect("array");
        assert_eq!(array.elements().map(<[Reply]>::len), Some(2));
        assert_eq!(parse(b"*-1\r\n").expect("no value"), Reply::Array(None));
    }

    #[test]
    fn what_is_cut_short_or_nonsense_is_an_error() {
        for bytes in [&b""[..], b"+OK", b"$5\r\nabc", b"$x\r\n", b"?\r\n", b"\r\n", b"*1\r\n"] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert!(parse(&b"*1\r\n".repeat(100)).is_err(), "endless nesting");
    }
}
