//! The server: Redis Pub/Sub in, WebSocket, Server-Sent Events and WebTransport out.
//!
//! ```text
//! Redis ──PUBLISH──▶ ingest ─Round─▶ hub ─Published─▶ shard 0 ─bytes─▶ its sockets (ws, sse; TLS or not)
//!                                     │               shard 1 …       and queues (WebTransport, HTTP/2)
//!                                     └─ latest of each game, and what came before it
//! ```
//!
//! Each shard is a thread with its own listeners. Ingest is a thread, too; what the hub does for a round is done there,
//! and so is the writing where a sleeping shard has but a few sockets for it: such a round crosses no thread. REST,
//! pages and metrics run on a runtime of their own, the control runtime.

pub mod catalog;
pub mod certificate;
mod check;
pub mod clock;
pub mod config;
pub mod connect;
pub mod guard;
mod holes;
mod http;
pub mod hub;
mod ingest;
pub mod metrics;
pub mod past;
pub mod persist;
pub mod protocol;
pub mod published;
pub mod replay;
pub mod rest;
mod running;
mod seldom;
pub mod shard;
pub mod stages;
mod start;
pub mod store;

pub use check::check_config;
pub use config::Config;
pub use running::{Handle, ReloadError, ServeError};
pub use start::{Server, StartError};
