//! The statements of a batch, and what the answer to each means. Pure.
//!
//! PutItem replaces a record and PartiQL's UPDATE merges into it, so an update names every attribute that a record can
//! have: what ours has is set, what it lacks is removed.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeValue, BatchStatementError, BatchStatementErrorCodeEnum as Code, BatchStatementRequest,
    BatchStatementResponse, ReturnValuesOnConditionCheckFailure,
};

use super::error::{by_code, stale};
use super::item::{EXPIRES_AT, KEY, RESPONSE_BYTES, TIMESTAMP, item, names, values};
use crate::consumer::ports::{Answer, Put, Statement, StoreError, StoreErrorKind, Verb};

/// The texts of the statements, of which there are few: values are parameters.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    plain: Text,
    with_bytes: Text,
}

#[derive(Debug, Clone)]
struct Text {
    update: String,
    insert: String,
}

impl Texts {
    pub(super) fn new(table: &str, has_ttl: bool) -> Texts {
        Texts { plain: Text::new(table, false, has_ttl), with_bytes: Text::new(table, true, has_ttl) }
    }

    pub(super) fn request(&self, statement: &Statement, ttl: Option<Duration>) -> BatchStatementRequest {
        let Statement { scan, verb } = statement;
        let text = if scan.response_bytes.is_some() { &self.with_bytes } else { &self.plain };
        let mut parameters = Vec::with_capacity(10);
        parameters.extend(values(scan, ttl));
        let text = match verb {
            Verb::Insert => &text.insert,
            Verb::Update => {
                // The key comes first of a record and last of what is set.
                parameters.rotate_left(1);
                parameters.push(AttributeValue::N(scan.timestamp.to_string()));
                &text.update
            }
        };
        BatchStatementRequest::builder()
            .statement(text)
            .set_parameters(Some(parameters))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("it has a text, which is all that it must have")
    }
}

impl Text {
    fn new(table: &str, has_bytes: bool, has_ttl: bool) -> Text {
        let set = names(has_bytes, has_ttl).filter(|name| *name != KEY).map(|name| format!(r#"SET "{name}"=?"#));
        let optional = [(RESPONSE_BYTES, has_bytes), (EXPIRES_AT, has_ttl)];
        let removed = optional.into_iter().filter(|(_, is_there)| !is_there);
        let removed = removed.map(|(name, _)| format!(r#"REMOVE "{name}""#));
        let clauses: Vec<_> = set.chain(removed).collect();
        let values: Vec<_> = names(has_bytes, has_ttl).map(|name| format!("'{name}':?")).collect();
        Text {
            update: format!(r#"UPDATE "{table}" {} WHERE "{KEY}"=? AND "{TIMESTAMP}"<?"#, clauses.join(" ")),
            insert: format!(r#"INSERT INTO "{table}" VALUE {{{}}}"#, values.join(",")),
        }
    }
}

/// What the answers to these statements mean: a call that was answered has one for each.
pub(super) fn answers(
    responses: Vec<BatchStatementResponse>,
    statements: &[Statement],
    ttl: Option<Duration>,
) -> Result<Vec<Answer>, StoreError> {
    if responses.len() != statements.len() {
        let detail = format!("{} answers to {} statements", responses.len(), statements.len());
        return Err(StoreError { kind: StoreErrorKind::Unavailable, detail });
    }
    let pairs = responses.into_iter().zip(statements);
    Ok(pairs.map(|(response, statement)| answer(response.error, statement, ttl)).collect())
}

fn answer(error: Option<BatchStatementError>, statement: &Statement, ttl: Option<Duration>) -> Answer {
    let Statement { scan, verb } = statement;
    let Some(error) = error else { return Answer::Put(Put::Stored) };
    match (error.code(), verb) {
        (Some(Code::DuplicateItem), Verb::Insert) => Answer::OtherVerb,
        // A condition that failed on a record returns it.
        (Some(Code::ConditionalCheckFailed), Verb::Update) if error.item().is_none() => Answer::OtherVerb,
        (Some(Code::ConditionalCheckFailed), _) => {
            match stale(error.item(), scan.timestamp, |stored| *stored == item(scan, ttl)) {
                Ok(put) => Answer::Put(put),
                Err(error) => Answer::Failed(error),
            }
        }
        (code, _) => {
            let code = code.map_or("no code", Code::as_str);
            let message = error.message().unwrap_or("no message");
            let kind = by_code(code, message).unwrap_or(StoreErrorKind::Misconfigured);
            Answer::Failed(StoreError { kind, detail: format!("{code}: {message}") })
        }
    }
}
