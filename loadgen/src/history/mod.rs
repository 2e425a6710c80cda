//! `lastmile history`: results over months, kept in a database.

pub mod csv;
pub mod store;
