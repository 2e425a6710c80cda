//! TLS material: someone's PEM files, or a certificate of our own making.
//!
//! WebTransport exists only over TLS, so there always is a certificate. A browser accepts one it has no authority
//! for only by its hash (`serverCertificateHashes`), and only if it is an ECDSA one valid for at most 14 days.

use std::fmt;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// Names a self-signed certificate is good for.
const SELF_SIGNED_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How far a self-signed certificate reaches into the past: a client's clock may be behind ours.
const VALID_BEFORE: Duration = Duration::days(1);

/// How far it reaches into the future. Both together stay a day below the 14 that browsers accept.
const VALID_AFTER: Duration = Duration::days(12);

/// A self-signed certificate is followed by a new one this long before its end: clients may have its hash from a page
/// that has been open for a while, and their clocks may be ahead of ours.
const RENEWED_BEFORE_END: Duration = Duration::days(3);

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A PEM file can't be read.
    #[error("could not read the {what} {}: {source}; check {flag}", path.display())]
    Unreadable {
        /// `certificate` or `private key`.
        what: &'static str,
        /// The flag that named the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the parser or the operating system said.
        source: rustls::pki_types::pem::Error,
    },
    /// A PEM file holds nothing of what it is for.
    #[error("{} holds no {what} in PEM form; {flag} needs a file with a BEGIN {label} line", path.display())]
    Missing {
        /// `certificate` or `private key`.
        what: &'static str,
        /// The flag that named the file.
        flag: &'static str,
        /// The word to look for.
        label: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// TLS refuses the pair: the key is of another certificate, or of a kind that is not supported.
    #[error(
        "the certificate and the key can't be used together: {0}; check that --tls-key belongs to --tls-cert"
    )]
    Unusable(#[from] rustls::Error),
    /// No certificate could be made.
    #[error("could not make a self-signed certificate: {0}; give one with --tls-cert and --tls-key")]
    SelfSigned(#[from] rcgen::Error),
}

/// A certificate with its key, ready for both kinds of endpoint. All copies of it are renewed together: new
/// connections get the newest, those that stand are left alone.
#[derive(Clone)]
pub struct Certificate {
    https: Arc<ServerConfig>,
    webtransport: Arc<ServerConfig>,
    newest: Arc<Newest>,
    source: Source,
}

/// Where a certificate comes from, and its successor.
#[derive(Clone)]
enum Source {
    Files { certificates: PathBuf, key: PathBuf },
    SelfSigned,
}

/// A certificate as it was loaded or made.
#[derive(Clone)]
struct Loaded {
    key: Arc<CertifiedKey>,
    leaf: CertificateDer<'static>,
    leaf_sha256: String,
    /// When it is to be followed by a new one of our own making.
    renewal: Option<OffsetDateTime>,
}

/// What handshakes get.
struct Newest(RwLock<Loaded>);

impl Newest {
    fn get(&self) -> Loaded {
        // Whole at every moment, so a panic elsewhere leaves it usable.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Newest {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).key))
    }
}

impl fmt::Debug for Newest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Newest").finish_non_exhaustive()
    }
}

impl Source {
    fn load(&self) -> Result<Loaded, CertificateError> {
        match self {
            Self::Files { certificates, key } => load_pem_files(certificates, key),
            Self::SelfSigned => make_self_signed(OffsetDateTime::now_utc()),
        }
    }
}

impl Loaded {
    fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        renewal: Option<OffsetDateTime>,
    ) -> Result<Self, CertificateError> {
        let leaf = chain.first().cloned().ok_or(rustls::Error::NoCertificatesPresented)?;
        let leaf_sha256 = hexadecimal(&Sha256::digest(&leaf));
        let key = Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider())?);
        Ok(Self { key, leaf, leaf_sha256, renewal })
    }
}

impl Certificate {
    /// Reads a certificate chain, leaf first, and its private key from PEM files.
    ///
    /// # Errors
    /// [`CertificateError`] names the file and what is wrong with it.
    pub fn from_pem_files(certificates: &Path, key: &Path) -> Result<Self, CertificateError> {
        Self::new(Source::Files { certificates: certificates.to_owned(), key: key.to_owned() })
    }

    /// Makes an ECDSA P-256 certificate for this machine's loopback names, valid for 13 days.
    ///
    /// # Errors
    /// [`CertificateError::SelfSigned`] where the machine has no randomness to give.
    pub fn self_signed() -> Result<Self, CertificateError> {
        Self::new(Source::SelfSigned)
    }

