//! The load generator of lastmile: how long from a Redis publish until a client has the message, by protocol.
//!
//! A run is a plan of slices; a slice is a fresh stack, a publisher that follows a schedule, and subscribers
//! whose receipts become figures.

pub mod adapter;
pub mod canary;
pub mod capacity;
pub mod case;
pub mod channels;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod cores;
pub mod environment;
pub mod feed;
pub mod gate;
pub mod history;
pub mod host;
pub mod in_flight;
pub mod interrupt;
pub mod kernel_time;
pub mod ledger;
pub mod live;
pub mod message;
pub mod observation;
pub mod observe;
pub mod plan;
pub mod preflight;
pub mod progress;
pub mod publisher;
pub mod receipt_log;
pub mod recorder;
pub mod redis;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod slice;
pub mod stack;
pub mod stages;
pub mod target;
pub mod timetable;
pub mod together;
pub mod transport;
pub mod unpack;
pub mod variant;
pub mod workers;
