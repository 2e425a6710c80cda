//! The one subscription to Redis, however many clients there are: payloads become validated rounds that keep
//! their published bytes. Never waits for anyone downstream; reconnects and resubscribes by itself. It has a thread of
//! its own, which sleeps in `recv`: see [`subscription`].

mod connection;
mod received;
mod stop;
mod subscription;

pub use stop::Stop;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lastmile_wire::channel::{latest_key, slug_of_channel, stream_channel};
use lastmile_wire::round::{Round, RoundError};
use redis::{Client, Commands};
use tokio::sync::oneshot;
use tracing::{info, warn};

use self::subscription::{Message, Subscription};
use crate::catalog::{Catalog, GameIndex};
use crate::clock;
use crate::hub::Hub;
use crate::metrics::{Metrics, REASON_SLUG};
use crate::persist::Persist;
use crate::published::Published;

/// A single attempt to connect, and to subscribe, takes at most this long.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(3);

/// Waits between attempts: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How often a bad payload is logged at most; all of them are counted.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Why Redis can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The address is no Redis address.
    #[error("--redis {url} is no Redis address: {source}; use redis://host:port or redis+unix:///path")]
    Address {
        /// What was given.
        url: String,
        /// What the client library says.
        source: redis::RedisError,
    },
    /// Nobody answers there.
    #[error(
        "could not reach Redis at {url} within {waited:?}: {reason}; start it, or give another with --redis"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// How long it was tried.
        waited: Duration,
        /// The last error.
        reason: String,
    },
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Ingest {
    client: Client,
    url: String,
    catalog: Arc<Catalog>,
    hub: Hub,
    persist: Option<Persist>,
    metrics: Arc<Metrics>,
    stop: Stop,
    last_logged: Option<Instant>,
}

/// A payload that is no round of its channel.
#[derive(Debug, thiserror::Error)]
enum Rejected {
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error("game_slug is {0:?}")]
    Slug(String),
}

