//! Origins: which web pages may use the server (RFC 6454). A browser tells the origin of the page that asks, and a
//! page can't change it; other clients tell none, and are none of this module's business.

use std::fmt;
use std::str::FromStr;

/// Longest origin looked at: a host name has at most 253 characters.
const MAX_ORIGIN_BYTES: usize = 300;

/// One entry of the list of `--allow-origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// `*`: every page.
    Any,
    /// `null`: pages without an origin, from files for example.
    Opaque,
    /// One origin.
    Exact(Origin),
    /// `https://*.example.com`: every host below one, but not that host itself.
    Below(Origin),
}

/// Scheme, host and port, in the form that all spellings of the same have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// Why a text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no origin; use SCHEME://HOST or SCHEME://HOST:PORT without a path, https://*.example.com, null or *"
)]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if text.len() > MAX_ORIGIN_BYTES {
            return Err(OriginError);
        }
        let (scheme, authority) = text.split_once("://").ok_or(OriginError)?;
        let scheme = scheme.to_ascii_lowercase();
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(OriginError);
        }
        let (host, port) = split_port(authority).ok_or(OriginError)?;
        let port = port.or_else(|| default_port(&scheme)).ok_or(OriginError)?;
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        match default_port(scheme) {
            Some(default) if default == *port => write!(formatter, "{scheme}://{host}"),
            _ => write!(formatter, "{scheme}://{host}:{port}"),
        }
    }
}

/// Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`; `None` where it is neither.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, rest) = authority.split_at(end);
    let inner = host.strip_prefix('[').map_or(host, |host| host.trim_end_matches(']'));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'*');
    let good = if host.starts_with('[') {
        inner.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        !host.is_empty() && host.bytes().all(is_name)
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => None,
        Some(digits) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok()?)
        }
        _ => return None,
    };
    good.then_some((host, port))
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

impl FromStr for AllowedOrigin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        match text.trim() {
            "*" => return Ok(Self::Any),
            "null" => return Ok(Self::Opaque),
            _ => {}
        }
        let mut origin: Origin = text.trim().parse()?;
        match origin.host.strip_prefix("*.").map(str::to_owned) {
            Some(host) if !host.is_empty() && !host.contains('*') => {
                origin.host = host;
                Ok(Self::Below(origin))
            }
            None if !origin.host.contains('*') => Ok(Self::Exact(origin)),
            _ => Err(OriginError),
        }
    }
}

impl AllowedOrigin {
    /// `origin` is what the browser sent.
    fn covers(&self, text: &str, origin: Option<&Origin>) -> bool {
        match (self, origin) {
            (Self::Any, _) => true,
            (Self::Opaque, _) => text == "null",
            (Self::Exact(allowed), Some(origin)) => allowed == origin,
            (Self::Below(allowed), Some(origin)) => {
                (&allowed.scheme, allowed.port) == (&origin.scheme, origin.port)
                    && origin
                        .host
                        .strip_suffix(&allowed.host)
                        .is_some_and(|below| below.len() > 1 && below.ends_with('.'))
            }
            (_, None) => false,
        }
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("*"),
            Self::Opaque => formatter.write_str("null"),
            Self::Exact(origin) => origin.fmt(formatter),
            Self::Below(origin) => {
                let under = Origin { host: format!("*.{}", origin.host), ..origin.clone() };
                under.fmt(formatter)
            }
        }
    }
}

/// Which pages may use the server. Its own always may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPolicy(Vec<AllowedOrigin>);

/// What a client asks from.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The `Origin` header.
    pub origin: Option<&'a [u8]>,
    /// Where the request went: the `Host` header or `:authority`.
    pub host: Option<&'a [u8]>,
    /// The port may be another one than the page's: WebTransport has its own.
    pub any_port: bool,
}

impl OriginPolicy {
    /// The list of `--allow-origin`. Without one everybody is let in where only this machine can come from, and
    /// beyond that only pages of the server's own.
    pub fn new(list: &[AllowedOrigin], beyond_loopback: bool) -> Self {
        Self(if list.is_empty() && !beyond_loopback { vec![AllowedOrigin::Any] } else { list.to_vec() })
    }

    /// Every page may.
    pub fn allows_all(&self) -> bool {
        self.0.contains(&AllowedOrigin::Any)
    }

