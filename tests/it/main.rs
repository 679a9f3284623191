//! The one integration binary: the program as it is used.

mod capacity;
mod chaos;
mod check;
mod command_line;
mod consumer;
mod contract;
mod corpus;
mod dead_letters;
mod drain;
mod errors;
mod fuzz;
mod layering;
mod local;
mod make;
mod observe;
mod outage;
mod poison;
mod roles;
mod settings;
mod settings_page;
mod setup;
mod streams;
mod support;
