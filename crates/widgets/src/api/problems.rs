//! The problems of this API beside those that every API has, and which refusal or failure becomes which. Pure.

use dynamodb::StoreErrorKind;
use http_api::problem::{COMMON, INTERNAL, Problem, ProblemType};

use crate::operation::Refusal;
use crate::registry::Failure;

pub(super) const INVALID_WIDGET: ProblemType = ProblemType {
    name: "invalid-widget",
    status: 422,
    title: "The widget is invalid",
    advice: "Correct each part of the body that `errors` names by its JSON Pointer. Repeating the request does not help.",
};
pub(super) const INVALID_ASSOCIATION: ProblemType = ProblemType {
    name: "invalid-association",
    status: 422,
    title: "The association is invalid",
    advice: "Correct each part of the body that `errors` names by its JSON Pointer. Repeating the request does not help.",
};
pub(super) const INVALID_BATCH: ProblemType = ProblemType {
    name: "invalid-batch",
    status: 422,
    title: "The batch is invalid",
    advice: "Send a JSON array of 1 to 100 operations.",
};
pub(super) const WIDGET_NOT_FOUND: ProblemType = ProblemType {
    name: "widget-not-found",
    status: 404,
    title: "There is no such widget",
    advice: "Compare the serial number, which is case-sensitive and must be percent-encoded in a path. Another client may \
             have deleted the widget.",
};
pub(super) const WIDGET_EXISTS: ProblemType = ProblemType {
    name: "widget-exists",
    status: 409,
    title: "Another widget has this serial number",
    advice: "Read the widget. Change it with `PATCH`, or choose another serial number.",
};
pub(super) const NO_SUCH_PORT: ProblemType = ProblemType {
    name: "no-such-port",
    status: 422,
    title: "The widget does not have this port",
    advice: "Choose a port that both widgets have, or add one with `PATCH`.",
};
pub(super) const PORT_TAKEN: ProblemType = ProblemType {
    name: "port-taken",
    status: 409,
    title: "The port is connected to another widget",
    advice: "`connected_to` is that widget. Disconnect the port first, or connect with `replace=true`.",
};
pub(super) const NOT_CONNECTED: ProblemType = ProblemType {
    name: "not-connected",
    status: 404,
    title: "The port is not connected",
    advice: "Nothing is left to do, if the port was to be disconnected.",
};
pub(super) const PRECONDITION_FAILED: ProblemType = ProblemType {
    name: "precondition-failed",
    status: 412,
    title: "The widget has changed",
    advice: "Read the widget again, decide again, and send its new `ETag` as `If-Match`. A change of a connection also \
             changes the `ETag`.",
};
pub(super) const KEY_REUSED: ProblemType = ProblemType {
    name: "idempotency-key-reused",
    status: 422,
    title: "The Idempotency-Key belongs to another request",
    advice: "Use a new key for each request, and the same key only to repeat a request without any change.",
};
pub(super) const UNKNOWN_OUTCOME: ProblemType = ProblemType {
    name: "unknown-outcome",
    status: 503,
    title: "The operation may have been done",
    advice: "Repeat the request, with the same `Idempotency-Key` if it had one. Without a key, read the widget first.",
};
pub(super) const STORE_UNAVAILABLE: ProblemType = ProblemType {
    name: "store-unavailable",
    status: 503,
    title: "DynamoDB did not do the operation in time",
    advice: "Nothing was written. Repeat the request after the time in the header `Retry-After`.",
};
pub(super) const TABLE_MISSING: ProblemType = ProblemType {
    name: "table-missing",
    status: 503,
    title: "A table does not exist",
    advice: "The operator creates it with `widget-registry setup`, or corrects the names of the tables.",
};
pub(super) const STORE_NOT_AUTHORIZED: ProblemType = ProblemType {
    name: "store-not-authorized",
    status: 503,
    title: "The API may not use its tables",
    advice: "The operator grants the API the permission that its log names, or renews its credentials.",
};
pub(super) const STORE_REFUSED: ProblemType = ProblemType {
    name: "store-refused",
    status: 502,
    title: "DynamoDB refused the request",
    advice: "The tables do not fit this program. The operator finds the reason in the log of the instance.",
};
pub(super) const FOREIGN_ITEM: ProblemType = ProblemType {
    name: "foreign-item",
    status: 500,
    title: "An item of the table is no widget",
    advice: "Another program has written it. The operator finds such items with `widget-registry audit`.",
};
pub(super) const INCONSISTENT: ProblemType = ProblemType {
    name: "inconsistent",
    status: 500,
    title: "Two widgets contradict each other",
    advice: "Another program has changed the table. The operator finds all such widgets with `widget-registry audit`.",
};

