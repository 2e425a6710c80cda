//! Child processes that never outlive their owner.
//!
//! [`Child`] is a program that is stopped, reaped and forgotten when it is dropped, that dies with this
//! process even where no destructor runs, and that keeps the end of its log for whoever has to explain why
//! it failed. On it stand [`PrivateRedis`] and [`PrivatePostgres`]: servers of one's own, on a Unix socket
//! in a folder of their own, for runs and for tests.
//!
//! [`run_in_short_turns`] is for threads that must not wait behind busy ones.
//!
//! Linux only: it builds on pidfd and on the parent-death signal.

mod child;
mod error;
mod folder;
mod output;
mod postgres;
mod program;
mod redis;
mod resp;
mod spawner;
mod turns;

pub use child::{Child, Launch};
pub use error::ProcessError;
pub use folder::ScratchFolder;
pub use postgres::PrivatePostgres;
pub use program::{find_postgres_programs, find_redis_server};
pub use redis::{PrivateRedis, RedisOptions};
pub use resp::{RedisConnection, Reply};
pub use rustix::process::Signal;
pub use turns::run_in_short_turns;
