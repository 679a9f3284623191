//! The integration tests, in one binary. Most of them start the real program.

mod faults;
mod kills;
mod support;
