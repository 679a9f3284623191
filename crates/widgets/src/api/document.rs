//! The OpenAPI document and its rendered view. Both are the same for everyone and need no token.

use std::sync::LazyLock;

use axum::Router;
use http_api::{Bearer, Reference};
use utoipa::OpenApi;

use super::{associations, batches, problems, widgets};

const TITLE: &str = "widget-registry API";

const DESCRIPTION: &str = "Widgets, and the symmetric connections between their ports. A port of a widget is connected to \
    the same port of at most one other widget. If the operator has set up tokens, every request below /widgets needs the \
    header `Authorization: Bearer TOKEN`.";

#[derive(OpenApi)]
#[openapi(
    info(title = TITLE, description = DESCRIPTION, version = "1", license(name = "Apache-2.0")),
    paths(widgets::create, widgets::show, widgets::list, widgets::change, widgets::remove, associations::connect,
        associations::disconnect, batches::widgets, batches::associations),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

/// Returns the OpenAPI document, as it is checked in at `docs/widgets-openapi.json`.
pub fn openapi() -> String {
    http_api::openapi(&Document::openapi())
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::new(TITLE, openapi(), &problems::all()));

pub(super) fn routes() -> Router {
    REFERENCE.routes()
}
