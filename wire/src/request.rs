//! What a client asks for: the path and query of a stream, the same on all three protocols.

use std::fmt;
use std::str::FromStr;

/// The protocols a stream is offered on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `/ws/…`
    WebSocket,
    /// `/sse/…`
    Sse,
    /// `/wt/…`
    WebTransport,
    /// No protocol of the contract: rounds behind their length on a TCP connection of their own, asked for with a line
    /// `/tcp/…`. What the others are compared with.
    Tcp,
}

impl Protocol {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Sse, Self::WebTransport, Self::Tcp];

    /// First segment of its paths, and its name in metrics and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::Sse => "sse",
            Self::WebTransport => "wt",
            Self::Tcp => "tcp",
        }
    }
}

/// What is subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// One game, by slug.
    Game(String),
    /// Every game of a type.
    Type(String),
}

impl Topic {
    /// The path of this topic's stream.
    pub fn path(&self, protocol: Protocol) -> String {
        match self {
            Self::Game(slug) => format!("/{}/{slug}", protocol.name()),
            Self::Type(name) => format!("/{}/type/{name}", protocol.name()),
        }
    }

    /// Reads what stands behind a protocol's root, `crash` or `type/multiplier`; `None` where that is no topic.
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = |name: &str| {
            (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        match text.strip_prefix("type/") {
            Some(name) if is_name(name) => Some(Self::Type(name.to_owned())),
            None if is_name(text) => Some(Self::Game(text.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Game(slug) => write!(formatter, "game {slug}"),
            Self::Type(name) => write!(formatter, "type {name}"),
        }
    }
}

/// How rounds travel on a WebTransport session: `?delivery=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// One unidirectional stream, each round behind its length.
    #[default]
    Stream,
    /// A unidirectional stream a round.
    Streams,
    /// A datagram a round.
    Datagram,
}

impl Delivery {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 3] = [Self::Stream, Self::Streams, Self::Datagram];

    /// The value of `?delivery=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Streams => "streams",
            Self::Datagram => "datagram",
        }
    }
}

impl FromStr for Delivery {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|delivery| delivery.name() == text).ok_or(())
    }
}

/// How a round is written: `?encoding=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// As it was published.
    #[default]
    Json,
    /// As [`crate::msgpack`]; on an event stream that in base64.
    MessagePack,
}

impl Encoding {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 2] = [Self::Json, Self::MessagePack];

    /// The value of `?encoding=`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "msgpack",
        }
    }
}

impl FromStr for Encoding {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|encoding| encoding.name() == text).ok_or(())
    }
}

/// Longest time rounds are gathered for a subscriber: the highest `?batch_ms=`.
pub const MAX_BATCH_MS: u8 = 100;

/// A stream asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRequest {
    /// On which protocol.
    pub protocol: Protocol,
    /// Of what.
    pub topic: Topic,
    /// How, on WebTransport.
    pub delivery: Delivery,
    /// How rounds are written.
    pub encoding: Encoding,
    /// How long rounds are gathered into one message, in milliseconds; 0 for not at all.
    pub batch_ms: u8,
    /// What the client had last: it gets what was published after this round.
    pub since: Option<u64>,
}

/// Why a path that begins like a stream is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A parameter with a value it can't have.
    #[error("{name}={value} is not possible; use {expected}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// What was given, shortened.
        value: String,
        /// What could have been given.
        expected: &'static str,
    },
    /// A path below a protocol's root that names no topic.
    #[error("no such stream; use /{protocol}/GAME or /{protocol}/type/TYPE")]
    NoTopic {
        /// The protocol's name.
        protocol: &'static str,
    },
}