/// Every problem of this API, in the order of its page.
pub(super) fn all() -> Vec<&'static ProblemType> {
    let ours: [&'static ProblemType; 17] = [
        &INVALID_WIDGET,
        &INVALID_ASSOCIATION,
        &INVALID_BATCH,
        &WIDGET_NOT_FOUND,
        &WIDGET_EXISTS,
        &NO_SUCH_PORT,
        &PORT_TAKEN,
        &NOT_CONNECTED,
        &PRECONDITION_FAILED,
        &KEY_REUSED,
        &UNKNOWN_OUTCOME,
        &STORE_UNAVAILABLE,
        &TABLE_MISSING,
        &STORE_NOT_AUTHORIZED,
        &STORE_REFUSED,
        &FOREIGN_ITEM,
        &INCONSISTENT,
    ];
    COMMON.into_iter().chain(ours).chain([&INTERNAL]).collect()
}

pub(super) fn of_refusal(refusal: &Refusal) -> Problem {
    let kind = match refusal {
        Refusal::MissingWidget(_) => &WIDGET_NOT_FOUND,
        Refusal::OtherContent { .. } => &WIDGET_EXISTS,
        Refusal::NoSuchPort { .. } => &NO_SUCH_PORT,
        Refusal::SameWidget => &INVALID_ASSOCIATION,
        Refusal::PortTaken { .. } => &PORT_TAKEN,
        Refusal::NotConnected { .. } => &NOT_CONNECTED,
        Refusal::Changed { .. } => &PRECONDITION_FAILED,
        Refusal::KeyReused => &KEY_REUSED,
        Refusal::Contradiction { .. } => &INCONSISTENT,
    };
    let problem = Problem::new(kind, refusal.to_string());
    if let Refusal::PortTaken { by, .. } = refusal { problem.member("connected_to", by.as_str()) } else { problem }
}

/// The text of an error of the store may name the account, so that a client does not receive it.
pub(super) fn of_failure(failure: &Failure) -> Problem {
    match failure {
        Failure::Unknown(_) => {
            Problem::new(&UNKNOWN_OUTCOME, "DynamoDB did not answer an attempt, so the operation may have been done")
                .retry_after(1)
        }
        Failure::Store(error) => of_store(error.kind),
    }
}

/// Returns the problem of an operation that could not begin before the deadline of its request.
pub(super) fn not_begun() -> Problem {
    Problem::new(&STORE_UNAVAILABLE, "the time of the request ended before the operation began").retry_after(1)
}

fn of_store(kind: StoreErrorKind) -> Problem {
    use StoreErrorKind::{
        Clock, Conflict, Credentials, ForeignRow, HotKey, Misconfigured, MissingTable, OpenFiles, Permission, Refused,
        Throttled, Unavailable,
    };
    match kind {
        Conflict => Problem::new(&STORE_UNAVAILABLE, "others kept changing the same widgets").retry_after(1),
        Throttled | HotKey => Problem::new(&STORE_UNAVAILABLE, "DynamoDB throttles the tables").retry_after(1),
        Unavailable => Problem::new(&STORE_UNAVAILABLE, "DynamoDB did not answer in time").retry_after(5),
        OpenFiles => Problem::new(&STORE_UNAVAILABLE, "the API has no connection left").retry_after(1),
        MissingTable => Problem::new(&TABLE_MISSING, "a table of the API does not exist").retry_after(60),
        Credentials | Clock | Permission => {
            let detail = "the identity of the API lacks a permission or valid credentials";
            Problem::new(&STORE_NOT_AUTHORIZED, detail).retry_after(60)
        }
        Misconfigured | Refused => Problem::new(&STORE_REFUSED, "DynamoDB did not accept the request of the API"),
        ForeignRow => Problem::new(&FOREIGN_ITEM, "an item that the request needs is no widget"),
    }
}

#[cfg(test)]
mod tests {
    use dynamodb::StoreError;

    use super::*;

    #[test]
    fn every_problem_has_its_own_name_and_a_full_sentence_as_advice() {
        let names: std::collections::BTreeSet<_> = all().iter().map(|problem| problem.name).collect();
        assert_eq!(names.len(), all().len());
        assert!(all().iter().all(|problem| problem.advice.ends_with('.')));
    }

    #[test]
    fn no_client_receives_the_text_of_an_error_of_the_store() {
        for kind in StoreErrorKind::ALL {
            let error = StoreError { kind, detail: "arn:aws:iam::123456789012:role/api".to_owned() };
            for failure in [Failure::Store(error.clone()), Failure::Unknown(error)] {
                let problem = of_failure(&failure);
                assert!(!problem.detail().contains("arn:"), "{kind:?}");
                assert!(all().contains(&problem.kind()), "{kind:?}");
            }
        }
    }
}
