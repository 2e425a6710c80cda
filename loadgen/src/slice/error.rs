//! Why a slice has no outcome.

use std::io;
use std::time::Duration;

use lastmile_processes::ProcessError;

use crate::feed::FeedError;
use crate::message::PayloadTooSmall;
use crate::transport::AttachError;

/// Why a slice has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// The payload can't hold a round.
    #[error(transparent)]
    Payload(#[from] PayloadTooSmall),
    /// Nothing can be published.
    #[error(transparent)]
    Redis(#[from] FeedError),
    /// A subscriber could not be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Subscribers wait for an answer that does not come.
    #[error(
        "{attached} of {connections} subscribers were attached, then none for {patience:?}; the server does not answer"
    )]
    AttachStalled {
        /// How many got through.
        attached: u64,
        /// How many there were to be.
        connections: usize,
        /// How long was waited.
        patience: Duration,
    },
    /// A process of the stack ended in the middle.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The publisher could not go on.
    #[error("publishing stopped after {messages} messages: {reason}")]
    Publisher {
        /// Messages written until then.
        messages: usize,
        /// What happened.
        reason: String,
    },
    /// Redis refuses to publish.
    #[error("{count} publishes were refused, the first with: {answer}")]
    RefusedPublish {
        /// How many.
        count: u64,
        /// What it said.
        answer: String,
    },
    /// Nothing that is published reaches the server.
    #[error(
        "nobody is subscribed to {channel} in {redis}: the server under test must read from the same Redis; name it with --redis"
    )]
    NobodyListens {
        /// Where it was published.
        channel: String,
        /// In which Redis.
        redis: String,
    },
    /// Another slice that was to get the same publishes ended before it was ready.
    #[error("the other server that was to be measured at the same time was not ready for it")]
    Abandoned,
    /// Interrupted before anything was measured.
    #[error("interrupted before anything was measured")]
    Interrupted,
    /// This machine refused a thread, a descriptor or a look into /proc.
    #[error("this machine refused what a run needs: {0}")]
    System(#[from] io::Error),
}
