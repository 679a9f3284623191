//! The shipped engine with simulated stores, receivers and owners of a stream, on a paused clock.

mod behaviour;
mod random;
mod receivers;
mod world;
