//! The endpoints of single widgets.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use http_api::problem::{INVALID_PAGE_TOKEN, INVALID_REQUEST};
use http_api::{Body, Caller, Problem, ProblemBody, Query, json, json_of, page_token};
use serde::Deserialize;
use utoipa::IntoParams;

use super::answers::tag;
use super::bodies::{NewWidget, PortTaken, WidgetBody, WidgetChange, WidgetPage};
use super::headers::{Key, NoParams, SerialPath, if_match};
use super::problems::WIDGET_NOT_FOUND;
use super::{Api, now, requests};
use crate::operation::Operation;
use crate::ports::Store;
use crate::widget::Serial;

const DEFAULT_PAGE_SIZE: u16 = 50;
const MAX_PAGE_SIZE: u16 = 1000;
/// What a page token belongs to.
const ALL_WIDGETS: &str = "widgets";

/// Creates a widget
///
/// A request for a widget that exists with the same name and ports changes nothing, and is answered with 200.
#[utoipa::path(
    post,
    path = "/widgets",
    tag = "widgets",
    operation_id = "create",
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeated request with this key has the same answer.")),
    request_body(content = NewWidget, description = "Any `Content-Type` is accepted."),
    responses(
        (status = 201, description = "The widget is created.", body = WidgetBody, headers(
            ("ETag", description = "Names the state of the widget. A replayed answer has none."),
            ("Location", description = "The path of the widget."),
        )),
        (status = 200, description = "The widget existed with the same name and ports.", body = WidgetBody, headers(
            ("ETag", description = "Names the state of the widget. A replayed answer has none."),
            ("Location", description = "The path of the widget."),
        )),
        (status = 409, description = "The serial number belongs to a widget with another name or other ports.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The widget is invalid. `errors` lists each fault.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn create<S: Store>(
    State(api): State<Arc<Api<S>>>,
    Extension(caller): Extension<Caller>,
    Query(NoParams {}): Query<NoParams>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    let key = Key::of(&headers, &caller)?;
    let operation = requests::create(&requests::json(&body)?)?;
    let reply = api.run(&operation, key.of_request().as_ref(), api.registry.deadline()).await;
    Ok(reply.with_location())
}

/// Returns a widget with its connections
///
/// Two widgets that are read one after the other may have changed in between.
#[utoipa::path(
    get,
    path = "/widgets/{serial}",
    tag = "widgets",
    operation_id = "show",
    params(("serial" = String, Path, description = "The serial number, percent-encoded.")),
    responses(
        (status = 200, description = "The widget.", body = WidgetBody, headers(("ETag", description = "Names the state of the widget."))),
        (status = 404, description = "There is no such widget.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn show<S: Store>(
    State(api): State<Arc<Api<S>>>,
    SerialPath(serial): SerialPath,
    Query(NoParams {}): Query<NoParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let widget = api.registry.get(&serial).await.map_err(|failure| api.problem(&failure))?;
    let widget = widget.ok_or_else(|| Problem::new(&WIDGET_NOT_FOUND, format!("there is no widget {serial}")))?;
    Ok(json_of(&headers, &tag(&widget), &WidgetBody::of(&widget)))
}

/// Which widgets to list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// The most widgets on a page, from 1 to 1000; the default is 50. A page may have fewer.
    page_size: Option<u16>,
    /// The `next_page_token` of the page before.
    page_token: Option<String>,
}

/// Lists widgets
///
/// The order is arbitrary and constant. A widget that is created or deleted meanwhile may be missing or listed.
#[utoipa::path(
    get,
    path = "/widgets",
    tag = "widgets",
    operation_id = "list",
    params(PageParams),
    responses(
        (status = 200, description = "A page of widgets.", body = WidgetPage),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn list<S: Store>(
    State(api): State<Arc<Api<S>>>,
    Query(params): Query<PageParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let size = params.page_size.unwrap_or(DEFAULT_PAGE_SIZE);
    if !(1..=MAX_PAGE_SIZE).contains(&size) {
        let detail = format!("page_size is {size}; expected 1 to {MAX_PAGE_SIZE}");
        return Err(Problem::new(&INVALID_REQUEST, detail));
    }
    let after = params.page_token.map(|token| position(&token)).transpose()?;
    let page = api.registry.page(after.as_ref(), size).await.map_err(|failure| api.problem(&failure))?;
    let next = page.next.as_ref().map(|serial| page_token::encode(ALL_WIDGETS, serial.as_str(), now()));
    Ok(json(&headers, &WidgetPage::of(&page, next)))
}

fn position(token: &str) -> Result<Serial, Problem> {
    let position = page_token::decode(token, ALL_WIDGETS, now())?;
    Serial::try_from(position).map_err(|_| Problem::new(&INVALID_PAGE_TOKEN, "the page token has no serial number"))
}

/// Changes a widget
///
/// The body is a merge patch (RFC 7396): a missing member stays as it is. A port that is connected cannot be removed.
#[utoipa::path(
    patch,
    path = "/widgets/{serial}",
    tag = "widgets",
    operation_id = "change",
    params(
        ("serial" = String, Path, description = "The serial number, percent-encoded."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the widget, so that no change of others is lost."),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with this key has the same answer."),
    ),
    request_body(content = WidgetChange, description = "Any `Content-Type` is accepted."),
    responses(
        (status = 200, description = "The widget after the change.", body = WidgetBody, headers(
            ("ETag", description = "Names the state of the widget. A replayed answer has none."),
        )),
        (status = 404, description = "There is no such widget.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "A port that is to be removed is connected.", body = PortTaken, content_type = "application/problem+json"),
        (status = 412, description = "The widget has changed since the state of `If-Match`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The change is invalid. `errors` lists each fault.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn change<S: Store>(
    State(api): State<Arc<Api<S>>>,
    Extension(caller): Extension<Caller>,
    SerialPath(serial): SerialPath,
    Query(NoParams {}): Query<NoParams>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    let key = Key::of(&headers, &caller)?;
    let operation = requests::change(serial, &requests::json(&body)?, if_match(&headers))?;
    Ok(api.run(&operation, key.of_request().as_ref(), api.registry.deadline()).await.into_response())
}

/// Deletes a widget
///
/// The ports of its peers are free after it, in the same transaction.
#[utoipa::path(
    delete,
    path = "/widgets/{serial}",
    tag = "widgets",
    operation_id = "delete",
    params(
        ("serial" = String, Path, description = "The serial number, percent-encoded."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the widget, so that no newer state is deleted."),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with this key has the same answer."),
    ),
    responses(
        (status = 204, description = "The widget is deleted."),
        (status = 404, description = "There is no such widget.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 412, description = "The widget has changed since the state of `If-Match`.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn remove<S: Store>(
    State(api): State<Arc<Api<S>>>,
    Extension(caller): Extension<Caller>,
    SerialPath(serial): SerialPath,
    Query(NoParams {}): Query<NoParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = Key::of(&headers, &caller)?;
    let operation = Operation::Delete { serial, if_match: if_match(&headers) };
    Ok(api.run(&operation, key.of_request().as_ref(), api.registry.deadline()).await.into_response())
}
