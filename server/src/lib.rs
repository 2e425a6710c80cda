//! Placeholder.

pub mod certificate;
pub mod store;
