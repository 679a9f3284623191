//! The integration tests, in one binary. Most of them start the real program.

mod capacity;
mod chaos;
mod check;
mod command_line;
mod consumer;
mod contract;
mod corpus;
mod dead_letters;
mod docs;
mod drain;
mod errors;
mod fuzz;
mod layering;
mod local;
mod make;
mod observe;
mod outage;
mod poison;
mod prose;
mod receipts;
mod roles;
mod settings;
mod settings_page;
mod setup;
mod streams;
mod support;
