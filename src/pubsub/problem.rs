//! Why a request to Pub/Sub failed, in a user's terms, and the command that grants a missing permission. Does not know
//! what was requested.

use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::Error;
use ops::cause;

/// Why a request to Pub/Sub failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("it does not exist")]
    NotFound,
    #[error("permission denied: {0}")]
    Refused(String),
    #[error("no Google Cloud credentials: {0}")]
    NoCredentials(String),
    #[error("Pub/Sub does not answer: {0}")]
    Unreachable(String),
    /// The request breaks a rule of Pub/Sub.
    #[error("Pub/Sub rejected the request: {0}")]
    Invalid(String),
    /// A quota or a fault of the service. No setting is wrong, and a retry may succeed.
    #[error("{0}")]
    Transient(String),
    #[error("{0}")]
    Other(String),
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Problem {
        let detail = error.status().map_or_else(|| cause(error), |status| status.message.clone());
        if error.is_authentication() {
            return Problem::NoCredentials(detail);
        }
        match (error.status().map(|status| status.code), error.http_status_code()) {
            (Some(Code::NotFound), _) | (None, Some(404)) => Problem::NotFound,
            (Some(Code::PermissionDenied), _) | (None, Some(403)) => Problem::Refused(detail),
            (Some(Code::Unauthenticated), _) | (None, Some(401)) => Problem::NoCredentials(detail),
            (Some(Code::InvalidArgument), _) | (None, Some(400)) => Problem::Invalid(detail),
            (Some(Code::Unavailable | Code::DeadlineExceeded), _) | (None, None) => Problem::Unreachable(detail),
            // Another server than Pub/Sub: the client finds no code of Pub/Sub in its answer.
            (Some(Code::Unknown), Some(400..500)) => Problem::Other(detail),
            (Some(Code::ResourceExhausted | Code::Internal | Code::Aborted | Code::Unknown), _) => {
                Problem::Transient(detail)
            }
            _ => Problem::Other(detail),
        }
    }
}

/// Returns the command that allows publishing to the topic with this full name.
pub fn grant_publisher(topic: &str) -> String {
    format!("gcloud pubsub topics add-iam-policy-binding {topic} --role=roles/pubsub.publisher --member=IDENTITY")
}

/// Returns the command that allows reading the subscription with this full name.
pub fn grant_subscriber(subscription: &str) -> String {
    format!(
        "gcloud pubsub subscriptions add-iam-policy-binding {subscription} --role=roles/pubsub.subscriber \
         --member=IDENTITY"
    )
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Status;

    use super::*;

    fn problem(code: Code) -> Problem {
        Problem::from(&Error::service(Status::default().set_code(code).set_message("injected")))
    }

    #[test]
    fn every_code_has_its_problem() {
        let detail = || "injected".to_owned();
        for (code, expected) in [
            (Code::NotFound, Problem::NotFound),
            (Code::PermissionDenied, Problem::Refused(detail())),
            (Code::Unauthenticated, Problem::NoCredentials(detail())),
            (Code::InvalidArgument, Problem::Invalid(detail())),
            (Code::Unavailable, Problem::Unreachable(detail())),
            (Code::DeadlineExceeded, Problem::Unreachable(detail())),
            (Code::ResourceExhausted, Problem::Transient(detail())),
            (Code::Internal, Problem::Transient(detail())),
            (Code::Aborted, Problem::Transient(detail())),
            (Code::Unknown, Problem::Transient(detail())),
            (Code::FailedPrecondition, Problem::Other(detail())),
        ] {
            assert_eq!(problem(code), expected, "{code:?}");
        }
        assert!(matches!(Problem::from(&Error::io("connection reset")), Problem::Unreachable(_)));
    }
}
