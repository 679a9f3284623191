//! What can be wrong with Pub/Sub, as a user would name it, and what mends a refusal.

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
    /// The request breaks a rule of the service.
    #[error("Pub/Sub refuses the request: {0}")]
    Invalid(String),
    #[error("{0}")]
    Other(String),
}

impl Problem {
    /// Whether waiting will not help: for a person to mend.
    pub(super) fn is_permanent(&self) -> bool {
        match self {
            Problem::NotFound | Problem::Refused(_) | Problem::NoCredentials(_) | Problem::Invalid(_) => true,
            Problem::Unreachable(_) | Problem::Other(_) => false,
        }
    }
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
            _ => Problem::Other(detail),
        }
    }
}

/// What to run where publishing to the topic of this full name is refused.
pub fn grant_publisher(topic: &str) -> String {
    format!("gcloud pubsub topics add-iam-policy-binding {topic} --role=roles/pubsub.publisher --member=IDENTITY")
}

/// What to run where reading the subscription of this full name is refused.
pub fn grant_subscriber(subscription: &str) -> String {
    format!(
        "gcloud pubsub subscriptions add-iam-policy-binding {subscription} --role=roles/pubsub.subscriber \
         --member=IDENTITY"
    )
}
