//! The integration tests, in one binary. Most of them start the real program.

mod command_line;
mod deliver;
mod kills;
mod processor;
mod support;
mod tools;
