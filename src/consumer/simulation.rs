//! The shipped worker loop on a paused clock, between simulated ports. What the ports hold is one [`World`]; faults are
//! scripted or drawn from a seed, and what must always hold is checked at every settlement.

mod batches;
mod bounds;
mod dead_letters;
mod faults;
mod health;
mod instance;
mod keys;
mod messages;
mod outage;
mod poison;
mod pubsub;
mod random;
mod refused;
mod stopping;
mod store;
mod throttling;
mod world;
mod writes;
