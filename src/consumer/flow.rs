//! How much is in progress at a time: circuit breakers, write permits whose number adapts, permits of parked messages, and
//! the pace while a table refuses every write. Knows no message's way.

mod circuit_breaker;
mod concurrency;
mod limit;
mod parking_lot;
mod refusals;
mod write_permits;

pub(crate) use circuit_breaker::CircuitBreaker;
pub(crate) use parking_lot::ParkingLot;
pub(crate) use refusals::{RETRY_INTERVAL, Refusals};
pub(crate) use write_permits::{Change, WritePermit, WritePermits};
