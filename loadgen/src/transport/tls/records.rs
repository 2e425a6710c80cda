//! Records of TLS after the handshake: opened where they lie, sealed where something is to be said.

use std::io;

use ring::aead::{self, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion};

/// Bytes of a record's head: what it is, a version, its length.
pub const HEAD_BYTES: usize = 5;
/// The version that stands in every head, whichever is spoken.
const HEAD_VERSION: [u8; 2] = [3, 3];
/// The part of a nonce that stands before what it encrypts, in TLS 1.2 with AES-GCM.
const EXPLICIT_NONCE_BYTES: usize = 8;
/// Most bytes of a record behind its head.
const MAX_RECORD_BYTES: usize = 16 * 1024 + 256;
/// The kinds of record.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// The handshake message that asks for new keys.
const KEY_UPDATE: u8 = 24;

/// How records are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protection {
    /// TLS 1.3 (RFC 8446, 5.2): what a record holds stands encrypted behind its content.
    InnerKind,
    /// TLS 1.2 with AES-GCM (RFC 5288): a part of the nonce stands before the content.
    ExplicitNonce,
    /// TLS 1.2 with ChaCha20-Poly1305 (RFC 7905): nothing stands beside it.
    Plain,
}

impl Protection {
    fn of(version: Option<ProtocolVersion>, secrets: &ConnectionTrafficSecrets) -> io::Result<Self> {
        match (version, secrets) {
            (Some(ProtocolVersion::TLSv1_3), _) => Ok(Self::InnerKind),
            (Some(ProtocolVersion::TLSv1_2), ConnectionTrafficSecrets::Chacha20Poly1305 { .. }) => {
                Ok(Self::Plain)
            }
            (Some(ProtocolVersion::TLSv1_2), _) => Ok(Self::ExplicitNonce),
            _ => Err(broken("the TLS version is unknown")),
        }
    }

    fn explicit_nonce_bytes(self) -> usize {
        if self == Self::ExplicitNonce { EXPLICIT_NONCE_BYTES } else { 0 }
    }
}

/// The keys of an open connection, and how many records they were used for.
pub struct Keys {
    protection: Protection,
    receive: LessSafeKey,
    receive_iv: [u8; NONCE_LEN],
    received: u64,
    /// Used so seldom that it is kept as it came.
    send: ConnectionTrafficSecrets,
    sent: u64,
}

/// The record at the start of `bytes`, once it has arrived whole.
///
/// # Errors
/// Where it is longer than a record may be.
pub fn record(bytes: &mut [u8]) -> io::Result<Option<&mut [u8]>> {
    let Some(&[_, _, _, high, low]) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_RECORD_BYTES {
        return Err(broken("a TLS record is longer than allowed"));
    }
    Ok(bytes.get_mut(..HEAD_BYTES + length))
}

/// What a record held.
pub enum Content<'a> {
    /// What the server said.
    Data(&'a [u8]),
    /// Something that a client of one session has no use for.
    Nothing,
    /// The server said goodbye.
    End,
}

impl Keys {
    /// Those that a handshake came to.
    ///
    /// # Errors
    /// Where they are of a version or a cipher that is not known here.
    pub fn new(version: Option<ProtocolVersion>, secrets: ExtractedSecrets) -> io::Result<Self> {
        let ExtractedSecrets { tx: (sent, of_client), rx: (received, of_server) } = secrets;
        let protection = Protection::of(version, &of_server)?;
        let (receive, receive_iv) = key(&of_server)?;
        Ok(Self { protection, receive, receive_iv, received, send: of_client, sent })
    }

