//! What the floor programs and the bare client share.

pub mod measured;
pub mod resp;
