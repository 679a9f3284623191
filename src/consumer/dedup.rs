//! Which scans need a write at all: one write per key at a time, and none for a scan that the store is known to hold or
//! to have replaced. Knows nothing of how a write is made.

mod coalesce;
mod high_water;
mod keys;

pub use keys::Keys;
pub(crate) use keys::{Admission, Job, Proof, Writer};
