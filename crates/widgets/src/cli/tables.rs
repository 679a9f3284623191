//! Flags that choose the tables.

use crate::names::Tables;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Tables")]
pub(super) struct TablesArgs {
    /// DynamoDB table of the widgets
    #[arg(long, env = "WIDGET_REGISTRY_WIDGETS_TABLE", value_name = "TABLE", default_value = "widgets")]
    widgets_table: String,

    /// DynamoDB table of the requests with an Idempotency-Key
    #[arg(
        long,
        env = "WIDGET_REGISTRY_REQUESTS_TABLE",
        value_name = "TABLE",
        default_value = "widget-requests",
        next_line_help = true
    )]
    requests_table: String,
}

impl TablesArgs {
    pub(super) fn tables(&self) -> Tables {
        Tables { widgets: self.widgets_table.clone(), requests: self.requests_table.clone() }
    }
}
