//! Results of lastmile: their schema, the statistics over them, and the reports drawn from them.
//!
//! Knows no sockets and no processes; the only I/O is reading and writing results.

pub mod histogram;
pub mod schema;
pub mod statistics;
pub mod store;
