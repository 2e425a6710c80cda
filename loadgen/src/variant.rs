//! What is measured against each other: protocols and their variants, as values made of parts.
//!
//! A name is a carrier and options, `sse-tls+h2+msgpack+batch5`. [`Variant::from_str`] and its `Display` are inverses,
//! and what has no name can't be made.

use std::fmt;
use std::str::FromStr;

use lastmile_wire::request::{Delivery, Protocol};

use crate::transport::http2::STREAMS_PER_CONNECTION;

/// Longest time a subscriber may ask the server to gather messages, in milliseconds.
pub const MOST_BATCH_MS: u8 = 100;

/// A protocol as it is measured, with everything that distinguishes it from the others of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    carrier: Carrier,
    encoding: Encoding,
    batch_ms: u8,
}

/// How messages come to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// WebSocket over TCP.
    WebSocket(Tls),
    /// Server-Sent Events over TCP.
    Sse(Tls, HttpVersion),
    /// WebTransport, which is always encrypted.
    WebTransport(Delivery),
    /// A floor: subscribed to Redis itself, no server in between.
    Redis,
    /// A floor: the server's fan-out over bare TCP, no protocol around the messages.
    Tcp,
}

/// Whether a TCP connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tls {
    /// It is not.
    Off,
    /// It is.
    On,
}

/// The HTTP that carries an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1, a connection a subscriber.
    One,
    /// HTTP/2, many subscribers on a connection.
    Two,
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// As published.
    #[default]
    Json,
    /// `MessagePack`.
    MessagePack,
}

/// A name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariantError {
    /// No carrier of this name.
    #[error(
        "unknown protocol {name:?}; known are {}, and with options behind a + variants of them",
        known_names()
    )]
    Unknown {
        /// What was given.
        name: String,
    },
    /// An option that this protocol does not have.
    #[error("{name} has no option {option:?}; {}", known_options(*carrier))]
    Option {
        /// The protocol's name.
        name: &'static str,
        /// The protocol.
        carrier: Carrier,
        /// What was given.
        option: String,
    },
    /// An option said twice.
    #[error("{name:?} says +{option} twice")]
    Twice {
        /// What was given.
        name: String,
        /// What is said twice.
        option: &'static str,
    },
}

impl Carrier {
    /// All of them without options, in the order they are shown.
    pub const ALL: [Self; 9] = [
        Self::WebSocket(Tls::Off),
        Self::Sse(Tls::Off, HttpVersion::One),
        Self::WebSocket(Tls::On),
        Self::Sse(Tls::On, HttpVersion::One),
        Self::WebTransport(Delivery::Stream),
        Self::WebTransport(Delivery::Streams),
        Self::WebTransport(Delivery::Datagram),
        Self::Redis,
        Self::Tcp,
    ];

    /// Its name without options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket(Tls::Off) => "ws",
            Self::WebSocket(Tls::On) => "wss",
            Self::Sse(Tls::Off, _) => "sse",
            Self::Sse(Tls::On, _) => "sse-tls",
            Self::WebTransport(Delivery::Stream) => "wt-stream",
            Self::WebTransport(Delivery::Streams) => "wt-streams",
            Self::WebTransport(Delivery::Datagram) => "wt-datagram",
            Self::Redis => "redis",
            Self::Tcp => "tcp",
        }
    }
}

impl Variant {
    /// WebSocket.
    pub const WS: Self = Self::of(Carrier::WebSocket(Tls::Off));
    /// WebSocket over TLS.
    pub const WSS: Self = Self::of(Carrier::WebSocket(Tls::On));
    /// Server-Sent Events.
    pub const SSE: Self = Self::of(Carrier::Sse(Tls::Off, HttpVersion::One));
    /// Server-Sent Events over TLS.
    pub const SSE_TLS: Self = Self::of(Carrier::Sse(Tls::On, HttpVersion::One));
    /// WebTransport, all messages on one stream.
    pub const WT_STREAM: Self = Self::of(Carrier::WebTransport(Delivery::Stream));
    /// WebTransport, a stream for each message.
    pub const WT_STREAMS: Self = Self::of(Carrier::WebTransport(Delivery::Streams));
    /// WebTransport, a datagram for each message.
    pub const WT_DATAGRAM: Self = Self::of(Carrier::WebTransport(Delivery::Datagram));
    /// The floor below everything: Redis itself.
    pub const REDIS: Self = Self::of(Carrier::Redis);
    /// The floor below the protocols: the same fan-out over bare TCP.
    pub const TCP: Self = Self::of(Carrier::Tcp);

    /// What a run measures that was not told otherwise, in the order shown.
    pub const DEFAULT: [Self; 9] = [
        Self::WS,
        Self::SSE,
        Self::WSS,
        Self::SSE_TLS,
        Self::WT_STREAM,
        Self::WT_STREAMS,
        Self::WT_DATAGRAM,
        Self::REDIS,
        Self::TCP,
    ];

    /// A carrier without options.
    pub const fn of(carrier: Carrier) -> Self {
        Self { carrier, encoding: Encoding::Json, batch_ms: 0 }
    }

