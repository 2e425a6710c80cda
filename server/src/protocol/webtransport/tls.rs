//! TLS of a WebTransport session, which is over once the handshake is.
//!
//! In QUIC, TLS agrees on keys and then has no more to say: packets are protected without it, and a server that gives
//! no tickets sends no message after the handshake. The QUIC library keeps it, 4 kB, as long as the connection; here
//! all that stays are the secrets that the next keys come from. Those keys are made when a packet needs them first:
//! most connections end before they do.

use std::any::Any;
use std::io::Cursor;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use quinn_proto::crypto::rustls::{NoInitialCipherSuite, QuicServerConfig};
use quinn_proto::crypto::{
    self, CryptoError, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::quic::{KeyChange, PacketKeySet, Secrets, ServerConnection, Version};
use rustls::{AlertDescription, ServerConfig};

/// TLS for a QUIC endpoint.
pub struct BriefTls {
    config: Arc<ServerConfig>,
    /// For all that does not belong to one session.
    whole: QuicServerConfig,
}

/// TLS of one connection.
struct Session {
    tls: Arc<BriefTls>,
    version: u32,
    /// Until the handshake is over.
    handshake: Option<Box<ServerConnection>>,
    /// Where the next keys come from, until they are asked for.
    next: Option<Secrets>,
    /// The keys given last.
    given: Option<Arc<Generation>>,
}

/// Packet keys that a connection changes to together, and where they come from.
struct Generation {
    secrets: Secrets,
    made: OnceLock<PacketKeySet>,
}

/// A generation's key for one direction.
struct Direction {
    generation: Arc<Generation>,
    key: fn(&PacketKeySet) -> &Box<dyn rustls::quic::PacketKey>,
}

impl BriefTls {
    /// From a configuration of TLS 1.3, which is to give no tickets and to take no early data.
    ///
    /// # Errors
    /// Where it lacks the cipher suite that every QUIC connection begins with.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, NoInitialCipherSuite> {
        Ok(Self { whole: QuicServerConfig::try_from(Arc::clone(&config))?, config })
    }
}

impl crypto::ServerConfig for BriefTls {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.whole.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.whole.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        Box::new(Session::start(self, version, params))
    }
}

/// TLS's name of a version that `initial_keys` has taken.
fn tls_version(version: u32) -> Version {
    if (0xff00_001d..=0xff00_0020).contains(&version) { Version::V1Draft } else { Version::V1 }
}

impl Session {
    fn start(tls: Arc<BriefTls>, version: u32, parameters: &TransportParameters) -> Self {
        let mut bytes = Vec::new();
        parameters.write(&mut bytes);
        // Fails for a configuration that QUIC can't be spoken with, which none of ours is.
        let handshake = ServerConnection::new(Arc::clone(&tls.config), tls_version(version), bytes)
            .expect("TLS 1.3 without early data serves QUIC");
        Self { tls, version, handshake: Some(Box::new(handshake)), next: None, given: None }
    }
}

impl crypto::Session for Session {
    fn initial_keys(&self, dst_cid: &ConnectionId, _side: Side) -> Keys {
        // It began with this version.
        crypto::ServerConfig::initial_keys(&*self.tls, self.version, dst_cid)
            .expect("a version that is spoken")
    }