    /// Whether a page may: yes without an origin, since then no browser asks.
    pub fn allows(&self, asked: Asked<'_>) -> bool {
        let Some(origin) = asked.origin else { return true };
        if self.allows_all() {
            return true;
        }
        let Ok(text) = std::str::from_utf8(origin) else { return false };
        let origin: Option<Origin> = text.parse().ok();
        origin.as_ref().is_some_and(|origin| is_own(origin, asked))
            || self.0.iter().any(|allowed| allowed.covers(text, origin.as_ref()))
    }
}

fn is_own(origin: &Origin, asked: Asked<'_>) -> bool {
    let host = asked.host.and_then(|host| std::str::from_utf8(host).ok()).and_then(split_port);
    host.is_some_and(|(host, port)| {
        let port = port.or_else(|| default_port(&origin.scheme));
        host.eq_ignore_ascii_case(&origin.host) && (asked.any_port || port == Some(origin.port))
    })
}

impl fmt::Display for OriginPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.allows_all() {
            return formatter.write_str("every web page");
        }
        formatter.write_str("the server's own pages")?;
        self.0.iter().try_for_each(|allowed| write!(formatter, ", {allowed}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(list: &[&str], beyond_loopback: bool) -> OriginPolicy {
        let list: Vec<AllowedOrigin> = list.iter().map(|text| text.parse().expect(text)).collect();
        OriginPolicy::new(&list, beyond_loopback)
    }

    fn asked<'a>(origin: &'a str, host: &'a str) -> Asked<'a> {
        Asked { origin: Some(origin.as_bytes()), host: Some(host.as_bytes()), any_port: false }
    }

    #[test]
    fn a_list_admits_what_it_names_and_the_server_itself() {
        let policy =
            policy(&["https://App.example", "http://localhost:8080", "https://*.games.example"], true);
        for (origin, allowed) in [
            ("https://app.example", true),
            ("HTTPS://APP.EXAMPLE:443", true),
            ("http://app.example", false),
            ("https://app.example:8443", false),
            ("https://app.example.evil.example", false),
            ("https://evil.example?https://app.example", false),
            ("http://localhost:8080", true),
            ("http://localhost", false),
            ("https://a.games.example", true),
            ("https://a.b.games.example", true),
            ("https://games.example", false),
            ("https://.games.example", false),
            ("https://evilgames.example", false),
            ("http://live.example:3000", true),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(policy.allows(asked(origin, "live.example:3000")), allowed, "{origin}");
        }
        assert!(policy.allows(Asked { origin: None, host: None, any_port: false }), "not a browser");
        assert!(!policy.allows(Asked { origin: Some(b"\xff"), host: None, any_port: false }));
        assert!(
            policy.allows(asked("http://live.example", "LIVE.example")),
            "a port that goes without saying"
        );
        assert!(policy.allows(asked("https://live.example", "live.example")), "behind a proxy with TLS");
        assert!(!policy.allows(asked("http://live.example:3000", "live.example:4433")));
        let webtransport = Asked { any_port: true, ..asked("http://live.example:3000", "live.example:4433") };
        assert!(policy.allows(webtransport));
    }

    #[test]
    fn without_a_list_loopback_is_open_and_everything_else_is_not() {
        assert!(policy(&[], false).allows(asked("https://anywhere.example", "127.0.0.1:3000")));
        assert!(policy(&[], false).allows(asked("null", "127.0.0.1:3000")));
        assert!(!policy(&[], true).allows(asked("https://anywhere.example", "live.example")));
        assert!(!policy(&["null"], false).allows(asked("https://anywhere.example", "127.0.0.1:3000")));
        assert!(policy(&["null"], false).allows(asked("null", "127.0.0.1:3000")));
        assert!(policy(&["*"], true).allows(asked("gibberish", "x")));
    }

    #[test]
    fn what_is_no_origin_is_refused_in_words() {
        for text in [
            "",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/path",
            "https://a:b",
            "https://a:70000",
            "https://a:",
            "https://*",
            "https://*.",
            "https://a.*.b",
            "https://*.*.b",
            "file://x",
            "https://user@host",
            "https://[::1",
            "https://[zz]",
            "https://a b",
        ] {
            assert_eq!(text.parse::<AllowedOrigin>(), Err(OriginError), "{text}");
        }
        for text in ["*", "null", "https://example.com", "http://[::1]:3000", "https://*.example.com:8443"] {
            assert_eq!(text.parse::<AllowedOrigin>().unwrap().to_string(), text);
        }
    }
}
