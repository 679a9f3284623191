//! Limits of what is in progress: circuit breakers, an adaptive limit of writes in flight and the parking lot; and what refused
//! writes prove. Knows neither messages nor how they are written.

mod circuit_breaker;
mod key_range_throttles;
mod limiter;
mod parking_lot;
mod refusals;
#[cfg(test)]
mod threads;
mod write_permits;

pub(crate) use circuit_breaker::CircuitBreaker;
pub(crate) use key_range_throttles::KeyRangeThrottles;
pub(crate) use parking_lot::{ParkedWrite, ParkingLot};
pub(crate) use refusals::{Refusal, Refusals};
pub(crate) use write_permits::{Change, WritePermit, WritePermits};
