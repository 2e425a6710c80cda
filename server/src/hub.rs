//! The hub gives every round its place: it keeps the latest of each game and hands rounds to the shards. It
//! knows games and shards, no sockets and no protocols.
//!
//! A subscriber that attaches asks the hub, and the hub answers **through the same ordered queue that carries
//! the live rounds to that subscriber's shard**. Whatever stands before the answer in that queue is older than
//! the latest rounds in the answer; whatever stands behind it is newer. That order is the whole proof that
//! nothing is missed and nothing comes twice.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::catalog::{GameIndex, Subscription};
use crate::published::Published;
use crate::shard::{MemberKey, ShardId, ShardInput, ShardSender};

/// What the hub is told.
#[derive(Debug)]
pub enum HubInput {
    /// A round was published.
    Round(Arc<Published>),
    /// A round known from before this server started; counts only where nothing newer is known.
    Stored(Arc<Published>),
    /// A subscriber wants to attach.
    Attach {
        /// The shard that owns it.
        shard: ShardId,
        /// Its name there.
        member: MemberKey,
        /// What it wants.
        subscription: Subscription,
    },
    /// Someone asks for the latest round of a game.
    Latest {
        /// The game.
        game: GameIndex,
        /// Gets the answer.
        answer: oneshot::Sender<Option<Arc<Published>>>,
    },
}

/// Where the hub is told things. Never blocks: the hub waits for nobody, so its queue is as long as what
/// arrived since it last ran.
#[derive(Debug, Clone)]
pub struct HubSender(mpsc::UnboundedSender<HubInput>);

impl HubSender {
    /// A queue: its sending side and the side the hub reads.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<HubInput>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Tells the hub. After the hub has ended, at shutdown, nothing happens.
    pub fn tell(&self, input: HubInput) {
        let _ = self.0.send(input);
    }

    /// The latest round of a game.
    pub async fn latest(&self, game: GameIndex) -> Option<Arc<Published>> {
        let (answer, answered) = oneshot::channel();
        self.tell(HubInput::Latest { game, answer });
        answered.await.ok().flatten()
    }
}

/// The latest round of a game.
#[derive(Debug)]
struct Latest {
    round: Arc<Published>,
    /// Known from before this server started, not heard from Redis' channel.
    stored: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Hub {
    latest: Vec<Option<Latest>>,
    shards: Vec<ShardSender>,
}

impl Hub {
    /// A hub for so many games and these shards.
    pub fn new(games: usize, shards: Vec<ShardSender>) -> Self {
        Self { latest: (0..games).map(|_| None).collect(), shards }
    }

    /// Works until every sender is gone.
    pub async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<HubInput>) {
        while let Some(input) = inputs.recv().await {
            self.take(input);
        }
    }

    fn take(&mut self, input: HubInput) {
        match input {
            HubInput::Round(round) => {
                let latest = &mut self.latest[round.game().index()];
                // A publisher that stores a round before it publishes it, and a server that starts in between:
                // who is attached has got this round as the latest.
                let known = |latest: &Latest| latest.stored && latest.round.round_id() == round.round_id();
                if latest.as_ref().is_some_and(known) {
                    return;
                }
                *latest = Some(Latest { round: Arc::clone(&round), stored: false });
                // The last shard first: shard 0 shares this thread and runs when the hub is done, the others
                // can start at once.
                for shard in self.shards.iter().rev() {
                    shard.tell(ShardInput::Round(Arc::clone(&round)));
                }
            }
            HubInput::Stored(round) => {
                self.latest[round.game().index()].get_or_insert(Latest { round, stored: true });
            }
            HubInput::Attach { shard, member, subscription } => {
                let latest = subscription.games().iter().filter_map(|game| self.latest(*game)).collect();
                self.shards[shard.index()].tell(ShardInput::Attached { member, latest });
            }
            HubInput::Latest { game, answer } => {
                // Who asked may have gone; then nobody needs the answer.
                let _ = answer.send(self.latest(game));
            }
        }
    }

    fn latest(&self, game: GameIndex) -> Option<Arc<Published>> {
        self.latest[game.index()].as_ref().map(|latest| Arc::clone(&latest.round))
    }
}
