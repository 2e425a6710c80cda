//! The hub gives every round its place: it keeps the latest of each game and hands rounds to the shards. It
//! knows games and shards, no sockets and no protocols.
//!
//! A subscriber that attaches asks the hub, and the hub answers **through the same ordered queue that carries
//! the live rounds to that subscriber's shard**. Whatever stands before the answer in that queue is older than
//! the latest rounds in the answer; whatever stands behind it is newer. That order is the whole proof that
//! nothing is missed and nothing comes twice.

use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::{Change, GameIndex, Subscription};
use crate::published::Published;
use crate::replay::{self, Older, ReplayLimits, Ring};
use crate::shard::{Here, MemberKey, Reply, SEATS_A_TURN, ShardId, ShardInput, ShardSender};

/// See the module's documentation. Clones are the same hub.
///
/// Whoever has something for the hub does its work there and then, behind a lock that is held for as long as it
/// takes to put something into each shard's queue: once for a round and once for a newcomer. A queue and a task of the
/// hub's own would cost every round a switch of tasks instead. Where a round goes to a handful of sockets, it is
/// written to them under that lock.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Mutex<Places>>);

#[derive(Debug)]
struct Places {
    latest: Vec<Option<Latest>>,
    rings: Vec<Ring>,
    limits: ReplayLimits,
    /// The place of the newest round among all.
    place: u64,
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
        Self::with_replay(games, shards, ReplayLimits::default())
    }

    /// The same with limits to what is kept for those who come back.
    pub fn with_replay(games: usize, shards: Vec<ShardSender>, limits: ReplayLimits) -> Self {
        let latest = (0..games).map(|_| None).collect();
        let rings = (0..games).map(|_| Ring::default()).collect();
        Self(Arc::new(Mutex::new(Places { latest, rings, limits, place: 0, shards })))
    }

    /// A round was published; whether it is the last for now, or more has been read already.
    pub fn publish(&self, round: &Arc<Published>, is_last: bool) {
        let mut places = self.places();
        let latest = &mut places.latest[round.game().index()];
        // A publisher that stores a round before it publishes it, and a server that starts in between: who is
        // attached has got this round as the latest.
        let known = |latest: &Latest| latest.stored && latest.round.round_id() == round.round_id();
        if latest.as_ref().is_some_and(known) {
            return;
        }
        *latest = Some(Latest { round: Arc::clone(round), stored: false });
        places.keep(round);
        // A turn's length, by whoever brings the round, is what a shard would take anyway before it looks up. Where more
        // follows, the shard joins it.
        let sockets = if is_last { SEATS_A_TURN / places.shards.len().max(1) } else { 0 };
        let Some((last, others)) = places.shards.split_last() else { return };
        for shard in others {
            shard.publish(round, Here { sockets, first_turn: false });
        }
        // The others are at work by now.
        last.publish(round, Here { sockets, first_turn: is_last });
    }

    /// A round is known from before this server started; it counts only where nothing newer is known.
    pub fn remember(&self, round: Arc<Published>) {
        let mut places = self.places();
        let game = round.game().index();
        if places.latest[game].is_none() {
            places.keep(&round);
            // What was published until this server hears is not known.
            places.rings[game].interrupt();
            places.latest[game] = Some(Latest { round, stored: true });
        }
    }

    /// What is published from now on may not be seen, until rounds come again.
    pub fn interrupt(&self) {
        self.places().rings.iter_mut().for_each(Ring::interrupt);
    }

    /// A shard's newcomer wants to attach: with the latest rounds, or with what came after the round it had last.
    pub fn attach(&self, shard: ShardId, member: MemberKey, subscription: &Subscription, from: &From) {
        let places = self.places();
        let games = subscription.games().iter();
        let latest = match from.since {
            None => games.filter_map(|game| places.latest(*game)).collect(),
            Some(since) => replay::replay(&places.rings_of(subscription), since, &from.older),
        };
        places.shards[shard.index()].tell(ShardInput::Attached { member, latest });
    }

    /// The games of which not everything behind a round is kept: see [`replay::forgotten_since`].
    pub fn forgotten_since(&self, subscription: &Subscription, since: u64) -> Vec<(GameIndex, u64)> {
        replay::forgotten_since(&self.places().rings_of(subscription), since)
    }

    /// A shard's member wants other games: the change takes place where the answer stands in the shard's queue.
    pub fn change(&self, shard: ShardId, member: MemberKey, change: Change, reply: Reply) {
        let places = self.places();
        let latest = match &change {
            Change::Add(games) => games.iter().filter_map(|game| places.latest(*game)).collect(),
            Change::Remove(_) => Vec::new(),
        };
        places.shards[shard.index()].tell(ShardInput::Changed { member, change, latest, reply });
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

/// Where a newcomer begins.
#[derive(Debug, Default)]
pub struct From {
    /// What its client had last; without, it gets the latest rounds.
    pub since: Option<u64>,
    /// What the hub has forgotten of what came after.
    pub older: Vec<Older>,
}

impl Places {
    fn rings_of(&self, subscription: &Subscription) -> Vec<(GameIndex, &Ring)> {
        subscription.games().iter().map(|game| (*game, &self.rings[game.index()])).collect()
    }

    fn keep(&mut self, round: &Published) {
        self.place += 1;
        self.rings[round.game().index()].push(self.place, round, self.limits);
    }

    fn latest(&self, game: GameIndex) -> Option<Arc<Published>> {
        self.latest[game.index()].as_ref().map(|latest| Arc::clone(&latest.round))
    }
}