    /// Reads the files again, or makes a new certificate. From then on new connections get that; with an error
    /// everything stays as it was.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn renew(&self) -> Result<(), CertificateError> {
        let loaded = self.source.load()?;
        *self.newest.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(())
    }

    /// Whether a certificate of our own making is to be followed by a new one now.
    pub fn is_renewal_due(&self, now: OffsetDateTime) -> bool {
        self.newest.get().renewal.is_some_and(|renewal| renewal <= now)
    }

    /// TLS for HTTPS, WSS and SSE: HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3.
    pub fn https(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.https)
    }

    /// TLS for WebTransport: HTTP/3, TLS 1.3. For `wtransport`'s `with_custom_tls`, which unlike its `Identity`
    /// takes keys of every form.
    pub fn webtransport(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.webtransport)
    }

    /// The leaf certificate itself, for clients that are to trust it.
    pub fn leaf(&self) -> CertificateDer<'static> {
        self.newest.get().leaf
    }

    /// SHA-256 of the leaf certificate in lower-case hexadecimal, what `serverCertificateHashes` wants.
    pub fn leaf_sha256(&self) -> String {
        self.newest.get().leaf_sha256
    }

    /// Whether we made it ourselves, so that clients know it by its hash alone.
    pub fn is_self_signed(&self) -> bool {
        matches!(self.source, Source::SelfSigned)
    }

    fn new(source: Source) -> Result<Self, CertificateError> {
        let newest = Arc::new(Newest(RwLock::new(source.load()?)));
        let resolver = || Arc::clone(&newest) as Arc<dyn ResolvesServerCert>;
        let provider = Arc::new(ring::default_provider());
        let mut https = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver());
        https.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut webtransport = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(resolver());
        webtransport.alpn_protocols = vec![b"h3".to_vec()];
        // A session is long; a ticket for the next one costs kilobytes in each and a place in the cache.
        webtransport.send_tls13_tickets = 0;
        Ok(Self { https: Arc::new(https), webtransport: Arc::new(webtransport), newest, source })
    }
}

// By hand, so that no key ever gets into a log.
impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Certificate")
            .field("leaf_sha256", &self.leaf_sha256())
            .field("self_signed", &self.is_self_signed())
            .finish_non_exhaustive()
    }
}

fn load_pem_files(certificates: &Path, key: &Path) -> Result<Loaded, CertificateError> {
    let chain = read_chain(certificates)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| match source {
        rustls::pki_types::pem::Error::NoItemsFound => CertificateError::Missing {
            what: "private key",
            flag: "--tls-key",
            label: "PRIVATE KEY",
            path: key.to_owned(),
        },
        source => CertificateError::Unreadable {
            what: "private key",
            flag: "--tls-key",
            path: key.to_owned(),
            source,
        },
    })?;
    Loaded::new(chain, key, None)
}

