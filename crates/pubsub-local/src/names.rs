//! The rules for resource names. Pure.

use super::refusal::Refusal;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Topic,
    Subscription,
}

impl Kind {
    pub(super) fn collection(self) -> &'static str {
        match self {
            Kind::Topic => "topics",
            Kind::Subscription => "subscriptions",
        }
    }
}

/// Checks `projects/{project}/{topics|subscriptions}/{id}`: an id has 3 to 255 characters, starts with a letter, holds
/// letters, digits and `-_.~+%`, and does not start with `goog`.
pub(super) fn check(kind: Kind, name: &str) -> Result<(), Refusal> {
    let mut parts = name.split('/');
    let valid = parts.next() == Some("projects")
        && parts.next().is_some_and(|project| !project.is_empty())
        && parts.next() == Some(kind.collection())
        && parts.next().is_some_and(is_id)
        && parts.next().is_none();
    if valid { Ok(()) } else { Err(Refusal::invalid(format_args!("Invalid [{}] name: {name:?}", kind.collection()))) }
}

/// Checks `projects/{project}`.
pub(super) fn check_project(name: &str) -> Result<(), Refusal> {
    match name.strip_prefix("projects/") {
        Some(project) if !project.is_empty() && !project.contains('/') => Ok(()),
        _ => Err(Refusal::invalid(format_args!("Invalid project name: {name:?}"))),
    }
}

/// The project and the id in a name that was checked.
pub(super) fn split(name: &str) -> (&str, &str) {
    let mut parts = name.split('/').skip(1);
    (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default())
}

fn is_id(id: &str) -> bool {
    (3..=255).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_alphabetic())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+%".contains(&byte))
        && !id.starts_with("goog")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_project_a_collection_and_an_id() {
        assert!(check(Kind::Topic, "projects/p/topics/scan-topic").is_ok());
        assert!(check(Kind::Subscription, "projects/p/subscriptions/a.b_c~d+e%2F").is_ok());
        for wrong in [
            "",
            "scan-topic",
            "projects//topics/scan-topic",
            "projects/p/topics/",
            "projects/p/topics/ab",
            "projects/p/topics/1abc",
            "projects/p/topics/a b c",
            "projects/p/topics/google-topic",
            "projects/p/topics/abc/def",
            "projects/p/subscriptions/abc",
        ] {
            assert!(check(Kind::Topic, wrong).is_err(), "{wrong}");
        }
        assert!(check(Kind::Topic, &format!("projects/p/topics/{}", "a".repeat(255))).is_ok());
        assert!(check(Kind::Topic, &format!("projects/p/topics/{}", "a".repeat(256))).is_err());
    }

    #[test]
    fn a_name_splits_into_project_and_id() {
        assert_eq!(split("projects/p/subscriptions/abc"), ("p", "abc"));
    }
}
