//! Pub/Sub, through Google's clients.

mod admin;
mod delivery;
mod flow;
mod leases;
mod publish;
mod redelivery;
mod seek;
