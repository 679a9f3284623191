//! Runs the shipped worker loop on a paused clock between simulated ports. All ports share one [`World`]. Faults are
//! scripted or random, and every settlement checks the invariants.

mod batches;
mod bounds;
mod dead_letters;
mod faults;
mod health;
mod instance;
mod invariants;
mod keys;
mod messages;
mod outage;
mod poison;
mod pubsub;
mod random;
mod refused;
mod source;
mod stopping;
mod store;
mod streams;
mod table;
mod throttling;
mod vanishing;
mod world;
mod writes;
