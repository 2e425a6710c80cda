//! WebSocket: one round a frame, or a batch; commands are text frames, and so are their answers.

use bytes::Bytes;
use lastmile_wire::command::{Command, CommandError, MAX_COMMAND_BYTES};
use lastmile_wire::request::{Encoding, Protocol, StreamRequest};
use lastmile_wire::websocket::{
    ClientEvent, CloseCode, MessageReader, Opcode, accept_key, append_frame, close_payload, end_of_frame,
};

use super::{CloseReason, Conversation, Said, StreamProtocol};
use crate::connect::{Refusal, RequestHead};
use crate::published::Framing;

/// The subprotocol that asks for `MessagePack`, as `?encoding=msgpack` does.
pub const SUBPROTOCOL_MSGPACK: &str = "lastmile.msgpack";

/// The protocol's one instance.
#[derive(Debug)]
pub struct WebSocket;

/// Answers an upgrade request: the head of the 101 response. A subprotocol that is offered is chosen, and noted in
/// what the client wants.
///
/// # Errors
/// [`Refusal`] where it is no WebSocket handshake of version 13.
pub fn handshake(request: &RequestHead<'_>, wanted: &mut StreamRequest) -> Result<Bytes, Refusal> {
    let upgrade = Refusal::upgrade_required();
    if !request.header_has_token("upgrade", "websocket") || !request.header_has_token("connection", "upgrade")
    {
        return Err(upgrade);
    }
    if request.header("sec-websocket-version") != Some(b"13") {
        return Err(upgrade);
    }
    let key = request.header("sec-websocket-key").filter(|key| key.len() == 24 && key.ends_with(b"=="));
    let key = key.ok_or_else(|| Refusal::bad_request("Sec-WebSocket-Key must be 16 bytes in base64"))?;
    let subprotocol = if request.header_has_token("sec-websocket-protocol", SUBPROTOCOL_MSGPACK) {
        wanted.encoding = Encoding::MessagePack;
        format!("Sec-WebSocket-Protocol: {SUBPROTOCOL_MSGPACK}\r\n")
    } else {
        String::new()
    };
    Ok(Bytes::from(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{subprotocol}\r\n",
        accept_key(key)
    )))
}

impl StreamProtocol for WebSocket {
    fn protocol(&self) -> Protocol {
        Protocol::WebSocket
    }

    fn framing(&self) -> Framing {
        Framing::WebSocket
    }

    fn heartbeat(&self, _unix_seconds: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        append_frame(&mut frame, Opcode::Ping, b"");
        frame
    }

    fn sweeps_per_heartbeat(&self) -> u32 {
        2
    }

    fn client_answers(&self) -> bool {
        true
    }

    fn goodbye(&self, reason: CloseReason) -> Vec<u8> {
        let code = match reason {
            CloseReason::GoingAway | CloseReason::Idle => CloseCode::GoingAway,
            CloseReason::TooSlow => CloseCode::TooSlow,
            CloseReason::ProtocolError => CloseCode::ProtocolError,
            CloseReason::InvalidText => CloseCode::InvalidText,
            CloseReason::TooBig => CloseCode::TooBig,
            CloseReason::Policy | CloseReason::CommandRate | CloseReason::Unauthorized => CloseCode::Policy,
            CloseReason::ClientClosed | CloseReason::PeerGone => CloseCode::Normal,
        };
        let mut frame = Vec::new();
        append_frame(&mut frame, Opcode::Close, &close_payload(code, reason.words()));
        frame
    }

    fn end_of_frame(&self, frames: &[u8], sent: usize) -> usize {
        end_of_frame(frames, sent)
    }

    fn answer(&self, answer: &str) -> Vec<u8> {
        let mut frame = Vec::new();
        append_frame(&mut frame, Opcode::Text, answer.as_bytes());
        frame
    }

    fn hear(
        &self,
        conversation: &mut Conversation,
        bytes: &mut [u8],
        said: &mut Vec<Said>,
    ) -> Result<(), CloseReason> {
        let reader =
            conversation.reader.get_or_insert_with(|| Box::new(MessageReader::new(MAX_COMMAND_BYTES)));
        let mut closed = false;
        let read = reader.read(bytes, |event| {
            match event {
                ClientEvent::Ping(payload) => {
                    // Pings that come together are answered together.
                    if !matches!(said.last(), Some(Said::Answer(_))) {
                        said.push(Said::Answer(Vec::new()));
                    }
                    if let Some(Said::Answer(bytes)) = said.last_mut() {
                        append_frame(bytes, Opcode::Pong, payload);
                    }
                }
                ClientEvent::Pong => {}
                ClientEvent::Text(text) => said.push(Said::Command(Command::parse(text.as_bytes()))),
                ClientEvent::Binary(_) => said.push(Said::Command(Err(CommandError::Binary))),
                ClientEvent::Close(_) => closed = true,
            }
            !closed
        });
        if reader.is_idle() {
            conversation.reader = None;
        }
        match read {
            Err(error) => Err(match error.close_code() {
                CloseCode::TooBig => CloseReason::TooBig,
                CloseCode::InvalidText => CloseReason::InvalidText,
                _ => CloseReason::ProtocolError,
            }),
            Ok(()) if closed => Err(CloseReason::ClientClosed),
            Ok(()) => Ok(()),
        }
    }
}
