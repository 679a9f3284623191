//! Serves the OpenAPI document of an API and its rendered view. Both are the same for everyone and need no token.

use axum::Router;
use axum::routing::get;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::docs::{Docs, STYLE, html, style};
use crate::problem::{self, ProblemType};

/// The document and its pages, as they are served.
#[derive(Debug)]
pub struct Reference {
    document: String,
    endpoints: String,
    problems: String,
}

impl Reference {
    /// `document` is that of [`openapi`].
    pub fn new(title: &str, document: String, problems: &[&'static ProblemType]) -> Reference {
        let value: Value = serde_json::from_str(&document).expect("an OpenAPI document is JSON");
        let docs = Docs { title, document: &value, problems };
        Reference { endpoints: docs.page(), problems: docs.problems_page(), document }
    }

    /// Returns the routes of the document, of its pages, and of their style sheet.
    pub fn routes(&'static self) -> Router {
        let json = HeaderValue::from_static("application/json");
        Router::new()
            .route("/openapi.json", get(async move || ([(CONTENT_TYPE, json)], self.document.as_str())))
            .route("/docs", get(async || html(self.endpoints.clone())))
            .route(problem::PAGE, get(async || html(self.problems.clone())))
            .route(STYLE, get(async || style()))
    }
}

/// Returns the text of an OpenAPI document, as it is checked in.
pub fn openapi(document: &OpenApi) -> String {
    document.to_pretty_json().expect("the document has text as keys") + "\n"
}

/// Lets an OpenAPI document name the tokens that the API takes.
#[derive(Debug)]
pub struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}
