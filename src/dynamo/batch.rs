//! The PartiQL statements of a batch, and the classification of each response. Pure.
//!
//! PutItem replaces a record, but PartiQL's UPDATE merges into it. So an update names every attribute that a record can
//! have: it sets the attributes of the new record and removes the others.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementError, BatchStatementErrorCodeEnum as Code, BatchStatementRequest,
    BatchStatementResponse, ReturnValuesOnConditionCheckFailure,
};

use super::error::{by_code, stale};
use super::item::{EXPIRES_AT, KEY, RESPONSE_BYTES, TIMESTAMP, item, names, values};
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
