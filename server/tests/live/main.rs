//! The running server, tried with clients of every protocol.

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod delivery;
mod guard;
mod hand_over;
mod http;
mod ingest;
mod limits;
mod metrics;
mod operating;
mod persist;
mod redis;
mod reload;
mod resume;
mod shutdown;
mod slow;
mod start;
mod variants;
mod websocket;
mod webtransport;
