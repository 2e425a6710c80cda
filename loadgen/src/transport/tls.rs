//! TLS 1.3 of a subscriber, for a reactor: rustls shakes hands, and what comes after is opened where it lies.
//!
//! rustls itself would copy every record into memory of its own. After the handshake it hands out the keys instead,
//! as it does for TLS in the kernel: a subscriber is left with two keys and two counters, and a receipt allocates
//! nothing.

use std::io;
use std::sync::Arc;

use ring::aead::{self, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use ring::digest;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    CertificateError, ClientConfig, ConnectionTrafficSecrets, DigitallySignedStruct, ExtractedSecrets,
    SignatureScheme,
};

use crate::transport::link::Socket;
use crate::transport::{AttachError, Certificate};

/// Bytes of a record's head: what it is, a version, its length.
const HEAD_BYTES: usize = 5;
/// Most bytes of a record behind its head.
const MAX_RECORD_BYTES: usize = 16 * 1024 + 256;
/// The kinds of record.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// The handshake message that asks for new keys.
const KEY_UPDATE: u8 = 24;
/// Room for what is said in a handshake at once.
const FLIGHT_BYTES: usize = 4096;

/// How the TLS connections of all subscribers begin.
#[derive(Debug, Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// For `authority` (`host:port`), known by `certificate`, offering `protocol` by ALPN.
    ///
    /// # Errors
    /// [`AttachError::Protocol`] where the host can't be named in a handshake.
    pub fn new(authority: &str, certificate: Certificate, protocol: &str) -> Result<Self, AttachError> {
        let refuse = |problem: String| AttachError::Protocol {
            address: authority.to_owned(),
            protocol: "TLS",
            problem,
        };
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => host,
            _ => authority,
        };
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| refuse(format!("{host:?} is no name for TLS: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(Known { certificate, provider: Arc::clone(&provider) });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| refuse(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_secret_extraction = true;
        Ok(Self { config: Arc::new(config), name })
    }

    /// The configuration, for clients that run rustls themselves.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// Whose certificate is asked for.
    pub fn name(&self) -> ServerName<'static> {
        self.name.clone()
    }

    /// A connection that has not said anything.
    ///
    /// # Errors
    /// What rustls says.
    pub fn connect(&self) -> io::Result<TlsStream> {
        let connection = UnbufferedClientConnection::new(self.config(), self.name());
        let handshake = Box::new(connection.map_err(io::Error::other)?);
        Ok(TlsStream { state: State::Shaking(handshake), unread: Vec::new() })
    }
}

/// The TLS of one connection.
pub struct TlsStream {
    state: State,
    /// The beginning of a record whose end has not arrived.
    unread: Vec<u8>,
}

enum State {
    Shaking(Box<UnbufferedClientConnection>),
    Open(Box<Keys>),
    /// A handshake that failed.
    Broken,
}

struct Keys {
    receive: LessSafeKey,
    receive_iv: [u8; NONCE_LEN],
    received: u64,
    /// Used so seldom that it is kept as it came.
    send: ConnectionTrafficSecrets,
    sent: u64,
}

// By hand, so that no key ever gets into a log.
impl std::fmt::Debug for TlsStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_open = matches!(self.state, State::Open(_));
        formatter.debug_struct("TlsStream").field("is_open", &is_open).finish_non_exhaustive()
    }
}

