//! Flags that choose the tables of webhooks, and their server.

use super::table::ServerArgs;
use crate::service::{Endpoints, WebhooksTables};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Webhooks")]
pub(super) struct WebhooksTablesArgs {
    /// DynamoDB table of the subscriptions
    #[arg(
        long,
        env = "MINI_SCAN_WEBHOOKS_TABLE",
        value_name = "TABLE",
        default_value = "scan-webhooks",
        next_line_help = true
    )]
    webhooks_table: String,

    /// DynamoDB table of the deliveries that failed or wait
    #[arg(
        long,
        env = "MINI_SCAN_DELIVERIES_TABLE",
        value_name = "TABLE",
        default_value = "scan-deliveries",
        next_line_help = true
    )]
    deliveries_table: String,
}

impl WebhooksTablesArgs {
    pub(super) fn tables(&self) -> WebhooksTables {
        WebhooksTables { webhooks: self.webhooks_table.clone(), deliveries: self.deliveries_table.clone() }
    }
}

/// The tables with their server, for commands that need nothing else.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Webhooks")]
pub(super) struct WebhooksPartArgs {
    #[command(flatten)]
    tables: WebhooksTablesArgs,

    #[command(flatten)]
    server: ServerArgs,
}

impl WebhooksPartArgs {
    pub(super) fn tables(&self) -> WebhooksTables {
        self.tables.tables()
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        Endpoints { pubsub: None, dynamo: self.server.endpoint() }
    }
}
