//! The JSON of a subscription: what the API returns and `mini-scan webhooks` prints. Pure.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use utoipa::ToSchema;
use webhooks::DisabledReason;

use super::{Status, Subscription};
use crate::changes::Event;

/// A subscription. No field has a signing secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(title = "Subscription")]
pub struct SubscriptionView {
    #[schema(example = "wh_0123456789abcdefghjk")]
    pub id: String,
    /// Who created it: the name of a token, or what an operator gave.
    pub owner: String,
    pub description: String,
    /// The scheme, host and port of the URL.
    #[schema(example = "https://hooks.example.com")]
    pub origin: String,
    /// The whole URL. Missing in a list, because URLs may contain secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "https://hooks.example.com/scans")]
    pub url: Option<String>,
    /// Only changes of addresses in these networks. Empty for all.
    #[schema(example = json!(["1.1.1.0/24"]))]
    pub networks: Vec<String>,
    /// Only changes of these ports. Empty for all.
    pub ports: Vec<u16>,
    /// Only changes of these services. Empty for all.
    pub services: Vec<String>,
    /// Only changes of these types. Empty for all.
    #[schema(example = json!(["scan.opened", "scan.closed"]))]
    pub events: Vec<String>,
    /// `active`, `paused` or `disabled`.
    #[schema(example = "active")]
    pub status: &'static str,
    /// Why the program disabled it: `gone` after the status 410, or `failing` after five days of failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub disabled_reason: Option<&'static str>,
    /// Since when there have been only failures, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub failing_since: Option<u64>,
    /// How many attempts each instance makes at the same time.
    pub max_concurrency: u16,
    /// How many attempts each instance starts per second. Missing if there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub max_per_second: Option<u32>,
    /// Until when the secret before the newest one signs too, in Unix seconds. It may lie in the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub old_secret_until: Option<u64>,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds.
    pub updated: u64,
}

impl SubscriptionView {
    /// Returns the subscription with its whole URL.
    pub fn with_url(subscription: &Subscription) -> SubscriptionView {
        SubscriptionView { url: Some(subscription.url.clone()), ..SubscriptionView::of(subscription) }
    }

    /// Returns the subscription without its URL, for lists.
    pub fn of(subscription: &Subscription) -> SubscriptionView {
        let (status, disabled_reason) = match subscription.status {
            Status::Active => ("active", None),
            Status::Paused => ("paused", None),
            Status::Disabled(DisabledReason::Gone) => ("disabled", Some("gone")),
            Status::Disabled(_) => ("disabled", Some("failing")),
        };
        let filter = &subscription.filter;
        SubscriptionView {
            id: subscription.id.as_str().to_owned(),
            owner: subscription.owner.clone(),
            description: subscription.description.clone(),
            origin: origin(&subscription.url).to_owned(),
            url: None,
            networks: filter.networks.iter().map(ToString::to_string).collect(),
            ports: filter.ports.clone(),
            services: filter.services.clone(),
            events: filter.events.iter().map(|event| event_type(*event)).collect(),
            status,
            disabled_reason,
            failing_since: subscription.failing_since,
            max_concurrency: subscription.max_concurrency,
            max_per_second: subscription.max_per_second,
            old_secret_until: subscription.secrets.iter().filter_map(|secret| secret.until).max(),
            created: subscription.created,
            updated: subscription.updated,
        }
    }
}

/// Returns the scheme, host and port of a normalized URL. Its path and query may contain secrets.
pub fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + "://".len());
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |length| host + length);
    &url[..end]
}

/// Returns the type of an event in the body of a webhook, e.g. `scan.opened`.
pub fn event_type(event: Event) -> String {
    format!("scan.{}", event.name())
}

/// Parses the type of an event. The prefix may be missing.
pub fn parse_event(text: &str) -> Result<Event, String> {
    let event = Event::parse(text.strip_prefix("scan.").unwrap_or(text));
    event.ok_or_else(|| "expected scan.opened, scan.changed or scan.closed".to_owned())
}

/// Parses a network, or an address for itself. An IPv4-mapped one is its IPv4 network, as the addresses of changes are.
pub fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network: IpNet = network.map_err(|_| "expected a network (1.1.0.0/16) or an address (1.1.1.7)".to_owned())?;
    let mapped = match network {
        IpNet::V6(network) => network.addr().to_ipv4_mapped().zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    let mapped = mapped.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    Ok(mapped.map_or(network, IpNet::V4).trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_of_a_url_has_no_path_and_no_query() {
        for (url, expected) in [
            ("https://hooks.example.com/s3cret?t=s3cret", "https://hooks.example.com"),
            ("http://[2001:db8::7]:8080/s3cret", "http://[2001:db8::7]:8080"),
            ("https://hooks.example.com", "https://hooks.example.com"),
            ("https://hooks.example.com?s3cret", "https://hooks.example.com"),
        ] {
            assert_eq!(origin(url), expected);
        }
    }

    #[test]
    fn a_network_is_the_one_that_the_addresses_of_changes_are_in() {
        for (text, expected) in [
            ("1.1.1.7/16", "1.1.0.0/16"),
            ("1.1.1.7", "1.1.1.7/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.7", "10.0.0.7/32"),
            ("2001:db8::7/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), expected);
        }
        assert!(parse_network("1.1.1.0/33").is_err());
    }

    #[test]
    fn an_event_is_named_as_in_the_body() {
        for event in Event::ALL {
            assert_eq!(parse_event(&event_type(event)), Ok(event));
            assert_eq!(parse_event(event.name()), Ok(event));
        }
        assert!(parse_event("scan.test").is_err());
    }
}
