//! The parameters of reads, and their page tokens. Pure.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::SystemTime;

use http_api::Problem;
use http_api::page_token;
use http_api::problem::{INVALID_PAGE_TOKEN, INVALID_REQUEST};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::hosts::{Filter, MAX_PAGE_SIZE, Query};
use crate::scan::{self, Key};

const DEFAULT_PAGE_SIZE: usize = 50;

/// What to add to each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum With {
    History,
}

/// What to add to a record.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RecordParams {
    /// `history` adds `first_seen`, `changed_at` and `changes`, and costs another read.
    #[param(inline)]
    pub(super) with: Option<With>,
}

/// Which records of an address or network to return.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Only this port.
    port: Option<u16>,
    /// Only this service, with the same case.
    service: Option<String>,
    /// Only scans since this time in Unix seconds. A page may then be shorter than `page_size`.
    since: Option<u64>,
    /// Return only ports and services. This reads the index alone, and costs a fraction. It excludes `since`.
    #[serde(default)]
    #[param(required = false)]
    minify: bool,
    /// `history` adds `first_seen`, `changed_at` and `changes` to each service, and doubles the reads. It excludes `minify`.
    #[param(inline)]
    with: Option<With>,
    /// The most services on a page, from 1 to 100; the default is 50. Large responses end a page earlier.
    page_size: Option<usize>,
    /// The `next_page_token` of the page before, with otherwise the same parameters.
    page_token: Option<String>,
}

/// Which service to look for.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ServiceParams {
    /// The port.
    port: u16,
    /// The service, with the same case.
    service: String,
    /// Only scans since this time in Unix seconds. A page may then be shorter than `page_size`.
    since: Option<u64>,
    /// Return only addresses, ports and services. This reads the index alone. It excludes `since`.
    #[serde(default)]
    #[param(required = false)]
    minify: bool,
    /// `history` adds `first_seen`, `changed_at` and `changes` to each service, and doubles the reads. It excludes `minify`.
    #[param(inline)]
    with: Option<With>,
    /// The most services on a page, from 1 to 100; the default is 50. Large responses end a page earlier.
    page_size: Option<usize>,
    /// The `next_page_token` of the page before, with otherwise the same parameters.
    page_token: Option<String>,
}

/// A checked request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageRequest {
    pub(super) query: Query,
    pub(super) minify: bool,
    pub(super) with_history: bool,
    pub(super) size: usize,
    pub(super) after: Option<Key>,
}

impl PageParams {
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Asks for ports and services only.
    pub(super) fn minified(self) -> PageParams {
        PageParams { minify: true, ..self }
    }

    /// Checks the parameters of a query of these addresses, and reads the page token.
    pub(super) fn request(self, ips: Vec<IpAddr>, now: SystemTime) -> Result<PageRequest, Problem> {
        let PageParams { port, service, since, minify, with, page_size, page_token } = self;
        service.as_deref().map(check_service).transpose()?;
        let query = Query::Addresses(ips, Filter { port, service, since });
        request(query, Shown::of(since, minify, with)?, page_size, page_token.as_deref(), now)
    }
}

impl ServiceParams {
    pub(super) fn request(self, now: SystemTime) -> Result<PageRequest, Problem> {
        let ServiceParams { port, service, since, minify, with, page_size, page_token } = self;
        check_service(&service)?;
        let query = Query::Service { port, service, since };
        request(query, Shown::of(since, minify, with)?, page_size, page_token.as_deref(), now)
    }
}

/// What a page shows of each service.
#[derive(Debug, Clone, Copy)]
struct Shown {
    minify: bool,
    with_history: bool,
}

impl Shown {
    fn of(since: Option<u64>, minify: bool, with: Option<With>) -> Result<Shown, Problem> {
        let with_history = with == Some(With::History);
        match (since, with_history) {
            (Some(_), _) if minify => Err(invalid("`since` needs the records, which `minify` leaves out")),
            (_, true) if minify => Err(invalid("`minify` returns only ports and services, so it excludes `with`")),
            _ => Ok(Shown { minify, with_history }),
        }
    }
}

fn request(
    query: Query,
    Shown { minify, with_history }: Shown,
    page_size: Option<usize>,
    page_token: Option<&str>,
    now: SystemTime,
) -> Result<PageRequest, Problem> {
    let size = size(page_size)?;
    let after = page_token.map(|token| position(token, &query, minify, now)).transpose()?;
    Ok(PageRequest { query, minify, with_history, size, after })
}

/// Checks the size of a page.
pub(super) fn size(page_size: Option<usize>) -> Result<usize, Problem> {
    let size = page_size.unwrap_or(DEFAULT_PAGE_SIZE);
    if !(1..=MAX_PAGE_SIZE).contains(&size) {
        return Err(invalid(format!("`page_size` is {size}; expected 1 to {MAX_PAGE_SIZE}")));
    }
    Ok(size)
}

