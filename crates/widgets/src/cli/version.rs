//! What `event-pipeline --version` prints.

use std::sync::LazyLock;

use crate::observe::{PROGRAM, REVISION};

const FEATURES: &str = if cfg!(feature = "local") { "local" } else { "none" };

pub(super) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| ops::version::text(PROGRAM.version, REVISION, FEATURES));
    &TEXT
}
