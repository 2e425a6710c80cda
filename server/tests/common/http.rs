//! HTTP/1.1 as bytes.

use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::client::RECEIVE_BUFFER_BYTES;
use super::{Place, soon, tls};

/// A connection, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to where HTTP is served; over TLS where that is, then for this application protocol.
pub async fn open(place: &Place, protocol: &str) -> Box<dyn Stream> {
    try_open(place, protocol).await.expect("a connection")
}

/// The same where the server may refuse.
pub async fn try_open(place: &Place, protocol: &str) -> std::io::Result<Box<dyn Stream>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES as u32)?;
    let stream = soon("connecting", socket.connect(place.http)).await?;
    stream.set_nodelay(true)?;
    if !place.tls {
        return Ok(Box::new(stream));
    }
    let connector = TlsConnector::from(tls::pinned(place.certificate, protocol));
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = soon("a TLS handshake", connector.connect(name, stream)).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    Ok(Box::new(stream))
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and headers, as they came.
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The body where it is JSON and says so.
    pub fn json(&self) -> Value {
        assert!(self.head.to_lowercase().contains("content-type: application/json"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends bytes and reads until the server ends the connection.
pub async fn exchange(place: &Place, bytes: &[u8]) -> Answer {
    let mut stream = open(place, "http/1.1").await;
    stream.write_all(bytes).await.expect("a request");
    answer(&mut stream).await
}

/// Reads an answer that ends with its connection.
pub async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Answer {
    let mut bytes = Vec::new();
    soon("an answer", stream.read_to_end(&mut bytes)).await.expect("an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Asks for something.
pub async fn get(place: &Place, target: &str) -> Answer {
    exchange(place, format!("GET {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes())
        .await
}
