//! What a session's client says: commands in datagrams, and on streams that it opens, there behind their length as
//! rounds are. The answer goes where the command came from, one after the other: a client that says more than it is
//! answered is held up by QUIC's own flow control.

use std::sync::{Arc, Weak};

use lastmile_wire::command::{Command, CommandError, MAX_COMMAND_BYTES};
use lastmile_wire::webtransport::{
    append_message, bidi_stream_payload, datagram, datagram_payload, next_message,
};
use wtransport::quinn::{Connection, RecvStream, SendStream, VarInt};

use crate::shard::SessionSeat;

/// HTTP/3's code for a stream that is not wanted (RFC 9114, section 8.1: `H3_REQUEST_REJECTED`).
const NOT_WANTED: VarInt = VarInt::from_u32(0x010b);

/// Where an answer goes.
enum Asked {
    InDatagram,
    OnStream(Box<CommandStream>),
}

/// A stream the client has opened, and what has been read of it.
struct CommandStream {
    answers: SendStream,
    commands: RecvStream,
    bytes: Vec<u8>,
}

impl CommandStream {
    /// The next command; `None` where there are no more.
    async fn next(&mut self) -> Option<Result<Command, CommandError>> {
        loop {
            match next_message(&self.bytes, MAX_COMMAND_BYTES) {
                Ok(Some((message, used))) => {
                    let command = Command::parse(message);
                    self.bytes.drain(..used);
                    return Some(command);
                }
                // Where the next one begins is not to be known then.
                Err(_) => {
                    // Fails for a stream that has ended, which is what it is to do.
                    let _ = self.commands.stop(NOT_WANTED);
                    self.bytes.clear();
                    return Some(Err(CommandError::TooLong));
                }
                Ok(None) => {}
            }
            let chunk = self.commands.read_chunk(MAX_COMMAND_BYTES, true).await.ok()??;
            self.bytes.extend_from_slice(&chunk.bytes);
        }
    }

    async fn answer(&mut self, answer: &str) -> Option<()> {
        let mut bytes = Vec::new();
        append_message(&mut bytes, answer.as_bytes());
        self.answers.write_all(&bytes).await.ok()
    }
}

/// Serves a session's commands; resolves when the connection has ended.
pub async fn serve(connection: &Connection, session_id: u64, seat: &Arc<SessionSeat>) {
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let Ok((answers, commands)) = stream else { return };
                // As a task of its own, which ends with the connection: a session that says nothing pays for none.
                let stream = CommandStream { answers, commands, bytes: Vec::new() };
                tokio::spawn(serve_stream(Box::new(stream), session_id, Arc::downgrade(seat)));
            }
            datagram = connection.read_datagram() => {
                let Ok(datagram) = datagram else { return };
                // Of another session, or of none: datagrams may be dropped.
                let Some(command) = datagram_payload(&datagram, session_id) else { continue };
                let Some(answer) = Box::pin(seat.say(Command::parse(command))).await else { return };
                // An answer that is too long for a datagram can't be given in one.
                let _ = connection.send_datagram(self::datagram(session_id, answer.as_bytes()).into());
            }
        }
    }
}

async fn serve_stream(stream: Box<CommandStream>, session_id: u64, seat: Weak<SessionSeat>) {
    if let Some(stream) = accept(stream, session_id).await {
        answer_all(stream, seat).await;
    }
}

async fn answer_all(mut stream: Box<CommandStream>, seat: Weak<SessionSeat>) {
    while let Some(command) = stream.next().await {
        let Some(seat) = seat.upgrade() else { return };
        let Some(answer) = seat.say(command).await else { return };
        drop(seat);
        if stream.answer(&answer).await.is_none() {
            return;
        }
    }
    // Fails only for a stream that is finished already.
    let _ = stream.answers.finish();
}

/// Reads what a stream of the session begins with; `None` where it is none, which is told.
async fn accept(mut stream: Box<CommandStream>, session_id: u64) -> Option<Box<CommandStream>> {
    loop {
        match bidi_stream_payload(&stream.bytes, session_id) {
            Ok(Some(used)) => {
                stream.bytes.drain(..used);
                return Some(stream);
            }
            Ok(None) => {}
            Err(_) => {
                // Both fail for a stream that has ended.
                let _ = stream.commands.stop(NOT_WANTED);
                let _ = stream.answers.reset(NOT_WANTED);
                return None;
            }
        }
        let chunk = stream.commands.read_chunk(MAX_COMMAND_BYTES, true).await.ok()??;
        stream.bytes.extend_from_slice(&chunk.bytes);
    }
}

/// A client that has said who it is, and the stream it did so on, where more may follow.
pub struct Identified(Option<Box<CommandStream>>);

impl Identified {
    /// Hears what follows.
    pub fn go_on(self, seat: &Arc<SessionSeat>) {
        if let Some(stream) = self.0 {
            tokio::spawn(answer_all(stream, Arc::downgrade(seat)));
        }
    }
}

/// Waits for the token of a client that has brought none with its request: the first thing it says. `None` where it is
/// none of ours.
pub async fn identify(
    connection: &Connection,
    session_id: u64,
    check: impl Fn(&[u8]) -> bool,
) -> Option<Identified> {
    let (command, asked) = first_command(connection, session_id).await?;
    if !matches!(&command, Ok(Command::Auth(token)) if check(token.as_bytes())) {
        return None;
    }
    let answer = lastmile_wire::command::authenticated();
    match asked {
        Asked::InDatagram => {
            // Datagrams may be lost; that rounds arrive says the same.
            let _ = connection.send_datagram(datagram(session_id, answer.as_bytes()).into());
            Some(Identified(None))
        }
        Asked::OnStream(mut stream) => {
            stream.answer(&answer).await?;
            Some(Identified(Some(stream)))
        }
    }
}

async fn first_command(
    connection: &Connection,
    session_id: u64,
) -> Option<(Result<Command, CommandError>, Asked)> {
    loop {
        tokio::select! {
            stream = connection.accept_bi() => {
                let (answers, commands) = stream.ok()?;
                let stream = Box::new(CommandStream { answers, commands, bytes: Vec::new() });
                let Some(mut stream) = accept(stream, session_id).await else { continue };
                return Some((stream.next().await?, Asked::OnStream(stream)));
            }
            datagram = connection.read_datagram() => {
                let datagram = datagram.ok()?;
                let Some(command) = datagram_payload(&datagram, session_id) else { continue };
                return Some((Command::parse(command), Asked::InDatagram));
            }
        }
    }
}
