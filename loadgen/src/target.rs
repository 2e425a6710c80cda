//! Servers under test: where each protocol is served.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use lastmile_wire::channel::KNOWN_GAMES;
use lastmile_wire::request::{Protocol, Topic};

use crate::channels::{Channel, Turns};
use crate::message::Game;
use crate::recorder::Sink;
use crate::redis::RedisUrl;
use crate::transport::http::{Chunks, Head};
use crate::transport::http2::Http2;
use crate::transport::link::Address;
use crate::transport::prefixed::LengthPrefixed;
use crate::transport::reactor::StreamTransport;
use crate::transport::redis::RedisSubscription;
use crate::transport::sse::ServerSentEvents;
use crate::transport::tls::TlsClient;
use crate::transport::websocket::WebSocket;
use crate::transport::webtransport::{WebTransport, WebTransportServer};
use crate::transport::{AttachError, Certificate, HttpServer, HttpsServer, Pace, Requested, Stop, Transport};
use crate::variant::{Carrier, HttpVersion, Tls, Variant};

/// How long a server may take to answer a request outside the measurement.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes such an answer may have.
const ANSWER_BYTES: u64 = 1 << 20;

/// A server, or several that share a Redis.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// Serves WebSocket, SSE and REST.
    pub http: Option<HttpServer>,
    /// Serves the same over TLS.
    pub https: Option<HttpsServer>,
    /// Serves WebTransport.
    pub webtransport: Option<WebTransportServer>,
    /// Serves rounds behind their length, without a protocol: the floor `tcp`.
    pub tcp: Option<SocketAddr>,
    /// What all of them read from: the floor `redis`.
    pub redis: Option<RedisUrl>,
    /// Paths of streams that are not those of the contract.
    pub paths: Paths,
}

/// Paths of a foreign server's streams, with `{game}` and `{type}` in the place of what is subscribed to; `None` for
/// those of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Paths {
    /// Of its WebSocket.
    pub websocket: Option<String>,
    /// Of its event stream.
    pub sse: Option<String>,
    /// Of its WebTransport sessions.
    pub webtransport: Option<String>,
}

/// What the subscribers of a worker ask for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What there is to be subscribed to.
    pub channels: &'a [Channel],
    /// Who is on which.
    pub turns: Turns,
    /// How many they are.
    pub subscribers: usize,
}

/// Why a target can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Not an address of the known forms.
    #[error(
        "--target {url}: {problem}; use http://HOST:PORT for WebSocket and SSE, https://HOST:PORT for the same over \
         TLS and for WebTransport, tcp://HOST:PORT for the floor tcp"
    )]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody there.
    #[error("--target {url} can't be reached: {source}; is the server running there?")]
    Unreachable {
        /// As given.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The protocol asked for is on none of the targets.
    #[error(
        "{variant} needs a target of the form {form}; add one with --target, or leave {variant} out with --protocols"
    )]
    NotServed {
        /// What was to be measured.
        variant: Variant,
        /// Which form of target serves it.
        form: &'static str,
    },
    /// The floor that needs a Redis.
    #[error(
        "redis is measured at the Redis that --redis names; name one, or leave redis out with --protocols"
    )]
    NoRedis,
    /// It is there and does not let us subscribe.
    #[error("{variant}: {source}")]
    Probe {
        /// What was to be measured.
        variant: Variant,
        /// Why not.
        source: AttachError,
    },
}

