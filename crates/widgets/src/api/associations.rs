//! The endpoints of single associations.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use http_api::{Body, Caller, Problem, ProblemBody, Query};
use serde::Deserialize;
use utoipa::IntoParams;

use super::bodies::{AssociationBody, PortTaken};
use super::headers::{Key, NoParams, PortPath, no_if_match};
use super::{Api, requests};
use crate::operation::{Operation, Taken};
use crate::ports::Store;

/// What to do with ports that are taken.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConnectParams {
    /// Disconnect both widgets from the peers that they have at this port.
    #[serde(default)]
    #[param(required = false)]
    replace: bool,
}

/// Connects a port of two widgets
///
/// Both sides change at once. If the two are connected to each other already, nothing is written.
#[utoipa::path(
    put,
    path = "/widgets/associations",
    tag = "associations",
    operation_id = "connect",
    params(
        ConnectParams,
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with this key has the same answer."),
    ),
    request_body(content = AssociationBody, description = "Any `Content-Type` is accepted."),
    responses(
        (status = 200, description = "The widgets are connected.", body = AssociationBody),
        (status = 404, description = "A widget is missing.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "A port is taken.", body = PortTaken, content_type = "application/problem+json"),
        (status = 422, description = "A widget lacks the port, both are the same, or the body is invalid.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn connect<S: Store>(
    State(api): State<Arc<Api<S>>>,
    Extension(caller): Extension<Caller>,
    Query(params): Query<ConnectParams>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    no_if_match(&headers)?;
    let key = Key::of(&headers, &caller)?;
    let taken = if params.replace { Taken::Replace } else { Taken::Refuse };
    let operation = requests::connect(&requests::json(&body)?, taken)?;
    Ok(api.run(&operation, key.of_request().as_ref(), api.registry.deadline()).await.into_response())
}

/// Disconnects a port on both sides
#[utoipa::path(
    delete,
    path = "/widgets/associations/{serial}/{port}",
    tag = "associations",
    operation_id = "disconnect",
    params(
        ("serial" = String, Path, description = "The serial number of one of the two widgets, percent-encoded."),
        ("port" = String, Path, description = "`P`, `Q` or `R`."),
        ("Idempotency-Key" = Option<String>, Header, description = "A repeated request with this key has the same answer."),
    ),
    responses(
        (status = 204, description = "The port is free on both sides."),
        (status = 404, description = "There is no such widget, or the port is not connected.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "The widget lacks the port.", body = ProblemBody, content_type = "application/problem+json"),
        (status = "default", description = "A problem.", body = ProblemBody, content_type = "application/problem+json", headers(
            ("Retry-After", description = "After how many seconds a request may be repeated, with most problems of status 503."),
        )),
    )
)]
pub(super) async fn disconnect<S: Store>(
    State(api): State<Arc<Api<S>>>,
    Extension(caller): Extension<Caller>,
    PortPath(serial, port): PortPath,
    Query(NoParams {}): Query<NoParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    no_if_match(&headers)?;
    let key = Key::of(&headers, &caller)?;
    let operation = Operation::Disconnect { serial, port };
    Ok(api.run(&operation, key.of_request().as_ref(), api.registry.deadline()).await.into_response())
}