impl Ingest {
    /// Ingest of all the catalog's games from the Redis at `url`.
    ///
    /// # Errors
    /// [`IngestError::Address`].
    pub fn new(
        url: &str,
        catalog: Arc<Catalog>,
        hub: Hub,
        persist: Option<Persist>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, IngestError> {
        let shown = redis_address(url)?;
        let client =
            Client::open(url).map_err(|source| IngestError::Address { url: shown.clone(), source })?;
        Ok(Self {
            client,
            url: shown,
            catalog,
            hub,
            persist,
            metrics,
            stop: Stop::default(),
            last_logged: None,
        })
    }

    /// What ends [`Self::run`].
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Works until told to stop, and keeps the thread for itself. `ready` is told when the subscription stands for the
    /// first time, or that it could not be had within `limit`; then this ends.
    pub fn run(mut self, limit: Duration, ready: oneshot::Sender<Result<(), IngestError>>) {
        let began = Instant::now();
        let mut ready = Some(ready);
        let mut backoff = BACKOFF.0;
        while !self.stop.is_told() {
            match self.subscribe() {
                Ok(subscription) => {
                    backoff = BACKOFF.0;
                    match ready.take() {
                        // The starter has given up only if the whole server is going.
                        Some(ready) => drop(ready.send(Ok(()))),
                        None => info!(url = %self.url, "subscribed to Redis again"),
                    }
                    self.follow(subscription);
                }
                Err(_) if self.stop.is_told() => return,
                Err(reason) if ready.is_some() && began.elapsed() >= limit => {
                    let error = IngestError::Unreachable { url: self.url, waited: limit, reason };
                    if let Some(ready) = ready.take() {
                        drop(ready.send(Err(error)));
                    }
                    return;
                }
                Err(reason) => warn!(url = %self.url, %reason, "could not subscribe to Redis"),
            }
            self.stop.forget();
            self.stop.sleep(backoff);
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Takes what is published until the connection ends.
    fn follow(&mut self, mut subscription: Subscription) {
        self.metrics.ingest.connected.add(1);
        let reason = subscription.run(|message| self.take(message));
        self.hub.interrupt();
        if let Some(persist) = &self.persist {
            persist.interrupt();
        }
        self.metrics.ingest.connected.add(-1);
        if !self.stop.is_told() {
            self.metrics.ingest.disconnects.add(1);
            warn!(url = %self.url, %reason, "lost the connection to Redis");
        }
    }

    /// Subscribes to the channel of every game, then reads what was published before.
    fn subscribe(&self) -> Result<Subscription, String> {
        let channels: Vec<String> = self.catalog.games().map(|(_, slug)| stream_channel(slug)).collect();
        let info = self.client.get_connection_info();
        let subscription = Subscription::open(info, &channels, ATTEMPT_LIMIT, &self.stop)
            .map_err(|error| error.to_string())?;
        self.read_latest().map_err(|error| error.to_string())?;
        Ok(subscription)
    }

    /// The latest rounds that the publisher keeps in Redis; they count where nothing else is known.
    fn read_latest(&self) -> redis::RedisResult<()> {
        let mut connection = self.client.get_connection_with_timeout(ATTEMPT_LIMIT)?;
        connection.set_read_timeout(Some(ATTEMPT_LIMIT))?;
        for (game, slug) in self.catalog.games() {
            let stored: Option<Vec<u8>> = connection.get(latest_key(slug))?;
            let Some(payload) = stored else { continue };
            match read(&payload, slug) {
                Ok(round_id) => {
                    let round = Published::new(game, round_id, Bytes::from(payload), clock::now_ns());
                    self.hub.remember(Arc::new(round));
                }
                Err(reason) => warn!(key = latest_key(slug), %reason, "ignored a latest round"),
            }
        }
        Ok(())
    }

    fn take(&mut self, message: Message) {
        let ingested_ns = clock::now_ns();
        let Message { channel, payload, is_last } = message;
        // Channels are named by their subscriber: others don't come.
        let Ok(channel) = std::str::from_utf8(channel) else { return };
        let Some((game, slug)) = self.game_of(channel) else { return };
        match read(payload, slug) {
            Ok(round_id) => {
                self.metrics.ingest.rounds.add(1);
                self.metrics.ingest.bytes.add(payload.len() as u64);
                if let Some(stages) = &self.metrics.stages {
                    stages.note_ingested(round_id, ingested_ns);
                }
                let round = Published::new(game, round_id, Bytes::copy_from_slice(payload), ingested_ns);
                let round = Arc::new(round);
                self.hub.publish(&round, is_last);
                if let Some(persist) = &self.persist {
                    persist.offer(&round);
                }
            }
            Err(rejected) => {
                let reason = match &rejected {
                    Rejected::Round(error) => error.reason(),
                    Rejected::Slug(_) => REASON_SLUG,
                };
                self.metrics.ingest.reject(reason);
                if self.last_logged.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
                    self.last_logged = Some(Instant::now());
                    warn!(channel, reason = %rejected, "dropped a payload that is no round");
                }
            }
        }
    }

    fn game_of<'a>(&self, channel: &'a str) -> Option<(GameIndex, &'a str)> {
        let slug = slug_of_channel(channel)?;
        Some((self.catalog.game(slug)?, slug))
    }
}

/// Validates a payload of a game and gives its identifier.
fn read(payload: &[u8], slug: &str) -> Result<u64, Rejected> {
    let (round_id, game_slug) = Round::identify(payload)?;
    if game_slug == slug { Ok(round_id) } else { Err(Rejected::Slug(game_slug.into_owned())) }
}

/// The address of a Redis, as it may be shown.
///
/// # Errors
/// [`IngestError::Address`] where it is none.
pub fn redis_address(url: &str) -> Result<String, IngestError> {
    let shown = without_password(url);
    match Client::open(url) {
        Ok(_) => Ok(shown),
        Err(source) => Err(IngestError::Address { url: shown, source }),
    }
}

/// An address as it may be shown.
fn without_password(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme + 3 < at => format!("{}***{}", &url[..scheme + 3], &url[at..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(without_password("redis://user:secret@host:6379"), "redis://***@host:6379");
        assert_eq!(without_password("redis+unix:///tmp/redis.sock"), "redis+unix:///tmp/redis.sock");
    }

    #[test]
    fn a_round_of_another_game_is_rejected() {
        let payload = br#"{"round_id":512,"game_id":1,"game_slug":"crash","game_type":"multiplier","finished_at":"2026-01-17T00:45:42Z","extras":"{}","timestamp":1}"#;
        assert_eq!(read(payload, "crash").unwrap(), 512);
        assert!(matches!(read(payload, "double"), Err(Rejected::Slug(_))));
    }
}