impl TlsStream {
    /// Goes on with the handshake as far as what has arrived allows; whether it is done. To be called first when
    /// the socket is connected, then whenever it can be read. `room` is for whatever arrives.
    ///
    /// # Errors
    /// What rustls or the system said.
    pub fn shake(&mut self, socket: &mut Socket, room: &mut Vec<u8>) -> io::Result<bool> {
        let begun = self.read_records(socket, room);
        let end = match begun {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(end) => end,
            // Our turn to begin.
            Err(Errno::AGAIN | Errno::INTR) => self.unread_into(room),
            Err(errno) => return Err(errno.into()),
        };
        let State::Shaking(connection) = &mut self.state else { return Ok(true) };
        let mut flight = Vec::new();
        let mut from = 0;
        let is_done = loop {
            let UnbufferedStatus { discard, state } = connection.process_tls_records(&mut room[from..end]);
            match state.map_err(io::Error::other)? {
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, &mut flight)?,
                ConnectionState::TransmitTlsData(data) => {
                    // A fresh socket takes a few kilobytes whole.
                    if send(&*socket, &flight, SendFlags::NOSIGNAL)? != flight.len() {
                        return Err(Errno::NOBUFS.into());
                    }
                    flight.clear();
                    data.done();
                }
                ConnectionState::BlockedHandshake => break false,
                ConnectionState::WriteTraffic(_) => break true,
                other => return Err(io::Error::other(format!("the TLS handshake ended with {other:?}"))),
            }
            from += discard;
        };
        self.unread.clear();
        self.unread.extend_from_slice(&room[from..end]);
        if is_done {
            self.take_keys()?;
        }
        Ok(is_done)
    }

    fn take_keys(&mut self) -> io::Result<()> {
        let State::Shaking(connection) = std::mem::replace(&mut self.state, State::Broken) else {
            return Ok(());
        };
        let (secrets, _) = connection.dangerous_into_kernel_connection().map_err(io::Error::other)?;
        let ExtractedSecrets { tx: (sent, of_client), rx: (received, of_server) } = secrets;
        let (receive, receive_iv) = key(&of_server)?;
        self.state = State::Open(Box::new(Keys { receive, receive_iv, received, send: of_client, sent }));
        Ok(())
    }

    /// Receives once, and puts what was in whole records at the beginning of `plain`, which has at least as much room
    /// as `room` can hold: how many bytes, 0 at the end. `None` where no record has arrived whole.
    ///
    /// # Errors
    /// What the system said, or what is wrong with a record.
    pub fn receive(
        &mut self,
        socket: &mut Socket,
        room: &mut Vec<u8>,
        plain: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let end = match self.read_records(socket, room) {
            Ok(0) => return Ok(Some(0)),
            Ok(end) => end,
            Err(Errno::AGAIN | Errno::INTR) if self.unread.len() > HEAD_BYTES => self.unread_into(room),
            Err(errno) => return Err(errno.into()),
        };
        let State::Open(keys) = &mut self.state else { return Err(io::ErrorKind::NotConnected.into()) };
        let (mut from, mut opened) = (0, 0);
        let mut is_over = false;
        while let Some(record) = record(&mut room[from..end])? {
            from += record.len();
            match keys.open(record)? {
                Content::Data(data) => {
                    plain[opened..opened + data.len()].copy_from_slice(data);
                    opened += data.len();
                }
                Content::Nothing => {}
                Content::End => {
                    is_over = true;
                    break;
                }
            }
        }
        crate::transport::reactor::keep(&mut self.unread, &room[from..end]);
        Ok((opened > 0 || is_over).then_some(opened))
    }

    /// Receives behind what is unread: how many bytes there are then, 0 at the end.
    fn read_records(&mut self, socket: &mut Socket, room: &mut Vec<u8>) -> Result<usize, Errno> {
        let held = self.unread_into(room);
        let received = socket.receive(&mut room[held..])?;
        Ok(if received == 0 { 0 } else { held + received })
    }

    fn unread_into(&self, room: &mut Vec<u8>) -> usize {
        let held = self.unread.len();
        if room.len() < held + ROOM_BYTES {
            room.resize(held + ROOM_BYTES, 0);
        }
        room[..held].copy_from_slice(&self.unread);
        held
    }

    /// Encrypts and sends; whether the socket took it whole.
    ///
    /// # Errors
    /// What the system said.
    pub fn send(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<bool> {
        let State::Open(keys) = &mut self.state else { return Err(io::ErrorKind::NotConnected.into()) };
        let sealed = keys.seal(bytes)?;
        Ok(send(socket, &sealed, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)? == sealed.len())
    }
}

/// Room for what arrives at once.
pub const ROOM_BYTES: usize = 128 * 1024;

fn encode<Data>(
    data: &mut rustls::unbuffered::EncodeTlsData<'_, Data>,
    flight: &mut Vec<u8>,
) -> io::Result<()> {
    let from = flight.len();
    flight.resize(from + FLIGHT_BYTES, 0);
    let written = match data.encode(&mut flight[from..]) {
        Err(EncodeError::InsufficientSize(needed)) => {
            flight.resize(from + needed.required_size, 0);
            data.encode(&mut flight[from..])
        }
        encoded => encoded,
    };
    flight.truncate(from + written.map_err(io::Error::other)?);
    Ok(())
}

