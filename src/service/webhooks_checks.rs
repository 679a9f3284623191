//! The checks of what webhooks need: their two tables and the permissions.

use super::checks::{report, within};
use super::finding::{CheckResult, Finding};
use super::side_tables::{check_table, check_table_and_permissions};
use super::{Endpoints, SetupError, setup_error};
use crate::dynamo::{Client, Problem, SideTable};

/// The tables of webhooks, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhooksTables {
    pub webhooks: String,
    pub deliveries: String,
}

/// Checks both tables at the start of a program: warns of what it can run with, and returns the first failure.
pub async fn check_webhooks(endpoints: &Endpoints, tables: &WebhooksTables) -> Result<(), SetupError> {
    let client = connect(endpoints, tables).await?;
    let (subscriptions, deliveries) = tokio::join!(
        check_table(endpoints, &client, SideTable::Subscriptions, &tables.webhooks),
        check_table(endpoints, &client, SideTable::Deliveries, &tables.deliveries),
    );
    report([subscriptions, deliveries].concat())
}

/// Checks the same and the permissions, and returns every finding.
pub async fn check_all_webhooks(endpoints: &Endpoints, tables: &WebhooksTables) -> Vec<Finding> {
    let client = match connect(endpoints, tables).await {
        Ok(client) => client,
        Err(error) => return vec![Finding::new("webhooks table", &tables.webhooks, CheckResult::Failed(error))],
    };
    let (subscriptions, deliveries) = tokio::join!(
        check_table_and_permissions(endpoints, &client, SideTable::Subscriptions, &tables.webhooks),
        check_table_and_permissions(endpoints, &client, SideTable::Deliveries, &tables.deliveries),
    );
    [subscriptions, deliveries].concat()
}

async fn connect(endpoints: &Endpoints, tables: &WebhooksTables) -> Result<Client, SetupError> {
    let client = within(async { endpoints.dynamo().await }, Problem::Unreachable).await;
    client.map_err(|problem| setup_error::side_table(endpoints, SideTable::Subscriptions, &tables.webhooks, problem))
}
