//! The operator's commands through the program, against embedded servers.

#![expect(clippy::unwrap_used, reason = "Clippy allows it in tests, but not in what they share")]

mod check;
mod dead_letters;
mod events;
mod moto;
mod permissions;
mod queues;
mod routes;
mod send;
mod setup;
