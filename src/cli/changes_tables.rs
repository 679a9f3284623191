//! Flags that choose the tables of `mini-scan changes`.

use super::table::{TableArgs, table_is_the_source};
use crate::service::{ChangesTables, Endpoints};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "History")]
pub(super) struct HistoryTableArgs {
    /// DynamoDB table of the history
    #[arg(
        long,
        env = "MINI_SCAN_HISTORY_TABLE",
        value_name = "TABLE",
        default_value = "scan-history",
        next_line_help = true
    )]
    pub(super) history_table: String,
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "History")]
pub(super) struct LeaseTableArgs {
    /// DynamoDB table in which the instances of `mini-scan changes` share the work
    #[arg(
        long,
        env = "MINI_SCAN_LEASE_TABLE",
        value_name = "TABLE",
        default_value = "scan-leases",
        next_line_help = true
    )]
    pub(super) lease_table: String,
}

/// The table of scans, which is the source, and the two that `mini-scan changes` keeps.
#[derive(Debug, Clone, clap::Args)]
#[command(mut_args(table_is_the_source))]
pub(super) struct ChangesTablesArgs {
    #[command(flatten)]
    scans: TableArgs,

    #[command(flatten)]
    history: HistoryTableArgs,

    #[command(flatten)]
    leases: LeaseTableArgs,
}

impl ChangesTablesArgs {
    pub(super) fn tables(&self) -> ChangesTables {
        ChangesTables {
            scans: self.scans.table.clone(),
            history: self.history.history_table.clone(),
            leases: self.leases.lease_table.clone(),
        }
    }

    pub(super) fn endpoints(&self) -> Endpoints {
        Endpoints { pubsub: None, dynamo: self.scans.endpoint() }
    }
}
