//! The warm throughput of a table: the load that it can take at once. A new table takes 4,000 writes per second and
//! grows under load, but throttles until it has grown.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{TableDescription, WarmThroughput as AwsWarmThroughput};

use crate::client::Problem;
use crate::table::{wait_until_active, within_timeout};

/// Units per second that a table can take at once, as far as they are known or wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WarmThroughput {
    pub reads: Option<u64>,
    pub writes: Option<u64>,
}

impl WarmThroughput {
    /// Returns whether both numbers are at least those that are wanted.
    fn covers(self, wanted: WarmThroughput) -> bool {
        self.reads >= wanted.reads && self.writes >= wanted.writes
    }

    fn max(self, other: WarmThroughput) -> WarmThroughput {
        WarmThroughput { reads: self.reads.max(other.reads), writes: self.writes.max(other.writes) }
    }
}

/// Returns the warm throughput in a description. A local server has none.
pub fn warm_throughput(table: &TableDescription) -> WarmThroughput {
    let units = |units: Option<i64>| units.and_then(|units| u64::try_from(units).ok());
    table.warm_throughput().map_or_else(WarmThroughput::default, |warm| WarmThroughput {
        reads: units(warm.read_units_per_second()),
        writes: units(warm.write_units_per_second()),
    })
}

/// Raises the warm throughput of a table if it is lower than wanted, and returns whether it asked for that. DynamoDB
/// needs minutes to do it, and never lowers it. It costs money once.
pub async fn raise_warm_throughput(client: &Client, table: &str, wanted: WarmThroughput) -> Result<bool, Problem> {
    let found = warm_throughput(&wait_until_active(client, table).await?);
    if found.covers(wanted) {
        return Ok(false);
    }
    // DynamoDB refuses a number below the current one.
    let raised = found.max(wanted);
    let units = |units: Option<u64>| units.and_then(|units| i64::try_from(units).ok());
    let warm = AwsWarmThroughput::builder()
        .set_read_units_per_second(units(raised.reads))
        .set_write_units_per_second(units(raised.writes));
    let request = client.update_table().table_name(table).warm_throughput(warm.build());
    within_timeout(request.send()).await.map_err(|error| Problem::of(&error))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::TableWarmThroughputDescription;

    use super::*;

    #[test]
    fn only_a_number_that_is_too_low_is_raised() {
        let warm = |reads, writes| WarmThroughput { reads, writes };
        let found = warm(Some(12_000), Some(4000));
        for wanted in [warm(None, None), warm(None, Some(4000)), warm(Some(12_000), Some(1))] {
            assert!(found.covers(wanted), "{wanted:?}");
        }
        let wanted = warm(Some(1), Some(40_000));
        assert!(!found.covers(wanted));
        assert_eq!(found.max(wanted), warm(Some(12_000), Some(40_000)));
        assert!(!WarmThroughput::default().covers(wanted));
    }

    #[test]
    fn a_description_may_have_no_warm_throughput() {
        assert_eq!(warm_throughput(&TableDescription::builder().build()), WarmThroughput::default());
        let warm = TableWarmThroughputDescription::builder().write_units_per_second(4000).build();
        let table = TableDescription::builder().warm_throughput(warm).build();
        assert_eq!(warm_throughput(&table), WarmThroughput { reads: None, writes: Some(4000) });
    }
}
