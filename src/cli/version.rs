//! What `mini-scan --version` prints: version, revision and features.

use std::sync::LazyLock;

use crate::observe::REVISION;

/// The compiled features that users can tell apart.
const FEATURES: &str = match (cfg!(feature = "local"), cfg!(feature = "system-allocator")) {
    (true, true) => "local, system-allocator",
    (true, false) => "local",
    (false, true) => "system-allocator",
    (false, false) => "none",
};

pub(super) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| ops::version::text(env!("CARGO_PKG_VERSION"), REVISION, FEATURES));
    &TEXT
}
