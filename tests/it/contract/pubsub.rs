//! Pub/Sub, through Google's own clients.

mod admin;
mod delivery;
mod flow;
mod leases;
mod publish;
mod redelivery;
