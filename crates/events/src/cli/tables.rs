//! Flags that choose the tables.

use std::num::NonZeroU16;

use crate::names::Tables;

const MOST_BUCKETS: u16 = 256;

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

    /// Spread the events of each client over this many partitions, from 1 to 256. One takes about 1,000 writes per
    /// second. All programs need the same number; never lower it
    #[arg(
        long,
        env = "EVENT_PIPELINE_CLIENT_BUCKETS",
        value_name = "NUMBER",
        default_value = "1",
        value_parser = buckets,
        next_line_help = true
    )]
    client_buckets: NonZeroU16,
}

impl TablesArgs {
    pub(super) fn tables(&self) -> Tables {
        Tables {
            events: self.events_table.clone(),
            routes: self.routes_table.clone(),
            deliveries: self.deliveries_table.clone(),
            leases: self.leases_table.clone(),
            client_buckets: self.client_buckets,
        }
    }
}

fn buckets(text: &str) -> Result<NonZeroU16, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU16| number.get() <= MOST_BUCKETS);
    number.ok_or_else(|| format!("it must be a whole number from 1 to {MOST_BUCKETS}"))
}
