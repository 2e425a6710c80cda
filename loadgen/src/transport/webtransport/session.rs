//! A session's beginning and end: SETTINGS, extended CONNECT (RFC 9220), the closing capsule.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use lastmile_wire::http3::{CONTROL_STREAM, HEADERS_FRAME, SETTINGS_FRAME, next_frame};
use lastmile_wire::webtransport::read_varint;
use wtransport::proto::frame::Frame;
use wtransport::proto::headers::Headers;
use wtransport::proto::session::{SessionRequest, SessionResponse};
use wtransport::proto::settings::Settings;
use wtransport::proto::stream_header::StreamHeader;
use wtransport::proto::varint::VarInt;
use wtransport::quinn::{self, ReadError};

use crate::transport::AttachError;
use crate::transport::webtransport::WebTransportServer;

/// Types of HTTP/3 unidirectional streams and frames (RFC 9114) and of WebTransport's stream and capsule.
const WEBTRANSPORT_STREAM: u64 = 0x54;
const DATA_FRAME: u64 = 0x00;
const CLOSE_SESSION_CAPSULE: u64 = 0x2843;

/// How long a server may take to answer. Without a server nothing answers at all: UDP has no refusal.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes read in search of an answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// An accepted session.
pub struct Session {
    /// The QUIC connection; it carries this one session.
    pub connection: quinn::Connection,
    /// The CONNECT stream: its end is the session's end.
    request: RequestStream,
    /// Streams that must stay open as long as the session.
    _critical: (quinn::SendStream, Vec<quinn::RecvStream>),
}

struct RequestStream {
    _send: quinn::SendStream,
    reader: FrameReader,
}

impl Session {
    /// Connects and asks for a session of `path`.
    pub async fn open(
        endpoint: &quinn::Endpoint,
        server: &WebTransportServer,
        path: &str,
    ) -> Result<Self, AttachError> {
        match tokio::time::timeout(ANSWER_TIMEOUT, Self::negotiate(endpoint, server, path)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(AttachError::Connect {
                address: server.authority.clone(),
                source: io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no answer over QUIC (UDP) within {ANSWER_TIMEOUT:?}"),
                ),
            }),
        }
    }

    async fn negotiate(
        endpoint: &quinn::Endpoint,
        server: &WebTransportServer,
        path: &str,
    ) -> Result<Self, AttachError> {
        let failed = |error: quinn::ConnectionError| AttachError::Connect {
            address: server.authority.clone(),
            source: io::Error::other(error),
        };
        let refuse = |problem: String| AttachError::Protocol {
            address: server.authority.clone(),
            protocol: "WebTransport",
            problem,
        };
        let name = server.authority.rsplit_once(':').map_or(server.authority.as_str(), |(host, _)| host);
        let connection = endpoint
            .connect(server.address, name.trim_matches(['[', ']']))
            .map_err(|error| refuse(error.to_string()))?
            .await
            .map_err(failed)?;

        let control = send_settings(&connection).await.map_err(&refuse)?;
        let kept = await_settings(&connection).await.map_err(&refuse)?;
        let request = SessionRequest::new(format!("https://{}{path}", server.authority))
            .map_err(|error| refuse(format!("no URL can be made of it ({error:?})")))?;
        let (mut send, receive) = connection.open_bi().await.map_err(failed)?;
        send.write_all(&frame_bytes(&request.headers().generate_frame()))
            .await
            .map_err(|error| refuse(error.to_string()))?;
        let mut reader = FrameReader { stream: receive, bytes: Vec::new() };
        let status = read_status(&mut reader).await.map_err(&refuse)?;
        if !(200..300).contains(&status) {
            connection.close(0u32.into(), b"");
            return Err(AttachError::Refused {
                address: server.authority.clone(),
                status,
                body: "(nothing more was said)".to_owned(),
            });
        }
        let request = RequestStream { _send: send, reader };
        Ok(Self { connection, request, _critical: (control, kept) })
    }

    /// Waits for the server's goodbye and tells it in words. Can be cancelled and asked again.
    pub async fn ended(&mut self) -> String {
        let Session { connection, request, .. } = self;
        loop {
            match request.reader.next().await {
                Ok(Some((DATA_FRAME, payload))) => {
                    if let Some(reason) = close_reason(&payload) {
                        return reason;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => return "the server closed the session without a code".to_owned(),
                Err(problem) => {
                    return match connection.close_reason() {
                        Some(reason) => connection_end(&reason),
                        None => format!("the session broke: {problem}"),
                    };
                }
            }
        }
    }
}

/// Why a connection is over, in words.
pub fn connection_end(error: &quinn::ConnectionError) -> String {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => {
            let text = String::from_utf8_lossy(&close.reason);
            let separator = if text.is_empty() { "" } else { ": " };
            format!("the server closed the connection with code {}{separator}{text}", close.error_code)
        }
        other => format!("the connection broke: {other}"),
    }
}

/// What a server-opened unidirectional stream turns out to be, and the bytes its header takes.
pub enum StreamHead {
    /// Messages of a session.
    WebTransport(usize),
    /// One of HTTP/3's own.
    Other,
}

/// Reads the header of a unidirectional stream; `None` where it is not complete.
pub fn stream_head(bytes: &[u8]) -> Option<StreamHead> {
    let (kind, length) = read_varint(bytes)?;
    if kind != WEBTRANSPORT_STREAM {
        return Some(StreamHead::Other);
    }
    // The session's identifier: there is only one session on the connection.
    let (_, session_length) = read_varint(&bytes[length..])?;
    Some(StreamHead::WebTransport(length + session_length))
}

