//! What both sides of a lastmile measurement share, without I/O: what a round is, what can be subscribed
//! to and under which path, and how each protocol frames a round.
//!
//! The server encodes with it, the load generator decodes with it, and a test of either can use the other
//! half as its peer.

pub mod batch;
pub mod channel;
pub mod command;
pub mod http3;
pub mod msgpack;
pub mod request;
pub mod resp;
pub mod round;
pub mod sse;
pub mod websocket;
pub mod webtransport;