impl StreamRequest {
    /// Reads a request target (`/ws/crash?x=y`). `None` where the path belongs to no protocol's streams.
    ///
    /// # Errors
    /// [`RequestError`] where it does, but can't be served.
    pub fn parse(target: &str) -> Option<Result<Self, RequestError>> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (root, rest) = path.strip_prefix('/')?.split_once('/')?;
        let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.name() == root)?;
        Some(Self::parse_below(protocol, rest, query))
    }

    fn parse_below(protocol: Protocol, rest: &str, query: &str) -> Result<Self, RequestError> {
        let topic = Topic::parse(rest).ok_or(RequestError::NoTopic { protocol: protocol.name() })?;
        let mut request = Self {
            protocol,
            topic,
            delivery: Delivery::default(),
            encoding: Encoding::default(),
            batch_ms: 0,
            since: None,
        };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let refuse = |name, expected| {
                Err(RequestError::Parameter { name, value: value.chars().take(32).collect(), expected })
            };
            match name {
                "delivery" if protocol == Protocol::WebTransport => match value.parse() {
                    Ok(delivery) => request.delivery = delivery,
                    Err(()) => return refuse("delivery", "stream, streams or datagram"),
                },
                "since" => match value.parse() {
                    Ok(round_id) => request.since = Some(round_id),
                    Err(_) => return refuse("since", "the round_id of the last round received"),
                },
                "encoding" => match value.parse() {
                    Ok(encoding) => request.encoding = encoding,
                    Err(()) => return refuse("encoding", "json or msgpack"),
                },
                "batch_ms" => match value.parse() {
                    Ok(batch_ms @ 0..=MAX_BATCH_MS) => request.batch_ms = batch_ms,
                    _ => return refuse("batch_ms", "whole milliseconds from 0 to 100"),
                },
                _ => {}
            }
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_of_the_contract_is_understood() {
        let parse = |target: &str| StreamRequest::parse(target).unwrap().unwrap();
        assert_eq!(parse("/ws/crash").topic, Topic::Game("crash".into()));
        assert_eq!(parse("/sse/type/multiplier").topic, Topic::Type("multiplier".into()));
        assert_eq!(parse("/wt/wall-street?delivery=datagram").delivery, Delivery::Datagram);
        assert_eq!(parse("/wt/crash?token=x").delivery, Delivery::Stream);
        assert_eq!(parse("/wt/crash?delivery=streams&since=512").since, Some(512));
        let variant = parse("/sse/crash?encoding=msgpack&batch_ms=100");
        assert_eq!((variant.encoding, variant.batch_ms), (Encoding::MessagePack, 100));
        let plain = parse("/sse/crash?encoding=json&batch_ms=0");
        assert_eq!((plain.encoding, plain.batch_ms), (Encoding::Json, 0));
        for protocol in Protocol::ALL {
            for topic in [Topic::Game("crash".into()), Topic::Type("color".into())] {
                let path = topic.path(protocol);
                let request = parse(&path);
                assert_eq!((request.protocol, request.topic), (protocol, topic));
            }
        }
    }

    #[test]
    fn what_is_no_stream_says_so() {
        assert_eq!(StreamRequest::parse("/api/games"), None);
        assert_eq!(StreamRequest::parse("/ws"), None);
        for target in ["/ws/", "/ws/type/", "/ws/a/b", "/ws/../x", "/ws/%00", "/sse/type/a/b"] {
            assert!(
                matches!(StreamRequest::parse(target), Some(Err(RequestError::NoTopic { .. }))),
                "{target}"
            );
        }
        assert!(matches!(
            StreamRequest::parse("/wt/crash?delivery=pigeon"),
            Some(Err(RequestError::Parameter { name: "delivery", .. }))
        ));
        for query in ["encoding=xml", "encoding=", "batch_ms=101", "batch_ms=-1", "batch_ms=1.5", "batch_ms="]
        {
            assert!(StreamRequest::parse(&format!("/ws/crash?{query}")).unwrap().is_err(), "{query}");
        }
        for since in ["", "-1", "x", "18446744073709551616"] {
            assert!(StreamRequest::parse(&format!("/ws/crash?since={since}")).unwrap().is_err(), "{since}");
        }
    }
}
