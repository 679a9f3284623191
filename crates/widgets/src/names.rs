//! The names of the tables. Pure.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    pub widgets: String,
    /// The requests with an Idempotency-Key.
    pub requests: String,
}