async fn send_settings(connection: &quinn::Connection) -> Result<quinn::SendStream, String> {
    let settings = Settings::builder()
        .qpack_max_table_capacity(VarInt::from_u32(0))
        .qpack_blocked_streams(VarInt::from_u32(0))
        .enable_connect_protocol()
        .enable_webtransport()
        .enable_h3_datagrams()
        .webtransport_max_sessions(VarInt::from_u32(1))
        .build();
    let mut bytes = Vec::new();
    StreamHeader::new_control().write(&mut bytes).map_err(|error| format!("{error:?}"))?;
    bytes.extend_from_slice(&frame_bytes(&settings.generate_frame()));
    let mut stream = connection.open_uni().await.map_err(|error| error.to_string())?;
    stream.write_all(&bytes).await.map_err(|error| error.to_string())?;
    Ok(stream)
}

/// A client may ask for a session only after the server has said that it knows them.
async fn await_settings(connection: &quinn::Connection) -> Result<Vec<quinn::RecvStream>, String> {
    let mut kept = Vec::new();
    loop {
        let stream = connection.accept_uni().await.map_err(|error| connection_end(&error))?;
        let mut reader = FrameReader { stream, bytes: Vec::new() };
        let (kind, length) = loop {
            if let Some(head) = read_varint(&reader.bytes) {
                break head;
            }
            if !reader.more().await? {
                return Err("a stream of it ended before its type".to_owned());
            }
        };
        reader.bytes.drain(..length);
        if kind == CONTROL_STREAM {
            match reader.next().await? {
                Some((SETTINGS_FRAME, _)) => {}
                _ => return Err("its control stream does not begin with SETTINGS".to_owned()),
            }
            kept.push(reader.stream);
            return Ok(kept);
        }
        kept.push(reader.stream);
    }
}

async fn read_status(reader: &mut FrameReader) -> Result<u16, String> {
    loop {
        match reader.next().await? {
            None => return Err("it ended the request without an answer".to_owned()),
            Some((HEADERS_FRAME, payload)) => {
                let headers = Headers::with_frame(&Frame::new_headers(Cow::Owned(payload)))
                    .map_err(|error| format!("its headers can't be read ({error:?})"))?;
                let response = SessionResponse::try_from(headers)
                    .map_err(|error| format!("its headers have no status ({error:?})"))?;
                return Ok(response.code().into_inner());
            }
            Some(_) => {}
        }
    }
}

fn frame_bytes(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A vector grows as it must: there is no end of buffer to run into.
    frame.write(&mut bytes).expect("a vector has room for every frame");
    bytes
}

/// The reason inside a `CLOSE_WEBTRANSPORT_SESSION` capsule.
fn close_reason(data: &[u8]) -> Option<String> {
    let (kind, kind_length) = read_varint(data)?;
    let (length, length_length) = read_varint(&data[kind_length..])?;
    let payload = data[kind_length + length_length..].get(..length as usize)?;
    let (code, text) = payload.split_first_chunk::<4>()?;
    if kind != CLOSE_SESSION_CAPSULE {
        return None;
    }
    let text = String::from_utf8_lossy(text);
    let separator = if text.is_empty() { "" } else { ": " };
    Some(format!("the server closed the session with code {}{separator}{text}", u32::from_be_bytes(*code)))
}

/// Reads HTTP/3 frames. Keeps what is unfinished, so that a read can be cancelled.
struct FrameReader {
    stream: quinn::RecvStream,
    bytes: Vec<u8>,
}

impl FrameReader {
    /// The next frame's type and payload; `None` at the stream's end.
    async fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, String> {
        loop {
            let next = next_frame(&self.bytes, ANSWER_BYTES).map_err(|error| error.to_string())?;
            if let Some((frame, used)) = next {
                let found = (frame.kind, frame.payload.to_vec());
                self.bytes.drain(..used);
                return Ok(Some(found));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Reads more; `false` at the stream's end.
    async fn more(&mut self) -> Result<bool, String> {
        match self.stream.read_chunk(ANSWER_BYTES, true).await {
            Ok(Some(chunk)) => {
                self.bytes.extend_from_slice(&chunk.bytes);
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(ReadError::ConnectionLost(error)) => Err(connection_end(&error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use lastmile_wire::webtransport::append_varint;

    use super::*;

    #[test]
    fn a_closing_capsule_tells_its_code_and_reason() {
        let mut capsule = Vec::new();
        append_varint(&mut capsule, CLOSE_SESSION_CAPSULE);
        append_varint(&mut capsule, 12);
        capsule.extend_from_slice(&1013u32.to_be_bytes());
        capsule.extend_from_slice(b"too slow");
        assert_eq!(
            close_reason(&capsule).as_deref(),
            Some("the server closed the session with code 1013: too slow")
        );
        assert_eq!(close_reason(&capsule[..10]), None);
        assert_eq!(close_reason(&[0x21, 4, 0, 0, 0, 0]), None);
    }

    #[test]
    fn stream_heads_wait_for_their_last_byte() {
        assert!(stream_head(&[0x40]).is_none());
        assert!(stream_head(&[0x40, 0x54]).is_none());
        assert!(matches!(stream_head(&[0x40, 0x54, 0]), Some(StreamHead::WebTransport(3))));
        assert!(matches!(stream_head(&[0x00]), Some(StreamHead::Other)));
    }
}
