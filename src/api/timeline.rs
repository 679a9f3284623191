//! The endpoint of the events of an address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use http_api::problem::INVALID_PAGE_TOKEN;
use http_api::{Path, Problem, ProblemBody, Query, json, page_token};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::bodies::Timeline;
use super::queries::{invalid, ip, size};
use super::{Api, now};
use crate::changes::{Entries, EntryKey, EntryQuery, TimelineEvent};
use crate::hosts::Records;
use crate::scan::to_unix_seconds;

/// Which events of an address to return.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TimelineParams {
    /// Only events from this time on, in Unix seconds.
    start: Option<u64>,
    /// Only events before this time, in Unix seconds.
    end: Option<u64>,
    /// `asc` for the oldest event first, `desc` for the newest; the default is `asc`.
    #[param(inline)]
    order: Option<Order>,
    /// `response` adds the response of each event, if the history has it.
    #[param(inline)]
    with: Option<WithResponse>,
    /// The most events on a page, from 1 to 100; the default is 50.
    page_size: Option<usize>,
    /// The `next_page_token` of the page before, with otherwise the same parameters.
    page_token: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Asc,
    Desc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum WithResponse {
    Response,
}

/// A checked request for a page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimelineRequest {
    ip: IpAddr,
    start: u64,
    end: Option<u64>,
    newest_first: bool,
    with_bodies: bool,
    size: usize,
    /// The sort key of the last event of the page before.
    after: Option<String>,
}

impl TimelineParams {
    /// Asks for the newest events first, unless the request has an order.
    pub(super) fn newest_first(self) -> TimelineParams {
        TimelineParams { order: self.order.or(Some(Order::Desc)), ..self }
    }

    /// Checks the parameters, and reads the page token.
    pub(super) fn request(self, ip: IpAddr, now: SystemTime) -> Result<TimelineRequest, Problem> {
        let TimelineParams { start, end, order, with, page_size, page_token } = self;
        let start = start.unwrap_or(0);
        if let Some(end) = end.filter(|end| *end <= start) {
            return Err(invalid(format!("`end` is {end}; expected a time after `start`, which is {start}")));
        }
        let newest_first = order.unwrap_or_default() == Order::Desc;
        let with_bodies = with == Some(WithResponse::Response);
        let size = size(page_size)?;
        let mut request = TimelineRequest { ip, start, end, newest_first, with_bodies, size, after: None };
        if let Some(token) = page_token {
            let after = page_token::decode(&token, &request.describe(), now)?;
            let is_possible = |key: EntryKey| key.time >= start && end.is_none_or(|end| key.time < end);
            if !request.key(&after).is_some_and(is_possible) {
                return Err(Problem::new(&INVALID_PAGE_TOKEN, "the page token has no position in the query"));
            }
            request.after = Some(after);
        }
        Ok(request)
    }
}

impl TimelineRequest {
    /// Describes the query uniquely. The size of a page is no part of it.
    fn describe(&self) -> String {
        let TimelineRequest { ip, start, end, newest_first, with_bodies, .. } = self;
        format!("timeline {ip} {start} {end:?} {newest_first} {with_bodies}")
    }

    fn key(&self, sort_key: &str) -> Option<EntryKey> {
        EntryKey::parse(&self.ip.to_string(), sort_key)
    }

    fn query(&self) -> EntryQuery<'_> {
        EntryQuery {
            ip: self.ip,
            start: self.start,
            end: self.end.unwrap_or(u64::MAX),
            newest_first: self.newest_first,
            with_bodies: self.with_bodies,
            after: self.after.as_deref(),
            limit: self.size,
        }
    }

    /// Returns the page, with the token of the next one.
    fn page(&self, found: Entries, now: SystemTime) -> Timeline {
        let last = found.entries.last().map(|entry| entry.key.time);
        let seconds = to_unix_seconds(now);
        let scanned_to = match (&found.next, self.newest_first) {
            (None, true) => Some(self.start),
            // Events after the last one may follow until the end has passed.
            (None, false) => self.end.filter(|end| *end <= seconds).or(last),
            // A page may end without an event.
            (Some(next), _) => self.key(next).map(|key| key.time).or(last),
        };
        Timeline {
            ip: self.ip.to_string(),
            events: found.entries.into_iter().map(TimelineEvent::from).collect(),
            scanned_to,
            next_page_token: found.next.map(|next| page_token::encode(&self.describe(), &next, now)),
        }
    }
}

