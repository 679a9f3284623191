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
    static TEXT: LazyLock<String> =
        LazyLock::new(|| format!("{} ({}, features: {FEATURES})", env!("CARGO_PKG_VERSION"), abbreviated(REVISION)));
    &TEXT
}

/// Returns git's abbreviation of a commit. Any other name of a revision stays whole.
fn abbreviated(revision: &str) -> &str {
    let is_commit = revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit { &revision[..7] } else { revision }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_commit_is_abbreviated() {
        assert_eq!(abbreviated("8b45af60a2f5e9d1c3b7a9e0f1d2c3b4a5968778"), "8b45af6");
        assert_eq!(abbreviated("v1.2.3-4-g8b45af6"), "v1.2.3-4-g8b45af6");
        assert_eq!(abbreviated("unknown"), "unknown");
    }
}
