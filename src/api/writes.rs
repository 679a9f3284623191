//! The endpoints that write, which exist only with `--allow-writes`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::IF_MATCH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use http_api::{Body, Caller, Etag, Path, Problem, ProblemBody, if_match, json};
use serde_json::value::RawValue;
use tracing::info;

use super::bodies::{RecordBody, Scan, ScanResult, ScanResults};
use super::problems::{MALFORMED_SCANS, PRECONDITION_FAILED, PRECONDITION_REQUIRED};
use super::reads::no_record;
use super::{Api, key, now};
use crate::hosts::{Deletion, Records, WriteSettings};

const MAX_SCANS: usize = 100;
/// Writes of one request in flight at a time.
const WRITES_PER_REQUEST: usize = 16;

/// Stores scans
///
/// Each scan is decoded and stored by the rules of the consumer: the newest scan of a key wins. After a problem some of the
/// scans may be stored. Repeating the request is harmless.
#[utoipa::path(
    post,
    path = "/v1/scans",
    tag = "writes",
    operation_id = "store",
    request_body(content = Vec<Scan>, description = "One scan, or an array of up to 100."),
    responses(
        (status = 200, description = "What became of each scan.", body = ScanResults),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn scans<R: Records>(
    State(api): State<Arc<Api<R>>>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<Response, Problem> {
    let Some(settings) = api.settings.writes else { unreachable!("the route exists only with writes") };
    let payloads = payloads(&body)?;
    let stores = payloads.into_iter().map(|payload| store(&api, payload.into(), settings, &caller));
    let mut stores = stream::iter(stores.collect::<Vec<_>>()).buffered(WRITES_PER_REQUEST);
    let mut results = Vec::new();
    while let Some(result) = stores.next().await {
        results.push(result?);
    }
    Ok(json(&HeaderMap::new(), &ScanResults { results }))
}

async fn store<R: Records>(
    api: &Api<R>,
    payload: Vec<u8>,
    settings: WriteSettings,
    caller: &Caller,
) -> Result<ScanResult, Problem> {
    let outcome = api.hosts.store(&payload, now(), &settings).await.map_err(|error| api.problem(error))?;
    let result = ScanResult::from(outcome);
    let (token, key, reason) = (&*caller.name, result.key.as_deref(), result.reason);
    info!(token, key, result = result.result.name(), reason, "received a scan");
    Ok(result)
}

/// Returns the payload of each scan. A body that begins like an array must be one.
fn payloads(body: &[u8]) -> Result<Vec<&[u8]>, Problem> {
    if body.trim_ascii_start().first() != Some(&b'[') {
        return Ok(vec![body]);
    }
    let malformed = |detail: String| Problem::new(&MALFORMED_SCANS, detail);
    let scans: Vec<&RawValue> =
        serde_json::from_slice(body).map_err(|error| malformed(format!("the body is no JSON array: {error}")))?;
    match scans.len() {
        1..=MAX_SCANS => Ok(scans.into_iter().map(|scan| scan.get().as_bytes()).collect()),
        count => Err(malformed(format!("the array has {count} scans; expected 1 to {MAX_SCANS}"))),
    }
}

/// Forgets a record
///
/// A scan that is older than the deleted record, and arrives later, brings the record back: the table does not remember what
/// was deleted.
#[utoipa::path(
    delete,
    path = "/v1/hosts/{ip}/services/{port}/{service}",
    tag = "writes",
    operation_id = "forget",
    params(
        ("ip" = String, Path, description = "IPv4 or IPv6 address."),
        ("port" = u16, Path, description = "The port."),
        ("service" = String, Path, description = "The service, percent-encoded, e.g. `a%2Fb`."),
        ("If-Match" = String, Header, description = "The `ETag` of the record, or `*` for any."),
    ),
    responses(
        (status = 204, description = "The record is deleted."),
        (status = 404, description = "There is no such record.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "The record has changed.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 428, description = "If-Match is missing.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn forget<R: Records>(
    State(api): State<Arc<Api<R>>>,
    Extension(caller): Extension<Caller>,
    Path((ip, port, service)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = key(&ip, &port, &service)?;
    if !headers.contains_key(IF_MATCH) {
        return Err(Problem::new(&PRECONDITION_REQUIRED, "the request has no header If-Match"));
    }
    let record = api.hosts.record(&key).await.map_err(|error| api.problem(error))?;
    let record = record.ok_or_else(|| no_record(&key))?;
    // A record may have become stale since the client has read it, without another scan.
    let tags = [false, true].map(|is_stale| Etag::of_json(&RecordBody::of(record.clone(), is_stale)));
    let changed = || Problem::new(&PRECONDITION_FAILED, format!("{} has changed", key.as_str()));
    if if_match(&headers, &tags) != Some(true) {
        return Err(changed());
    }
    let deletion = api.hosts.forget(&key, record.timestamp).await.map_err(|error| api.problem(error))?;
    info!(token = &*caller.name, key = key.as_str(), result = ?deletion, "received a deletion");
    match deletion {
        Deletion::Deleted => Ok(StatusCode::NO_CONTENT.into_response()),
        Deletion::Changed => Err(changed()),
        Deletion::Missing => Err(no_record(&key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_one_scan_or_an_array_of_up_to_100() {
        let count = |body: &str| payloads(body.as_bytes()).map(|payloads| payloads.len());
        assert_eq!(count("{}"), Ok(1));
        assert_eq!(count(""), Ok(1));
        assert_eq!(count(" [1, {\"a\": [2]}] "), Ok(2));
        assert_eq!(count(&format!("[{}]", vec!["0"; 100].join(","))), Ok(100));
        for body in ["[]", "[", "[1,]", "[1] 2", &format!("[{}]", vec!["0"; 101].join(","))] {
            assert_eq!(count(body).unwrap_err().kind().name, "malformed-scans", "{body}");
        }
    }
}
