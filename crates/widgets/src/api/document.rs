//! The OpenAPI document and its rendered view. Both are the same for everyone and need no token.

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::routing::get;
use http_api::{Docs, STYLE, html, problem, style};
use serde_json::Value;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

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

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// Returns the OpenAPI document, as it is checked in at `docs/widgets-openapi.json`.
pub fn openapi() -> String {
    Document::openapi().to_pretty_json().expect("the document has text as keys") + "\n"
}

struct Pages {
    document: String,
    endpoints: String,
    problems: String,
}

static PAGES: LazyLock<Pages> = LazyLock::new(|| {
    let document = openapi();
    let value: Value = serde_json::from_str(&document).expect("it was just written");
    let problems = problems::all();
    let docs = Docs { title: TITLE, document: &value, problems: &problems };
    Pages { endpoints: docs.page(), problems: docs.problems_page(), document }
});

pub(super) fn routes() -> Router {
    let document = async || ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], PAGES.document.as_str());
    Router::new()
        .route("/openapi.json", get(document))
        .route("/docs", get(async || html(PAGES.endpoints.clone())))
        .route(problem::PAGE, get(async || html(PAGES.problems.clone())))
        .route(STYLE, get(async || style()))
}
