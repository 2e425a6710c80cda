//! How a session begins: SETTINGS both ways, then the client's extended CONNECT (RFC 9220,
//! draft-ietf-webtrans-http3). Frames and headers come from the WebTransport library's protocol half; its
//! connection half keeps a task and six queues for every session, about 25 kB, and is left out.

use std::borrow::Cow;

use lastmile_wire::http3::{
    CONTROL_STREAM, HEADERS_FRAME, HeaderBlockError, SETTINGS_FRAME, check_header_block, next_frame,
};
use lastmile_wire::webtransport::read_varint;
use wtransport::proto::frame::Frame;
use wtransport::proto::headers::Headers;
use wtransport::proto::ids::StatusCode;
use wtransport::proto::session::{SessionRequest, SessionResponse};
use wtransport::proto::settings::Settings;
use wtransport::proto::stream_header::StreamHeader;
use wtransport::proto::varint::VarInt;
use wtransport::quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, WriteError};

use crate::guard::{Asked, Credentials};

/// Largest frame a client may begin with.
const MAX_FRAME_BYTES: usize = 16 * 1024;

/// Unidirectional streams looked at in search of the client's control stream.
const MAX_STREAMS_BEFORE_SETTINGS: usize = 8;

/// Why a session did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A stream broke.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The answer could not be sent.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Its headers are not to be decoded.
    #[error(transparent)]
    Headers(#[from] HeaderBlockError),
    /// The client does not speak WebTransport over HTTP/3.
    #[error("not a WebTransport client: {0}")]
    Protocol(&'static str),
}

/// A client that asks for a session.
pub struct SessionOffer {
    request: SessionRequest,
    answer: SendStream,
    connect: RecvStream,
    control: (SendStream, Vec<RecvStream>),
}

/// The streams that stay open as long as the session: the CONNECT stream, whose end is the session's end, and
/// the control streams, which must not be closed before.
pub struct SessionStreams {
    connect: RecvStream,
    _answer: SendStream,
    _control: (SendStream, Vec<RecvStream>),
}

impl SessionOffer {
    /// Receives the request of a client that has just connected.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub async fn receive(connection: &Connection) -> Result<Self, HandshakeError> {
        let control = send_settings(connection).await?;
        let received = receive_settings(connection).await?;
        let (answer, connect) = connection.accept_bi().await?;
        let mut reader = FrameReader { stream: connect, bytes: Vec::new() };
        let payload = loop {
            // Types without meaning are sent to see that they are passed over.
            if let (HEADERS_FRAME, payload) = reader.next().await? {
                break payload;
            }
        };
        // The library trusts its integers.
        check_header_block(&payload)?;
        let headers = Headers::with_frame(&Frame::new_headers(Cow::Owned(payload)))
            .map_err(|_| HandshakeError::Protocol("headers that can't be read"))?;
        let request = SessionRequest::try_from(headers)
            .map_err(|_| HandshakeError::Protocol("a request that is no extended CONNECT"))?;
        Ok(Self { request, answer, connect: reader.stream, control: (control, received) })
    }

    /// Path and query asked for.
    pub fn path(&self) -> &str {
        self.request.path()
    }

    /// What it brings along for the guard. Its page was served from another port than this one.
    pub fn credentials(&self) -> Credentials<'_> {
        let origin = self.request.origin().map(str::as_bytes);
        let host = Some(self.request.authority().as_bytes());
        Credentials {
            asked: Asked { origin, host, any_port: true },
            authorization: self.request.get("authorization").map(str::as_bytes),
            target: self.path(),
        }
    }

    /// The session's number on its connection.
    pub fn session_id(&self) -> u64 {
        self.connect.id().into()
    }

    /// Says yes. The session stands.
    ///
    /// # Errors
    /// [`HandshakeError::Write`].
    pub async fn accept(mut self) -> Result<SessionStreams, HandshakeError> {
        self.answer.write_all(&response(&SessionResponse::ok())).await?;
        Ok(SessionStreams { connect: self.connect, _answer: self.answer, _control: self.control })
    }

    /// Says no with an HTTP status, and waits until the client has it.
    ///
    /// # Errors
    /// [`HandshakeError::Write`].
    pub async fn refuse(mut self, status: u16) -> Result<(), HandshakeError> {
        let status = StatusCode::try_from(status).unwrap_or(StatusCode::FORBIDDEN);
        let refusal = SessionResponse::with_status_code(status);
        self.answer.write_all(&response(&refusal)).await?;
        // Fails only for a stream that is finished already.
        let _ = self.answer.finish();
        // Its only news would be that the client is gone.
        let _ = self.answer.stopped().await;
        Ok(())
    }
}