impl PageRequest {
    /// Returns the token of the page that begins after this key.
    pub(super) fn token(&self, next: &Key, now: SystemTime) -> String {
        page_token::encode(&describe(&self.query, self.minify), next.as_str(), now)
    }
}

/// Returns the key in a page token, which must be one that the query can return.
fn position(token: &str, query: &Query, minify: bool, now: SystemTime) -> Result<Key, Problem> {
    let key = Key::parse(&page_token::decode(token, &describe(query, minify), now)?);
    let is_possible = |key: &Key| match query {
        Query::Addresses(ips, filter) => {
            ips.iter().any(|ip| ip.to_string() == key.ip())
                && filter.port.is_none_or(|port| port.to_string() == key.port())
        }
        Query::Service { port, service, .. } => key.port() == port.to_string() && key.service() == service,
    };
    key.filter(is_possible)
        .ok_or_else(|| Problem::new(&INVALID_PAGE_TOKEN, "the page token has no position in the query"))
}

/// Describes a query uniquely. The size of a page is no part of it.
fn describe(query: &Query, minify: bool) -> String {
    let mut text = format!("{minify} ");
    // Writing to a String does not fail.
    let _ = match query {
        Query::Addresses(ips, Filter { port, service, since }) => {
            write!(text, "addresses {ips:?} {port:?} {service:?} {since:?}")
        }
        Query::Service { port, service, since } => write!(text, "service {port} {service:?} {since:?}"),
    };
    text
}

pub(super) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(&INVALID_REQUEST, detail)
}

pub(super) fn ip(text: &str) -> Result<IpAddr, Problem> {
    scan::address(text)
        .ok_or_else(|| invalid("the address is neither IPv4 nor IPv6; expected no leading zeros in IPv4 and no zone"))
}

pub(super) fn port(text: &str) -> Result<u16, Problem> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| invalid("the port is no whole number from 0 to 65535"))
}

pub(super) fn check_service(name: &str) -> Result<(), Problem> {
    scan::check_service(name).map_err(|expected| invalid(format!("the service is invalid; expected {expected}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn name(result: Result<PageRequest, Problem>) -> &'static str {
        result.unwrap_err().kind().name
    }

    #[test]
    fn a_page_token_fits_only_the_query_that_returned_it() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_740_298_125);
        let key = Key::new("1.1.1.7".parse().unwrap(), 80, "HTTP");
        let first = PageParams::default().request(ips(&["1.1.1.7"]), now).unwrap();
        let page_token = Some(first.token(&key, now));
        let with_token = || PageParams { page_token: page_token.clone(), ..PageParams::default() };
        assert_eq!(with_token().request(ips(&["1.1.1.7"]), now).unwrap().after, Some(key));
        // Another size of the pages is the same query.
        assert!(PageParams { page_size: Some(7), ..with_token() }.request(ips(&["1.1.1.7"]), now).is_ok());
        for other in [
            PageParams { port: Some(80), ..with_token() },
            PageParams { service: Some("HTTP".to_owned()), ..with_token() },
            PageParams { since: Some(1), ..with_token() },
            PageParams { minify: true, ..with_token() },
        ] {
            assert_eq!(name(other.request(ips(&["1.1.1.7"]), now)), "invalid-page-token");
        }
        assert_eq!(name(with_token().request(ips(&["1.1.1.8"]), now)), "invalid-page-token");
        assert_eq!(name(with_token().request(ips(&["1.1.1.7", "1.1.1.8"]), now)), "invalid-page-token");
        let late = now + Duration::from_secs(25 * 60 * 60 + 1);
        assert_eq!(name(with_token().request(ips(&["1.1.1.7"]), late)), "expired-page-token");
    }

    #[test]
    fn a_position_outside_of_the_query_is_refused() {
        let now = SystemTime::UNIX_EPOCH;
        let first = PageParams::default().request(ips(&["1.1.1.7"]), now).unwrap();
        let elsewhere = Key::new("1.1.1.8".parse().unwrap(), 80, "HTTP");
        let page_token = Some(first.token(&elsewhere, now));
        let request = PageParams { page_token, ..PageParams::default() }.request(ips(&["1.1.1.7"]), now);
        assert_eq!(name(request), "invalid-page-token");
    }

    #[test]
    fn parameters_outside_of_their_range_are_refused() {
        let now = SystemTime::UNIX_EPOCH;
        for params in [
            PageParams { page_size: Some(0), ..PageParams::default() },
            PageParams { page_size: Some(101), ..PageParams::default() },
            PageParams { service: Some(String::new()), ..PageParams::default() },
            PageParams { service: Some("a\n".to_owned()), ..PageParams::default() },
            PageParams { minify: true, since: Some(1), ..PageParams::default() },
            PageParams { minify: true, with: Some(With::History), ..PageParams::default() },
        ] {
            assert_eq!(name(params.request(ips(&["1.1.1.7"]), now)), "invalid-request");
        }
    }
}
