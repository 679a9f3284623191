//! The JSON of the endpoints of webhooks, in the words of the OpenAPI document. Pure.

use http_api::Problem;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use webhooks::{Answer, Failure, WebhookId};

use crate::api::queries::invalid;
use crate::scan::to_unix_seconds;
use crate::subscriptions::dead::DeadDelivery;
use crate::subscriptions::operations::{DEFAULT_CONCURRENCY, Definition, Trial};
use crate::subscriptions::{Filter, SubscriptionView, parse_event, parse_network};

/// A subscription to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSubscription {
    /// An `https` URL of a public host.
    #[schema(example = "https://hooks.example.com/scans")]
    url: String,
    /// Up to 200 characters.
    #[serde(default)]
    description: String,
    /// Only changes of addresses in these networks, up to 100. Empty for all.
    #[serde(default)]
    #[schema(example = json!(["1.1.1.0/24"]))]
    networks: Vec<String>,
    /// Only changes of these ports, up to 20. Empty for all.
    #[serde(default)]
    ports: Vec<u16>,
    /// Only changes of these services, up to 20. Empty for all.
    #[serde(default)]
    services: Vec<String>,
    /// Only changes of these types: `scan.opened`, `scan.changed`, `scan.closed`. Empty for all.
    #[serde(default)]
    #[schema(example = json!(["scan.opened", "scan.closed"]))]
    events: Vec<String>,
    /// How many attempts each instance makes at the same time, from 1 to 100. The default is 16.
    max_concurrency: Option<u16>,
    /// How many attempts each instance starts per second, from 1 to 10,000. Without it there is no limit.
    max_per_second: Option<u32>,
}

impl NewSubscription {
    pub(super) fn parse(body: &[u8]) -> Result<NewSubscription, Problem> {
        parse(body)
    }

    pub(super) fn definition(self) -> Result<Definition, Problem> {
        Ok(Definition {
            description: self.description,
            url: self.url,
            filter: Filter {
                networks: all(&self.networks, "networks", parse_network)?,
                ports: self.ports,
                services: self.services,
                events: all(&self.events, "events", parse_event)?,
            },
            max_concurrency: self.max_concurrency.unwrap_or(DEFAULT_CONCURRENCY),
            max_per_second: self.max_per_second,
        })
    }
}

/// Fields to change. A missing field stays, and `null` restores the default.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionPatch {
    #[schema(nullable = false)]
    url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    networks: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<u16>>)]
    ports: Option<Option<Vec<u16>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    services: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u16>)]
    max_concurrency: Option<Option<u16>>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<u32>)]
    max_per_second: Option<Option<u32>>,
}

/// Distinguishes `null` from a missing field.
fn present<'a, D: Deserializer<'a>, T: Deserialize<'a>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl SubscriptionPatch {
    /// Reads the fields. Those with text are checked by [`SubscriptionPatch::apply_to`].
    pub(super) fn parse(body: &[u8]) -> Result<SubscriptionPatch, Problem> {
        let patch: SubscriptionPatch = parse(body)?;
        patch.filter(Filter::default())?;
        Ok(patch)
    }

    pub(super) fn apply_to(&self, current: Definition) -> Definition {
        let or = |patched: &Option<Option<String>>, current| match patched {
            Some(value) => value.clone().unwrap_or_default(),
            None => current,
        };
        Definition {
            url: self.url.clone().unwrap_or(current.url),
            description: or(&self.description, current.description),
            filter: self.filter(current.filter).expect("its texts were parsed before"),
            max_concurrency: match self.max_concurrency {
                Some(value) => value.unwrap_or(DEFAULT_CONCURRENCY),
                None => current.max_concurrency,
            },
            max_per_second: self.max_per_second.unwrap_or(current.max_per_second),
        }
    }

    fn filter(&self, mut filter: Filter) -> Result<Filter, Problem> {
        if let Some(networks) = &self.networks {
            filter.networks = all(networks.as_deref().unwrap_or_default(), "networks", parse_network)?;
        }
        if let Some(ports) = &self.ports {
            filter.ports = ports.clone().unwrap_or_default();
        }
        if let Some(services) = &self.services {
            filter.services = services.clone().unwrap_or_default();
        }
        if let Some(events) = &self.events {
            filter.events = all(events.as_deref().unwrap_or_default(), "events", parse_event)?;
        }
        Ok(filter)
    }
}

