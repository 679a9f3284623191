//! Where records come from: the table itself, or an API.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;

use super::answer::Answer;
use super::api::Client;
use super::{From, Question};
use crate::dynamo::HostTable;
use crate::hosts::{Error, ErrorKind, Filter, Hosts, MAX_PAGE_SIZE, Observer, Operation, Query, Record};
use crate::scan::Key;
use crate::service::{SetupError, table_error};

pub(super) enum Source {
    Table { hosts: Hosts<HostTable>, name: String },
    Api(Client),
}

/// The pages that answer one question.
pub(super) struct Pages<'a> {
    source: &'a Source,
    question: &'a Question,
    answer: Answer<'a>,
    next: Next,
}

enum Next {
    First,
    After(String),
    None,
}

impl Pages<'_> {
    /// Returns the records of the next page, or `None` after the last page.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Record>>, SetupError> {
        let cursor = match &self.next {
            Next::First => None,
            Next::After(cursor) => Some(cursor.as_str()),
            Next::None => return Ok(None),
        };
        let (records, next) = self.source.page(self.question, cursor).await?;
        if let Source::Api(client) = self.source {
            self.answer.add(&records, next.as_deref()).map_err(|why| client.invalid(&why))?;
        }
        self.next = next.map_or(Next::None, Next::After);
        Ok(Some(records))
    }
}

/// A command has no metrics.
pub(super) struct Silent;

impl Observer for Silent {
    fn called(&self, _: &Span, _: Operation, _: Duration, _: Option<&Error>) {}

    fn read_units(&self, _: f64) {}

    fn unprocessed(&self) {}
}

impl Source {
    pub(super) async fn connect(from: &From) -> Result<Source, SetupError> {
        let (endpoints, name) = match from {
            From::Api(api) => return Ok(Source::Api(Client::new(api)?)),
            From::Table { endpoints, name, .. } => (endpoints, name),
        };
        let client = endpoints.dynamo().await.map_err(|problem| table_error(endpoints, name, problem))?;
        let table = HostTable::new(client, name.clone(), None);
        Ok(Source::Table { hosts: Hosts::new(table, Arc::new(Silent)), name: name.clone() })
    }

    pub(super) fn pages<'a>(&'a self, question: &'a Question) -> Pages<'a> {
        Pages { source: self, question, answer: Answer::to(question), next: Next::First }
    }

    /// Returns a page of records, and the cursor of the next one.
    async fn page(
        &self,
        question: &Question,
        cursor: Option<&str>,
    ) -> Result<(Vec<Record>, Option<String>), SetupError> {
        let (hosts, name) = match self {
            Source::Api(client) => return client.page(question, cursor).await,
            Source::Table { hosts, name } => (hosts, name),
        };
        let after = cursor.and_then(Key::parse);
        let page = hosts.records(&query(question)?, after.as_ref(), MAX_PAGE_SIZE).await;
        let page = page.map_err(|error| failure(name, &error))?;
        Ok((page.items, page.next.map(|key| key.as_str().to_owned())))
    }
}

fn query(question: &Question) -> Result<Query, SetupError> {
    Ok(match question {
        Question::Addresses(ips) => Query::Addresses(ips.clone(), Filter::default()),
        Question::Port(ip, port) => Query::Addresses(vec![*ip], Filter { port: Some(*port), ..Filter::default() }),
        Question::Network(network) => {
            let ips = network.addresses().map_err(|error| SetupError(error.to_string()))?;
            Query::Addresses(ips, Filter::default())
        }
    })
}

fn failure(table: &str, error: &Error) -> SetupError {
    let advice = match error.kind {
        ErrorKind::MissingIndex(index) => {
            return SetupError(format!(
                "table {table} (--table) has no index {index}, which finds the records of an address.\n\
                 Add it: mini-scan setup table --table {table}"
            ));
        }
        ErrorKind::UnfinishedIndex(index) => {
            return SetupError(format!("DynamoDB is still building index {index} of table {table}.\nTry again later."));
        }
        ErrorKind::MissingTable => {
            "Choose another table with --table, another region with AWS_REGION, or another server with --endpoint-url."
        }
        ErrorKind::NotAuthorized => "Grant this identity dynamodb:Query and BatchGetItem on the table and its indexes.",
        ErrorKind::Throttled => "DynamoDB throttles reads of the table. Try again later.",
        ErrorKind::Refused | ErrorKind::Unavailable => "Check AWS_REGION, the network and --endpoint-url.",
    };
    SetupError(format!("table {table} (--table) cannot be read: {error}\n{advice}"))
}
