//! The hub gives every round its place: it keeps the latest of each game and hands rounds to the shards. It
//! knows games and shards, no sockets and no protocols.
//!
//! A subscriber that attaches asks the hub, and the hub answers **through the same ordered queue that carries
//! the live rounds to that subscriber's shard**. Whatever stands before the answer in that queue is older than
//! the latest rounds in the answer; whatever stands behind it is newer. That order is the whole proof that
//! nothing is missed and nothing comes twice.

use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::{GameIndex, Subscription};
use crate::published::Published;
use crate::shard::{MemberKey, ShardId, ShardInput, ShardSender};

/// See the module's documentation. Clones are the same hub.
///
/// Whoever has something for the hub does its work there and then, behind a lock that is held for as long as it
/// takes to put something into each shard's queue: once for a round and once for a newcomer, never for a delivery.
/// A queue and a task of the hub's own would cost every round a switch of tasks instead.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Mutex<Places>>);

#[derive(Debug)]
struct Places {
    latest: Vec<Option<Latest>>,
    shards: Vec<ShardSender>,
}

/// The latest round of a game.
#[derive(Debug)]
struct Latest {
    round: Arc<Published>,
    /// Known from before this server started, not heard from Redis' channel.
    stored: bool,
}

impl Hub {
    /// A hub for so many games and these shards.
    pub fn new(games: usize, shards: Vec<ShardSender>) -> Self {
        let latest = (0..games).map(|_| None).collect();
        Self(Arc::new(Mutex::new(Places { latest, shards })))
    }

    /// A round was published.
    pub fn publish(&self, round: &Arc<Published>) {
        let mut places = self.places();
        let latest = &mut places.latest[round.game().index()];
        // A publisher that stores a round before it publishes it, and a server that starts in between: who is
        // attached has got this round as the latest.
        let known = |latest: &Latest| latest.stored && latest.round.round_id() == round.round_id();
        if latest.as_ref().is_some_and(known) {
            return;
        }
        *latest = Some(Latest { round: Arc::clone(round), stored: false });
        // The last shard first: shard 0 shares its thread with whoever publishes and runs after it, the others can
        // start at once.
        for shard in places.shards.iter().rev() {
            shard.tell(ShardInput::Round(Arc::clone(round)));
        }
    }

    /// A round is known from before this server started; it counts only where nothing newer is known.
    pub fn remember(&self, round: Arc<Published>) {
        self.places().latest[round.game().index()].get_or_insert(Latest { round, stored: true });
    }

    /// A shard's newcomer wants to attach.
    pub fn attach(&self, shard: ShardId, member: MemberKey, subscription: &Subscription) {
        let places = self.places();
        let latest = subscription.games().iter().filter_map(|game| places.latest(*game)).collect();
        places.shards[shard.index()].tell(ShardInput::Attached { member, latest });
    }

    /// The latest round of a game.
    pub fn latest(&self, game: GameIndex) -> Option<Arc<Published>> {
        self.places().latest(game)
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        // Nothing behind the lock can be left half done: a panic elsewhere is no reason to stop.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn latest(&self, game: GameIndex) -> Option<Arc<Published>> {
        self.latest[game.index()].as_ref().map(|latest| Arc::clone(&latest.round))
    }
}
