//! Addresses of Redis, understood and told without their password.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::str::FromStr;

use lastmile_wire::resp::append_command;

use crate::transport::link::Address;

/// Where a Redis is and how to be let in: `redis://[[user]:password@]host[:port][/database]` or
/// `redis+unix:///path[?db=N&user=U&pass=P]`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    given: String,
    pub(super) place: Place,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: u32,
}

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
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
    /// What a subscriber says to be let in, as a command; nothing where everyone is.
    pub fn introduction(&self) -> Vec<u8> {
        let mut command = Vec::new();
        match (&self.user, &self.password) {
            (_, None) => {}
            (None, Some(password)) => append_command(&mut command, &[b"AUTH", password.as_bytes()]),
            (Some(user), Some(password)) => {
                append_command(&mut command, &[b"AUTH", user.as_bytes(), password.as_bytes()]);
            }
        }
        command
    }

    /// Where to connect.
    ///
    /// # Errors
    /// Where the host has no address.
    pub fn address(&self) -> io::Result<Address> {
        match &self.place {
            Place::Unix(path) => Ok(Address::Unix(path.clone())),
            Place::Tcp { host, port } => {
                let mut addresses = (host.as_str(), *port).to_socket_addrs()?;
                let none = || io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                Ok(Address::Tcp(addresses.next().ok_or_else(none)?))
            }
        }
    }

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
}