    /// How messages come.
    pub fn carrier(self) -> Carrier {
        self.carrier
    }

    /// How they are written.
    pub fn encoding(self) -> Encoding {
        self.encoding
    }

    /// How long the server shall gather messages before it sends them together, in milliseconds; 0 for not at all.
    pub fn batch_ms(self) -> u8 {
        self.batch_ms
    }

    /// Which of the server's protocols it speaks; `None` for the floors.
    pub fn protocol(self) -> Option<Protocol> {
        match self.carrier {
            Carrier::WebSocket(_) => Some(Protocol::WebSocket),
            Carrier::Sse(..) => Some(Protocol::Sse),
            Carrier::WebTransport(_) => Some(Protocol::WebTransport),
            Carrier::Redis | Carrier::Tcp => None,
        }
    }

    /// How rounds are delivered on WebTransport, `None` elsewhere.
    pub fn delivery(self) -> Option<Delivery> {
        match self.carrier {
            Carrier::WebTransport(delivery) => Some(delivery),
            _ => None,
        }
    }

    /// Whether it needs a server whose TCP port speaks TLS.
    pub fn has_tls(self) -> bool {
        matches!(self.carrier, Carrier::WebSocket(Tls::On) | Carrier::Sse(Tls::On, _))
    }

    /// TCP connections, and so descriptors and ports, that so many subscribers take. Sessions of WebTransport share a
    /// few UDP sockets, streams of HTTP/2 a connection.
    pub fn sockets(self, subscribers: usize) -> usize {
        match self.carrier {
            Carrier::WebTransport(_) => 0,
            Carrier::Sse(_, HttpVersion::Two) => subscribers.div_ceil(STREAMS_PER_CONNECTION),
            _ => subscribers,
        }
    }

    /// Whether its messages are encrypted on their way to the subscriber.
    pub fn is_encrypted(self) -> bool {
        match self.carrier {
            Carrier::WebTransport(_) => true,
            _ => self.has_tls(),
        }
    }

    /// Whether it is no protocol of ours but what one is compared with.
    pub fn is_floor(self) -> bool {
        self.protocol().is_none()
    }

    /// Whether a delivery that was accepted must arrive, in order: everything but datagrams and streams of their own.
    pub fn is_ordered(self) -> bool {
        !matches!(self.carrier, Carrier::WebTransport(Delivery::Streams | Delivery::Datagram))
    }

    /// `path` with everything in its query that this variant asks of a server of the contract.
    pub fn target(self, path: &str) -> String {
        let mut target = path.to_owned();
        let mut ask = |name: &str, value: &dyn fmt::Display| {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.extend([name, "=", &value.to_string()]);
        };
        if let Some(delivery) = self.delivery() {
            ask("delivery", &delivery.name());
        }
        if self.encoding == Encoding::MessagePack {
            ask("encoding", &"msgpack");
        }
        if self.batch_ms > 0 {
            ask("batch_ms", &self.batch_ms);
        }
        target
    }

    fn with_option(mut self, option: &str, whole: &str) -> Result<Self, VariantError> {
        let carrier = self.carrier;
        let no_option = || VariantError::Option { name: carrier.name(), carrier, option: option.to_owned() };
        let twice = |option| VariantError::Twice { name: whole.to_owned(), option };
        match (option, &mut self.carrier) {
            (_, Carrier::Redis | Carrier::Tcp) => return Err(no_option()),
            ("h2", Carrier::Sse(_, http @ HttpVersion::One)) => *http = HttpVersion::Two,
            ("h2", Carrier::Sse(_, HttpVersion::Two)) => return Err(twice("h2")),
            ("msgpack", _) if self.encoding == Encoding::MessagePack => return Err(twice("msgpack")),
            ("msgpack", _) => self.encoding = Encoding::MessagePack,
            _ => {
                let batch_ms = option.strip_prefix("batch").and_then(batch_ms).ok_or_else(no_option)?;
                if self.batch_ms > 0 {
                    return Err(twice("batch"));
                }
                self.batch_ms = batch_ms;
            }
        }
        Ok(self)
    }
}

/// A whole number of milliseconds that can be asked for, written the one way it is printed.
fn batch_ms(digits: &str) -> Option<u8> {
    let number = digits.parse().ok().filter(|number| (1..=MOST_BATCH_MS).contains(number))?;
    (number.to_string() == digits).then_some(number)
}

fn known_names() -> String {
    Carrier::ALL.map(Carrier::name).join(", ")
}

fn known_options(carrier: Carrier) -> String {
    match carrier {
        Carrier::Redis | Carrier::Tcp => "a floor has none".to_owned(),
        Carrier::Sse(..) => format!("known are +h2, +msgpack and +batch1 to +batch{MOST_BATCH_MS}"),
        _ => format!("known are +msgpack and +batch1 to +batch{MOST_BATCH_MS}"),
    }
}

impl FromStr for Variant {
    type Err = VariantError;

