//! The integration tests, in one binary. Most of them start the real program.

mod api;
mod command_line;
mod contract;
mod faults;
mod kills;
mod model;
mod support;
mod tables;
mod tools;