impl Target {
    /// Reads the addresses given on the command line, finds their hosts and asks for the certificate's hash.
    ///
    /// HTTPS and WebTransport mostly share a port number, one over TCP, one over UDP: one address is enough for both.
    /// Of two, the one that can be connected to over TCP is HTTPS.
    ///
    /// # Errors
    /// [`TargetError`] for an address that is none, given twice, or not to be reached.
    pub fn from_urls(urls: &[String]) -> Result<Self, TargetError> {
        let mut target = Self::default();
        let mut encrypted: Vec<HttpServer> = Vec::new();
        for url in urls {
            let problem = |problem: String| TargetError::Url { url: url.clone(), problem };
            let unreachable = |source| TargetError::Unreachable { url: url.clone(), source };
            let (scheme, rest) =
                url.split_once("://").ok_or_else(|| problem("it has no scheme".to_owned()))?;
            let authority = rest.strip_suffix('/').unwrap_or(rest);
            if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
                return Err(problem("only host and port are wanted".to_owned()));
            }
            let server = |port| -> Result<HttpServer, TargetError> {
                let address = resolve(authority, port).map_err(unreachable)?;
                Ok(HttpServer { address, host: authority.to_owned() })
            };
            match scheme {
                "http" if target.http.is_none() => target.http = Some(server(80)?),
                "https" if encrypted.len() < 2 => encrypted.push(server(443)?),
                "tcp" if target.tcp.is_none() => target.tcp = Some(server(0)?.address),
                "http" | "https" | "tcp" => {
                    return Err(problem("a target of this kind was already given".to_owned()));
                }
                _ => return Err(problem(format!("the scheme {scheme} is unknown"))),
            }
        }
        let hash = target.http.as_ref().filter(|_| !encrypted.is_empty()).and_then(certificate_hash);
        target.set_encrypted(encrypted, hash.map_or(Certificate::Unchecked, Certificate::Sha256));
        Ok(target)
    }

    /// Finds out which of at most two servers speaks HTTPS, and which WebTransport.
    fn set_encrypted(&mut self, mut servers: Vec<HttpServer>, certificate: Certificate) {
        let is_https =
            |server: &HttpServer| TcpStream::connect_timeout(&server.address, ANSWER_TIMEOUT).is_ok();
        let https = servers
            .iter()
            .position(is_https)
            .map(|place| if servers.len() > 1 { servers.remove(place) } else { servers[place].clone() });
        self.https = https.map(|server| HttpsServer { server, certificate });
        self.webtransport = servers.pop().map(|HttpServer { address, host }| WebTransportServer {
            address,
            authority: host,
            certificate,
        });
    }

    /// Whether it serves a protocol.
    ///
    /// # Errors
    /// [`TargetError::NotServed`] and [`TargetError::NoRedis`] where it does not.
    pub fn check_serves(&self, variant: Variant) -> Result<(), TargetError> {
        let (is_served, form) = match variant.carrier() {
            Carrier::WebSocket(Tls::Off) | Carrier::Sse(Tls::Off, _) => {
                (self.http.is_some(), "http://HOST:PORT")
            }
            Carrier::WebSocket(Tls::On) | Carrier::Sse(Tls::On, _) => {
                (self.https.is_some(), "https://HOST:PORT, to be connected to over TCP")
            }
            Carrier::WebTransport(_) => (self.webtransport.is_some(), "https://HOST:PORT"),
            Carrier::Tcp => (self.tcp.is_some(), "tcp://HOST:PORT (lastmile-server --tcp-listen)"),
            Carrier::Redis if self.redis.is_none() => return Err(TargetError::NoRedis),
            Carrier::Redis => return Ok(()),
        };
        if is_served { Ok(()) } else { Err(TargetError::NotServed { variant, form }) }
    }

    /// Of protocols that it may serve by the form of its addresses, those that it does not, with the reason. What is behind
    /// `https://` shows only when it is asked: HTTPS takes TCP connections, and WebTransport answers over QUIC.
    pub fn missing(&self, protocols: &[Variant], channel: &Channel) -> Vec<(Vec<Variant>, String)> {
        let of = |is_it: &dyn Fn(Carrier) -> bool| -> Vec<Variant> {
            protocols.iter().copied().filter(|variant| is_it(variant.carrier())).collect()
        };
        let mut missing = Vec::new();
        let secure = of(&|carrier| matches!(carrier, Carrier::WebSocket(Tls::On) | Carrier::Sse(Tls::On, _)));
        if !secure.is_empty() && self.https.is_none() {
            missing.push((secure, "the target takes no TCP connections at its https:// address".to_owned()));
        }
        let webtransport = of(&|carrier| matches!(carrier, Carrier::WebTransport(_)));
        // One subscriber tells of all deliveries. Where there is no other reason for the address to have been given, it is
        // told as an error later.
        if let (Some(&first), Some(server), Some(_)) = (webtransport.first(), &self.webtransport, &self.https)
            && let Err(error) = self.probe(first, channel)
        {
            let why = format!("the target serves no WebTransport at https://{} ({error})", server.authority);
            missing.push((webtransport, why));
        }
        missing
    }

    /// Attaches one subscriber and takes leave: whether a run could begin.
    ///
    /// # Errors
    /// [`TargetError::NotServed`] and [`TargetError::Probe`].
    pub fn probe(&self, variant: Variant, channel: &Channel) -> Result<(), TargetError> {
        /// Ends the drive as soon as the subscriber is attached.
        struct UntilAttached(std::sync::Arc<Stop>);
        impl Sink for UntilAttached {
            fn attached(&mut self, _subscriber: usize, _took_ns: u64) {
                self.0.say();
            }
            fn receipt(&mut self, _subscriber: usize, _received_ns: u64, _message: &[u8]) {}
            fn ended(&mut self, _subscriber: usize, _reason: &str) {}
            fn batch_end(&mut self) {}
        }
        self.check_serves(variant)?;
        let failed = |source| match (source, &self.http) {
            (AttachError::Connect { source, .. }, Some(server))
                if variant.protocol().is_some() && !variant.is_encrypted() =>
            {
                TargetError::Unreachable { url: format!("http://{}", server.host), source }
            }
            (source, _) => TargetError::Probe { variant, source },
        };
        let stop = std::sync::Arc::new(Stop::new().map_err(|error| failed(error.into()))?);
        let sink = UntilAttached(std::sync::Arc::clone(&stop));
        let channels = std::slice::from_ref(channel);
        let asked = Asked { channels, turns: Turns::new(1), subscribers: 1 };
        self.drive(variant, asked, Pace { connecting: 1 }, &stop, sink).map_err(failed).map(drop)
    }

    /// Drives subscribers of a protocol that [`Self::check_serves`] has found served.
    ///
    /// # Errors
    /// [`AttachError`] where a subscriber could not be attached.
    pub fn drive<S: Sink + 'static>(
        &self,
        variant: Variant,
        asked: Asked<'_>,
        pace: Pace,
        stop: &Stop,
        sink: S,
    ) -> Result<S, AttachError> {
        let Asked { channels, turns, subscribers } = asked;
        let path = |protocol| {
            Requested::in_turn(channels.iter().map(|channel| self.path(variant, channel, protocol)), turns)
        };
        match variant.carrier() {
            Carrier::WebTransport(delivery) => {
                let server = self.webtransport.clone().ok_or_else(|| not_served(variant))?;
                let transport = WebTransport::new(server, path(Protocol::WebTransport), delivery);
                transport.drive(subscribers, pace, stop, sink)
            }
            Carrier::WebSocket(tls) => {
                let (server, tls) = self.stream_server(variant, tls, "http/1.1")?;
                let address = Address::Tcp(server.address);
                let framing = WebSocket::new(server, path(Protocol::WebSocket), crate::clock::now_ns());
                StreamTransport { framing, address, tls }.drive(subscribers, pace, stop, sink)
            }
            Carrier::Sse(tls, HttpVersion::One) => {
                let (server, tls) = self.stream_server(variant, tls, "http/1.1")?;
                let address = Address::Tcp(server.address);
                let framing = ServerSentEvents::new(server, path(Protocol::Sse));
                StreamTransport { framing, address, tls }.drive(subscribers, pace, stop, sink)
            }
            Carrier::Sse(tls, HttpVersion::Two) => {
                let (server, tls) = self.stream_server(variant, tls, "h2")?;
                Http2::new(server, path(Protocol::Sse), tls).drive(subscribers, pace, stop, sink)
            }
            Carrier::Redis => {
                let url = self.redis.as_ref().ok_or_else(|| not_served(variant))?;
                let framing =
                    RedisSubscription::new(url, channels.iter().map(|channel| slugs(&channel.topic)), turns);
                StreamTransport { framing, address: url.address()?, tls: None }.drive(
                    subscribers,
                    pace,
                    stop,
                    sink,
                )
            }
            Carrier::Tcp => {
                let address = self.tcp.ok_or_else(|| not_served(variant))?;
                let framing = LengthPrefixed::new(address.to_string(), path(Protocol::Tcp));
                StreamTransport { framing, address: Address::Tcp(address), tls: None }.drive(
                    subscribers,
                    pace,
                    stop,
                    sink,
                )
            }
        }
    }

    /// What is asked for: the contract's path or the target's own, with everything the variant wants.
    fn path(&self, variant: Variant, channel: &Channel, protocol: Protocol) -> String {
        let own = match protocol {
            Protocol::WebSocket => self.paths.websocket.as_ref(),
            Protocol::Sse => self.paths.sse.as_ref(),
            Protocol::WebTransport => self.paths.webtransport.as_ref(),
            Protocol::Tcp => None,
        };
        let game = &channel.game;
        match own {
            Some(own) => {
                variant.target(&own.replace("{game}", &game.slug).replace("{type}", &game.game_type))
            }
            None => variant.target(&channel.topic.path(protocol)),
        }
    }

    /// The server of streams over TCP, and how to encrypt what is said to it.
    fn stream_server(
        &self,
        variant: Variant,
        tls: Tls,
        alpn: &str,
    ) -> Result<(HttpServer, Option<TlsClient>), AttachError> {
        match (tls, &self.http, &self.https) {
            (Tls::Off, Some(server), _) => Ok((server.clone(), None)),
            (Tls::On, _, Some(HttpsServer { server, certificate })) => {
                Ok((server.clone(), Some(TlsClient::new(&server.host, *certificate, alpn)?)))
            }
            _ => Err(not_served(variant)),
        }
    }
}

