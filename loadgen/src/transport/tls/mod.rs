//! TLS of a subscriber, for a reactor: rustls shakes hands, and what comes after is opened where it lies. Versions 1.3 and,
//! for targets that have nothing newer, 1.2.
//!
//! rustls itself would copy every record into memory of its own. After the handshake it hands out the keys instead,
//! as it does for TLS in the kernel: a subscriber is left with two keys and two counters, and a receipt allocates
//! nothing.

mod records;

use std::io;
use std::sync::Arc;

use ring::digest;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustls::client::UnbufferedClientConnection;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::transport::framing::keep;
use crate::transport::link::Socket;
use crate::transport::{AttachError, Certificate};
use records::{Content, HEAD_BYTES, Keys, record};

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
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
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
        loop {
            let UnbufferedStatus { discard, state } = connection.process_tls_records(&mut room[from..end]);
            let goes_on = match state.map_err(io::Error::other)? {
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut data, &mut flight)?;
                    true
                }
                ConnectionState::TransmitTlsData(data) => {
                    // A fresh socket takes a few kilobytes whole.
                    if send(&*socket, &flight, SendFlags::NOSIGNAL)? != flight.len() {
                        return Err(Errno::NOBUFS.into());
                    }
                    flight.clear();
                    data.done();
                    true
                }
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => false,
                other => return Err(io::Error::other(format!("the TLS handshake ended with {other:?}"))),
            };
            from += discard;
            if !goes_on {
                break;
            }
        }
        // A client of TLS 1.2 may speak before it has heard the server's last words.
        let is_done = !connection.is_handshaking();
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
        let version = connection.protocol_version();
        let (secrets, _) = connection.dangerous_into_kernel_connection().map_err(io::Error::other)?;
        self.state = State::Open(Box::new(Keys::new(version, secrets)?));
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
        keep(&mut self.unread, &room[from..end]);
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::thread;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, SupportedCipherSuite};

    use super::*;
    use crate::transport::link::{Address, Link};

    /// A server that knows one cipher and says twice what it hears.
    fn serve(mut socket: TcpStream, suite: SupportedCipherSuite) {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let provider = CryptoProvider { cipher_suites: vec![suite], ..provider };
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[suite.version()])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let mut tls = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        let mut heard = [0; 100];
        let length = stream.read(&mut heard).unwrap();
        for piece in [&heard[..length], &heard[..length]] {
            stream.write_all(piece).unwrap();
            stream.flush().unwrap();
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    }

    fn wait(link: &Link, flags: PollFlags) {
        poll(&mut [PollFd::from_borrowed_fd(link.as_fd(), flags)], None).unwrap();
    }

    /// Whatever cipher of whatever version: both sides understand each other.
    #[test]
    fn every_cipher_of_both_versions_is_spoken() {
        let suites = rustls::crypto::ring::default_provider().cipher_suites;
        // The server's certificate has an elliptic curve.
        let fits = |suite: &SupportedCipherSuite| !format!("{:?}", suite.suite()).contains("ECDHE_RSA");
        let suites: Vec<SupportedCipherSuite> = suites.into_iter().filter(fits).collect();
        assert_eq!(suites.len(), 6, "{suites:?}");
        for suite in suites {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || serve(listener.accept().unwrap().0, suite));
            let client = TlsClient::new("localhost:1", Certificate::Unchecked, "http/1.1").unwrap();
            let mut link = Link::begin(&Address::Tcp(address), Some(&client), false).unwrap();
            wait(&link, PollFlags::OUT);
            link.connected().unwrap();
            let (mut room, mut plain) = (Vec::new(), vec![0; 2 * ROOM_BYTES]);
            while !link.secure(&mut room).unwrap() {
                wait(&link, PollFlags::IN);
            }
            assert!(link.send(b"what is said is said").unwrap());
            let mut heard = Vec::new();
            loop {
                wait(&link, PollFlags::IN);
                match link.receive(&mut room, &mut plain) {
                    Ok(Some(0)) => break,
                    Ok(Some(length)) => heard.extend_from_slice(&plain[..length]),
                    Ok(None) => {}
                    Err(error) => panic!("{suite:?}: {error}"),
                }
            }
            assert_eq!(heard, b"what is said is saidwhat is said is said", "{suite:?}");
            server.join().unwrap();
        }
    }
}
