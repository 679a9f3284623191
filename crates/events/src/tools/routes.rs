//! `event-pipeline routes`: adds, lists and removes the targets of clients.

use std::sync::Arc;

use dynamodb::StoreError;
use ops::terminal::{ascii_json, layout, sanitize};
use serde_json::json;
use webhooks::{Secret, SecretKeys};

use super::repeat::repeat;
use super::tables::{Kind, connect};
use super::{Console, Outcome, ToolError};
use crate::key::endpoint;
use crate::names::{Endpoints, Tables};
use crate::routes::{Route, RouteTable, Target, Unreadable};

const MAX_CHARS: usize = 80;

/// Where the routes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutesAt {
    pub endpoints: Endpoints,
    pub tables: Tables,
    pub json: bool,
}

/// A target to add. Its URL was checked.
#[derive(Debug)]
pub struct Added {
    pub client_id: String,
    pub target: String,
    pub url: String,
    /// All, if it is empty.
    pub event_types: Vec<String>,
    /// Encrypt the new signing secret. Without them there is none.
    pub keys: Option<Arc<SecretKeys>>,
}

impl RoutesAt {
    async fn table(&self) -> Result<RouteTable, ToolError> {
        let named = Kind::Routes.named(&self.tables);
        let failed = |problem: dynamodb::Problem| named.error(&self.endpoints, &problem);
        let client = connect(&self.endpoints).await.map_err(failed)?;
        dynamodb::check_table(&client, Kind::Routes.spec(), named.name).await.map_err(failed)?;
        Ok(RouteTable::new(client, named.name.to_owned()))
    }

    fn failed(&self, error: &StoreError) -> ToolError {
        ToolError(format!("table {} (--routes-table) cannot be used: {error}", self.tables.routes))
    }
}

/// Sets a target of a client, and prints its new signing secret once. The target is active, also if it was disabled.
pub async fn add(at: &RoutesAt, added: &Added, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let Added { client_id, target: name, url, event_types, keys } = added;
    let endpoint = endpoint(client_id, name).ok_or_else(|| {
        ToolError(format!("client {client_id:?} or target {name:?} has characters that are not allowed"))
    })?;
    let table = at.table().await?;
    let secret = keys.as_ref().map(|keys| {
        let secret = Secret::generate();
        (keys.seal(&secret, &endpoint), secret.reveal())
    });
    let mut target = Target::new(url);
    target.event_types = (!event_types.is_empty()).then(|| event_types.clone());
    target.secret = secret.as_ref().map(|(sealed, _)| sealed.clone());
    repeat(async || table.set(client_id, name, &target).await).await.map_err(|error| at.failed(&error))?;
    let secret = secret.as_ref().map(|(_, secret)| secret.as_str());
    if at.json {
        let line = json!({ "client_id": client_id, "target": name, "target_url": url, "secret": secret });
        console.print(ascii_json(&line.to_string()) + "\n")?;
    } else {
        console.print(format!("Added target {name} of client {}.\n", sanitize(client_id, MAX_CHARS)))?;
        if let Some(secret) = secret {
            console.print(format!("Signing secret: {secret}\n"))?;
        }
    }
    console.note(match secret {
        Some(_) => {
            "Give the secret to the receiver now: it is not shown again. Deliverers need the same --secret-key-file."
        }
        None => "Webhooks to it are not signed. To sign them, add it again with --secret-key-file.",
    })?;
    Ok(Outcome::Done)
}

