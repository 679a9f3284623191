//! The PartiQL statements of a batch, and the classification of each response. Pure.
//!
//! PutItem replaces a record, but PartiQL's UPDATE merges into it. So an update names every attribute that a record can
//! have: it sets the attributes of the new record and removes the others.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementError, BatchStatementErrorCodeEnum as Code, BatchStatementRequest,
    BatchStatementResponse, ReturnValuesOnConditionCheckFailure,
};
use dynamodb::{EXPIRES_AT, by_code};

use super::error::stale;
use super::item::{KEY, RESPONSE_BYTES, TIMESTAMP, item, names, values};
use crate::consumer::ports::{Answer, Attempt, Statement, StoreError, StoreErrorKind, Verb};

/// The statement templates of a table. There are few, because values are parameters.
#[derive(Debug, Clone)]
pub(super) struct Templates {
    text_only: Template,
    with_bytes: Template,
}

#[derive(Debug, Clone)]
struct Template {
    update: String,
    insert: String,
}

impl Templates {
    pub(super) fn new(table: &str, has_ttl: bool) -> Templates {
        Templates { text_only: Template::new(table, false, has_ttl), with_bytes: Template::new(table, true, has_ttl) }
    }

    pub(super) fn request(&self, statement: &Statement, ttl: Option<Duration>) -> BatchStatementRequest {
        let Statement { scan, verb } = statement;
        let template = if scan.response_bytes.is_some() { &self.with_bytes } else { &self.text_only };
        let mut parameters = Vec::with_capacity(10);
        parameters.extend(values(scan, ttl));
        let text = match verb {
            Verb::Insert => &template.insert,
            Verb::Update => {
                // A record starts with the key. An update has it in the WHERE clause, after the values that it sets.
                parameters.rotate_left(1);
                parameters.push(AttributeValue::N(scan.timestamp.to_string()));
                &template.update
            }
        };
        BatchStatementRequest::builder()
            .statement(text)
            .set_parameters(Some(parameters))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("the statement, which is the only required field, is set")
    }
}

