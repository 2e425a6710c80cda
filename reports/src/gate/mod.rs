//! A gate: does the candidate pass beside its base? Decision, result and everything drawn from it.
//!
//! The measuring is the load generator's; here are pure functions of what it measured.

pub mod annotations;
pub mod decision;
pub mod junit;
pub mod markdown;
pub mod metric;
pub mod schema;
pub mod summary;
pub mod terminal;

pub use decision::{Judgement, Outcome, Series, judge, overall};
pub use metric::{Metric, Threshold};
pub use schema::{Block, Build, GateCase, GateResult, Role};
