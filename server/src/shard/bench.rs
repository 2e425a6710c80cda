//! For tests: a shard that is moved step by step.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lastmile_wire::request::Topic;

use super::{Inbox, Shard, ShardId, ShardInput, ShardSender, ShardSettings};
use crate::catalog::{Catalog, Subscription};
use crate::guard::Guard;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::published::Published;

/// A shard that a test moves step by step.
pub struct Bench {
    pub shard: Shard,
    pub sender: ShardSender,
    pub inbox: Inbox,
    pub subscription: Subscription,
}

impl Bench {
    pub fn new() -> Self {
        let catalog = Catalog::new([("crash".to_owned(), "multiplier".to_owned())]);
        let second = Duration::from_secs(1);
        let guard = Arc::new(Guard::open(Arc::new(Metrics::new(1))));
        let settings = ShardSettings { backlog_bytes: 1000, heartbeat: second, idle_limit: second, guard };
        let (sender, inbox) = ShardSender::channel();
        let hub = Hub::new(1, vec![sender.clone()]);
        let catalog = Arc::new(catalog);
        let metrics = Arc::new(Metrics::new(1));
        let shard = Shard::new(ShardId(0), Arc::clone(&catalog), settings, hub, metrics);
        let shard = shard.expect("a shard");
        let subscription = catalog.resolve(&Topic::Game("crash".to_owned())).expect("the game");
        Self { shard, sender, inbox, subscription }
    }

    /// Makes the shard ask the hub for a newcomer; gives the hub's answer, not taken yet.
    pub fn ask(&mut self) -> ShardInput {
        self.shard.take(self.inbox.try_take().expect("a join"));
        self.inbox.try_take().expect("an answer")
    }

    pub fn publish(&mut self, round_id: u64) {
        let game = self.subscription.games()[0];
        let payload = Bytes::from(format!("{round_id}"));
        self.shard.take(ShardInput::Round(Arc::new(Published::new(game, round_id, payload, 0))));
    }
}
