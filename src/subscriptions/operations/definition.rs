//! What an owner decides about a subscription, and the limits of it. Pure.

use std::fmt;

use webhooks::{Policy, RefusedTarget};

use crate::subscriptions::{Filter, InvalidFilter, Subscription};

/// The parts of a subscription that its owner chooses. `Debug` hides the URL, because URLs may contain secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Definition {
    pub description: String,
    pub url: String,
    pub filter: Filter,
    /// How many attempts each instance makes at the same time.
    pub max_concurrency: u16,
    /// How many attempts each instance starts per second. `None` for no limit.
    pub max_per_second: Option<u32>,
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Definition").field("filter", &self.filter).finish_non_exhaustive()
    }
}

/// Why a definition is refused. The texts contain no URL, because URLs may contain secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    #[error("the URL is refused: {0}")]
    Url(RefusedTarget),
    #[error("the filter is refused: {0}")]
    Filter(InvalidFilter),
    #[error("the description has more than {MAX_DESCRIPTION} characters")]
    Description,
    #[error("the number of attempts at the same time must be from 1 to {MAX_CONCURRENCY}")]
    Concurrency,
    #[error("the number of attempts per second must be from 1 to {MAX_PER_SECOND}")]
    PerSecond,
}

pub const DEFAULT_CONCURRENCY: u16 = 16;
pub const MAX_CONCURRENCY: u16 = 100;
pub const MAX_PER_SECOND: u32 = 10_000;
const MAX_DESCRIPTION: usize = 200;

impl Definition {
    /// Checks the definition. Returns it with a normalized URL and filter.
    pub fn checked(self, policy: &Policy) -> Result<Definition, InvalidDefinition> {
        let url = policy.check_url(&self.url).map_err(InvalidDefinition::Url)?.as_str().to_owned();
        let filter = self.filter.normalized().map_err(InvalidDefinition::Filter)?;
        if self.description.chars().count() > MAX_DESCRIPTION {
            return Err(InvalidDefinition::Description);
        }
        if !(1..=MAX_CONCURRENCY).contains(&self.max_concurrency) {
            return Err(InvalidDefinition::Concurrency);
        }
        if self.max_per_second.is_some_and(|limit| !(1..=MAX_PER_SECOND).contains(&limit)) {
            return Err(InvalidDefinition::PerSecond);
        }
        Ok(Definition { url, filter, ..self })
    }

    pub(super) fn apply_to(self, subscription: &mut Subscription) {
        let Definition { description, url, filter, max_concurrency, max_per_second } = self;
        if subscription.url != url {
            // The failures were those of another URL.
            subscription.failing_since = None;
        }
        subscription.description = description;
        subscription.url = url;
        subscription.filter = filter;
        subscription.max_concurrency = max_concurrency;
        subscription.max_per_second = max_per_second;
    }
}

impl From<&Subscription> for Definition {
    fn from(subscription: &Subscription) -> Definition {
        Definition {
            description: subscription.description.clone(),
            url: subscription.url.clone(),
            filter: subscription.filter.clone(),
            max_concurrency: subscription.max_concurrency,
            max_per_second: subscription.max_per_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(url: &str) -> Definition {
        Definition {
            description: String::new(),
            url: url.to_owned(),
            filter: Filter::default(),
            max_concurrency: DEFAULT_CONCURRENCY,
            max_per_second: None,
        }
    }

    #[test]
    fn a_url_that_the_guard_refuses_is_refused_without_being_repeated() {
        for url in [
            "http://169.254.169.254/",
            "https://169.254.169.254/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fe80::1%25eth0]/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://user:hunter2@example.com/",
            "https://example.com:22/",
            "ftp://example.com/",
            "",
        ] {
            let Err(InvalidDefinition::Url(why)) = definition(url).checked(&Policy::default()) else {
                panic!("{url} is accepted")
            };
            assert!(!why.to_string().is_empty() && !why.to_string().contains("hunter2"), "{url}: {why}");
        }
        let checked = definition("https://Example.com").checked(&Policy::default()).ok().unwrap();
        assert_eq!(checked.url, "https://example.com/");
    }

    #[test]
    fn values_outside_of_their_limits_are_refused() {
        let valid = || definition("https://example.com/");
        let refused = |definition: Definition| definition.checked(&Policy::default()).err();
        let long = Definition { description: "x".repeat(201), ..valid() };
        assert_eq!(refused(long), Some(InvalidDefinition::Description));
        for max_concurrency in [0, 101] {
            assert_eq!(refused(Definition { max_concurrency, ..valid() }), Some(InvalidDefinition::Concurrency));
        }
        for limit in [0, 10_001] {
            let definition = Definition { max_per_second: Some(limit), ..valid() };
            assert_eq!(refused(definition), Some(InvalidDefinition::PerSecond));
        }
        let filter = Filter { ports: (0..21).collect(), ..Filter::default() };
        assert!(matches!(refused(Definition { filter, ..valid() }), Some(InvalidDefinition::Filter(_))));
        assert_eq!(refused(valid()), None);
    }
}
