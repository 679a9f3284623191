//! From the bytes of a message to a [`Scan`], or to the reason why not.

use std::time::{Duration, SystemTime};

use super::{Rejection, Scan};

/// Decodes one payload.
///
/// `publish_time` is the server's, so that every delivery of a message gets the same verdict; a scan whose timestamp
/// is later than `publish_time + max_future_skew` is rejected, because it would pin its record.
pub fn decode(payload: &[u8], publish_time: SystemTime, max_future_skew: Duration) -> Result<Scan, Rejection> {
    let _ = (payload, publish_time, max_future_skew);
    todo!()
}
