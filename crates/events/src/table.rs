//! The table of events.

pub mod spec;
