//! What a program prints for `--version`. Pure.

/// Returns e.g. `0.1.0 (abc1234, features: local)`.
pub fn text(version: &str, revision: &str, features: &str) -> String {
    format!("{version} ({}, features: {features})", abbreviated(revision))
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