impl<R: Records> Api<R> {
    pub(super) async fn timeline(&self, request: &TimelineRequest, now: SystemTime) -> Result<Timeline, Problem> {
        let found = self.history()?.entries(&request.query()).await;
        Ok(request.page(found.map_err(|error| self.history_problem(error))?, now))
    }
}

/// What changed on an address
///
/// What opened, changed and closed, as `mini-scan changes` has recorded it: usually seconds after the record changed. A page
/// reads at most 1 MB, so it may have fewer events than `page_size` although more follow.
#[utoipa::path(
    get,
    path = "/v1/hosts/{ip}/timeline",
    tag = "history",
    operation_id = "timeline",
    params(("ip" = String, Path, description = "IPv4 or IPv6 address."), TimelineParams),
    responses(
        (status = 200, description = "The events. There are none if nothing was recorded.", body = Timeline, headers(("ETag", description = "Changes with the body."))),
        (status = 304, description = "The page is the one with the `ETag` in `If-None-Match`. The read units are the same."),
        (status = 501, description = "The API has no history.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn timeline<R: Records>(
    State(api): State<Arc<Api<R>>>,
    Path(text): Path<String>,
    Query(params): Query<TimelineParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = now();
    let request = params.request(ip(&text)?, now)?;
    Ok(json(&headers, &api.timeline(&request, now).await?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::changes::{Entry, Event, Sequence};
    use crate::scan::Key;

    const NOW: u64 = 1_740_298_125;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn request(params: TimelineParams) -> Result<TimelineRequest, Problem> {
        params.request([1, 1, 1, 7].into(), now())
    }

    fn entry(time: u64) -> Entry {
        let service = Key::new([1, 1, 1, 7].into(), 80, "A#B");
        Entry::new(EntryKey { service, time, sequence: Sequence::none() }, Event::Opened, time, 0)
    }

    fn scanned_to(params: TimelineParams, times: &[u64], has_next: bool) -> Option<u64> {
        let entries: Vec<_> = times.iter().map(|time| entry(*time)).collect();
        let next = entries.last().filter(|_| has_next).map(|entry| entry.key.sort_key());
        request(params).unwrap().page(Entries { entries, next }, now()).scanned_to
    }

    #[test]
    fn a_page_is_complete_up_to_its_last_event_or_up_to_a_past_end() {
        let until = |end| TimelineParams { start: Some(5), end, ..TimelineParams::default() };
        assert_eq!(scanned_to(until(Some(100)), &[7, 9], true), Some(9));
        assert_eq!(scanned_to(until(Some(100)), &[7, 9], false), Some(100));
        assert_eq!(scanned_to(until(Some(NOW + 1)), &[7, 9], false), Some(9));
        assert_eq!(scanned_to(until(None), &[7, 9], false), Some(9));
        assert_eq!(scanned_to(until(None), &[], false), None);
        let descending = || until(Some(100)).newest_first();
        assert_eq!(scanned_to(descending(), &[9, 7], true), Some(7));
        assert_eq!(scanned_to(descending(), &[9, 7], false), Some(5));
    }

    #[test]
    fn a_page_token_fits_only_the_query_that_returned_it() {
        let params = || TimelineParams { start: Some(5), end: Some(100), ..TimelineParams::default() };
        let token = |time| {
            let next = Some(entry(time).key.sort_key());
            request(params()).unwrap().page(Entries { entries: Vec::new(), next }, now()).next_page_token
        };
        let with_token = || TimelineParams { page_token: token(9), ..params() };
        assert_eq!(request(with_token()).unwrap().after, Some(entry(9).key.sort_key()));
        assert!(request(TimelineParams { page_size: Some(7), ..with_token() }).is_ok());
        for other in [
            TimelineParams { start: Some(6), ..with_token() },
            TimelineParams { end: None, ..with_token() },
            with_token().newest_first(),
            TimelineParams { with: Some(WithResponse::Response), ..with_token() },
            // A position outside of the query.
            TimelineParams { page_token: token(4), ..params() },
            TimelineParams { page_token: token(100), ..params() },
        ] {
            assert_eq!(request(other).unwrap_err().kind().name, "invalid-page-token");
        }
        let elsewhere = with_token().request([1, 1, 1, 8].into(), now());
        assert_eq!(elsewhere.unwrap_err().kind().name, "invalid-page-token");
    }

    #[test]
    fn an_empty_range_of_time_is_refused() {
        for (start, end) in [(Some(5), 5), (Some(6), 5), (None, 0)] {
            let params = TimelineParams { start, end: Some(end), ..TimelineParams::default() };
            assert_eq!(request(params).unwrap_err().kind().name, "invalid-request");
        }
    }
}
