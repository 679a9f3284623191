//! What an error of AWS means for the reader. Pure.

use std::error::Error;
use std::iter::successors;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use crate::ports::{LeaseError, LeaseErrorKind, StreamError, StreamErrorKind};

/// The request that failed. The same code means something else for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Describe,
    Iterator,
    Records,
}

/// Codes without their suffix `Exception`.
const DENIALS: [&str; 5] =
    ["AccessDenied", "UnrecognizedClient", "ExpiredToken", "InvalidSignature", "MissingAuthenticationToken"];
/// Each shard allows two readers, and the account allows ten descriptions per second.
const THROTTLINGS: [&str; 8] = [
    "LimitExceeded",
    "ProvisionedThroughputExceeded",
    "Throttling",
    "ThrottlingError",
    "RequestLimitExceeded",
    "TooManyRequests",
    "RequestThrottled",
    "SlowDown",
];

pub(super) fn stream_error<E>(error: &SdkError<E>, request: Request) -> StreamError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    StreamError::new(kind(error.code(), status, request), detail(error))
}

pub(super) fn lease_error<E>(error: &SdkError<E>) -> LeaseError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    LeaseError::new(lease_kind(error.code(), status), detail(error))
}

fn lease_kind(code: Option<&str>, status: Option<u16>) -> LeaseErrorKind {
    let Some(code) = code else {
        return if status == Some(429) { LeaseErrorKind::Throttled } else { LeaseErrorKind::Unavailable };
    };
    match code.strip_suffix("Exception").unwrap_or(code) {
        "ResourceNotFound" => LeaseErrorKind::Missing,
        code if DENIALS.contains(&code) => LeaseErrorKind::Denied,
        code if THROTTLINGS.contains(&code) => LeaseErrorKind::Throttled,
        _ => LeaseErrorKind::Unavailable,
    }
}

/// Classifies a response by its error code, or by its status if it comes from a proxy.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>
fn kind(code: Option<&str>, status: Option<u16>, request: Request) -> StreamErrorKind {
    let Some(code) = code else {
        return if status == Some(429) { StreamErrorKind::Throttled } else { StreamErrorKind::Unavailable };
    };
    match code.strip_suffix("Exception").unwrap_or(code) {
        "ExpiredIterator" => StreamErrorKind::ExpiredIterator,
        "TrimmedDataAccess" => StreamErrorKind::Trimmed,
        "ResourceNotFound" => StreamErrorKind::NotFound,
        // The stream does not know the iterator. The position is still valid, so a new iterator helps.
        "Validation" | "ValidationError" if request == Request::Records => StreamErrorKind::ExpiredIterator,
        "Validation" | "ValidationError" => StreamErrorKind::Invalid,
        code if DENIALS.contains(&code) => StreamErrorKind::Denied,
        code if THROTTLINGS.contains(&code) => StreamErrorKind::Throttled,
        _ => StreamErrorKind::Unavailable,
    }
}

/// Returns the code and the message of a response. Without a response, returns the chain of causes.
fn detail<E>(error: &SdkError<E>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match (error.code(), error.raw_response()) {
        (Some(code), _) => format!("{code}: {}", error.message().unwrap_or("no message")),
        (None, Some(response)) => format!("HTTP {} without an error code of DynamoDB", response.status().as_u16()),
        (None, None) => {
            let causes = successors(Some(error as &(dyn Error + 'static)), |error| (*error).source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use aws_sdk_dynamodb::error::{BuildError, ErrorMetadata};
    use aws_sdk_dynamodbstreams::operation::get_records::GetRecordsError;

    use super::*;

    #[test]
    fn each_code_has_a_meaning_for_the_request() {
        use Request::{Describe, Iterator, Records};
        for (code, request, expected) in [
            ("ExpiredIteratorException", Records, StreamErrorKind::ExpiredIterator),
            ("TrimmedDataAccessException", Records, StreamErrorKind::Trimmed),
            ("TrimmedDataAccessException", Iterator, StreamErrorKind::Trimmed),
            ("ResourceNotFoundException", Iterator, StreamErrorKind::NotFound),
            ("ValidationException", Records, StreamErrorKind::ExpiredIterator),
            ("ValidationException", Iterator, StreamErrorKind::Invalid),
            ("ValidationException", Describe, StreamErrorKind::Invalid),
            ("LimitExceededException", Describe, StreamErrorKind::Throttled),
            ("ProvisionedThroughputExceededException", Records, StreamErrorKind::Throttled),
            ("ThrottlingException", Describe, StreamErrorKind::Throttled),
            ("InternalServerError", Records, StreamErrorKind::Unavailable),
            ("AccessDeniedException", Records, StreamErrorKind::Denied),
            ("UnknownOperationException", Describe, StreamErrorKind::Unavailable),
        ] {
            assert_eq!(kind(Some(code), Some(400), request), expected, "{code} of {request:?}");
        }
    }

    #[test]
    fn each_code_of_the_lease_table_has_a_meaning() {
        for (code, expected) in [
            ("ResourceNotFoundException", LeaseErrorKind::Missing),
            ("AccessDeniedException", LeaseErrorKind::Denied),
            ("ExpiredTokenException", LeaseErrorKind::Denied),
            ("ProvisionedThroughputExceededException", LeaseErrorKind::Throttled),
            ("InternalServerError", LeaseErrorKind::Unavailable),
        ] {
            assert_eq!(lease_kind(Some(code), Some(400)), expected, "{code}");
        }
        assert_eq!(lease_kind(None, Some(429)), LeaseErrorKind::Throttled);
        assert_eq!(lease_kind(None, None), LeaseErrorKind::Unavailable);
    }

    #[test]
    fn a_response_of_a_proxy_is_classified_by_its_status() {
        assert_eq!(kind(None, Some(429), Request::Records), StreamErrorKind::Throttled);
        assert_eq!(kind(None, Some(503), Request::Records), StreamErrorKind::Unavailable);
        assert_eq!(kind(None, None, Request::Records), StreamErrorKind::Unavailable);
    }

    #[test]
    fn the_text_names_the_code_or_the_cause() {
        let metadata = ErrorMetadata::builder().code("LimitExceededException").message("two readers").build();
        let response = || aws_sdk_dynamodb::config::http::HttpResponse::new(400.try_into().unwrap(), "{}".into());
        let limited = SdkError::service_error(GetRecordsError::generic(metadata), response());
        let error = stream_error(&limited, Request::Records);
        assert_eq!(error.to_string(), "the stream throttles the request: LimitExceededException: two readers");

        let nameless = SdkError::service_error(GetRecordsError::generic(ErrorMetadata::default()), response());
        let error = stream_error(&nameless, Request::Records);
        assert_eq!(error.to_string(), "the request failed: HTTP 400 without an error code of DynamoDB");

        let unreachable = SdkError::<GetRecordsError>::timeout_error(io::Error::other("too slow"));
        assert!(lease_error(&unreachable).to_string().ends_with("too slow"), "{}", lease_error(&unreachable));
        let unbuilt = SdkError::<GetRecordsError>::construction_failure(BuildError::other("no region"));
        assert_eq!(stream_error(&unbuilt, Request::Iterator).kind, StreamErrorKind::Unavailable);
    }
}
