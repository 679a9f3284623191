//! The dead letters of the history, for operators: reads and deletes them.

use dynamodb::{Item, failed};

use super::attributes::{ENTRY, IP, string, text, whole};
use super::{DEAD, HistoryTable, answered, key_of_dead};
use crate::consumer::ports::StoreError;

/// A record of the stream that nobody could handle, without its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDeadLetter {
    pub shard: String,
    pub sequence: String,
    /// The key of the record, if it is readable.
    pub pk: Option<String>,
    /// The label of the stream.
    pub stream: Option<String>,
    /// When the table was changed, in Unix seconds.
    pub created: Option<u64>,
    pub attempts: u64,
    pub reason: String,
    /// The number of items that it takes.
    pub chunks: u64,
}

/// A page of dead letters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterPage {
    pub dead_letters: Vec<StoredDeadLetter>,
    /// The sort key after which the next page begins. `None` at the end.
    pub next: Option<String>,
}

impl HistoryTable {
    /// Reads a page of dead letters after this sort key.
    pub async fn dead_letters(&self, after: Option<&str>) -> Result<DeadLetterPage, StoreError> {
        let mut request = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#ip = :dead")
            // Further items of a dead letter, or one that is not complete yet.
            .filter_expression("attribute_exists(#reason)")
            .projection_expression("#entry, #pk, #stream, #created, #attempts, #reason, #chunks")
            .expression_attribute_names("#ip", IP)
            .expression_attribute_names("#entry", ENTRY)
            .expression_attribute_values(":dead", text(DEAD));
        for name in ["pk", "stream", "created", "attempts", "reason", "chunks"] {
            request = request.expression_attribute_names(format!("#{name}"), name);
        }
        if let Some(after) = after {
            request = request.exclusive_start_key(IP, text(DEAD)).exclusive_start_key(ENTRY, text(after));
        }
        let page = Box::pin(request.send()).await.map_err(|error| failed(&error))?;
        answered(&page)?;
        let next = page.last_evaluated_key().and_then(|key| string(key, ENTRY)).map(str::to_owned);
        Ok(DeadLetterPage { dead_letters: page.items().iter().filter_map(dead_letter).collect(), next })
    }

    /// Deletes a dead letter. Safe to repeat.
    pub async fn delete_dead(&self, dead_letter: &StoredDeadLetter) -> Result<(), StoreError> {
        // Its first item comes last, so that a dead letter of which items are left is still listed.
        for chunk in (0..dead_letter.chunks).rev() {
            let key = key_of_dead(&dead_letter.shard, &dead_letter.sequence, chunk);
            let request = self.client.delete_item().table_name(&self.table).set_key(Some(key.into()));
            let answer = Box::pin(request.send()).await.map_err(|error| failed(&error))?;
            answered(&answer)?;
        }
        Ok(())
    }
}

fn dead_letter(item: &Item) -> Option<StoredDeadLetter> {
    let text = |name: &str| string(item, name).map(str::to_owned);
    let mut parts = string(item, ENTRY)?.split('#');
    Some(StoredDeadLetter {
        shard: parts.next()?.to_owned(),
        sequence: parts.next()?.to_owned(),
        pk: text("pk"),
        stream: text("stream"),
        created: whole(item, "created"),
        attempts: whole(item, "attempts").unwrap_or_default(),
        reason: text("reason")?,
        chunks: whole(item, "chunks").unwrap_or(1),
    })
}
