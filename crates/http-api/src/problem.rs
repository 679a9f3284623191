//! Errors as problem documents. <https://www.rfc-editor.org/rfc/rfc9457>

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Serialize;
use serde_json::{Map, Value};

/// The page that describes every type of problem of an API.
pub const PAGE: &str = "/docs/problems";

const CONTENT: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A kind of error, with what its page describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemType {
    /// The end of its URI, e.g. `not-found`.
    pub name: &'static str,
    pub status: u16,
    pub title: &'static str,
    /// What a client does about it.
    pub advice: &'static str,
}

/// The problems that every API may answer.
pub const COMMON: [&ProblemType; 12] = [
    &INVALID_REQUEST,
    &INVALID_PAGE_TOKEN,
    &EXPIRED_PAGE_TOKEN,
    &UNAUTHORIZED,
    &FORBIDDEN,
    &FOREIGN_ORIGIN,
    &NOT_FOUND,
    &METHOD_NOT_ALLOWED,
    &TOO_LARGE,
    &SLOW_BODY,
    &OVERLOADED,
    &TIMEOUT,
];

pub const INVALID_REQUEST: ProblemType = ProblemType {
    name: "invalid-request",
    status: 400,
    title: "The request is invalid",
    advice: "Correct the part of the request that the detail names. Repeating the request does not help.",
};
pub const INVALID_PAGE_TOKEN: ProblemType = ProblemType {
    name: "invalid-page-token",
    status: 400,
    title: "The page token does not belong to this query",
    advice: "Send a page token only with the query that returned it, and unchanged. Otherwise start with the first page.",
};
pub const EXPIRED_PAGE_TOKEN: ProblemType = ProblemType {
    name: "expired-page-token",
    status: 400,
    title: "The page token is too old",
    advice: "A page token is valid for 24 hours. Start with the first page.",
};
pub const UNAUTHORIZED: ProblemType = ProblemType {
    name: "unauthorized",
    status: 401,
    title: "A valid token is required",
    advice: "Send the header `Authorization: Bearer TOKEN` with a token that the operator has issued.",
};
pub const FORBIDDEN: ProblemType = ProblemType {
    name: "forbidden",
    status: 403,
    title: "The token does not allow this",
    advice: "Ask the operator for a token with the scope that the detail names.",
};
pub const FOREIGN_ORIGIN: ProblemType = ProblemType {
    name: "foreign-origin",
    status: 403,
    title: "The request comes from another site",
    advice: "Without tokens, this API answers only requests to a name of this machine (localhost) that no other site's \
             page has sent. Otherwise any web page could read it through the browser of its visitor.",
};
pub const NOT_FOUND: ProblemType = ProblemType {
    name: "not-found",
    status: 404,
    title: "There is no such endpoint",
    advice: "Compare the path with the documentation at `/docs`.",
};
pub const METHOD_NOT_ALLOWED: ProblemType = ProblemType {
    name: "method-not-allowed",
    status: 405,
    title: "The endpoint does not have this method",
    advice: "Use a method that the header `Allow` lists.",
};
pub const TOO_LARGE: ProblemType =
    ProblemType { name: "too-large", status: 413, title: "The body is too large", advice: "Send less in one request." };
pub const SLOW_BODY: ProblemType = ProblemType {
    name: "slow-body",
    status: 408,
    title: "The body did not arrive in time",
    advice: "Send the whole body within 5 seconds.",
};
pub const OVERLOADED: ProblemType = ProblemType {
    name: "overloaded",
    status: 503,
    title: "Too many requests are in progress",
    advice: "Repeat the request after the time in the header `Retry-After`, and send fewer at a time.",
};
pub const TIMEOUT: ProblemType = ProblemType {
    name: "timeout",
    status: 503,
    title: "The request took too long",
    advice: "Repeat the request after the time in the header `Retry-After`. Ask for less, e.g. by a smaller page.",
};
/// A fault of the program, which no client should see.
pub const INTERNAL: ProblemType = ProblemType {
    name: "internal",
    status: 500,
    title: "The program failed",
    advice: "Report it to the operator. The log of the instance has the cause.",
};

