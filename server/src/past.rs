//! What a client that comes back has missed and the replay ring has forgotten, out of the database. It is read before
//! the client is attached, on the control runtime: a slow database makes only those wait who ask for the past.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::debug;

use crate::catalog::{Catalog, GameIndex, Subscription};
use crate::holes::Holes;
use crate::hub::Hub;
use crate::published::Published;
use crate::replay::Older;
use crate::store::{Store, StoreError};

/// Clients whose past is read at the same time; more wait for their turn.
const AT_A_TIME: usize = 4;

/// How long a client waits for its past. After that it is told what is missing.
const PATIENCE: Duration = Duration::from_secs(3);

/// Rounds read for one game at most: the newest of those missed.
const MOST_ROUNDS: u32 = 10_000;

/// See the module's documentation.
#[derive(Debug)]
pub struct Past {
    control: Handle,
    store: Store,
    holes: Holes,
    catalog: Arc<Catalog>,
    hub: Hub,
    turns: Arc<Semaphore>,
    /// Bytes of payload given for one game at most.
    limit_bytes: usize,
}

impl Past {
    /// The past of a store's rounds, given as far as `limit_bytes` a game.
    pub fn new(
        control: Handle,
        store: Store,
        holes: Holes,
        catalog: Arc<Catalog>,
        hub: Hub,
        limit_bytes: usize,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        Self { control, store, holes, catalog, hub, turns, limit_bytes }
    }

    /// What lies between the round `since` and what the hub still keeps. Nothing where the hub has it all, or where
    /// the database does not answer: then the hub tells what is missing.
    pub async fn of(&self, subscription: &Subscription, since: Option<u64>) -> Vec<Older> {
        let Some(since) = since else { return Vec::new() };
        let wanted = self.hub.forgotten_since(subscription, since);
        if wanted.is_empty() {
            return Vec::new();
        }
        let (turns, store, limit_bytes) = (Arc::clone(&self.turns), self.store.clone(), self.limit_bytes);
        let holes = self.holes.clone();
        let wanted: Vec<(GameIndex, String, u64)> =
            wanted.into_iter().map(|(game, to)| (game, self.catalog.slug(game).to_owned(), to)).collect();
        let reading = self.control.spawn(async move {
            // Never closed, so there is always a turn to come.
            let _turn = turns.acquire().await;
            read(&store, &holes, &wanted, since, limit_bytes).await
        });
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(Ok(Ok(older))) => older,
            Ok(Ok(Err(error))) => {
                debug!(%error, "could not read what a client had missed");
                Vec::new()
            }
            // A task that was cancelled: the server is going.
            Ok(Err(_)) => Vec::new(),
            Err(_) => {
                debug!("the database is too slow to tell what a client had missed");
                Vec::new()
            }
        }
    }
}

async fn read(
    store: &Store,
    holes: &Holes,
    wanted: &[(GameIndex, String, u64)],
    since: u64,
    limit_bytes: usize,
) -> Result<Vec<Older>, StoreError> {
    let knows_since = store.has_round(since).await?;
    let mut all = Vec::new();
    for (game, slug, to) in wanted {
        let stored = store.rounds_between(slug, since, *to, MOST_ROUNDS).await?;
        let mut is_whole = knows_since && stored.len() < MOST_ROUNDS as usize;
        let (mut rounds, mut bytes): (Vec<Arc<Published>>, usize) = (Vec::new(), 0);
        for round in stored.iter().rev() {
            let payload = Bytes::from(round.to_json());
            bytes += payload.len();
            if bytes > limit_bytes {
                is_whole = false;
                break;
            }
            if let Some(newer) = rounds.last()
                && holes.are_between(*game, round.round_id, newer.round_id())
            {
                let notice = Published::gap(*game, round.round_id, newer.round_id());
                rounds.push(Arc::new(notice));
            }
            // It has arrived long ago: nothing is to be learned from when it is written.
            let arrived_ns = crate::clock::now_ns();
            rounds.push(Arc::new(Published::new(*game, round.round_id, payload, arrived_ns)));
        }
        rounds.reverse();
        is_whole &= !rounds.first().is_some_and(|first| holes.are_between(*game, since, first.round_id()));
        all.push(Older { game: *game, rounds, is_whole });
    }
    Ok(all)
}
