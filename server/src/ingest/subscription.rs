//! The connection that carries the rounds: one task, one buffer, nothing between the socket and the hub. The
//! Redis library's own subscription passes each message through a parser made of combinators and a queue to
//! another task, which a round in an otherwise idle server pays for with tens of microseconds.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use lastmile_wire::resp::{self, Push};
use redis::{ConnectionAddr, ConnectionInfo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::MissedTickBehavior;

/// How often Redis is asked whether it is still there; it has as long to answer.
const PING_INTERVAL: Duration = Duration::from_secs(4);

/// Largest payload read off the connection, to be told apart from a round and counted. A connection that
/// announces a larger one is given up.
const MAX_PAYLOAD_BYTES: usize = 16 << 20;

/// Room made in the buffer before a read.
const READ_BYTES: usize = 16 * 1024;

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
    /// An address this server can't use.
    #[error("TLS to Redis is not supported; use redis:// or redis+unix://")]
    Address,
    /// Redis did not answer a ping.
    #[error("Redis fell silent")]
    Silent,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that has subscribed.
pub struct Subscription {
    stream: Box<dyn Stream>,
    received: BytesMut,
}

impl Subscription {
    /// Connects, introduces itself and subscribes.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn open(info: &ConnectionInfo, channels: &[String]) -> Result<Self, SubscriptionError> {
        let stream: Box<dyn Stream> = match info.addr() {
            ConnectionAddr::Unix(path) => Box::new(UnixStream::connect(path).await?),
            ConnectionAddr::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            _ => return Err(SubscriptionError::Address),
        };
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
        let mut subscription = Self { stream, received: BytesMut::with_capacity(READ_BYTES) };
        subscription.stream.write_all(&commands).await?;
        let mut subscribed = 0;
        while subscribed < channels.len() {
            subscription.read_more().await?;
            subscribed += subscription.take_until_message()?;
        }
        Ok(subscription)
    }

    /// Hands every message's channel and payload to `on_message` until the connection ends; gives the reason.
    pub async fn run(&mut self, mut on_message: impl FnMut(&[u8], &[u8])) -> SubscriptionError {
        let mut ping = Vec::new();
        resp::append_command(&mut ping, &[b"PING"]);
        let mut ticks = tokio::time::interval(PING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Something has been heard since the last ping.
        let mut was_heard = true;
        loop {
            if let Err(error) = self.take(&mut on_message) {
                return error;
            }
            let ended = tokio::select! {
                biased;
                read = self.read_more() => {
                    was_heard = true;
                    read
                }
                _ = ticks.tick() => {
                    if !std::mem::replace(&mut was_heard, false) {
                        return SubscriptionError::Silent;
                    }
                    self.stream.write_all(&ping).await.map_err(SubscriptionError::from)
                }
            };
            if let Err(error) = ended {
                return error;
            }
        }
    }

    /// Takes what has arrived whole.
    fn take(&mut self, on_message: &mut impl FnMut(&[u8], &[u8])) -> Result<(), SubscriptionError> {
        while let Some((push, used)) = resp::next_push(&self.received, MAX_PAYLOAD_BYTES)? {
            match push {
                Push::Message { channel, payload } => on_message(channel, payload),
                Push::Refused(words) => return Err(refused(words)),
                Push::Subscribed | Push::Other => {}
            }
            self.received.advance(used);
        }
        Ok(())
    }

    /// Takes the answers to what was said on connecting; gives how many subscriptions stand. A message that comes
    /// among them is left for [`Self::run`].
    fn take_until_message(&mut self) -> Result<usize, SubscriptionError> {
        let mut subscribed = 0;
        while let Some((push, used)) = resp::next_push(&self.received, MAX_PAYLOAD_BYTES)? {
            match push {
                Push::Subscribed => subscribed += 1,
                Push::Other => {}
                Push::Refused(words) => return Err(refused(words)),
                Push::Message { .. } => break,
            }
            self.received.advance(used);
        }
        Ok(subscribed)
    }

    /// Cancel-safe.
    async fn read_more(&mut self) -> Result<(), SubscriptionError> {
        self.received.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(()),
        }
    }
}

fn refused(words: &[u8]) -> SubscriptionError {
    SubscriptionError::Refused(String::from_utf8_lossy(words).into_owned())
}