    fn from_str(name: &str) -> Result<Self, VariantError> {
        let mut parts = name.split('+');
        let carrier = parts.next().unwrap_or_default();
        let carrier = Carrier::ALL
            .into_iter()
            .find(|known| known.name() == carrier)
            .ok_or_else(|| VariantError::Unknown { name: name.to_owned() })?;
        parts.try_fold(Self::of(carrier), |variant, option| variant.with_option(option, name))
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One piece, so that a width is kept.
        let mut name = self.carrier.name().to_owned();
        if matches!(self.carrier, Carrier::Sse(_, HttpVersion::Two)) {
            name.push_str("+h2");
        }
        if self.encoding == Encoding::MessagePack {
            name.push_str("+msgpack");
        }
        if self.batch_ms > 0 {
            name.push_str("+batch");
            name.push_str(&self.batch_ms.to_string());
        }
        formatter.pad(&name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every variant has a name that leads back to it, and options mean the same in any order.
        #[test]
        fn names_lead_back(
            carrier in prop::sample::select(Carrier::ALL.to_vec()),
            options in prop::sample::subsequence(vec!["h2", "msgpack", "batch"], 0..=3).prop_shuffle(),
            batch_ms in 1..=MOST_BATCH_MS,
        ) {
            let options: Vec<String> = options
                .iter()
                .map(|&option| if option == "batch" { format!("+batch{batch_ms}") } else { format!("+{option}") })
                .collect();
            let name = carrier.name().to_owned() + &options.concat();
            match name.parse::<Variant>() {
                Ok(variant) => {
                    prop_assert_eq!(variant.to_string().parse(), Ok(variant));
                    prop_assert_eq!(variant.to_string().len(), name.len());
                    prop_assert_eq!(variant.encoding() == Encoding::MessagePack, name.contains("msgpack"));
                    prop_assert_eq!(variant.batch_ms() > 0, name.contains("batch"));
                }
                Err(error) => {
                    let refused = name.contains("+h2") && !name.starts_with("sse") || Variant::of(carrier).is_floor();
                    prop_assert!(refused, "{}: {}", name, error);
                }
            }
        }

        /// Whatever is understood is printed back in the order it is always printed in.
        #[test]
        fn only_names_are_understood(name in "(ws|wss|sse|sse-tls|wt-stream|redis)(\\+(h2|h3|msgpack|batch[0-9]{0,3}|)){0,3}") {
            if let Ok(variant) = name.parse::<Variant>() {
                let mut given: Vec<&str> = name.split('+').collect();
                let printed = variant.to_string();
                let mut printed: Vec<&str> = printed.split('+').collect();
                given.sort_unstable();
                printed.sort_unstable();
                prop_assert_eq!(given, printed);
            }
        }
    }

    #[test]
    fn what_is_no_name_is_told_what_is() {
        let told = |name: &str| name.parse::<Variant>().unwrap_err().to_string();
        assert_eq!(
            told("smoke"),
            "unknown protocol \"smoke\"; known are ws, sse, wss, sse-tls, wt-stream, wt-streams, wt-datagram, redis, \
             tcp, and with options behind a + variants of them"
        );
        assert_eq!(told("ws+h2"), "ws has no option \"h2\"; known are +msgpack and +batch1 to +batch100");
        assert_eq!(
            told("sse+batch101"),
            "sse has no option \"batch101\"; known are +h2, +msgpack and +batch1 to +batch100"
        );
        assert_eq!(told("tcp+msgpack"), "tcp has no option \"msgpack\"; a floor has none");
        assert_eq!(told("ws+batch5+batch6"), "\"ws+batch5+batch6\" says +batch twice");
        for name in ["", "WS", "ws ", "+msgpack", "ws+", "ws+batch0", "ws+batch05", "ws+batch+5", "h2"] {
            assert!(name.parse::<Variant>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn what_is_asked_of_a_server_stands_in_the_query() {
        let target = |name: &str, path: &str| name.parse::<Variant>().unwrap().target(path);
        assert_eq!(target("ws", "/ws/crash"), "/ws/crash");
        assert_eq!(target("sse-tls+h2", "/sse/crash"), "/sse/crash");
        assert_eq!(target("wt-streams", "/wt/crash"), "/wt/crash?delivery=streams");
        assert_eq!(target("ws+batch5+msgpack", "/live?x=y"), "/live?x=y&encoding=msgpack&batch_ms=5");
    }

    #[test]
    fn parts_tell_what_is_compared_with_what() {
        let encrypted = ["wss", "sse-tls", "sse-tls+h2", "wt-stream", "wt-datagram+batch5"];
        let plain = ["ws", "sse", "sse+h2", "ws+msgpack", "redis", "tcp"];
        for (name, is_encrypted) in
            encrypted.map(|name| (name, true)).into_iter().chain(plain.map(|name| (name, false)))
        {
            assert_eq!(name.parse::<Variant>().unwrap().is_encrypted(), is_encrypted, "{name}");
        }
        let floors = Carrier::ALL.map(Variant::of).into_iter().filter(|variant| variant.is_floor());
        assert_eq!(floors.collect::<Vec<_>>(), [Variant::REDIS, Variant::TCP]);
    }
}