/// One error of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    kind: &'static ProblemType,
    detail: String,
    errors: Vec<FieldError>,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is wrong with a part of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The part, as a JSON Pointer (RFC 6901).
    #[schema(example = "/name")]
    pub pointer: String,
    pub detail: String,
}

/// The document that a client receives.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(title = "Problem")]
pub struct ProblemBody {
    /// Leads to the description of this type of problem.
    #[serde(rename = "type")]
    #[schema(example = "/docs/problems#invalid-request")]
    kind: String,
    #[schema(example = "The request is invalid")]
    title: &'static str,
    #[schema(example = 400)]
    status: u16,
    /// What is wrong with this request.
    detail: String,
    /// The parts of the body that are wrong, if the problem is about them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// Those of a type of problem, which its own schema describes.
    #[serde(flatten)]
    #[schema(ignore)]
    members: Map<String, Value>,
}

impl Problem {
    pub fn new(kind: &'static ProblemType, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), errors: Vec::new(), members: Map::new(), headers: Vec::new() }
    }

    /// Lists the parts of the body that are wrong.
    pub fn errors(mut self, errors: Vec<FieldError>) -> Problem {
        self.errors = errors;
        self
    }

    /// Adds a member for programs, which RFC 9457 calls an extension.
    pub fn member(mut self, name: &str, value: impl Into<Value>) -> Problem {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Asks the client to wait this many seconds before it repeats the request.
    pub fn retry_after(self, seconds: u32) -> Problem {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds a header to the response.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    pub fn kind(&self) -> &'static ProblemType {
        self.kind
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the document, e.g. for a part of an answer. The headers are lost.
    pub fn body(self) -> ProblemBody {
        let Problem { kind, detail, errors, members, headers: _ } = self;
        let (title, status, kind) = (kind.title, kind.status, format!("{PAGE}#{}", kind.name));
        ProblemBody { kind, title, status, detail, errors, members }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (kind, headers) = (self.kind, self.headers.clone());
        let body = serde_json::to_vec(&self.body()).expect("text and numbers are always JSON");
        let status = StatusCode::from_u16(kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let no_store = HeaderValue::from_static("no-store");
        let mut response = (status, [(CONTENT_TYPE, CONTENT), (CACHE_CONTROL, no_store)], body).into_response();
        response.headers_mut().extend(headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_problems_have_different_names_and_statuses_of_errors() {
        let names: std::collections::BTreeSet<_> = COMMON.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), COMMON.len());
        assert!(COMMON.iter().all(|kind| (400..600).contains(&kind.status)));
    }

    #[test]
    fn a_member_for_programs_is_beside_the_standard_ones() {
        let body = serde_json::to_value(Problem::new(&NOT_FOUND, "text").member("limit", 5).body()).unwrap();
        assert_eq!((&body["limit"], &body["status"], &body["detail"]), (&5.into(), &404.into(), &"text".into()));
        assert_eq!(body.as_object().unwrap().len(), 5);
    }

    #[test]
    fn a_response_is_a_problem_document_with_the_headers_of_the_problem() {
        let response = Problem::new(&OVERLOADED, "wait").retry_after(3).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[RETRY_AFTER], "3");
    }

    #[test]
    fn a_document_lists_the_parts_that_are_wrong() {
        let body = |problem: Problem| serde_json::to_value(problem.body()).unwrap();
        let error = FieldError { pointer: "/a/1".to_owned(), detail: "why".to_owned() };
        let problem = Problem::new(&INVALID_REQUEST, "2 parts");
        assert_eq!(body(problem.clone().errors(vec![error]))["errors"][0]["pointer"], "/a/1");
        assert!(body(problem).get("errors").is_none());
    }
}
