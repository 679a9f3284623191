//! The one integration binary: the program as it is used.

mod capacity;
mod chaos;
mod consumer;
mod contract;
mod corpus;
mod drain;
mod errors;
mod fuzz;
mod layering;
mod local;
mod outage;
mod poison;
mod roles;
mod settings;
mod setup;
mod streams;
mod support;
mod telemetry;
