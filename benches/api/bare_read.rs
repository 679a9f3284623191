//! What the benchmark asks of the bare reads. Both programs contain this file.

use serde::{Deserialize, Serialize};

use crate::load::Load;

/// The Query and the BatchGetItem of one host, with the SDK alone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BareRead {
    pub(crate) ip: String,
    /// The number of its records.
    pub(crate) services: usize,
    pub(crate) workers: usize,
    pub(crate) load: Load,
}
