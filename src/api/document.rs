//! The OpenAPI document and its rendered view. Both are the same for everyone and need no token.

use std::sync::LazyLock;

use axum::Router;
use http_api::{Bearer, Reference};
use utoipa::OpenApi;

use super::{bodies, problems, reads, timeline, webhooks, writes};

const TITLE: &str = "mini-scan API";

const DESCRIPTION: &str = "What internet scans have found on addresses, in networks and for services. If the operator has \
    set up tokens, every request below /v1 needs the header `Authorization: Bearer TOKEN`. The endpoints that write exist only \
    if the operator allows writes, and those of webhooks only if the operator enables them.";

#[derive(OpenApi)]
#[openapi(
    info(title = TITLE, description = DESCRIPTION, version = "1", license(name = "Apache-2.0")),
    paths(reads::host, reads::record, timeline::timeline, reads::lookup, reads::network, reads::services, writes::scans, writes::forget,
        webhooks::list, webhooks::add, webhooks::show, webhooks::change, webhooks::remove, webhooks::test, webhooks::pause,
        webhooks::resume, webhooks::rotate, webhooks::dead, webhooks::redrive, webhooks::purge),
    components(schemas(
        bodies::Host,
        bodies::Service,
        bodies::Scan,
        bodies::ScanResult,
        bodies::ResultKind,
        http_api::ProblemBody
    )),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

/// Returns the OpenAPI document, as it is checked in at `docs/openapi.json`.
pub fn openapi() -> String {
    http_api::openapi(&Document::openapi())
}

static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::new(TITLE, openapi(), &problems::all()));

pub(super) fn routes() -> Router {
    REFERENCE.routes()
}
