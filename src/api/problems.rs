//! The problems of this API beside those that every API has, and which error of the store becomes which. Pure.

use http_api::problem::{COMMON, INTERNAL, INVALID_REQUEST, Problem, ProblemType};

use crate::consumer::ports::StoreErrorKind;
use crate::hosts::{Error, ErrorKind, Index};
use crate::subscriptions::operations::{InvalidDefinition, OperationError};

pub(super) const HOST_NOT_FOUND: ProblemType = ProblemType {
    name: "host-not-found",
    status: 404,
    title: "There is no record of this address",
    advice: "No scan of the address is stored that fits the parameters. A record that was stored a moment ago may not be \
             listed yet.",
};
pub(super) const RECORD_NOT_FOUND: ProblemType = ProblemType {
    name: "record-not-found",
    status: 404,
    title: "There is no such record",
    advice: "No scan with this address, port and service is stored. The service is case-sensitive, and must be \
             percent-encoded.",
};
pub(super) const NETWORK_TOO_LARGE: ProblemType = ProblemType {
    name: "network-too-large",
    status: 400,
    title: "The network has too many addresses",
    advice: "Ask for a /24 (IPv6: /120) or smaller. For larger networks use `mini-scan export --network`.",
};
pub(super) const MALFORMED_SCANS: ProblemType = ProblemType {
    name: "malformed-scans",
    status: 400,
    title: "The body is not a list of scans",
    advice: "Send one scan as a JSON object, or a JSON array of up to 100.",
};
pub(super) const PRECONDITION_REQUIRED: ProblemType = ProblemType {
    name: "precondition-required",
    status: 428,
    title: "The header If-Match is required",
    advice: "Read the record without `with`, or the subscription, and send its `ETag` as `If-Match`, so that no newer one \
             is deleted or replaced. `*` stands for any.",
};
pub(super) const PRECONDITION_FAILED: ProblemType = ProblemType {
    name: "precondition-failed",
    status: 412,
    title: "The record or subscription has changed",
    advice: "Read it again (a record without `with`), decide again, and send its new `ETag`.",
};
pub(super) const SUBSCRIPTION_NOT_FOUND: ProblemType = ProblemType {
    name: "subscription-not-found",
    status: 404,
    title: "There is no such subscription",
    advice: "Compare the id with the list of your subscriptions. A token sees only those that it owns.",
};
pub(super) const URL_REFUSED: ProblemType = ProblemType {
    name: "url-refused",
    status: 400,
    title: "Webhooks may not be sent to this URL",
    advice: "Use a URL that begins with `https://` and leads to a public address, without a user name. The operator can \
             allow other ports and private hosts.",
};
pub(super) const TOO_MANY_SUBSCRIPTIONS: ProblemType = ProblemType {
    name: "too-many-subscriptions",
    status: 409,
    title: "The token has too many subscriptions",
    advice: "Remove subscriptions that are not needed, or use one with several networks.",
};
pub(super) const SUBSCRIPTION_CONTENDED: ProblemType = ProblemType {
    name: "subscription-contended",
    status: 409,
    title: "Others keep changing the subscription",
    advice: "Repeat the request.",
};
pub(super) const SECRET_UNREADABLE: ProblemType = ProblemType {
    name: "secret-unreadable",
    status: 503,
    title: "The signing secret cannot be decrypted",
    advice: "The operator adds the old key to the file of `--secret-key-file`. Without it, rotate the secret.",
};
pub(super) const WEBHOOKS_MISSING: ProblemType = ProblemType {
    name: "webhooks-missing",
    status: 501,
    title: "A table of webhooks does not exist",
    advice: "The operator creates the tables with `mini-scan setup webhooks`.",
};
pub(super) const THROTTLED: ProblemType = ProblemType {
    name: "throttled",
    status: 429,
    title: "DynamoDB throttles the table",
    advice: "Repeat the request after the time in the header `Retry-After`, and send fewer requests.",
};
pub(super) const HOST_INDEX_MISSING: ProblemType = ProblemType {
    name: "host-index-missing",
    status: 501,
    title: "The table lacks the index of addresses",
    advice: "The operator adds it with `mini-scan setup table`. Until then, only single records can be read.",
};
pub(super) const SERVICE_INDEX_MISSING: ProblemType = ProblemType {
    name: "service-index-missing",
    status: 501,
    title: "The table lacks the index of services",
    advice: "The operator adds it with `mini-scan setup table --service-index`, and accepts its cost. An export answers \
             the same question without it.",
};
pub(super) const HISTORY_MISSING: ProblemType = ProblemType {
    name: "history-missing",
    status: 501,
    title: "The API has no history",
    advice: "The operator creates the history table with `mini-scan setup changes`, runs `mini-scan changes`, and sets \
             `--history-table`.",
};
pub(super) const INDEX_UNFINISHED: ProblemType = ProblemType {
    name: "index-unfinished",
    status: 503,
    title: "DynamoDB is still building the index",
    advice: "Repeat the request later. Large tables take hours.",
};
pub(super) const TABLE_MISSING: ProblemType = ProblemType {
    name: "table-missing",
    status: 503,
    title: "The table does not exist",
    advice: "The operator creates it with `mini-scan setup table`, or corrects `--table`.",
};
pub(super) const STORE_NOT_AUTHORIZED: ProblemType = ProblemType {
    name: "store-not-authorized",
    status: 503,
    title: "The API may not use the table",
    advice: "The operator grants the API the permission that its log names, or renews its credentials.",
};
pub(super) const STORE_REFUSED: ProblemType = ProblemType {
    name: "store-refused",
    status: 502,
    title: "DynamoDB refused the request",
    advice: "The table does not fit this program. The operator finds the reason in the log of the instance.",
};
pub(super) const STORE_UNAVAILABLE: ProblemType = ProblemType {
    name: "store-unavailable",
    status: 503,
    title: "DynamoDB does not answer",
    advice: "Repeat the request after the time in the header `Retry-After`.",
};

