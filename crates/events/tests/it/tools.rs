//! The operator's commands through the program, against embedded servers.

mod check;
mod dead_letters;
mod events;
mod queues;
mod routes;
mod send;
mod setup;
