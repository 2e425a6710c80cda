//! What the benches, the floor programs and the bare clients share.

pub mod floor;
pub mod measured;
pub mod resp;
pub mod round;