impl SessionStreams {
    /// Resolves when the client ends the session. What it says until then is passed over, a little at a time.
    pub async fn ended(&mut self) {
        while let Ok(Some(_)) = self.connect.read_chunk(1024, true).await {}
    }
}

async fn send_settings(connection: &Connection) -> Result<SendStream, HandshakeError> {
    let settings = Settings::builder()
        .qpack_max_table_capacity(VarInt::from_u32(0))
        .qpack_blocked_streams(VarInt::from_u32(0))
        .enable_connect_protocol()
        .enable_webtransport()
        .enable_h3_datagrams()
        .webtransport_max_sessions(VarInt::from_u32(1))
        .build();
    let mut bytes = Vec::new();
    let header = StreamHeader::new_control();
    header.write(&mut bytes).map_err(|_| HandshakeError::Protocol("no room for a stream's head"))?;
    append_frame(&mut bytes, &settings.generate_frame());
    let mut stream = connection.open_uni().await?;
    stream.write_all(&bytes).await?;
    Ok(stream)
}

/// Waits for the client's SETTINGS, before which no session may be accepted. Gives the streams that came.
async fn receive_settings(connection: &Connection) -> Result<Vec<RecvStream>, HandshakeError> {
    // Most clients open that one first.
    let mut received = Vec::with_capacity(1);
    while received.len() < MAX_STREAMS_BEFORE_SETTINGS {
        let mut reader = FrameReader { stream: connection.accept_uni().await?, bytes: Vec::new() };
        let (kind, length) = loop {
            match read_varint(&reader.bytes) {
                Some(found) => break found,
                None => reader.more().await?,
            }
        };
        reader.bytes.drain(..length);
        if kind == CONTROL_STREAM {
            let (kind, _) = reader.next().await?;
            received.push(reader.stream);
            if kind != SETTINGS_FRAME {
                return Err(HandshakeError::Protocol("a control stream that does not begin with SETTINGS"));
            }
            return Ok(received);
        }
        received.push(reader.stream);
    }
    Err(HandshakeError::Protocol("no SETTINGS"))
}

fn response(response: &SessionResponse) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_frame(&mut bytes, &response.headers().generate_frame());
    bytes
}

fn append_frame(bytes: &mut Vec<u8>, frame: &Frame<'_>) {
    // The only error is a buffer's end, and a vector has none.
    frame.write(bytes).expect("a vector has room for every frame");
}

/// Reads frames off a stream.
struct FrameReader {
    stream: RecvStream,
    bytes: Vec<u8>,
}

impl FrameReader {
    async fn next(&mut self) -> Result<(u64, Vec<u8>), HandshakeError> {
        loop {
            let found = next_frame(&self.bytes, MAX_FRAME_BYTES)
                .map_err(|_| HandshakeError::Protocol("a frame above the limit"))?;
            if let Some((frame, used)) = found {
                let found = (frame.kind, frame.payload.to_vec());
                self.bytes.drain(..used);
                return Ok(found);
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), HandshakeError> {
        let chunk = self.stream.read_chunk(MAX_FRAME_BYTES, true).await?;
        let chunk = chunk.ok_or(HandshakeError::Protocol("a stream that ends before its first frame"))?;
        self.bytes.extend_from_slice(&chunk.bytes);
        Ok(())
    }
}
