//! `event-pipeline events get`.

use ops::terminal::{ascii_json, layout, sanitize};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Stored;
use crate::event::parse_sort_key;
use crate::names::{Endpoints, Tables};
use crate::table::reading::{Range, Row};
use crate::tools::queue::time;
use crate::tools::repeat::repeat;
use crate::tools::{Console, Outcome, ToolError};

const MAX_CHARS: usize = 80;

/// Whose events to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Show {
    pub endpoints: Endpoints,
    pub tables: Tables,
    pub client_id: String,
    pub range: Range,
    pub limit: usize,
    pub json: bool,
}

/// Prints the events of a client in the order of their times.
pub async fn show(task: &Show, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let stored = Stored::connect(&task.endpoints, &task.tables).await?;
    let mut events = stored.events.of_client(&task.client_id, task.range, stored.buckets);
    let mut rows = Vec::new();
    let mut count = 0;
    while count < task.limit && !console.is_stopped() {
        let Some(row) = repeat(async || events.next().await).await.map_err(|error| stored.failed(&error))? else {
            break;
        };
        count += 1;
        if task.json { console.print(json_line(&row)?)? } else { rows.push(cells(&row)) }
    }
    console.print(layout(["TIME", "EVENT", "TYPE", "DATA"], &[], &rows))?;
    if count == task.limit {
        console.note(format!("These are the first {count}. Show others with --limit or --since."))?;
    } else if count == 0 {
        console.note(format!("Client {:?} has no such event.", task.client_id))?;
    }
    Ok(if console.is_stopped() { Outcome::Partly } else { Outcome::Done })
}

fn cells(row: &Row) -> [String; 4] {
    let (moment, id) =
        parse_sort_key(&row.key).map_or((String::new(), row.key.as_str()), |(moment, id)| (moment.to_string(), id));
    let short = |text: &str| sanitize(text, MAX_CHARS);
    [moment, short(id), short(&row.event_type), short(&row.data)]
}

/// An event in the members of its contract.
#[derive(Serialize)]
struct Line<'a> {
    client_id: &'a str,
    event_id: &'a str,
    event_time: String,
    event_type: &'a str,
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    others: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_at: Option<String>,
}

fn json_line(row: &Row) -> Result<String, ToolError> {
    let unreadable = |what: &str| ToolError(format!("{what} of event {:?} is not readable", row.key));
    let raw = |text: &str| RawValue::from_string(text.to_owned()).map_err(|_| unreadable("the JSON"));
    let (moment, event_id) = parse_sort_key(&row.key).ok_or_else(|| unreadable("the key"))?;
    let line = Line {
        client_id: row.client_id(),
        event_id,
        event_time: moment.to_string(),
        event_type: &row.event_type,
        data: raw(&row.data)?,
        others: row.others.as_deref().map(raw).transpose()?,
        stored_at: row.stored_at.map(time),
    };
    let json = serde_json::to_string(&line).map_err(|_| unreadable("the JSON"))?;
    // The text of a producer may have several lines.
    Ok(ascii_json(&json.replace(['\n', '\r', '\t'], " ")) + "\n")
}
