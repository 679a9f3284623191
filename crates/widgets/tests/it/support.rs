//! The test harness: servers to test against, and tables of a test's own.

pub(crate) mod tables;
