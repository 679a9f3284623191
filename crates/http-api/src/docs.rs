//! The documentation as web pages: the OpenAPI document and the problems, rendered without script and without any resource
//! from elsewhere.

use axum::response::{IntoResponse, Response};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use crate::problem::ProblemType;

/// The path of the style sheet that the pages link.
pub(crate) const STYLE: &str = "/assets/docs.css";

/// Only the style sheet of this server, and nothing that a page could load or run.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// What the pages show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Docs<'a> {
    pub(crate) title: &'a str,
    /// The OpenAPI document.
    pub(crate) document: &'a Value,
    pub(crate) problems: &'a [&'a ProblemType],
}

impl Docs<'_> {
    /// Renders every endpoint.
    pub(crate) fn page(&self) -> String {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(path, methods)| {
            methods.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
        });
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.around(html! {
            p { (inline(&text(&self.document["info"]["description"]))) }
            p {
                "The same as a document for programs: " a href="/openapi.json" { "/openapi.json" } ". "
                "Errors: " a href=(crate::problem::PAGE) { "problems" } "."
            }
            @for (path, method, operation) in operations {
                section {
                    h2 id=(text(&operation["operationId"])) { code { (method.to_uppercase()) " " (path) } }
                    p { strong { (text(&operation["summary"])) } }
                    @for paragraph in text(&operation["description"]).split("\n\n") { p { (inline(paragraph)) } }
                    (parameters(operation))
                    (responses(operation))
                }
            }
            h2 { "Schemas" }
            @for (name, schema) in self.document["components"]["schemas"].as_object().into_iter().flatten() {
                (self::schema(name, schema))
            }
        })
    }

    /// Renders every problem, each at the anchor to which its `type` leads.
    pub(crate) fn problems_page(&self) -> String {
        self.around(html! {
            p { "Every error is a problem document (RFC 9457). Its " code { "type" } " leads to a section of this page." }
            @for problem in self.problems {
                section {
                    h2 id=(problem.name) { (problem.title) }
                    p { "Status " code { (problem.status) } ", type " code { (crate::problem::PAGE) "#" (problem.name) } }
                    p { (inline(problem.advice)) }
                }
            }
        })
    }

    fn around(&self, content: Markup) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    link rel="stylesheet" href=(STYLE);
                }
                body { main { h1 { (self.title) } (content) } }
            }
        };
        page.into_string()
    }
}

fn parameters(operation: &Value) -> Markup {
    let parameters: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
    html! {
        @if !parameters.is_empty() {
            table {
                thead { tr { th { "Parameter" } th { "In" } th { "Meaning" } } }
                tbody {
                    @for parameter in parameters {
                        tr {
                            td {
                                code { (parameter["name"].as_str().unwrap_or_default()) }
                                @if parameter["required"] == true { " (required)" }
                            }
                            td { (parameter["in"].as_str().unwrap_or_default()) }
                            td { (inline(parameter["description"].as_str().unwrap_or_default())) }
                        }
                    }
                }
            }
        }
    }
}

fn responses(operation: &Value) -> Markup {
    html! {
        table {
            thead { tr { th { "Status" } th { "Answer" } } }
            tbody {
                @for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                    tr { td { code { (status) } } td { (inline(response["description"].as_str().unwrap_or_default())) } }
                }
            }
        }
    }
}

fn schema(name: &str, schema: &Value) -> Markup {
    html! {
        section {
            h3 id={ "schema-" (name) } { code { (name) } }
            p { (inline(schema["description"].as_str().unwrap_or_default())) }
            @if let Some(properties) = schema["properties"].as_object() {
                table {
                    thead { tr { th { "Property" } th { "Type" } th { "Meaning" } } }
                    tbody {
                        @for (name, property) in properties {
                            tr {
                                td { code { (name) } }
                                td { (kind(property)) }
                                td { (inline(property["description"].as_str().unwrap_or_default())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Renders the parts of a text between backticks as code.
pub fn inline(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Returns the type of a property, e.g. `array of Service`.
fn kind(property: &Value) -> String {
    let named = |value: &Value| value["$ref"].as_str().and_then(|path| path.rsplit('/').next()).map(str::to_owned);
    if let Some(name) = named(property) {
        return name;
    }
    match &property["type"] {
        Value::String(kind) if kind == "array" => format!("array of {}", self::kind(&property["items"])),
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

/// Returns a page as a response.
pub(crate) fn html(page: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, page).into_response()
}

/// Returns the style sheet as a response.
pub(crate) fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, include_str!("docs.css")).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::problem::COMMON;

    #[test]
    fn text_between_backticks_is_code() {
        assert_eq!(inline("send `<a>` or `b").into_string(), "send <code>&lt;a&gt;</code> or <code>b</code>");
    }

    #[test]
    fn texts_are_escaped_and_nothing_is_loaded_from_elsewhere() {
        let document = json!({
            "info": { "description": "<script>alert(1)</script>" },
            "paths": { "/v1/<b>": { "get": { "summary": "a & b", "parameters": [{ "name": "\"", "in": "query" }] } } },
        });
        let docs = Docs { title: "API", document: &document, problems: &COMMON };
        let (page, problems) = (docs.page(), docs.problems_page());
        assert!(page.contains("&lt;script&gt;") && page.contains("/v1/&lt;b&gt;"), "{page}");
        for page in [&page, &problems] {
            assert!(!page.contains("<script") && !page.contains("style=") && !page.contains("://"), "{page}");
        }
        assert!(COMMON.iter().all(|problem| problems.contains(&format!("id=\"{}\"", problem.name))));
    }
}