fn not_served(variant: Variant) -> AttachError {
    io::Error::other(format!("no target serves {variant}")).into()
}

/// The games of a topic. Those of a type are the ones every database has.
fn slugs(topic: &Topic) -> Vec<&str> {
    match topic {
        Topic::Game(slug) => vec![slug],
        Topic::Type(name) => {
            KNOWN_GAMES.iter().filter(|game| game.game_type == name).map(|game| game.slug).collect()
        }
    }
}

fn resolve(authority: &str, default_port: u16) -> io::Result<SocketAddr> {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    let mut addresses = if has_port {
        authority.to_socket_addrs()
    } else {
        (authority.trim_matches(['[', ']']), default_port).to_socket_addrs()
    }?;
    addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address"))
}

/// The SHA-256 of the certificate for WebTransport, where the server tells it.
fn certificate_hash(server: &HttpServer) -> Option<[u8; 32]> {
    let (status, body) = get(server, "/api/certificate").ok()?;
    let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
    (status == 200 && answer["algorithm"] == "sha-256").then_some(())?;
    decode_hash(answer["value"].as_str()?)
}

/// A game the server knows, where it tells its games.
pub fn find_game(server: &HttpServer, is_it: &dyn Fn(&Game) -> bool) -> Option<Game> {
    #[derive(serde::Deserialize)]
    struct Told {
        id: u64,
        slug: String,
        #[serde(rename = "type", alias = "game_type")]
        game_type: String,
    }
    let (_, body) = get(server, "/api/games").ok()?;
    let games: Vec<Told> = serde_json::from_str(&body).ok()?;
    games.into_iter().map(|game| Game { id: game.id, slug: game.slug, game_type: game.game_type }).find(is_it)
}

