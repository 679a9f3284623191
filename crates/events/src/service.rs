//! From settings to running roles: start checks, clients, and how they stop.

pub mod deliverer;
pub mod processor;
mod schemas;
