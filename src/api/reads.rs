//! The endpoints that read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use http_api::{Body, Path, Problem, ProblemBody, Query, json};

use super::bodies::{Host, HostPage, HostsPage, Lookup, Past, RecordBody, Service};
use super::problems::{HOST_NOT_FOUND, NETWORK_TOO_LARGE, RECORD_NOT_FOUND};
use super::queries::{PageParams, PageRequest, RecordParams, ServiceParams, With, invalid, ip};
use super::{Api, key, now};
use crate::hosts::{Network, Page, Record, Records};
use crate::scan::Key;

/// The most addresses of a lookup.
const MAX_LOOKUP: usize = 100;

impl<R: Records> Api<R> {
    async fn page(&self, request: &PageRequest, now: SystemTime) -> Result<Page<Host>, Problem> {
        let PageRequest { query, size, after, .. } = request;
        if request.minify {
            let page = self.hosts.keys(query, after.as_ref(), *size).await.map_err(|error| self.problem(error))?;
            let items = hosts_of(page.items, |key| key, |key| Service::without_item(&key));
            return Ok(Page { items, next: page.next });
        }
        let history = if request.with_history { Some(self.history()?) } else { None };
        let page = self.hosts.records(query, after.as_ref(), *size).await.map_err(|error| self.problem(error))?;
        let mut past = match history {
            Some(history) => self.past(history, page.items.iter().map(|record| record.key.clone()).collect()).await?,
            None => HashMap::new(),
        };
        let service = |record: Record| {
            let past = past.remove(&record.key).unwrap_or_default();
            self.service(record, now).with(past)
        };
        let items = hosts_of(page.items, |record| &record.key, service);
        Ok(Page { items, next: page.next })
    }
}

/// Groups the items of a page by their address. Items of one address are next to each other.
fn hosts_of<T>(items: Vec<T>, key: impl Fn(&T) -> &Key, mut service: impl FnMut(T) -> Service) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for item in items {
        let ip = key(&item).ip();
        match hosts.last_mut() {
            Some(host) if host.ip == ip => host.add(service(item)),
            _ => {
                let mut host = Host::new(ip.to_owned());
                host.add(service(item));
                hosts.push(host);
            }
        }
    }
    hosts
}

