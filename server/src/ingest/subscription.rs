//! The connection that carries the rounds: one thread that waits in `recv`, one buffer, nothing between the socket and
//! the hub. A round in an otherwise idle server finds cold caches, and every line of code it passes costs it time: on
//! this way there are no runtime, no readiness and no second task.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use lastmile_wire::resp::{self, Push};
use redis::ConnectionInfo;

use super::connection::Connection;
use super::received::Received;
use super::stop::Stop;

/// How often Redis is asked whether it is still there; it has as long to answer.
const PING_INTERVAL: Duration = Duration::from_secs(4);

/// Largest payload read off the connection, to be told apart from a round and counted. A connection that
/// announces a larger one is given up.
const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// Why a subscription could not be had, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    /// The connection could not be made, or broke.
    #[error(transparent)]
    Connection(#[from] io::Error),
    /// Redis refuses, in its own words.
    #[error("Redis says: {0}")]
    Refused(String),
    /// What answers there is no Redis.
    #[error(transparent)]
    Protocol(#[from] resp::RespError),
    /// The server is ending.
    #[error("told to stop")]
    Stopped,
    /// What was connected to does not say a word.
    #[error("no answer")]
    NoAnswer,
    /// Redis did not answer a ping.
    #[error("Redis fell silent")]
    Silent,
}

/// What was published.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Where.
    pub channel: &'a [u8],
    /// What.
    pub payload: &'a [u8],
    /// Nothing has been read that stands behind it.
    pub is_last: bool,
}

/// A connection that has subscribed.
#[derive(Debug)]
pub struct Subscription {
    connection: Connection,
    received: Received,
}

impl Subscription {
    /// Connects, introduces itself and subscribes, within `limit`. A `stop` ends it wherever it waits from then on.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub fn open(
        info: &ConnectionInfo,
        channels: &[String],
        limit: Duration,
        stop: &Stop,
    ) -> Result<Self, SubscriptionError> {
        let deadline = Instant::now() + limit;
        let connection = Connection::open(info.addr(), limit)?;
        if !stop.cuts(&connection)? {
            return Err(SubscriptionError::Stopped);
        }
        let mut subscription = Self { connection, received: Received::default() };
        subscription.connection.write_all(&introduction(info, channels))?;
        let mut subscribed = 0;
        while subscribed < channels.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            if !subscription.read_more(left)? {
                return Err(SubscriptionError::NoAnswer);
            }
            subscribed += subscription.take_until_message()?;
        }
        Ok(subscription)
    }

    /// Hands every message to `on_message` until the connection ends; gives the reason.
    pub fn run(&mut self, mut on_message: impl FnMut(Message)) -> SubscriptionError {
        let mut ping = Vec::new();
        resp::append_command(&mut ping, &[b"PING"]);
        // Something has been heard since the last ping.
        let mut was_heard = true;
        loop {
            let went_on = self.take(&mut on_message).and_then(|()| self.read_more(PING_INTERVAL));
            match went_on {
                Err(error) => return error,
                Ok(true) => was_heard = true,
                Ok(false) if !was_heard => return SubscriptionError::Silent,
                Ok(false) => {
                    was_heard = false;
                    if let Err(error) = self.connection.write_all(&ping) {
                        return error.into();
                    }
                }
            }
        }
    }

    /// Takes what has arrived whole.
    fn take(&mut self, on_message: &mut impl FnMut(Message)) -> Result<(), SubscriptionError> {
        while let Some((push, used)) = resp::next_push(self.received.bytes(), MAX_PAYLOAD_BYTES)? {
            match push {
                Push::Message { channel, payload } => {
                    let is_last = used == self.received.bytes().len();
                    on_message(Message { channel, payload, is_last });
                }
                Push::Refused(words) => return Err(refused(words)),
                Push::Subscribed | Push::Other => {}
            }
            self.received.take(used);
        }
        Ok(())
    }

    /// Takes the answers to what was said on connecting; gives how many subscriptions stand. A message that comes
    /// among them is left for [`Self::run`].
    fn take_until_message(&mut self) -> Result<usize, SubscriptionError> {
        let mut subscribed = 0;
        while let Some((push, used)) = resp::next_push(self.received.bytes(), MAX_PAYLOAD_BYTES)? {
            match push {
                Push::Subscribed => subscribed += 1,
                Push::Other => {}
                Push::Refused(words) => return Err(refused(words)),
                Push::Message { .. } => break,
            }
            self.received.take(used);
        }
        Ok(subscribed)
    }

    /// Whether something came within `limit`.
    fn read_more(&mut self, limit: Duration) -> Result<bool, SubscriptionError> {
        self.connection.wait_at_most(limit)?;
        // A read with a limit is interrupted when the process is stopped and goes on.
        let read = loop {
            match self.received.read_from(&mut self.connection) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What a connection begins with.
fn introduction(info: &ConnectionInfo, channels: &[String]) -> Vec<u8> {
    let mut commands = Vec::new();
    let settings = info.redis_settings();
    match (settings.username(), settings.password()) {
        (Some(user), Some(password)) => {
            resp::append_command(&mut commands, &[b"AUTH", user.as_bytes(), password.as_bytes()]);
        }
        (None, Some(password)) => resp::append_command(&mut commands, &[b"AUTH", password.as_bytes()]),
        (_, None) => {}
    }
    let mut parts: Vec<&[u8]> = vec![b"SUBSCRIBE"];
    parts.extend(channels.iter().map(String::as_bytes));
    resp::append_command(&mut commands, &parts);
    commands
}

fn refused(words: &[u8]) -> SubscriptionError {
    SubscriptionError::Refused(String::from_utf8_lossy(words).into_owned())
}
