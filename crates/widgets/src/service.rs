//! The API on its tables: connects and checks them at the start. Knows no route.

use dynamodb::{Problem, check_table};
use ops::console::ToolError;

use crate::names::Tables;
use crate::observe::USER_AGENT;
use crate::table::{REQUESTS, WIDGETS, WidgetTable};
use crate::tools::NamedTable;

/// Connects to the tables. Fails if one is missing or does not fit.
pub async fn connect(endpoint: Option<&str>, tables: &Tables) -> Result<WidgetTable, ToolError> {
    let (widgets, requests) = (NamedTable::widgets(tables), NamedTable::requests(tables));
    let failed = |table: NamedTable<'_>, problem: Problem| table.error(endpoint, &problem);
    let client = dynamodb::connect(endpoint, USER_AGENT).await.map_err(|problem| failed(widgets, problem))?;
    check_table(&client, &WIDGETS, widgets.name).await.map_err(|problem| failed(widgets, problem))?;
    let expires = check_table(&client, &REQUESTS, requests.name).await.map_err(|problem| failed(requests, problem))?;
    if !expires {
        let (table, flag) = (requests.name, requests.flag);
        tracing::warn!(table, flag, "the requests in the table never expire; run `widget-registry setup`");
    }
    Ok(WidgetTable::new(client, tables.clone()))
}
