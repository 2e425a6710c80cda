//! Where messages are published: to Redis, or straight to a foreign server that takes them by HTTP.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use lastmile_wire::channel::stream_channel;

use crate::redis::{RedisConnection, RedisError, RedisUrl, Replies, Wire, append_command};

/// How long a server may take to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where messages are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feed {
    /// With `PUBLISH` on the game's channel.
    Redis(RedisUrl),
    /// Each as the body of a `POST`, on one connection that is kept.
    Http(HttpUrl),
}

/// `http://HOST:PORT/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    authority: String,
    path: String,
}

/// Why something is not an address to post to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address to post to; use http://HOST:PORT/path")]
pub struct HttpUrlError(String);

impl FromStr for HttpUrl {
    type Err = HttpUrlError;

    fn from_str(url: &str) -> Result<Self, HttpUrlError> {
        let wrong = || HttpUrlError(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        if authority.is_empty() || !is_plain(rest) || rest.contains('#') {
            return Err(wrong());
        }
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority: authority.to_owned(), path: path.to_owned() })
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}{}", self.authority, self.path)
    }
}

impl fmt::Display for Feed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(url) => url.fmt(formatter),
            Self::Http(url) => url.fmt(formatter),
        }
    }
}

/// Why nothing can be published.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// Redis can't be used.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// No connection.
    #[error("--publish-http {url} can't be reached: {source}; is the server running there?")]
    Http {
        /// Where it was looked for.
        url: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Feed {
    /// Connects; has Redis answer a `PING`.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn open(&self) -> Result<FeedConnection, FeedError> {
        let wire = match self {
            Self::Redis(url) => RedisConnection::open(url)?.into_wire(),
            Self::Http(url) => {
                let failed = |source| FeedError::Http { url: url.to_string(), source };
                url.connect().map_err(failed)?
            }
        };
        Ok(FeedConnection { feed: self.clone(), channel: stream_channel(GAME), wire })
    }
}

impl HttpUrl {
    fn connect(&self) -> io::Result<Wire> {
        let has_port = self.authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let authority = if has_port { self.authority.clone() } else { format!("{}:80", self.authority) };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    socket.set_nonblocking(true)?;
                    return Ok(Wire::over_tcp(socket));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A connection on which messages are published without waiting for answers.
#[derive(Debug)]
pub struct FeedConnection {
    feed: Feed,
    /// With [`GAME`] in the place of the game.
    channel: String,
    wire: Wire,
}

/// What stands for the game in the name of a channel or in a URL.
const GAME: &str = "{game}";

impl FeedConnection {
    /// The same, with other channels in Redis than those of the contract.
    #[must_use]
    pub fn on_channel(self, template: &str) -> Self {
        Self { channel: template.to_owned(), ..self }
    }

    /// Where in Redis the messages of a game go.
    pub fn channel(&self, game: &str) -> String {
        self.channel.replace(GAME, game)
    }

    /// The command that publishes a message of a game, and where the message lies within.
    pub fn publish_command(&self, game: &str, message: &[u8]) -> (Vec<u8>, usize) {
        let mut command = Vec::new();
        match &self.feed {
            Feed::Redis(_) => {
                let channel = self.channel(game);
                append_command(&mut command, "PUBLISH", &[channel.as_bytes(), message]);
                let at = command.len() - message.len() - b"\r\n".len();
                (command, at)
            }
            Feed::Http(url) => {
                let head = format!(
                    "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                    url.path.replace(GAME, game),
                    url.authority,
                    message.len()
                );
                command.extend_from_slice(head.as_bytes());
                command.extend_from_slice(message);
                (command, head.len())
            }
        }
    }

    /// Answers of the kind this connection gives, none so far.
    pub fn replies(&self) -> Replies {
        match &self.feed {
            Feed::Redis(_) => Replies::default(),
            Feed::Http(_) => Replies::of_http(),
        }
    }

    /// Who is at the other end, in words for people.
    pub fn peer(&self) -> String {
        match &self.feed {
            Feed::Redis(_) => "Redis".to_owned(),
            Feed::Http(url) => url.to_string(),
        }
    }

    /// As [`Wire::write`].
    ///
    /// # Errors
    /// What the system said when the connection broke.
    pub fn write(
        &self,
        commands: &[u8],
        replies: &mut Replies,
        give_up: impl Fn() -> bool,
    ) -> io::Result<usize> {
        self.wire.write(commands, replies, give_up)
    }

    /// As [`Wire::read_replies`].
    ///
    /// # Errors
    /// What the system said when the connection broke.
    pub fn read_replies(&self, replies: &mut Replies) -> io::Result<()> {
        self.wire.read_replies(replies)
    }

    /// As [`Wire::wait_for_replies`].
    ///
    /// # Errors
    /// What the system said.
    pub fn wait_for_replies(&self) -> io::Result<()> {
        self.wire.wait_for_replies()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_to_post_to_are_understood() {
        for (url, shown) in [
            ("http://127.0.0.1:80/pub?id=crash", "http://127.0.0.1:80/pub?id=crash"),
            ("http://[::1]:80", "http://[::1]:80/"),
        ] {
            assert_eq!(url.parse::<HttpUrl>().unwrap().to_string(), shown);
        }
        for url in ["", "https://x/", "http:///x", "http://x/a b", "http://user@x/"] {
            assert!(url.parse::<HttpUrl>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_message_is_the_body_of_a_post() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/pub?id={{game}}", listener.local_addr().unwrap());
        let connection = Feed::Http(url.parse().unwrap()).open().unwrap();
        let (command, at) = connection.publish_command("crash", b"{}");
        assert_eq!(command[at..], *b"{}");
        let head = String::from_utf8_lossy(&command[..at]).into_owned();
        assert!(
            head.starts_with("POST /pub?id=crash HTTP/1.1\r\n")
                && head.ends_with("Content-Length: 2\r\n\r\n")
        );
    }
}
