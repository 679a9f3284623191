//! The tokens of applied transactions, each for as long as DynamoDB remembers it. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// DynamoDB ignores a repeated token for this long.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// What a token means at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    New,
    /// The same transaction was applied with it.
    Applied,
    /// Another transaction was applied with it.
    OfAnother,
}

/// Forgets in the order of age, so that its work per transaction does not depend on how many tokens it has.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    digests: HashMap<Arc<str>, u64>,
    by_age: VecDeque<(Instant, Arc<str>)>,
}

impl Tokens {
    /// Returns what this token means for a transaction with these items.
    pub(crate) fn find(&mut self, token: &str, items: &Value, now: Instant) -> Known {
        self.forget(now);
        match self.digests.get(token) {
            None => Known::New,
            Some(before) if *before == digest(items) => Known::Applied,
            Some(_) => Known::OfAnother,
        }
    }

    /// Remembers the token of a transaction that was applied, and that was new before.
    pub(crate) fn remember(&mut self, token: &str, items: &Value, now: Instant) {
        let token: Arc<str> = token.into();
        if self.digests.insert(Arc::clone(&token), digest(items)).is_none() {
            self.by_age.push_back((now, token));
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((applied, token)) = self.by_age.front()
            && now.saturating_duration_since(*applied) >= REMEMBERED
        {
            self.digests.remove(token);
            self.by_age.pop_front();
        }
    }
}

/// Returns a digest that does not depend on the order of members, which a client may change when it repeats a request.
fn digest(items: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    hash(items, &mut hasher);
    hasher.finish()
}

fn hash(value: &Value, hasher: &mut DefaultHasher) {
    match value {
        Value::Array(values) => {
            ("array", values.len()).hash(hasher);
            values.iter().for_each(|value| hash(value, hasher));
        }
        Value::Object(members) => {
            ("object", members.len()).hash(hasher);
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in members {
                name.hash(hasher);
                hash(value, hasher);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_known_until_its_time_is_over() {
        let (mut tokens, items, begin) = (Tokens::default(), json!([{ "Put": {} }]), Instant::now());
        assert_eq!(tokens.find("a", &items, begin), Known::New);
        tokens.remember("a", &items, begin);
        tokens.remember("b", &items, begin + Duration::from_secs(1));
        let last = begin + REMEMBERED - Duration::from_millis(1);
        assert_eq!(tokens.find("a", &items, last), Known::Applied);
        assert_eq!(tokens.find("a", &json!([]), last), Known::OfAnother);
        assert_eq!(tokens.find("a", &items, begin + REMEMBERED), Known::New);
        assert_eq!(tokens.find("b", &items, begin + REMEMBERED), Known::Applied);
        assert_eq!((tokens.digests.len(), tokens.by_age.len()), (1, 1));
    }

    #[test]
    fn the_order_of_members_does_not_matter_and_everything_else_does() {
        let digest = |text: &str| digest(&serde_json::from_str(text).unwrap());
        assert_eq!(digest(r#"[{"a":1,"b":[{"c":"d","e":null}]}]"#), digest(r#"[{"b":[{"e":null,"c":"d"}],"a":1}]"#));
        for other in [r#"[{"b":1,"a":2}]"#, r#"[{"a":1},{"b":2}]"#, r#"[{"a":"1","b":2}]"#, r#"[{"a":1,"b":2,"c":3}]"#]
        {
            assert_ne!(digest(r#"[{"a":1,"b":2}]"#), digest(other), "{other}");
        }
        assert_ne!(digest(r#"[["a"],["b"]]"#), digest(r#"[["a","b"]]"#));
    }
}