fn make_self_signed(now: OffsetDateTime) -> Result<Loaded, CertificateError> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut parameters = CertificateParams::new(SELF_SIGNED_NAMES.map(String::from))?;
    parameters.not_before = now - VALID_BEFORE;
    parameters.not_after = now + VALID_AFTER;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "lastmile, self-signed");
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = parameters.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let renewal = parameters.not_after - RENEWED_BEFORE_END;
    Loaded::new(vec![certificate.der().clone()], key, Some(renewal))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let unreadable = |source| CertificateError::Unreadable {
        what: "certificate",
        flag: "--tls-cert",
        path: path.to_owned(),
        source,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(CertificateError::Missing {
            what: "certificate",
            flag: "--tls-cert",
            label: "CERTIFICATE",
            path: path.to_owned(),
        });
    }
    Ok(chain)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String has no way to fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use wtransport::tls::Sha256Digest;
    use wtransport::tls::client::ServerHashVerification;

    use super::*;

    /// PEM files of a self-signed certificate, and of a key that is not its own.
    struct Files {
        folder: tempfile::TempDir,
        leaf: CertificateDer<'static>,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
            let other = KeyPair::generate().expect("a key");
            for (name, content) in [
                ("certificate.pem", pair.cert.pem()),
                ("key.pem", pair.signing_key.serialize_pem()),
                ("other.pem", other.serialize_pem()),
                ("empty.pem", "nothing\n".to_owned()),
                ("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n".to_owned()),
            ] {
                std::fs::write(folder.path().join(name), content).expect("a file");
            }
            Self { folder, leaf: pair.cert.der().clone() }
        }

        fn load(&self, certificate: &str, key: &str) -> Result<Certificate, CertificateError> {
            Certificate::from_pem_files(&self.folder.path().join(certificate), &self.folder.path().join(key))
        }
    }

    #[test]
    fn pem_files_are_loaded_with_the_hash_of_their_leaf() {
        let files = Files::new();
        let certificate = files.load("certificate.pem", "key.pem").expect("a pair");
        assert_eq!(certificate.leaf_sha256(), hexadecimal(&Sha256::digest(&files.leaf)));
        assert!(!certificate.is_self_signed());
        assert_eq!(certificate.https().alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(certificate.webtransport().alpn_protocols, [b"h3".to_vec()]);
    }

    #[test]
    fn each_fault_names_its_file_and_its_flag() {
        let files = Files::new();
        let message = |certificate, key| files.load(certificate, key).expect_err("a fault").to_string();
        for (message, flag, file) in [
            (message("absent.pem", "key.pem"), "--tls-cert", "absent.pem"),
            (message("empty.pem", "key.pem"), "--tls-cert", "empty.pem"),
            (message("broken.pem", "key.pem"), "--tls-cert", "broken.pem"),
            (message("certificate.pem", "absent.pem"), "--tls-key", "absent.pem"),
            (message("certificate.pem", "empty.pem"), "--tls-key", "empty.pem"),
        ] {
            assert!(message.contains(flag) && message.contains(file), "{message}");
        }
        let mismatch = files.load("certificate.pem", "other.pem").expect_err("a key of another certificate");
        assert!(matches!(mismatch, CertificateError::Unusable(_)), "{mismatch}");
    }

    #[test]
    fn a_self_signed_certificate_is_one_browsers_accept_by_hash() {
        let certificate = Certificate::self_signed().expect("a certificate");
        assert!(certificate.is_self_signed());
        assert_eq!(certificate.leaf_sha256().len(), 64);
        assert!(VALID_BEFORE + VALID_AFTER < Duration::days(14));
        let other = Certificate::self_signed().expect("another");
        assert_ne!(certificate.leaf_sha256(), other.leaf_sha256(), "each has a key of its own");
    }

    /// The result of a client's handshake with the HTTPS side of a certificate.
    async fn handshake(
        certificate: &Certificate,
        client: rustls::ClientConfig,
        name: &'static str,
    ) -> std::io::Result<()> {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let acceptor = tokio_rustls::TlsAcceptor::from(certificate.https());
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
        let name = name.try_into().expect("a name");
        let (_, connected) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
        connected.map(drop)
    }

    fn client() -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier> {
        rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_certificate_gets_through_by_its_names_only() {
        let certificate = Certificate::self_signed().expect("a certificate");
        let mut trusted = rustls::RootCertStore::empty();
        trusted.add(certificate.leaf()).expect("a certificate that can be trusted");
        for (name, accepted) in
            SELF_SIGNED_NAMES.map(|name| (name, true)).into_iter().chain([("elsewhere.example", false)])
        {
            let client = client().with_root_certificates(trusted.clone()).with_no_client_auth();
            assert_eq!(handshake(&certificate, client, name).await.is_ok(), accepted, "{name}");
        }
    }

    #[tokio::test]
    async fn a_client_that_knows_only_the_hash_gets_through() {
        let certificate = Certificate::self_signed().expect("a certificate");
        // Holds the certificate against the rules of browsers: ECDSA, valid now, at most 14 days.
        let known: [u8; 32] = Sha256::digest(certificate.leaf()).into();
        for (hash, accepted) in [(known, true), ([0; 32], false)] {
            let verifier = ServerHashVerification::new([Sha256Digest::new(hash)]);
            let client = client()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth();
            assert_eq!(handshake(&certificate, client, "localhost").await.is_ok(), accepted);
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_the_one_that_new_connections_get() {
        let certificate = Certificate::self_signed().expect("a certificate");
        let now = OffsetDateTime::now_utc();
        assert!(!certificate.is_renewal_due(now + Duration::days(8)));
        assert!(certificate.is_renewal_due(now + Duration::days(10)), "before its end in twelve days");
        let copy = certificate.clone();
        let before: [u8; 32] = Sha256::digest(certificate.leaf()).into();
        copy.renew().expect("a new certificate");
        let after: [u8; 32] = Sha256::digest(certificate.leaf()).into();
        assert_ne!(before, after);
        for (hash, accepted) in [(after, true), (before, false)] {
            let verifier = ServerHashVerification::new([Sha256Digest::new(hash)]);
            let client = client()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth();
            assert_eq!(handshake(&certificate, client, "localhost").await.is_ok(), accepted);
        }
    }

    #[test]
    fn files_that_have_become_useless_change_nothing() {
        let files = Files::new();
        let certificate = files.load("certificate.pem", "key.pem").expect("a pair");
        let before = certificate.leaf_sha256();
        assert!(
            !certificate.is_renewal_due(OffsetDateTime::now_utc() + Duration::days(1000)),
            "not ours to make"
        );
        std::fs::write(files.folder.path().join("certificate.pem"), "nothing").expect("a file");
        certificate.renew().expect_err("no certificate");
        assert_eq!(certificate.leaf_sha256(), before);
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(files.folder.path().join("certificate.pem"), pair.cert.pem()).expect("a file");
        certificate.renew().expect_err("the key is of the old one");
        std::fs::write(files.folder.path().join("key.pem"), pair.signing_key.serialize_pem())
            .expect("a file");
        certificate.renew().expect("a pair");
        assert_ne!(certificate.leaf_sha256(), before);
    }
}
