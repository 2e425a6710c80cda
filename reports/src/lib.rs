//! Results of lastmile: their schema, the statistics over them, and the reports drawn from them.
//!
//! Knows no sockets and no processes; the only I/O is reading and writing results.

pub mod checks;
pub mod csv;
pub mod figures;
pub mod gate;
pub mod histogram;
pub mod history;
pub mod html;
pub mod json;
pub mod markdown;
pub mod schema;
pub mod statistics;
pub mod store;
pub mod terminal;
pub mod view;
