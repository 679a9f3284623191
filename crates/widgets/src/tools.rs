//! The operator's commands: each one prints its results and ends with an outcome.
//!
//! They print by the console of `ops` (`Console`, `Outcome`, `ToolError`).

pub mod audit;
pub mod check;
mod error;
pub mod load;
pub mod setup;
mod tables;
pub mod tail;

pub use error::NamedTable;