/// A SHA-256 from its 64 hexadecimal digits.
pub fn decode_hash(hexadecimal: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if hexadecimal.len() != 2 * hash.len() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hexadecimal.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// Asks for a resource outside any measurement: status and body.
///
/// # Errors
/// What the system said, or that the answer is none.
pub fn get(server: &HttpServer, path: &str) -> io::Result<(u16, String)> {
    ask(connect(server)?, server, path)
}

/// The same over TLS.
///
/// # Errors
/// What the system or rustls said, or that the answer is none.
pub fn get_encrypted(https: &HttpsServer, path: &str) -> io::Result<(u16, String)> {
    let client = TlsClient::new(&https.server.host, https.certificate, "http/1.1");
    let client = client.map_err(io::Error::other)?;
    let session = rustls::ClientConnection::new(client.config(), client.name()).map_err(io::Error::other)?;
    ask(rustls::StreamOwned::new(session, connect(&https.server)?), &https.server, path)
}

fn connect(server: &HttpServer) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&server.address, ANSWER_TIMEOUT)?;
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(socket)
}

fn ask(mut socket: impl Read + Write, server: &HttpServer, path: &str) -> io::Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.host);
    socket.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    match socket.take(ANSWER_BYTES).read_to_end(&mut bytes) {
        // A server that ends TLS without a word: the answer's own head tells whether it is whole.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !bytes.is_empty() => {}
        outcome => {
            outcome?;
        }
    }
    let head = Head::parse(&bytes)
        .map_err(io::Error::other)?
        .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    let mut body = bytes.split_off(head.length);
    if head.chunked {
        let length = Chunks::Size(0).undo(&mut body).map_err(io::Error::other)?;
        body.truncate(length);
    }
    Ok((head.status, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(urls: &[&str]) -> String {
        let urls: Vec<String> = urls.iter().map(|&url| url.to_owned()).collect();
        Target::from_urls(&urls).expect_err("no target").to_string()
    }

    #[test]
    fn what_is_no_target_is_told() {
        for url in ["127.0.0.1:80", "ftp://x", "http://", "http://x/path", "http://user@x"] {
            assert!(told(&[url]).contains("use http://HOST:PORT"), "{url}");
        }
        assert!(told(&["http://127.0.0.1:1", "http://127.0.0.1:2"]).contains("already given"));
    }

    #[test]
    fn a_protocol_without_its_kind_of_target_is_refused() {
        let target = Target::from_urls(&["https://127.0.0.1:1".to_owned()]).unwrap();
        assert!(target.check_serves(Variant::WT_STREAM).is_ok());
        let error = target.check_serves(Variant::SSE).unwrap_err().to_string();
        assert!(error.starts_with("sse needs a target of the form http://"), "{error}");
        let error = target.check_serves(Variant::WSS).unwrap_err().to_string();
        assert!(error.contains("to be connected to over TCP"), "nobody listens there: {error}");
        let error = target.check_serves(Variant::REDIS).unwrap_err().to_string();
        assert!(error.contains("--redis"), "{error}");
    }

    #[test]
    fn hashes_are_64_digits() {
        assert_eq!(decode_hash(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(decode_hash(&"0f".repeat(31)), None);
        assert_eq!(decode_hash(&"zz".repeat(32)), None);
    }
}
