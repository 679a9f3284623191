//! The JSON of responses, in the words of the OpenAPI document. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::changes::{Summary, TimelineEvent};
use crate::hosts::{Outcome, Record};
use crate::scan::Key;

/// An address with the services that were found on it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Host {
    /// In canonical form. An IPv4-mapped IPv6 address is shown as its IPv4 address.
    #[schema(example = "1.1.1.7")]
    pub(super) ip: String,
    /// Unix seconds of the newest scan of the services on this page. Missing if no record was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) last_seen: Option<u64>,
    /// By port.
    pub(super) services: Vec<Service>,
}

/// What answered on a port. With `minify=true` only `port` and `service`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Service {
    #[schema(example = 443)]
    pub(super) port: u16,
    #[schema(example = "HTTP")]
    pub(super) service: String,
    /// Unix seconds of the newest scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) timestamp: Option<u64>,
    /// The response as text. Bytes that are not UTF-8 are shown as U+FFFD.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) response: Option<String>,
    /// The exact bytes of the response in base64. Missing if the response is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) response_base64: Option<String>,
    /// The payload format of the scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) data_version: Option<u64>,
    /// Whether the scan is older than `--stale-after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) stale: Option<bool>,
    #[serde(flatten)]
    past: Past,
}

/// What the history knows of a service. Only with `with=history`, and missing if the history has never seen the service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub(super) struct Past {
    /// Unix seconds of the first scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    first_seen: Option<u64>,
    /// Whether `first_seen` is exact. Otherwise the service may have been seen earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    first_seen_exact: Option<bool>,
    /// Unix seconds of the scan that last showed another response. Missing if none did.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    changed_at: Option<u64>,
    /// How often the service opened, changed or closed since the history began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    changes: Option<u64>,
}

impl From<&Summary> for Past {
    fn from(summary: &Summary) -> Past {
        let (first_seen, first_seen_exact) = summary.first_seen().unzip();
        Past { first_seen, first_seen_exact, changed_at: summary.changed_at, changes: Some(summary.changes) }
    }
}

impl Service {
    pub(super) fn of(record: Record, is_stale: bool) -> Service {
        Service {
            timestamp: Some(record.timestamp),
            response_base64: record.response_bytes.map(|bytes| STANDARD.encode(bytes)),
            response: Some(record.response),
            data_version: Some(record.data_version),
            stale: Some(is_stale),
            ..Service::without_item(&record.key)
        }
    }

    pub(super) fn without_item(key: &Key) -> Service {
        Service {
            port: key.port().parse().expect("a key has a port"),
            service: key.service().to_owned(),
            timestamp: None,
            response: None,
            response_base64: None,
            data_version: None,
            stale: None,
            past: Past::default(),
        }
    }

    /// Adds what the history knows.
    pub(super) fn with(self, past: Past) -> Service {
        Service { past, ..self }
    }
}

impl Host {
    pub(super) fn new(ip: String) -> Host {
        Host { ip, last_seen: None, services: Vec::new() }
    }

    pub(super) fn add(&mut self, service: Service) {
        self.last_seen = self.last_seen.max(service.timestamp);
        self.services.push(service);
    }
}

/// A host, page by page.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct HostPage {
    /// In canonical form. An IPv4-mapped IPv6 address is shown as its IPv4 address.
    #[schema(example = "1.1.1.7")]
    ip: String,
    /// Unix seconds of the newest scan of the services on this page. Missing if no record was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_seen: Option<u64>,
    /// By port.
    services: Vec<Service>,
    /// The parameter `page_token` of the next page. Missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next_page_token: Option<String>,
}

impl HostPage {
    pub(super) fn new(host: Host, next_page_token: Option<String>) -> HostPage {
        let Host { ip, last_seen, services } = host;
        HostPage { ip, last_seen, services, next_page_token }
    }
}

/// Several hosts, page by page. The services of one host may continue on the next page.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct HostsPage {
    pub(super) hosts: Vec<Host>,
    /// The parameter `page_token` of the next page. Missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_page_token: Option<String>,
}

