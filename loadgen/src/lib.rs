//! The load generator of lastmile: how long from a Redis publish until a client has the message, by protocol.
//!
//! A run is a plan of slices; a slice is a fresh stack, a publisher that follows a schedule, and subscribers
//! whose receipts become figures.

pub mod clock;
pub mod ledger;
pub mod message;
pub mod publisher;
pub mod recorder;
pub mod redis;
pub mod schedule;
pub mod timetable;
pub mod transport;