/// Parses each text, and names the one that is wrong.
fn all<T>(texts: &[String], field: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Problem> {
    let parsed = texts.iter().enumerate().map(|(index, text)| {
        parse(text).map_err(|expected| invalid(format!("`{field}`, entry {}: {expected}", index + 1)))
    });
    parsed.collect()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not the expected JSON object: {error}")))
}

pub(super) fn parse_or_default<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.trim_ascii().is_empty() { Ok(T::default()) } else { parse(body) }
}

/// How a secret is rotated.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rotation {
    /// How long the old secret also signs, up to 30 days. The default is a day.
    #[serde(default = "day")]
    #[schema(example = 86_400)]
    pub(super) keep_seconds: u64,
}

fn day() -> u64 {
    24 * 60 * 60
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { keep_seconds: day() }
    }
}

/// Which dead deliveries to take. Without it: all.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadSelection {
    /// Only these: the headers `webhook-id`, up to 100.
    #[serde(default)]
    deliveries: Vec<String>,
}

impl DeadSelection {
    pub(super) fn ids(&self) -> Result<Vec<WebhookId>, Problem> {
        const MAX: usize = 100;
        if self.deliveries.len() > MAX {
            return Err(invalid(format!("`deliveries` has {} entries; expected up to {MAX}", self.deliveries.len())));
        }
        let expected = || "expected the value of a header webhook-id".to_owned();
        all(&self.deliveries, "deliveries", |text| WebhookId::from_stored(text).ok_or_else(expected))
    }
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// The most entries on a page, from 1 to 100; the default is 50.
    pub(super) page_size: Option<usize>,
    /// The `next_page_token` of the page before.
    pub(super) page_token: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PositionParams {
    /// The `next_page_token` of the request before.
    pub(super) page_token: Option<String>,
}

/// Subscriptions, page by page. They have no URLs, because URLs may contain secrets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Subscriptions {
    /// By id.
    pub(super) subscriptions: Vec<SubscriptionView>,
    /// The parameter `page_token` of the next page. Missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_page_token: Option<String>,
}

/// A subscription with its new secret.
#[derive(Serialize, ToSchema)]
pub(super) struct WithSecret {
    #[serde(flatten)]
    pub(super) subscription: SubscriptionView,
    /// The signing secret. No other response has it.
    #[schema(example = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD")]
    pub(super) secret: String,
}

/// What became of a test.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrialBody {
    /// The header `webhook-id` of the test.
    id: String,
    /// Whether the endpoint answered with a status from 200 to 299.
    accepted: bool,
    #[serde(flatten)]
    attempt: AttemptBody,
    took_ms: u64,
}

/// The result of an attempt: a status, or why there is none.
#[derive(Debug, Serialize, ToSchema)]
struct AttemptBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<String>,
    /// The first 1,024 bytes of the answer as text. Missing if the operator allows private hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    answer: Option<String>,
}

impl AttemptBody {
    fn of(result: &Result<Answer, Failure>, shows_answers: bool) -> AttemptBody {
        match result {
            Ok(answer) => AttemptBody {
                status: Some(answer.status),
                error: None,
                answer: shows_answers.then(|| String::from_utf8_lossy(&answer.body).into_owned()),
            },
            Err(failure) => AttemptBody { status: None, error: Some(failure.to_string()), answer: None },
        }
    }
}