/// Prints the targets of all clients, or of one.
pub async fn list(at: &RoutesAt, of: Option<&str>, console: &mut Console<'_>) -> Result<Outcome, ToolError> {
    let table = at.table().await?;
    let mut rows = Vec::new();
    let mut unreadable = 0;
    let mut after = None;
    while !console.is_stopped() {
        let (routes, next) = match of {
            Some(client_id) => (one(&table, client_id).await.map_err(|error| at.failed(&error))?, None),
            None => {
                let page = repeat(async || table.page(after.as_deref()).await).await;
                let page = page.map_err(|error| at.failed(&error))?;
                (page.routes, page.next)
            }
        };
        for route in routes {
            match route {
                Ok(route) if at.json => console.print(json_lines(&route))?,
                Ok(route) => {
                    rows.extend(route.targets.iter().map(|(name, target)| cells(&route.client_id, name, target)))
                }
                Err((client_id, why)) => {
                    unreadable += 1;
                    console.note(format!("client {client_id:?}: {}", sanitize(&why.to_string(), 2 * MAX_CHARS)))?;
                }
            }
        }
        after = next;
        if after.is_none() {
            break;
        }
    }
    rows.sort();
    console.print(layout(["CLIENT", "TARGET", "URL", "EVENT TYPES", "SIGNED", "STATE"], &[], &rows))?;
    Ok(if unreadable > 0 || console.is_stopped() { Outcome::Partly } else { Outcome::Done })
}

type Listed = Vec<Result<Route, (String, Unreadable)>>;

async fn one(table: &RouteTable, client_id: &str) -> Result<Listed, StoreError> {
    let found = repeat(async || table.read(client_id).await).await?;
    Ok(found.map(|route| route.map_err(|why| (client_id.to_owned(), why))).into_iter().collect())
}

/// Removes a target of a client. Its deliveries that wait become dead letters.
pub async fn remove(
    at: &RoutesAt,
    client_id: &str,
    target: &str,
    console: &mut Console<'_>,
) -> Result<Outcome, ToolError> {
    let table = at.table().await?;
    let removed = repeat(async || table.remove(client_id, target).await).await.map_err(|error| at.failed(&error))?;
    if at.json {
        console.print(format!("{}\n", json!({ "removed": removed })))?;
    }
    if !removed {
        console
            .note(format!("Client {client_id:?} has no target {target:?}: event-pipeline routes list shows them."))?;
        return Ok(Outcome::Failed);
    }
    if !at.json {
        console.print(format!("Removed target {target} of client {}.\n", sanitize(client_id, MAX_CHARS)))?;
    }
    Ok(Outcome::Done)
}

/// Returns a URL without its path and query, because they may contain a secret.
fn origin(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A URL that a script stored may have a password.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let hidden = if path.len() > 1 { "/…" } else { path };
    format!("{scheme}://{host}{hidden}")
}

fn state(target: &Target) -> String {
    match (&target.state.disabled, target.state.failing_since) {
        (Some(reason), _) => format!("disabled ({})", sanitize(reason, MAX_CHARS)),
        (None, Some(_)) => "failing".to_owned(),
        (None, None) => "active".to_owned(),
    }
}

fn cells(client_id: &str, name: &str, target: &Target) -> [String; 6] {
    let types = target.event_types.as_ref().map_or_else(|| "all".to_owned(), |types| types.join(","));
    [
        sanitize(client_id, MAX_CHARS),
        sanitize(name, MAX_CHARS),
        sanitize(&origin(&target.url), MAX_CHARS),
        sanitize(&types, MAX_CHARS),
        if target.secret.is_some() { "yes" } else { "no" }.to_owned(),
        state(target),
    ]
}

fn json_lines(route: &Route) -> String {
    let line = |(name, target): (&String, &Target)| {
        let line = json!({
            "client_id": route.client_id,
            "target": name,
            "target_url": origin(&target.url),
            "event_types": target.event_types,
            "signed": target.secret.is_some(),
            "failing_since": target.state.failing_since,
            "disabled": target.state.disabled,
        });
        ascii_json(&line.to_string()) + "\n"
    };
    route.targets.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_hides_the_path_and_the_password_of_a_url() {
        for (url, expected) in [
            ("https://hooks.example.com/secret?token=1", "https://hooks.example.com/…"),
            ("https://hooks.example.com?token=1", "https://hooks.example.com/…"),
            ("http://mock-sink:8080/", "http://mock-sink:8080/"),
            ("http://mock-sink:8080", "http://mock-sink:8080"),
            ("https://user:password@hooks.example.com/a", "https://hooks.example.com/…"),
        ] {
            assert_eq!(origin(url), expected);
        }
    }
}
