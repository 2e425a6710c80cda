//! The running server, tried with clients of every protocol.

#[path = "../common/mod.rs"]
mod common;

mod delivery;
