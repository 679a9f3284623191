//! From the answer to an operation to a response, or to a result in a batch. Pure.

use axum::Json;
use axum::http::header::{ETAG, HeaderValue, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_api::{Etag, IDEMPOTENT_REPLAYED, Problem};

use super::bodies::{AssociationBody, OperationResult, WidgetBody};
use super::problems;
use crate::operation::Outcome;
use crate::registry::Answered;
use crate::widget::{Serial, Widget};

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// What a client is answered to an operation.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    status: StatusCode,
    content: Content,
    /// It is the answer to an earlier request with the same Idempotency-Key.
    is_repeat: bool,
}

#[derive(Debug, Clone)]
enum Content {
    Nothing,
    Widget(Box<Widget>),
    Association(AssociationBody),
    Problem(Problem),
}

impl From<Answered> for Reply {
    fn from(answered: Answered) -> Reply {
        let Answered { answer, is_repeat } = answered;
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(refusal) => return Reply { is_repeat, ..Reply::from(problems::of_refusal(&refusal)) },
        };
        let (status, content) = match outcome {
            Outcome::Created(widget) => (StatusCode::CREATED, Content::Widget(Box::new(widget))),
            Outcome::Exists(widget) | Outcome::Changed(widget) | Outcome::Unchanged(widget) => {
                (StatusCode::OK, Content::Widget(Box::new(widget)))
            }
            Outcome::Connected(association) | Outcome::AlreadyConnected(association) => {
                (StatusCode::OK, Content::Association(AssociationBody::of(association)))
            }
            Outcome::Deleted | Outcome::Disconnected => (StatusCode::NO_CONTENT, Content::Nothing),
        };
        Reply { status, content, is_repeat }
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Reply {
        let status = StatusCode::from_u16(problem.kind().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Reply { status, content: Content::Problem(problem), is_repeat: false }
    }
}

impl Reply {
    pub(super) fn result(self) -> OperationResult {
        let result = OperationResult::of(self.status.as_u16(), self.is_repeat);
        match self.content {
            Content::Nothing => result,
            Content::Widget(widget) => OperationResult { widget: Some(WidgetBody::of(&widget)), ..result },
            Content::Association(association) => OperationResult { association: Some(association), ..result },
            Content::Problem(problem) => OperationResult { problem: Some(problem.body()), ..result },
        }
    }

    /// Returns the response, with the path of the widget that it is about.
    pub(super) fn with_location(self) -> Response {
        let location = match &self.content {
            Content::Widget(widget) => Some(location(&widget.serial)),
            Content::Nothing | Content::Association(_) | Content::Problem(_) => None,
        };
        let mut response = self.into_response();
        if let Some(location) = location {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        if self.is_repeat {
            headers.insert(IDEMPOTENT_REPLAYED, TRUE);
        }
        match self.content {
            Content::Nothing => (self.status, headers).into_response(),
            Content::Association(association) => (self.status, headers, Json(association)).into_response(),
            Content::Problem(problem) => (headers, problem).into_response(),
            Content::Widget(widget) => {
                // The widget may have changed since the first request.
                if !self.is_repeat {
                    headers.insert(ETAG, tag(&widget).header());
                }
                (self.status, headers, Json(WidgetBody::of(&widget))).into_response()
            }
        }
    }
}

pub(super) fn tag(widget: &Widget) -> Etag {
    Etag::opaque(widget.revision)
}

/// Returns the path of a widget. Only characters that no client changes are not encoded.
fn location(serial: &Serial) -> HeaderValue {
    let mut path = String::from("/widgets/");
    for byte in serial.as_str().bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
            byte => path.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(path).expect("a path of ASCII characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_percent_encoded() {
        let of = |text: &str| location(&Serial::try_from(text.to_owned()).unwrap());
        assert_eq!(of("123"), "/widgets/123");
        assert_eq!(of("a b%?~..\"\\"), "/widgets/a%20b%25%3F~..%22%5C");
        assert_eq!(of("x:batch"), "/widgets/x%3Abatch");
    }
}