    /// Nobody asks for it.
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    /// Clients have no certificates.
    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.handshake.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        // What TLS itself says to every message that comes then.
        let unexpected = TransportErrorCode::crypto(AlertDescription::UnexpectedMessage.into());
        let late = || failed(unexpected, "a TLS message after the handshake");
        let tls = self.handshake.as_mut().ok_or_else(late)?;
        if let Err(error) = tls.read_hs(buf) {
            let violation = TransportErrorCode::PROTOCOL_VIOLATION;
            let code = tls.alert().map_or(violation, |alert| TransportErrorCode::crypto(alert.into()));
            return Err(failed(code, error.to_string()));
        }
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let sent = self.handshake.as_ref().and_then(|tls| tls.quic_transport_parameters());
        Ok(sent.map(|bytes| TransportParameters::read(Side::Server, &mut Cursor::new(bytes))).transpose()?)
    }

    /// Called after everything that was read, until there is no more to write.
    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let tls = self.handshake.as_mut()?;
        let keys = match tls.write_hs(buf) {
            Some(KeyChange::Handshake { keys }) => keys,
            Some(KeyChange::OneRtt { keys, next }) => {
                self.next = Some(next);
                keys
            }
            None => {
                if buf.is_empty() && !tls.is_handshaking() {
                    self.handshake = None;
                }
                return None;
            }
        };
        let (local, remote) = (keys.local, keys.remote);
        Some(Keys {
            header: KeyPair { local: Box::new(local.header), remote: Box::new(remote.header) },
            packet: KeyPair { local: Box::new(local.packet), remote: Box::new(remote.packet) },
        })
    }

    /// Called with the first keys, and again with each change to those it has given.
    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let following = || self.given.as_ref().map(|given| given.following());
        let secrets = self.next.take().or_else(following)?;
        let generation = Arc::new(Generation { secrets, made: OnceLock::new() });
        self.given = Some(Arc::clone(&generation));
        Some(KeyPair {
            local: Box::new(Direction { generation: Arc::clone(&generation), key: |keys| &keys.local }),
            remote: Box::new(Direction { generation, key: |keys| &keys.remote }),
        })
    }

    /// Only servers send such a packet.
    fn is_valid_retry(&self, _orig_dst_cid: &ConnectionId, _header: &[u8], _payload: &[u8]) -> bool {
        false
    }

    /// Nobody asks for any.
    fn export_keying_material(
        &self,
        _output: &mut [u8],
        _label: &[u8],
        _context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

impl Generation {
    fn keys(&self) -> &PacketKeySet {
        self.made.get_or_init(|| self.secrets.clone().next_packet_keys())
    }

    /// The secrets of those that come after these.
    fn following(&self) -> Secrets {
        let mut secrets = self.secrets.clone();
        // Making the keys is what leads from one to the next.
        drop(secrets.next_packet_keys());
        secrets
    }
}

impl Direction {
    fn key(&self) -> &impl PacketKey {
        (self.key)(self.generation.keys())
    }
}

impl PacketKey for Direction {
    fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
        self.key().encrypt(packet, buf, header_len);
    }

    fn decrypt(&self, packet: u64, header: &[u8], payload: &mut BytesMut) -> Result<(), CryptoError> {
        self.key().decrypt(packet, header, payload)
    }

    fn tag_len(&self) -> usize {
        self.key().tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        self.key().confidentiality_limit()
    }

    fn integrity_limit(&self) -> u64 {
        self.key().integrity_limit()
    }
}

