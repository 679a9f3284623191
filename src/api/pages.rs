//! The web page at `/`: search, hosts, networks and records, rendered on the server. It needs no script: the only one adds the
//! local time.

mod text;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use http_api::{Path, Problem, Query};
use maud::Markup;
use serde::Deserialize;
use text::next_url;

use super::problems::{HOST_NOT_FOUND, NETWORK_TOO_LARGE};
use super::queries::{PageParams, invalid, ip};
use super::reads::no_record;
use super::timeline::TimelineParams;
use super::{Api, key, now};
use crate::hosts::{InvalidTarget, Network, Records, Target};

/// Scripts, styles and the icon come from files of this server alone, and forms go to it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
const NO_CACHE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Routes that need the scope to read.
pub(super) fn routes<R: Records>() -> Router<Arc<Api<R>>> {
    Router::new()
        .route("/", get(search))
        .route("/hosts/{ip}", get(host::<R>))
        .route("/hosts/{ip}/services/{port}/{service}", get(record::<R>))
        .route("/hosts/{ip}/timeline", get(timeline::<R>))
        .route("/networks/{*cidr}", get(network::<R>))
}

/// Files that are the same for everyone.
pub(super) fn assets() -> Router {
    Router::new()
        .route("/assets/page.css", get(async || file("text/css; charset=utf-8", include_str!("pages/page.css"))))
        .route("/assets/icon.svg", get(async || file("image/svg+xml", include_str!("pages/icon.svg"))))
        .route("/assets/page.js", get(async || file("text/javascript; charset=utf-8", include_str!("pages/page.js"))))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind)), (CACHE_CONTROL, NO_CACHE)], text).into_response()
}

fn html(status: StatusCode, page: Markup) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, NO_CACHE)];
    (status, headers, page.into_string()).into_response()
}

/// Returns the page, or the problem as a page that helps. `searched` is what the search box shows.
fn respond(searched: &str, page: Result<(StatusCode, Markup), Problem>) -> Response {
    match page {
        Ok((status, page)) => html(status, page),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.kind().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            html(status, view::problem(searched, &problem))
        }
    }
}

#[derive(Debug, Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

/// Leads from the search box to the URL of the result, which can be linked.
async fn search(search: Result<Query<Search>, Problem>) -> Response {
    let text = search.map(|Query(Search { q })| q).unwrap_or_default();
    let text = text.trim();
    if text.is_empty() {
        return html(StatusCode::OK, view::home());
    }
    match text.parse() {
        Ok(Target::Host(ip)) => Redirect::to(&format!("/hosts/{ip}")).into_response(),
        Ok(Target::Port(ip, port)) => Redirect::to(&format!("/hosts/{ip}?port={port}")).into_response(),
        Ok(Target::Network(network)) => Redirect::to(&format!("/networks/{network}")).into_response(),
        Err(InvalidTarget) => html(StatusCode::BAD_REQUEST, view::not_understood(text)),
    }
}

async fn host<R: Records>(
    State(api): State<Arc<Api<R>>>,
    path: Result<Path<String>, Problem>,
    params: Result<Query<PageParams>, Problem>,
    RawQuery(query): RawQuery,
) -> Response {
    let searched = path.as_ref().map(|Path(text)| text.clone()).unwrap_or_default();
    let query = query.unwrap_or_default();
    let page = async {
        let (Path(text), Query(params), now) = (path?, params?, now());
        let ip = ip(&text)?;
        let port = params.port();
        let request = params.request(vec![ip], now)?;
        let page = api.hosts.records(&request.query, request.after.as_ref(), request.size).await;
        let page = page.map_err(|error| api.problem(error))?;
        if page.items.is_empty() && page.next.is_none() && request.after.is_none() {
            let problem = Problem::new(&HOST_NOT_FOUND, format!("no record of {ip} fits the request"));
            return Ok((StatusCode::NOT_FOUND, view::no_host(ip, port, &problem)));
        }
        let next = page.next.as_ref().map(|next| next_url(&query, &request.token(next, now)));
        let records = page.items.into_iter().map(|record| (api.is_stale(&record, now), record)).collect::<Vec<_>>();
        Ok((StatusCode::OK, view::host(ip, port, &records, api.history.is_some(), next.as_deref(), now)))
    };
    respond(&searched, page.await)
}

async fn timeline<R: Records>(
    State(api): State<Arc<Api<R>>>,
    path: Result<Path<String>, Problem>,
    params: Result<Query<TimelineParams>, Problem>,
    RawQuery(query): RawQuery,
) -> Response {
    let searched = path.as_ref().map(|Path(text)| text.clone()).unwrap_or_default();
    let query = query.unwrap_or_default();
    let page = async {
        let (Path(text), Query(params), now) = (path?, params?, now());
        let ip = ip(&text)?;
        let page = api.timeline(&params.newest_first().request(ip, now)?, now).await?;
        let next = page.next_page_token.as_ref().map(|token| next_url(&query, token));
        Ok((StatusCode::OK, view::timeline(ip, &page.events, next.as_deref(), now)))
    };
    respond(&searched, page.await)
}

async fn record<R: Records>(
    State(api): State<Arc<Api<R>>>,
    path: Result<Path<(String, String, String)>, Problem>,
) -> Response {
    let page = async {
        let Path((ip, port, service)) = path?;
        let (key, now) = (key(&ip, &port, &service)?, now());
        let record = api.hosts.record(&key).await.map_err(|error| api.problem(error))?;
        let record = record.ok_or_else(|| no_record(&key))?;
        Ok((StatusCode::OK, view::record(&record, api.is_stale(&record, now), now)))
    };
    respond("", page.await)
}

async fn network<R: Records>(
    State(api): State<Arc<Api<R>>>,
    path: Result<Path<String>, Problem>,
    params: Result<Query<PageParams>, Problem>,
    RawQuery(query): RawQuery,
) -> Response {
    let searched = path.as_ref().map(|Path(text)| text.clone()).unwrap_or_default();
    let query = query.unwrap_or_default();
    let page = async {
        let (Path(text), Query(params), now) = (path?, params?, now());
        let network: Network = text.parse().map_err(|_| invalid("the path has no network, e.g. 1.1.1.0/24"))?;
        let ips = network.addresses().map_err(|error| Problem::new(&NETWORK_TOO_LARGE, error.to_string()))?;
        // The ports alone, without a read of any record.
        let request = params.minified().request(ips, now)?;
        let page = api.hosts.keys(&request.query, request.after.as_ref(), request.size).await;
        let page = page.map_err(|error| api.problem(error))?;
        let next = page.next.as_ref().map(|next| next_url(&query, &request.token(next, now)));
        Ok((StatusCode::OK, view::network(&network.to_string(), &page.items, next.as_deref())))
    };
    respond(&searched, page.await)
}
