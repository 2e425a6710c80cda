//! What the tests of a running server share: a server with a Redis of its own, and clients of every protocol
//! behind one trait, so that one test body serves them all.

#![allow(dead_code, unused_imports, reason = "each test program uses its own part of this")]

mod client;
mod http;
pub mod http2;
mod place;
mod program;
mod round;
mod site;
mod sse;
mod tls;
mod websocket;
pub mod webtransport;

use std::time::Duration;

pub use client::{Client, End, Form, Message, Subscriber, Way};
pub use http::{Answer, Stream, answer, exchange, get, open, try_open};
pub use place::Place;
pub use program::Program;
pub use round::{large_round, round, round_id};
pub use site::{Site, every_way, metric};
pub use sse::{Event, Events};
pub use tls::{certificate_files, pinned};

/// The longest wait for what must happen. Only a failing test ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Runs the asynchronous part of a test, on one thread.
pub fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
}

/// Waits for what must happen soon.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    })
    .await;
}