/// The events of an address, page by page.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct Timeline {
    /// In canonical form. An IPv4-mapped IPv6 address is shown as its IPv4 address.
    #[schema(example = "1.1.1.7")]
    pub(super) ip: String,
    /// By time, then by port.
    pub(super) events: Vec<TimelineEvent>,
    /// The time in Unix seconds up to which the pages so far are complete: that of the last event, or `end` (`start` with
    /// `order=desc`) on the last page. Missing if there is no such time. Later reads may show late events before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) scanned_to: Option<u64>,
    /// The parameter `page_token` of the next page. Missing on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) next_page_token: Option<String>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct RecordBody {
    /// In canonical form. An IPv4-mapped IPv6 address is shown as its IPv4 address.
    #[schema(example = "1.1.1.7")]
    ip: String,
    #[schema(example = 443)]
    port: u16,
    #[schema(example = "HTTP")]
    service: String,
    /// Unix seconds of the newest scan.
    timestamp: u64,
    /// The response as text. Bytes that are not UTF-8 are shown as U+FFFD.
    response: String,
    /// The exact bytes of the response in base64. Missing if the response is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    response_base64: Option<String>,
    /// The payload format of the scan.
    data_version: u64,
    /// Whether the scan is older than `--stale-after`.
    stale: bool,
    #[serde(flatten)]
    past: Past,
}

impl RecordBody {
    pub(super) fn of(record: Record, is_stale: bool) -> RecordBody {
        let Service { port, service, .. } = Service::without_item(&record.key);
        RecordBody {
            ip: record.key.ip().to_owned(),
            port,
            service,
            timestamp: record.timestamp,
            response_base64: record.response_bytes.map(|bytes| STANDARD.encode(bytes)),
            response: record.response,
            data_version: record.data_version,
            stale: is_stale,
            past: Past::default(),
        }
    }

    /// Adds what the history knows.
    pub(super) fn with(self, past: Past) -> RecordBody {
        RecordBody { past, ..self }
    }
}

/// The addresses to look up.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lookup {
    /// 1 to 100 addresses. Repeated ones are looked up once.
    #[schema(example = json!(["1.1.1.7", "2001:db8::7"]), min_items = 1, max_items = 100)]
    pub(super) addresses: Vec<String>,
}

/// A scan in either payload format: `docs/message-format.md` has the rules.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it only describes the format, which `scan` decodes")]
pub(super) struct Scan {
    #[schema(example = "1.1.1.7")]
    ip: String,
    #[schema(example = 443)]
    port: u16,
    /// 1 to 255 bytes without control characters.
    #[schema(example = "HTTP")]
    service: String,
    /// Unix seconds.
    timestamp: u64,
    #[schema(example = 2, minimum = 1, maximum = 2)]
    data_version: u8,
    /// `response_bytes_utf8` (base64) with version 1, `response_str` with version 2.
    #[schema(value_type = Object, example = json!({"response_str": "hello"}))]
    data: (),
}

/// What became of the scans, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct ScanResults {
    pub(super) results: Vec<ScanResult>,
}

/// What became of one scan.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct ScanResult {
    pub(super) result: ResultKind,
    /// `ip#port#service`. Missing if the scan was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1.1.1.7#443#HTTP", nullable = false)]
    pub(super) key: Option<String>,
    /// The reason of a rejection, as in a dead letter of the consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "invalid_port", nullable = false)]
    pub(super) reason: Option<&'static str>,
    /// What was found, and what was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) detail: Option<String>,
}

/// - `stored`: the record holds this scan now.
/// - `stale`: the record is up to date already, with this scan or a newer one.
/// - `expired`: the scan was past its time to live.
/// - `rejected`: the scan can never be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ResultKind {
    Stored,
    Stale,
    Expired,
    Rejected,
}

impl ResultKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            ResultKind::Stored => "stored",
            ResultKind::Stale => "stale",
            ResultKind::Expired => "expired",
            ResultKind::Rejected => "rejected",
        }
    }
}

impl From<Outcome> for ScanResult {
    fn from(outcome: Outcome) -> ScanResult {
        let with_key =
            |result, key: Key| ScanResult { result, key: Some(key.as_str().to_owned()), reason: None, detail: None };
        match outcome {
            Outcome::Stored(key) => with_key(ResultKind::Stored, key),
            Outcome::Stale(key) => with_key(ResultKind::Stale, key),
            Outcome::Expired(key) => with_key(ResultKind::Expired, key),
            Outcome::Rejected(rejection) => ScanResult {
                result: ResultKind::Rejected,
                key: None,
                reason: Some(rejection.reason.as_str()),
                detail: Some(rejection.detail),
            },
        }
    }
}