impl TrialBody {
    pub(super) fn of(trial: &Trial, shows_answers: bool) -> TrialBody {
        TrialBody {
            id: trial.id.as_str().to_owned(),
            accepted: trial.is_accepted(),
            attempt: AttemptBody::of(&trial.result, shows_answers),
            took_ms: u64::try_from(trial.took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Dead deliveries, page by page.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadDeliveries {
    /// In no order. A page may have none although more follow.
    pub(super) deliveries: Vec<DeadBody>,
    /// The parameter `page_token` of the next page. Missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_page_token: Option<String>,
}

/// A delivery that failed for ever.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "DeadDelivery")]
pub(super) struct DeadBody {
    /// The header `webhook-id`.
    id: String,
    /// `exhausted` after the last attempt, `gone` after the status 410, or `disabled`.
    #[schema(example = "exhausted")]
    reason: &'static str,
    /// How many attempts failed.
    attempts: u32,
    /// When it was first stored, in Unix seconds.
    created: u64,
    /// When it died, in Unix seconds.
    died: u64,
    /// The time of the last attempt, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_at: Option<u64>,
    /// The last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, inline)]
    last: Option<AttemptBody>,
}

impl DeadBody {
    pub(super) fn of(dead: &DeadDelivery, shows_answers: bool) -> DeadBody {
        let last = dead.item.last.as_ref();
        DeadBody {
            id: dead.item.delivery.id.as_str().to_owned(),
            reason: dead.reason.as_str(),
            attempts: dead.item.attempts,
            created: to_unix_seconds(dead.item.created),
            died: to_unix_seconds(dead.died),
            last_at: last.map(|last| to_unix_seconds(last.at)),
            last: last.map(|last| AttemptBody::of(&last.result, shows_answers)),
        }
    }
}

/// What became of dead deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SettledBody {
    /// How many were redriven or purged.
    pub(super) settled: usize,
    /// How many others redrove, purged or replaced meanwhile.
    pub(super) skipped: usize,
    /// The parameter `page_token` of a request that continues. Missing if none are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_page_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn current() -> Definition {
        let body = br#"{"url":"https://a.example/","description":"d","networks":["1.1.1.0/24"],"ports":[1],
            "services":["HTTP"],"events":["scan.opened"],"max_concurrency":2,"max_per_second":3}"#;
        NewSubscription::parse(body).ok().unwrap().definition().unwrap()
    }

    #[test]
    fn a_patch_keeps_what_is_missing_and_resets_what_is_null() {
        let patched = |body: &str| SubscriptionPatch::parse(body.as_bytes()).ok().unwrap().apply_to(current());
        assert!(patched("{}") == current());
        let reset = patched(
            r#"{"description":null,"networks":null,"ports":null,"services":null,"events":null,
                "max_concurrency":null,"max_per_second":null}"#,
        );
        let minimal = NewSubscription::parse(br#"{"url":"https://a.example/"}"#).ok().unwrap().definition().unwrap();
        assert!(reset == minimal);
        let changed = patched(r#"{"url":"https://b.example/","ports":[2,3],"max_per_second":7}"#);
        assert_eq!((&*changed.url, &changed.filter.ports[..]), ("https://b.example/", &[2, 3][..]));
        assert_eq!((changed.max_per_second, changed.max_concurrency), (Some(7), 2));
    }

    #[test]
    fn a_wrong_body_is_refused_with_the_part_that_is_wrong() {
        for (body, part) in [
            ("", "the body"),
            ("[]", "the body"),
            (r#"{"networks":["1.1.1.0/24","x"]}"#, "`networks`, entry 2"),
            (r#"{"events":["scan.test"]}"#, "`events`, entry 1"),
            (r#"{"ports":[65536]}"#, "65536"),
            (r#"{"secret":"x"}"#, "secret"),
        ] {
            let problem = SubscriptionPatch::parse(body.as_bytes()).err().unwrap();
            assert!(problem.detail().contains(part), "{body}: {}", problem.detail());
        }
        assert!(NewSubscription::parse(b"{}").is_err());
        assert!(DeadSelection { deliveries: vec!["x".to_owned()] }.ids().is_err());
        assert!(parse_or_default::<Rotation>(b" ").is_ok_and(|rotation| rotation.keep_seconds == day()));
    }
}
