//! The operator's commands: each one prints its results and ends with an outcome.
//!
//! They print by the console of `ops` (`Console`, `Outcome`, `ToolError`).

mod error;
pub mod load;

pub use error::NamedTable;