    /// What a record holds.
    ///
    /// # Errors
    /// What is wrong with it, or why the server ended the session.
    pub fn open<'a>(&mut self, record: &'a mut [u8]) -> io::Result<Content<'a>> {
        let kind = record[0];
        match self.protection {
            Protection::InnerKind if kind == CHANGE_CIPHER_SPEC => return Ok(Content::Nothing),
            Protection::InnerKind if kind == APPLICATION_DATA => {}
            _ if self.protection != Protection::InnerKind && kind != CHANGE_CIPHER_SPEC => {}
            _ => return Err(broken("something came that is not encrypted")),
        }
        let (kind, content) = match self.protection {
            Protection::InnerKind => self.open_inner(record)?,
            Protection::ExplicitNonce | Protection::Plain => (kind, self.open_outer(record)?),
        };
        match (kind, content) {
            (APPLICATION_DATA, data) => Ok(Content::Data(data)),
            (ALERT, [_, 0]) => Ok(Content::End),
            (ALERT, [_, alert]) => Err(broken(&format!("the server ended TLS with alert {alert}"))),
            // New keys come after millions of records; tickets for a next session right at the beginning.
            (HANDSHAKE, [KEY_UPDATE, ..]) => {
                Err(broken("the server changed the keys of TLS, which is not supported"))
            }
            (HANDSHAKE, _) => Ok(Content::Nothing),
            _ => Err(broken("a TLS record holds nothing known")),
        }
    }

    /// A record of TLS 1.3: what it holds, and that.
    fn open_inner<'a>(&mut self, record: &'a mut [u8]) -> io::Result<(u8, &'a [u8])> {
        let (head, body) = record.split_at_mut(HEAD_BYTES);
        let nonce = nonce(&self.receive_iv, self.received);
        self.received += 1;
        let inner = self.receive.open_in_place(nonce, Aad::from(&*head), body);
        let inner = inner.map_err(|_| broken("a TLS record can't be decrypted"))?;
        // Behind the content stands its kind, and behind that may stand zeros.
        let end = inner.iter().rposition(|&byte| byte != 0).unwrap_or(0);
        let (content, kind) = inner.split_at(end);
        Ok((kind.first().copied().unwrap_or_default(), content))
    }

    /// The content of a record of TLS 1.2.
    fn open_outer<'a>(&mut self, record: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let kind = record[0];
        let (explicit, sealed) = record[HEAD_BYTES..]
            .split_at_mut_checked(self.protection.explicit_nonce_bytes())
            .filter(|(_, sealed)| sealed.len() >= MAX_TAG_LEN)
            .ok_or_else(|| broken("a TLS record is shorter than possible"))?;
        let aad = Aad::from(outer_head(self.received, kind, sealed.len() - MAX_TAG_LEN));
        let nonce = match <[u8; EXPLICIT_NONCE_BYTES]>::try_from(&*explicit) {
            Ok(explicit) => {
                let mut nonce = self.receive_iv;
                nonce[NONCE_LEN - EXPLICIT_NONCE_BYTES..].copy_from_slice(&explicit);
                Nonce::assume_unique_for_key(nonce)
            }
            Err(_) => nonce(&self.receive_iv, self.received),
        };
        self.received += 1;
        let content = self.receive.open_in_place(nonce, aad, sealed);
        content.map(|content| &*content).map_err(|_| broken("a TLS record can't be decrypted"))
    }

    /// Records that hold `bytes`.
    ///
    /// # Errors
    /// Where they can't be encrypted.
    pub fn seal(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (key, iv) = key(&self.send)?;
        let mut sealed = Vec::new();
        for piece in bytes.chunks(16 * 1024) {
            let nonce = nonce(&iv, self.sent);
            // The nonce's end is as good as any other that is never used again.
            let explicit = nonce.as_ref()[NONCE_LEN - self.protection.explicit_nonce_bytes()..].to_vec();
            let mut body = piece.to_vec();
            if self.protection == Protection::InnerKind {
                body.push(APPLICATION_DATA);
            }
            let [high, low] = ((explicit.len() + body.len() + MAX_TAG_LEN) as u16).to_be_bytes();
            let [major, minor] = HEAD_VERSION;
            let head = [APPLICATION_DATA, major, minor, high, low];
            let outcome = match self.protection {
                Protection::InnerKind => key.seal_in_place_append_tag(nonce, Aad::from(head), &mut body),
                Protection::ExplicitNonce | Protection::Plain => {
                    let aad = Aad::from(outer_head(self.sent, APPLICATION_DATA, piece.len()));
                    key.seal_in_place_append_tag(nonce, aad, &mut body)
                }
            };
            outcome.map_err(|_| broken("a TLS record can't be encrypted"))?;
            self.sent += 1;
            sealed.extend_from_slice(&head);
            sealed.extend_from_slice(&explicit);
            sealed.extend_from_slice(&body);
        }
        Ok(sealed)
    }
}

/// What is authenticated with a record of TLS 1.2 (RFC 5246, 6.2.3.3).
fn outer_head(number: u64, kind: u8, content_bytes: usize) -> [u8; 13] {
    let mut head = [0; 13];
    head[..8].copy_from_slice(&number.to_be_bytes());
    head[8] = kind;
    head[9..11].copy_from_slice(&HEAD_VERSION);
    head[11..].copy_from_slice(&(content_bytes as u16).to_be_bytes());
    head
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

/// RFC 8446, 5.3, and RFC 7905, 2: the number of the record over the end of the IV.
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
