//! Decides which scans need a write: one write per key at a time, and none for a scan whose record is known to be up to date.
//! Knows nothing of how a write is made.

mod coalesce;
mod high_water;
mod keys;

pub use keys::Keys;
pub(crate) use keys::{Admission, Job, Proof, Writer};