/// The record at the start of `bytes`, once it has arrived whole.
fn record(bytes: &mut [u8]) -> io::Result<Option<&mut [u8]>> {
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_RECORD_BYTES {
        return Err(broken("a TLS record is longer than allowed"));
    }
    Ok(bytes.get_mut(..HEAD_BYTES + length))
}

/// What a record held.
enum Content<'a> {
    Data(&'a [u8]),
    /// Something that a client of one session has no use for.
    Nothing,
    /// The server said goodbye.
    End,
}

impl Keys {
    fn open<'a>(&mut self, record: &'a mut [u8]) -> io::Result<Content<'a>> {
        let (head, body) = record.split_at_mut(HEAD_BYTES);
        match head[0] {
            CHANGE_CIPHER_SPEC => return Ok(Content::Nothing),
            APPLICATION_DATA => {}
            _ => return Err(broken("something came that is not encrypted")),
        }
        let nonce = nonce(&self.receive_iv, self.received);
        self.received += 1;
        let inner = self
            .receive
            .open_in_place(nonce, Aad::from(&*head), body)
            .map_err(|_| broken("a TLS record can't be decrypted"))?;
        // Behind the content stands its kind, and behind that may stand zeros.
        let end = inner.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        let (content, kind) = inner.split_at(end);
        match (kind.first(), content) {
            (Some(&APPLICATION_DATA), data) => Ok(Content::Data(data)),
            (Some(&ALERT), [_, 0]) => Ok(Content::End),
            (Some(&ALERT), [_, alert]) => Err(broken(&format!("the server ended TLS with alert {alert}"))),
            // New keys come after millions of records; tickets for a next session right at the beginning.
            (Some(&HANDSHAKE), [KEY_UPDATE, ..]) => {
                Err(broken("the server changed the keys of TLS, which is not supported"))
            }
            (Some(&HANDSHAKE), _) => Ok(Content::Nothing),
            _ => Err(broken("a TLS record holds nothing known")),
        }
    }

    /// Records that hold `bytes`.
    fn seal(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (key, iv) = key(&self.send)?;
        let mut sealed = Vec::new();
        for piece in bytes.chunks(16 * 1024) {
            let length = (piece.len() + 1 + MAX_TAG_LEN) as u16;
            let [high, low] = length.to_be_bytes();
            let head = [APPLICATION_DATA, 3, 3, high, low];
            let mut body = piece.to_vec();
            body.push(APPLICATION_DATA);
            key.seal_in_place_append_tag(nonce(&iv, self.sent), Aad::from(head), &mut body)
                .map_err(|_| broken("a TLS record can't be encrypted"))?;
            self.sent += 1;
            sealed.extend_from_slice(&head);
            sealed.extend_from_slice(&body);
        }
        Ok(sealed)
    }
}

/// A key ready for use, and what its nonces are made from.
fn key(secrets: &ConnectionTrafficSecrets) -> io::Result<(LessSafeKey, [u8; NONCE_LEN])> {
    let (algorithm, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&aead::CHACHA20_POLY1305, key, iv),
        _ => return Err(broken("the TLS cipher is unknown")),
    };
    let unbound = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| broken("a TLS key has no length"))?;
    let iv = iv.as_ref().try_into().map_err(|_| broken("a TLS nonce has no length"))?;
    Ok((LessSafeKey::new(unbound), iv))
}

/// RFC 8446, 5.3: the number of the record over the end of the IV.
fn nonce(iv: &[u8; NONCE_LEN], number: u64) -> Nonce {
    let mut nonce = *iv;
    for (byte, counted) in nonce[NONCE_LEN - 8..].iter_mut().zip(number.to_be_bytes()) {
        *byte ^= counted;
    }
    Nonce::assume_unique_for_key(nonce)
}

fn broken(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Trusts the certificate that is known, and no chain above it.
#[derive(Debug)]
struct Known {
    certificate: Certificate,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.certificate {
            Certificate::Sha256(hash) if digest::digest(&digest::SHA256, certificate).as_ref() != hash => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Certificate::Sha256(_) | Certificate::Unchecked => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
