//! The integration tests, in one binary. Most of them start the real program.

mod capacity;
mod chaos;
mod consumer;
mod contract;
mod corpus;
mod dead_letters;
mod drain;
mod errors;
mod fuzz;
mod layering;
mod local;
mod observe;
mod outage;
mod poison;
mod roles;
mod settings;
mod setup;
mod streams;
mod support;