impl Template {
    fn new(table: &str, has_bytes: bool, has_ttl: bool) -> Template {
        let set = names(has_bytes, has_ttl).filter(|name| *name != KEY).map(|name| format!(r#"SET "{name}"=?"#));
        let optional = [(RESPONSE_BYTES, has_bytes), (EXPIRES_AT, has_ttl)];
        let removed = optional.into_iter().filter(|(_, is_present)| !is_present);
        let removed = removed.map(|(name, _)| format!(r#"REMOVE "{name}""#));
        let clauses: Vec<_> = set.chain(removed).collect();
        let values: Vec<_> = names(has_bytes, has_ttl).map(|name| format!("'{name}':?")).collect();
        Template {
            update: format!(r#"UPDATE "{table}" {} WHERE "{KEY}"=? AND "{TIMESTAMP}"<?"#, clauses.join(" ")),
            insert: format!(r#"INSERT INTO "{table}" VALUE {{{}}}"#, values.join(",")),
        }
    }
}

/// Classifies the responses to these statements: `None` for the wrong verb. Fails unless there is one response per statement.
pub(super) fn answers(
    responses: Vec<BatchStatementResponse>,
    statements: &[Statement],
    ttl: Option<Duration>,
) -> Result<Vec<Option<Attempt>>, StoreError> {
    if responses.len() != statements.len() {
        let detail = format!("DynamoDB sent {} responses to {} statements", responses.len(), statements.len());
        return Err(StoreError { kind: StoreErrorKind::Unavailable, detail });
    }
    let pairs = responses.into_iter().zip(statements);
    Ok(pairs.map(|(response, statement)| answer(response.error, statement, ttl)).collect())
}

fn answer(error: Option<BatchStatementError>, statement: &Statement, ttl: Option<Duration>) -> Option<Attempt> {
    let Statement { scan, verb } = statement;
    let Some(error) = error else { return Some(Ok(Answer::Stored)) };
    match (error.code(), verb) {
        (Some(Code::DuplicateItem), Verb::Insert) => None,
        // A condition that failed on an existing record returns that record. Without one there is no record to update.
        (Some(Code::ConditionalCheckFailed), Verb::Update) if error.item().is_none() => None,
        (Some(Code::ConditionalCheckFailed), _) => {
            Some(stale(error.item(), scan.timestamp, |stored| *stored == item(scan, ttl)))
        }
        (code, _) => {
            let code = code.map_or("no code", Code::as_str);
            let message = error.message().unwrap_or("no message");
            let kind = by_code(code, message).unwrap_or(StoreErrorKind::Misconfigured);
            Some(Err(StoreError { kind, detail: format!("{code}: {message}") }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dynamodb::Item;

    use super::*;
    use crate::consumer::ports::Record;
    use crate::dynamo::item::stored_size;
    use crate::dynamo::item::tests::scan;
    use crate::scan::Scan;

    fn statement(verb: Verb) -> Statement {
        let scan = Scan { timestamp: 7, ..scan("hello".to_owned()) };
        Statement { scan: Arc::new(scan), verb }
    }

    fn failed(code: &str, record: Option<Item>) -> BatchStatementResponse {
        let error = BatchStatementError::builder().code(code.into()).message("injected").set_item(record);
        BatchStatementResponse::builder().error(error.build()).build()
    }

    fn answer_to(verb: Verb, response: BatchStatementResponse) -> Option<Attempt> {
        let [answer] = answers(vec![response], &[statement(verb)], None).unwrap().try_into().unwrap();
        answer
    }

    #[test]
    fn a_condition_that_failed_on_a_newer_record_is_a_stale_write() {
        let newer = Item::from([(TIMESTAMP.to_owned(), AttributeValue::N("8".to_owned()))]);
        let stale = Record { timestamp: 8, is_same: false, bytes: stored_size(&newer) };
        let answer = answer_to(Verb::Update, failed("ConditionalCheckFailed", Some(newer)));
        assert_eq!(answer, Some(Ok(Answer::Stale(stale))));
    }

    #[test]
    fn an_update_without_a_record_and_an_insert_beside_one_need_the_other_verb() {
        assert_eq!(answer_to(Verb::Update, failed("ConditionalCheckFailed", None)), None);
        assert_eq!(answer_to(Verb::Insert, failed("DuplicateItem", None)), None);
    }

    #[test]
    fn a_statement_fails_with_the_kind_of_its_code() {
        for (code, expected) in [
            ("ThrottlingError", StoreErrorKind::Throttled),
            ("ProvisionedThroughputExceeded", StoreErrorKind::Throttled),
            ("InternalServerError", StoreErrorKind::Unavailable),
            ("TransactionConflict", StoreErrorKind::Conflict),
            ("ResourceNotFound", StoreErrorKind::MissingTable),
            ("AccessDenied", StoreErrorKind::Permission),
            ("ValidationError", StoreErrorKind::Refused),
            ("NeverHeardOf", StoreErrorKind::Misconfigured),
        ] {
            for verb in [Verb::Update, Verb::Insert] {
                let answer = answer_to(verb, failed(code, None));
                assert!(matches!(&answer, Some(Err(error)) if error.kind == expected), "{code}: {answer:?}");
            }
        }
    }

    #[test]
    fn a_batch_without_a_response_to_each_statement_fails_as_a_whole() {
        let response = || BatchStatementResponse::builder().build();
        for responses in [vec![], vec![response()], vec![response(), response(), response()]] {
            let error = answers(responses, &[statement(Verb::Update), statement(Verb::Insert)], None).unwrap_err();
            assert_eq!(error.kind, StoreErrorKind::Unavailable);
        }
    }

    #[test]
    fn a_request_contains_the_key_and_the_timestamp_of_its_condition_and_asks_for_the_stored_record() {
        let request = Templates::new("scans", false).request(&statement(Verb::Update), None);
        assert!(request.statement().ends_with(r#" WHERE "pk"=? AND "timestamp"<?"#), "{}", request.statement());
        let key = AttributeValue::S("1.1.1.1#80#HTTP".to_owned());
        assert!(request.parameters().ends_with(&[key, AttributeValue::N("7".to_owned())]), "{request:?}");
        let returned = request.return_values_on_condition_check_failure();
        assert_eq!(returned, Some(&ReturnValuesOnConditionCheckFailure::AllOld));
    }
}
