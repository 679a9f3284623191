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

/// Returns e.g. `0.1.0 (abc1234, features: local)`.
pub(super) fn text() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        // Git's abbreviation of a commit. Any other name of a revision stays whole.
        let is_commit = REVISION.len() == 40 && REVISION.bytes().all(|byte| byte.is_ascii_hexdigit());
        let revision = if is_commit { &REVISION[..7] } else { REVISION };
        format!("{} ({revision}, features: {FEATURES})", env!("CARGO_PKG_VERSION"))
    });
    &TEXT
}
