//! The tables for readers and for commands: connects to them.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;
use webhooks::SystemClock;

use super::checks::within;
use super::{Endpoints, SetupError, WebhooksTables, setup_error};
use crate::changes::PastReader;
use crate::dynamo::{self, DeliveriesKept, DeliveryTable, HistoryTable, HostTable, SideTable, SubscriptionTable};
use crate::hosts::{Calls, ErrorKind, Filter, Hosts, Observer, Query};

/// Connects to the table of records. `ttl` is that of the consumer, for writes.
///
/// Fails if the table is missing or cannot be reached. Warns if it has no index of addresses, because single records can
/// still be read.
pub async fn connect_hosts(
    endpoints: &Endpoints,
    table: &str,
    ttl: Option<Duration>,
    observer: Arc<dyn Observer>,
) -> Result<Hosts<HostTable>, SetupError> {
    let of_table = |problem| setup_error::table(endpoints, table, problem);
    let client = endpoints.dynamo().await.map_err(of_table)?;
    match within(dynamo::check(&client, table), dynamo::Problem::Unreachable).await {
        // Reading needs no permission to describe the table.
        Ok(_) | Err(dynamo::Problem::Refused(_)) => {}
        // Throttled, or a fault of the service: no setting is wrong.
        Err(dynamo::Problem::Other(detail)) => {
            warn!(table, "cannot check the table: {detail}. The first read shows whether it fits");
        }
        Err(problem) => return Err(of_table(problem)),
    }
    let hosts = Hosts::new(HostTable::new(client, table.to_owned(), ttl), observer);
    // An address for documentation, of which no scan exists.
    let query = Query::Addresses(vec![[192, 0, 2, 0].into()], Filter::default());
    if let Err(error) = hosts.keys(&query, None, 1).await {
        let advice = match error.kind {
            ErrorKind::MissingIndex(_) => {
                "the table has no index of addresses, so only single records can be read; \
                                           add it with `mini-scan setup table`"
            }
            ErrorKind::UnfinishedIndex(_) => {
                "DynamoDB is still building the index of addresses; hosts can be read later"
            }
            _ => "cannot read the index of addresses; requests show whether that persists",
        };
        warn!(table, error.type = error.kind.name(), %error, "{advice}");
    }
    Ok(hosts)
}

/// Connects to the table of the history. Warns if it does not fit, because records can be read without it.
pub async fn connect_history(endpoints: &Endpoints, table: &str, calls: Calls) -> Result<PastReader, SetupError> {
    let of_table = |problem| setup_error::side_table(endpoints, SideTable::History, table, problem);
    let client = endpoints.dynamo().await.map_err(of_table)?;
    let check = dynamo::check_table(&client, SideTable::History.spec(), table);
    match within(check, dynamo::Problem::Unreachable).await {
        // Reading needs no permission to describe the table.
        Ok(_) | Err(dynamo::Problem::Refused(_)) => {}
        Err(problem) => warn!(table, "{}", of_table(problem)),
    }
    Ok(PastReader::new(HistoryTable::new(client, table.to_owned()), calls))
}

/// The tables of webhooks, and a client for others of the same server.
#[derive(Debug)]
pub struct Webhooks {
    pub subscriptions: SubscriptionTable,
    pub deliveries: DeliveryTable,
    pub client: dynamo::Client,
}

/// Connects to the tables of webhooks without a check. The first call shows whether they fit.
pub async fn connect_webhooks(endpoints: &Endpoints, tables: &WebhooksTables) -> Result<Webhooks, SetupError> {
    let WebhooksTables { webhooks, deliveries } = tables;
    let client = endpoints
        .dynamo()
        .await
        .map_err(|problem| setup_error::side_table(endpoints, SideTable::Subscriptions, webhooks, problem))?;
    // Only the instances that deliver make a delivery dead, or log a success.
    let kept = DeliveriesKept { dead: Duration::ZERO, delivered: Duration::ZERO };
    let deliveries = DeliveryTable::new(client.clone(), deliveries.clone(), kept, Arc::new(SystemClock));
    Ok(Webhooks { subscriptions: SubscriptionTable::new(client.clone(), webhooks.clone()), deliveries, client })
}
