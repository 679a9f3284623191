//! The integration tests, in one binary. Most of them start the real program.

mod contract;
mod model;
mod tables;
mod tools;
