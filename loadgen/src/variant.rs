//! What is measured against each other: protocols and their variants.

use std::fmt;
use std::str::FromStr;

use lastmile_wire::request::{Delivery, Protocol};

/// A protocol as it is measured, with everything that distinguishes it from the others of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// WebSocket.
    WebSocket,
    /// Server-Sent Events.
    Sse,
    /// WebTransport, all messages on one stream.
    WebTransportStream,
    /// WebTransport, a stream for each message.
    WebTransportStreams,
    /// WebTransport, a datagram for each message.
    WebTransportDatagram,
}

/// A name that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown protocol {name:?}; known are {}", known_names())]
pub struct UnknownVariant {
    name: String,
}

impl Variant {
    /// All of them, in the order they are measured and shown.
    pub const ALL: [Self; 5] = [
        Self::WebSocket,
        Self::Sse,
        Self::WebTransportStream,
        Self::WebTransportStreams,
        Self::WebTransportDatagram,
    ];

    /// Its name in flags and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::Sse => "sse",
            Self::WebTransportStream => "wt-stream",
            Self::WebTransportStreams => "wt-streams",
            Self::WebTransportDatagram => "wt-datagram",
        }
    }

    /// Which of the server's protocols it speaks.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::WebSocket => Protocol::WebSocket,
            Self::Sse => Protocol::Sse,
            Self::WebTransportStream | Self::WebTransportStreams | Self::WebTransportDatagram => {
                Protocol::WebTransport
            }
        }
    }

    /// How rounds are delivered on WebTransport, `None` elsewhere.
    pub fn delivery(self) -> Option<Delivery> {
        match self {
            Self::WebSocket | Self::Sse => None,
            Self::WebTransportStream => Some(Delivery::Stream),
            Self::WebTransportStreams => Some(Delivery::Streams),
            Self::WebTransportDatagram => Some(Delivery::Datagram),
        }
    }
}

fn known_names() -> String {
    Variant::ALL.map(Variant::name).join(", ")
}

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(name: &str) -> Result<Self, UnknownVariant> {
        let known = Self::ALL.into_iter().find(|variant| variant.name() == name);
        known.ok_or_else(|| UnknownVariant { name: name.into() })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_an_unknown_one_is_told_the_known() {
        for variant in Variant::ALL {
            assert_eq!(variant.name().parse(), Ok(variant));
        }
        let error = "smoke".parse::<Variant>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown protocol \"smoke\"; known are ws, sse, wt-stream, wt-streams, wt-datagram"
        );
    }
}
