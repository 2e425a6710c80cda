//! WebTransport by `wtransport`, its certificate pinned by hash as a browser's is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use lastmile_wire::webtransport::{append_message, next_message};
use wtransport::endpoint::endpoint_side;
use wtransport::error::ConnectionError;
use wtransport::quinn::TransportConfig;
use wtransport::tls::Sha256Digest;
use wtransport::{ClientConfig, Connection, Endpoint, RecvStream, SendStream};

use super::client::RECEIVE_BUFFER_BYTES;
use super::{Client, End, Message, Place};

/// The largest round there is, and a bit.
const MESSAGE_LIMIT_BYTES: usize = 2 << 20;

struct Session {
    connection: Connection,
    /// The one stream, with `delivery=stream`.
    stream: Option<RecvStream>,
    /// Everything comes on one stream.
    one_stream: bool,
    bytes: Vec<u8>,
    buffer: Box<[u8]>,
    /// Where commands are said, once there are some.
    commands: Option<(SendStream, RecvStream)>,
    /// Its socket.
    _endpoint: Endpoint<endpoint_side::Client>,
}

/// A client's socket, which trusts the certificate of a server.
pub fn endpoint(place: &Place) -> Result<Endpoint<endpoint_side::Client>, String> {
    let mut config = ClientConfig::builder()
        .with_bind_address("127.0.0.1:0".parse().expect("an address"))
        .with_server_certificate_hashes([Sha256Digest::new(place.certificate)])
        .build();
    let mut transport = TransportConfig::default();
    transport.stream_receive_window((RECEIVE_BUFFER_BYTES as u32).into());
    transport.keep_alive_interval(Some(Duration::from_secs(5)));
    config.quic_config_mut().transport_config(Arc::new(transport));
    Endpoint::client(config).map_err(|error| error.to_string())
}

/// A session with a socket of its own, which lives as long as its endpoint.
pub async fn session(
    place: &Place,
    target: &str,
) -> Result<(Connection, Endpoint<endpoint_side::Client>), String> {
    let endpoint = endpoint(place)?;
    let url = format!("https://{}{target}", place.webtransport);
    let connection = endpoint.connect(url).await.map_err(|error| error.to_string())?;
    Ok((connection, endpoint))
}

/// A subscriber over WebTransport.
pub async fn connect(place: &Place, target: &str) -> Result<Box<dyn Client>, String> {
    let (connection, endpoint) = session(place, target).await?;
    Ok(Box::new(Session {
        connection,
        stream: None,
        one_stream: !target.contains("delivery=") || target.contains("delivery=stream&"),
        bytes: Vec::new(),
        buffer: vec![0; 16 * 1024].into_boxed_slice(),
        commands: None,
        _endpoint: endpoint,
    }))
}

impl Session {
    /// The next round of the one stream; `None` where the session is gone.
    async fn next_of_stream(&mut self) -> Option<Bytes> {
        if self.stream.is_none() {
            self.stream = Some(self.connection.accept_uni().await.ok()?);
        }
        let stream = self.stream.as_mut()?;
        loop {
            let message = next_message(&self.bytes, MESSAGE_LIMIT_BYTES).expect("a length that can be");
            if let Some((payload, used)) = message {
                let payload = Bytes::copy_from_slice(payload);
                self.bytes.drain(..used);
                return Some(payload);
            }
            let count = stream.read(&mut self.buffer).await.ok()??;
            self.bytes.extend_from_slice(&self.buffer[..count]);
        }
    }

    /// The next round that has a stream or a datagram to itself; `None` where the session is gone.
    async fn next_by_itself(&mut self) -> Option<Bytes> {
        tokio::select! {
            datagram = self.connection.receive_datagram() => Some(datagram.ok()?.payload()),
            stream = self.connection.accept_uni() => {
                let mut stream = stream.ok()?;
                let mut round = Vec::new();
                while let Some(count) = stream.read(&mut self.buffer).await.ok()? {
                    round.extend_from_slice(&self.buffer[..count]);
                }
                Some(round.into())
            }
        }
    }
}

impl Session {
    /// Says something on the stream for commands, which is opened where there is none. `None` where it has ended.
    async fn say_on_stream(&mut self, command: &str) -> Option<String> {
        if self.commands.is_none() {
            let opening = self.connection.open_bi().await.ok()?;
            self.commands = Some(opening.await.ok()?);
        }
        let (commands, answers) = self.commands.as_mut()?;
        let mut bytes = Vec::new();
        append_message(&mut bytes, command.as_bytes());
        commands.write_all(&bytes).await.ok()?;
        let mut bytes = Vec::new();
        loop {
            let message = next_message(&bytes, MESSAGE_LIMIT_BYTES).expect("a length that can be");
            if let Some((answer, used)) = message {
                assert_eq!(used, bytes.len(), "one answer a command");
                return Some(String::from_utf8(answer.to_vec()).expect("text"));
            }
            let mut buffer = [0; 1024];
            let count = answers.read(&mut buffer).await.ok()??;
            bytes.extend_from_slice(&buffer[..count]);
        }
    }
}

impl Client for Session {
    fn next(&mut self) -> BoxFuture<'_, Result<Message, End>> {
        Box::pin(async {
            let round =
                if self.one_stream { self.next_of_stream().await } else { self.next_by_itself().await };
            if let Some(round) = round {
                return Ok(Message::Rounds(round));
            }
            Err(match self.connection.closed().await {
                ConnectionError::ApplicationClosed(close) => End::Told {
                    code: Some(close.code().into_inner()),
                    words: String::from_utf8(close.reason().to_vec()).expect("text"),
                },
                error => End::Broken(error.to_string()),
            })
        })
    }

    fn say<'a>(&'a mut self, command: &'a str) -> BoxFuture<'a, Option<String>> {
        Box::pin(async {
            // The server ends the stream that a token came on; what is said after that takes another one.
            for _ in 0..2 {
                if let Some(answer) = self.say_on_stream(command).await {
                    return Some(answer);
                }
                self.commands = None;
            }
            None
        })
    }
}
