//! The integration tests, in one binary. Most of them start the real program.

mod contract;
mod tables;
mod tools;
