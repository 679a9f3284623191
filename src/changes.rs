//! What changed between two scans of a service.

pub mod diff;
pub mod masks;
