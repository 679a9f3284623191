//! Flags that choose the tables.

use crate::names::Tables;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Tables")]
pub(super) struct TablesArgs {
    /// DynamoDB table of the events
    #[arg(long, env = "EVENT_PIPELINE_EVENTS_TABLE", value_name = "TABLE", default_value = "Events")]
    events_table: String,

    /// DynamoDB table of the clients' routes
    #[arg(long, env = "EVENT_PIPELINE_ROUTES_TABLE", value_name = "TABLE", default_value = "routes")]
    routes_table: String,

    /// DynamoDB table of the deliveries that failed or wait
    #[arg(
        long,
        env = "EVENT_PIPELINE_DELIVERIES_TABLE",
        value_name = "TABLE",
        default_value = "deliveries",
        next_line_help = true
    )]
    deliveries_table: String,

    /// DynamoDB table that assigns the shards of the stream to deliverers
    #[arg(
        long,
        env = "EVENT_PIPELINE_LEASES_TABLE",
        value_name = "TABLE",
        default_value = "event-leases",
        next_line_help = true
    )]
    leases_table: String,
}

impl TablesArgs {
    pub(super) fn tables(&self) -> Tables {
        Tables {
            events: self.events_table.clone(),
            routes: self.routes_table.clone(),
            deliveries: self.deliveries_table.clone(),
            leases: self.leases_table.clone(),
        }
    }
}