/// Every problem of this API, in the order of its page.
pub(super) fn all() -> Vec<&'static ProblemType> {
    let ours: [&'static ProblemType; 21] = [
        &HOST_NOT_FOUND,
        &RECORD_NOT_FOUND,
        &NETWORK_TOO_LARGE,
        &MALFORMED_SCANS,
        &PRECONDITION_REQUIRED,
        &PRECONDITION_FAILED,
        &SUBSCRIPTION_NOT_FOUND,
        &URL_REFUSED,
        &TOO_MANY_SUBSCRIPTIONS,
        &SUBSCRIPTION_CONTENDED,
        &SECRET_UNREADABLE,
        &WEBHOOKS_MISSING,
        &THROTTLED,
        &HOST_INDEX_MISSING,
        &SERVICE_INDEX_MISSING,
        &HISTORY_MISSING,
        &INDEX_UNFINISHED,
        &TABLE_MISSING,
        &STORE_NOT_AUTHORIZED,
        &STORE_REFUSED,
        &STORE_UNAVAILABLE,
    ];
    COMMON.into_iter().chain(ours).chain([&INTERNAL]).collect()
}

/// Returns the problem for an error of the store. Its detail may name the account, so that a client does not receive it.
pub(super) fn of_store(error: &Error) -> Problem {
    match error.kind {
        ErrorKind::Throttled => Problem::new(&THROTTLED, "DynamoDB throttles the table").retry_after(1),
        ErrorKind::MissingIndex(index @ Index::ByIp) => Problem::new(&HOST_INDEX_MISSING, no_index(index)),
        ErrorKind::MissingIndex(index @ Index::ByService) => Problem::new(&SERVICE_INDEX_MISSING, no_index(index)),
        ErrorKind::UnfinishedIndex(index) => {
            Problem::new(&INDEX_UNFINISHED, format!("the index `{index}` is not complete yet")).retry_after(60)
        }
        ErrorKind::MissingTable => Problem::new(&TABLE_MISSING, "the table of the API does not exist"),
        ErrorKind::NotAuthorized => {
            Problem::new(&STORE_NOT_AUTHORIZED, "the identity of the API lacks a permission or valid credentials")
        }
        ErrorKind::Refused => Problem::new(&STORE_REFUSED, "DynamoDB did not accept the request of the API"),
        ErrorKind::Unavailable => Problem::new(&STORE_UNAVAILABLE, "DynamoDB did not answer in time").retry_after(5),
    }
}

/// Returns the problem for an error of the history table.
pub(super) fn of_history(error: &Error) -> Problem {
    match error.kind {
        ErrorKind::MissingTable => Problem::new(&HISTORY_MISSING, "the history table does not exist"),
        _ => of_store(error),
    }
}

pub(super) fn no_history() -> Problem {
    Problem::new(&HISTORY_MISSING, "the API has no history table")
}

/// Returns the problem for a failed operation on a subscription or on its deliveries.
pub(super) fn of_operation(error: &OperationError) -> Problem {
    let kind = match error {
        OperationError::NotFound(_) => &SUBSCRIPTION_NOT_FOUND,
        OperationError::Invalid(InvalidDefinition::Url(_)) => &URL_REFUSED,
        OperationError::Invalid(_) => &INVALID_REQUEST,
        OperationError::TooMany { .. } => &TOO_MANY_SUBSCRIPTIONS,
        OperationError::ReadBefore => &PRECONDITION_FAILED,
        OperationError::Contended => &SUBSCRIPTION_CONTENDED,
        OperationError::Secret(_) => &SECRET_UNREADABLE,
        OperationError::Store(error) | OperationError::Deliveries(error) => {
            return match error.kind {
                StoreErrorKind::MissingTable => Problem::new(&WEBHOOKS_MISSING, "a table of webhooks does not exist"),
                _ => of_store(&error.clone().into()),
            };
        }
    };
    Problem::new(kind, error.to_string())
}

fn no_index(index: Index) -> String {
    format!("the table has no index `{index}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_has_its_own_name_and_a_full_sentence_as_advice() {
        let names: std::collections::BTreeSet<_> = all().iter().map(|problem| problem.name).collect();
        assert_eq!(names.len(), all().len());
        assert!(all().iter().all(|problem| problem.advice.ends_with('.')));
    }

    #[test]
    fn no_client_receives_the_text_of_an_error_of_the_store() {
        for kind in [
            ErrorKind::Throttled,
            ErrorKind::MissingIndex(Index::ByIp),
            ErrorKind::MissingIndex(Index::ByService),
            ErrorKind::UnfinishedIndex(Index::ByIp),
            ErrorKind::MissingTable,
            ErrorKind::NotAuthorized,
            ErrorKind::Refused,
            ErrorKind::Unavailable,
        ] {
            let problem = of_store(&Error { kind, detail: "arn:aws:iam::123456789012:role/api".to_owned() });
            assert!(!problem.detail().contains("arn:"), "{kind:?}");
            assert!(all().contains(&problem.kind()), "{kind:?}");
        }
    }
}