fn failed(code: TransportErrorCode, reason: impl Into<String>) -> TransportError {
    TransportError { code, frame: None, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::Duration;

    use quinn_proto::crypto::Session as _;
    use rustls::quic::ClientConnection;
    use rustls::{ClientConfig, RootCertStore};
    use wtransport::quinn::crypto::rustls::QuicClientConfig;
    use wtransport::quinn::{self, Endpoint};

    use super::*;
    use crate::certificate::Certificate;

    const VERSION_1: u32 = 1;

    /// Three times what an acknowledgement may take.
    const KEYS_ARE_KEPT: Duration = Duration::from_millis(150);

    fn client(certificate: &Certificate) -> ClientConfig {
        let mut trusted = RootCertStore::empty();
        trusted.add(certificate.leaf()).expect("a certificate that can be trusted");
        let mut client =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("a version")
                .with_root_certificates(trusted)
                .with_no_client_auth();
        client.alpn_protocols = vec![b"h3".to_vec()];
        client
    }

    /// A session whose handshake is over, and where its client's next keys come from.
    fn established() -> (Session, Secrets) {
        let certificate = Certificate::self_signed().expect("a certificate");
        let tls = Arc::new(BriefTls::new(certificate.webtransport()).expect("TLS"));
        let parameters = TransportParameters::read(Side::Server, &mut Cursor::new([])).expect("the defaults");
        let mut server = Session::start(tls, VERSION_1, &parameters);
        let name = "localhost".try_into().expect("a name");
        let mut client = ClientConnection::new(Arc::new(client(&certificate)), Version::V1, name, Vec::new())
            .expect("a client");
        let mut secrets = None;
        while client.is_handshaking() || server.is_handshaking() {
            let mut said = Vec::new();
            while let Some(keys) = client.write_hs(&mut said) {
                if let KeyChange::OneRtt { next, .. } = keys {
                    secrets = Some(next);
                }
            }
            if !said.is_empty() {
                server.read_handshake(&said).expect("a handshake");
            }
            if server.is_handshaking() {
                assert!(server.transport_parameters().expect("parameters").is_some());
            }
            // One kind of packet's messages at a time.
            loop {
                let mut answer = Vec::new();
                let keys = server.write_handshake(&mut answer);
                if !answer.is_empty() {
                    client.read_hs(&answer).expect("an answer");
                }
                if keys.is_none() {
                    break;
                }
            }
        }
        // The connection asks whether there is more to say after all that it reads.
        assert!(server.write_handshake(&mut Vec::new()).is_none());
        (server, secrets.expect("keys"))
    }

    #[test]
    fn nothing_of_tls_stays_after_the_handshake_and_a_late_message_is_an_error() {
        let (mut server, _) = established();
        assert!(server.handshake.is_none() && !server.is_handshaking());
        let update = [24, 0, 0, 1, 0];
        let error = server.read_handshake(&update).expect_err("TLS's key update, which QUIC does not have");
        assert_eq!(error.code, TransportErrorCode::crypto(10), "unexpected_message");
    }

    #[test]
    fn both_ends_go_from_one_generation_of_keys_to_the_next() {
        let (mut server, mut client) = established();
        let (header, text) = (b"header".as_slice(), b"a round".as_slice());
        for generation in 0..4 {
            let (ours, theirs) = (server.next_1rtt_keys().expect("keys"), client.next_packet_keys());
            let mut sealed = [header, text, &vec![0; ours.local.tag_len()]].concat();
            ours.local.encrypt(7, &mut sealed, header.len());
            let opened = theirs.remote.decrypt_in_place(7, header, &mut sealed[header.len()..]);
            assert_eq!(opened.ok(), Some(text), "generation {generation}");

            let mut sealed = text.to_vec();
            let tag = theirs.local.encrypt_in_place(7, header, &mut sealed).expect("sealed");
            let sealed = BytesMut::from(&[&sealed, tag.as_ref()].concat()[..]);
            let mut opened = sealed.clone();
            ours.remote.decrypt(7, header, &mut opened).expect("opened");
            assert_eq!(opened, text, "generation {generation}");
            ours.remote.decrypt(8, header, &mut sealed.clone()).expect_err("another packet's number");
        }
    }

    #[tokio::test]
    async fn a_connection_outlives_changes_of_its_keys_by_either_end() {
        let certificate = Certificate::self_signed().expect("a certificate");
        let tls = Arc::new(BriefTls::new(certificate.webtransport()).expect("TLS"));
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let endpoint = Endpoint::server(quinn::ServerConfig::with_crypto(tls), loopback).expect("a server");
        let there = endpoint.local_addr().expect("an address");
        let here = Endpoint::client(loopback).expect("a client");
        let config = QuicClientConfig::try_from(client(&certificate)).expect("TLS");
        let connecting = here
            .connect_with(quinn::ClientConfig::new(Arc::new(config)), there, "localhost")
            .expect("an address to connect to");
        let accepted = async { endpoint.accept().await.expect("a client").await };
        let (client, server) = tokio::try_join!(connecting, accepted).expect("a connection");
        for round in 0..4_u8 {
            let updating = if round % 2 == 0 { &client } else { &server };
            updating.force_key_update();
            for (from, to) in [(&client, &server), (&server, &client)] {
                let mut sending = from.open_uni().await.expect("a stream");
                sending.write_all(&[round; 5000]).await.expect("written");
                sending.finish().expect("finished");
                let mut receiving = to.accept_uni().await.expect("a stream");
                assert_eq!(receiving.read_to_end(5000).await.expect("read"), [round; 5000]);
            }
            // No change is made before the keys of the one before are forgotten.
            tokio::time::sleep(KEYS_ARE_KEPT).await;
        }
    }
}
