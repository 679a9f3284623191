//! `event-pipeline events`: shows the events of a client, delivers stored events again, and erases a client.

mod erase;
mod replay;
mod show;

use std::num::NonZeroU16;

use dynamodb::{Client, StoreError};

pub use self::erase::{Erase, erase};
pub use self::replay::{Replay, Which, replay};
pub use self::show::{Show, show};
use super::ToolError;
use super::tables::{Kind, connect};
use crate::buckets;
use crate::names::{Endpoints, Tables};
use crate::table::reading::EventReader;

/// The connected table of events.
struct Stored<'a> {
    tables: &'a Tables,
    client: Client,
    events: EventReader,
    /// Events of a client may be in that many.
    buckets: NonZeroU16,
}

impl<'a> Stored<'a> {
    async fn connect(endpoints: &Endpoints, tables: &'a Tables) -> Result<Stored<'a>, ToolError> {
        let failed = |kind: Kind| move |problem| kind.named(tables).error(endpoints, &problem);
        let client = connect(endpoints).await.map_err(failed(Kind::Events))?;
        // So that a missing table is named, and not found empty.
        dynamodb::check_table(&client, Kind::Events.spec(), &tables.events).await.map_err(failed(Kind::Events))?;
        let buckets = buckets::read(&client, &tables.routes).await.map_err(failed(Kind::Routes))?.highest;
        let events = EventReader::new(client.clone(), tables.events.clone());
        Ok(Stored { tables, client, events, buckets })
    }

    fn failed(&self, error: &StoreError) -> ToolError {
        ToolError(format!("table {} (--events-table) cannot be used: {error}", self.tables.events))
    }
}