/// What was found on an address
///
/// The services are sorted by port. A service that was stored a moment ago may not be listed yet, but its own URL answers.
#[utoipa::path(
    get,
    path = "/v1/hosts/{ip}",
    tag = "records",
    operation_id = "host",
    params(("ip" = String, Path, description = "IPv4 or IPv6 address."), PageParams),
    responses(
        (status = 200, description = "The host.", body = HostPage, headers(("ETag", description = "Changes with the body."))),
        (status = 304, description = "The host is the one with the `ETag` in `If-None-Match`. The read units are the same."),
        (status = 404, description = "Nothing was found.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn host<R: Records>(
    State(api): State<Arc<Api<R>>>,
    Path(text): Path<String>,
    Query(params): Query<PageParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (ip, now) = (ip(&text)?, now());
    let request = params.request(vec![ip], now)?;
    let mut page = api.page(&request, now).await?;
    if page.items.is_empty() && page.next.is_none() && request.after.is_none() {
        return Err(Problem::new(&HOST_NOT_FOUND, format!("no record of {ip} fits the request")));
    }
    let next_page_token = page.next.as_ref().map(|next| request.token(next, now));
    let host = page.items.pop().unwrap_or_else(|| Host::new(ip.to_string()));
    Ok(json(&headers, &HostPage::new(host, next_page_token)))
}

/// One record
///
/// This reads the table itself, so it answers even while the index is behind. Without `with`, its `ETag` is what a deletion needs.
#[utoipa::path(
    get,
    path = "/v1/hosts/{ip}/services/{port}/{service}",
    tag = "records",
    operation_id = "record",
    params(
        ("ip" = String, Path, description = "IPv4 or IPv6 address."),
        ("port" = u16, Path, description = "The port."),
        ("service" = String, Path, description = "The service, percent-encoded, e.g. `a%2Fb`."),
        RecordParams,
    ),
    responses(
        (status = 200, description = "The record.", body = RecordBody, headers(("ETag", description = "Changes with the body."))),
        (status = 304, description = "The record is the one with the `ETag` in `If-None-Match`."),
        (status = 404, description = "There is no such record.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn record<R: Records>(
    State(api): State<Arc<Api<R>>>,
    Path((ip, port, service)): Path<(String, String, String)>,
    Query(RecordParams { with }): Query<RecordParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = key(&ip, &port, &service)?;
    let history = with.map(|With::History| api.history()).transpose()?;
    let record = api.hosts.record(&key).await.map_err(|error| api.problem(error))?;
    let record = record.ok_or_else(|| no_record(&key))?;
    let past = match history {
        Some(history) => api.past(history, vec![key.clone()]).await?.remove(&key).unwrap_or_default(),
        None => Past::default(),
    };
    let is_stale = api.is_stale(&record, now());
    Ok(json(&headers, &RecordBody::of(record, is_stale).with(past)))
}

pub(super) fn no_record(key: &Key) -> Problem {
    Problem::new(&RECORD_NOT_FOUND, format!("there is no record {}", key.as_str()))
}

/// Several addresses at once
///
/// Returns each address up to the end of the page, in the order of the request, without services if nothing was found.
#[utoipa::path(
    post,
    path = "/v1/hosts/lookup",
    tag = "records",
    operation_id = "lookup",
    params(PageParams),
    request_body = Lookup,
    responses(
        (status = 200, description = "The hosts.", body = HostsPage),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn lookup<R: Records>(
    State(api): State<Arc<Api<R>>>,
    Query(params): Query<PageParams>,
    Body(body): Body,
) -> Result<Response, Problem> {
    let (ips, now) = (lookup_addresses(&body)?, now());
    let request = params.request(ips.clone(), now)?;
    let page = api.page(&request, now).await?;
    let next_page_token = page.next.as_ref().map(|next| request.token(next, now));
    let (after, next) = (request.after.as_ref().map(Key::ip), page.next.as_ref().map(Key::ip));
    let hosts = with_empty(&ips, page.items, after, next);
    // A response to POST is never "not modified".
    Ok(json(&HeaderMap::new(), &HostsPage { hosts, next_page_token }))
}

fn lookup_addresses(body: &[u8]) -> Result<Vec<IpAddr>, Problem> {
    let Lookup { addresses } =
        serde_json::from_slice(body).map_err(|error| invalid(format!("the body is no lookup: {error}")))?;
    if !(1..=MAX_LOOKUP).contains(&addresses.len()) {
        return Err(invalid(format!("the lookup has {} addresses; expected 1 to {MAX_LOOKUP}", addresses.len())));
    }
    let mut ips: Vec<IpAddr> = Vec::with_capacity(addresses.len());
    for (index, text) in addresses.iter().enumerate() {
        let ip = ip(text).map_err(|problem| invalid(format!("address {}: {}", index + 1, problem.detail())))?;
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    Ok(ips)
}

/// Adds the addresses of this page that have no service. A page reaches from the address of the page token, whose host is
/// left out if it has no more services, to the address where the next page begins.
fn with_empty(ips: &[IpAddr], found: Vec<Host>, after: Option<&str>, next: Option<&str>) -> Vec<Host> {
    let mut found = found.into_iter().peekable();
    let mut hosts = Vec::new();
    let mut has_begun = after.is_none();
    for ip in ips.iter().map(IpAddr::to_string) {
        let continues = after == Some(ip.as_str());
        has_begun |= continues;
        match found.next_if(|host| host.ip == ip) {
            Some(host) => hosts.push(host),
            None if has_begun && !continues => hosts.push(Host::new(ip.clone())),
            None => {}
        }
        if next == Some(ip.as_str()) {
            break;
        }
    }
    hosts
}

/// The hosts of a network
///
/// A /24 (IPv6: /120) or smaller. Only addresses with a record are listed, in ascending order. A whole /24 takes 256 queries
/// of the index, which cost at least 128 read units.
#[utoipa::path(
    get,
    path = "/v1/networks/{cidr}",
    tag = "records",
    operation_id = "network",
    params(("cidr" = String, Path, description = "The network, e.g. `1.1.1.0/24`. The slash may be encoded."), PageParams),
    responses(
        (status = 200, description = "The hosts.", body = HostsPage, headers(("ETag", description = "Changes with the body."))),
        (status = 304, description = "The page is the one with the `ETag` in `If-None-Match`. The read units are the same."),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn network<R: Records>(
    State(api): State<Arc<Api<R>>>,
    Path(text): Path<String>,
    Query(params): Query<PageParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let network: Network = text.parse().map_err(|_| invalid("the path has no network, e.g. 1.1.1.0/24"))?;
    let ips = network.addresses().map_err(|error| Problem::new(&NETWORK_TOO_LARGE, error.to_string()))?;
    hosts_page(&api, &headers, params.request(ips, now())?).await
}

/// The hosts with a service on a port
///
/// Needs the opt-in index of services (`mini-scan setup table --service-index`). The hosts are sorted by address as text.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "records",
    operation_id = "services",
    params(ServiceParams),
    responses(
        (status = 200, description = "The hosts, each with one service.", body = HostsPage, headers(("ETag", description = "Changes with the body."))),
        (status = 304, description = "The page is the one with the `ETag` in `If-None-Match`. The read units are the same."),
        (status = 501, description = "The table lacks the index.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn services<R: Records>(
    State(api): State<Arc<Api<R>>>,
    Query(params): Query<ServiceParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    hosts_page(&api, &headers, params.request(now())?).await
}

async fn hosts_page<R: Records>(api: &Api<R>, headers: &HeaderMap, request: PageRequest) -> Result<Response, Problem> {
    let now = now();
    let page = api.page(&request, now).await?;
    let next_page_token = page.next.as_ref().map(|next| request.token(next, now));
    Ok(json(headers, &HostsPage { hosts: page.items, next_page_token }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(ip: &str) -> Host {
        let mut host = Host::new(ip.to_owned());
        host.add(Service::without_item(&Key::new(ip.parse().unwrap(), 80, "HTTP")));
        host
    }

    fn shown(found: &[&str], after: Option<&str>, next: Option<&str>) -> Vec<String> {
        let ips: Vec<IpAddr> = (1..=5).map(|last| IpAddr::from([1, 1, 1, last])).collect();
        let found = found.iter().map(|ip| host(ip)).collect();
        let hosts = with_empty(&ips, found, after, next).into_iter();
        hosts.map(|host| format!("{}:{}", &host.ip["1.1.1.".len()..], host.services.len())).collect()
    }

    #[test]
    fn a_page_of_a_lookup_lists_the_addresses_between_its_token_and_the_next() {
        assert_eq!(shown(&["1.1.1.2"], None, None), ["1:0", "2:1", "3:0", "4:0", "5:0"]);
        assert_eq!(shown(&["1.1.1.2"], None, Some("1.1.1.2")), ["1:0", "2:1"]);
        assert_eq!(shown(&["1.1.1.2", "1.1.1.4"], Some("1.1.1.2"), Some("1.1.1.4")), ["2:1", "3:0", "4:1"]);
        // The host of the token has no more services.
        assert_eq!(shown(&["1.1.1.4"], Some("1.1.1.2"), None), ["3:0", "4:1", "5:0"]);
        assert_eq!(shown(&[], Some("1.1.1.5"), None), [""; 0]);
    }

    #[test]
    fn a_lookup_has_1_to_100_different_addresses() {
        let addresses = |body: &str| lookup_addresses(body.as_bytes());
        assert_eq!(addresses(r#"{"addresses":["1.1.1.7","::ffff:1.1.1.7","::1"]}"#).unwrap().len(), 2);
        let many = format!(r#"{{"addresses":[{}]}}"#, vec![r#""1.1.1.7""#; 101].join(","));
        for body in
            ["", "[]", "{}", r#"{"addresses":[]}"#, r#"{"addresses":["x"]}"#, r#"{"addresses":["::1"],"x":1}"#, &many]
        {
            assert_eq!(addresses(body).unwrap_err().kind().name, "invalid-request", "{body}");
        }
    }
}
