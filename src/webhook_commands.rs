//! The operator's commands on webhooks: change subscriptions, look after dead deliveries, and replay changes. Does not know
//! how webhooks are delivered.

mod dead;
mod replay;
mod text;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use webhooks::{Clock, EndpointId, HttpSender, SystemClock, SystemResolver, WebhookId};

use self::text::Format;
use crate::consumer::ports::{StoreError, StoreErrorKind};
use crate::dynamo::{Client, DeliveryTable, SubscriptionTable};
use crate::service::{Endpoints, SetupError, Webhooks, WebhooksTables, connect_webhooks, sender_settings};
use crate::subscriptions::Subscription;
use crate::subscriptions::dead::Selection;
use crate::subscriptions::operations::{Access, Definition, OperationError, Operations, Vault};

pub use dead::Settle;
pub use replay::Replay;

/// An operator may see and change everything.
const OPERATOR: Access<'_> = Access::Operator;

/// A command, and where its tables are.
#[derive(Debug)]
pub struct Task {
    pub endpoints: Endpoints,
    pub tables: WebhooksTables,
    pub json: bool,
    pub action: Action,
}

/// What to do.
#[derive(Debug)]
pub enum Action {
    Add {
        owner: String,
        definition: Definition,
        vault: Vault,
    },
    List {
        owner: Option<String>,
    },
    Show(EndpointId),
    ShowDelivery(EndpointId, WebhookId),
    Test {
        id: EndpointId,
        vault: Vault,
    },
    Pause(EndpointId),
    Resume(EndpointId),
    Rotate {
        id: EndpointId,
        keep: Duration,
        vault: Vault,
    },
    Remove(EndpointId),
    /// Without a subscription: those of all.
    ListDead {
        of: Option<EndpointId>,
        select: Selection,
        limit: usize,
    },
    Settle(Settle),
    Replay(Replay),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The endpoint did not accept a test, or the answer to a question was no.
    Failed,
    /// Stopped before the end.
    Stopped,
}

/// The tables of a command.
struct Tables<'a> {
    names: &'a WebhooksTables,
    operations: Operations<SubscriptionTable>,
    deliveries: DeliveryTable,
    /// Of the server of the tables, which also has the history.
    client: Client,
}

/// Runs a command. Prints its results to `out`, and what a person should know beside them to `notes`. `confirm` asks a
/// question before a deletion.
pub async fn run(
    task: Task,
    stop: impl Future<Output = ()>,
    confirm: impl AsyncFn(&str) -> bool,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<Outcome, SetupError> {
    let Task { endpoints, tables, json, action } = task;
    let tables = Tables::connect(&endpoints, &tables).await?;
    let format = if json { Format::Json } else { Format::Text };
    match action {
        Action::ListDead { of, select, limit } => {
            Box::pin(dead::list(&tables, of, &select, limit, format, out, notes)).await
        }
        Action::Settle(settle) => Box::pin(dead::settle(&tables, &settle, stop, confirm, format, out)).await,
        Action::Replay(replay) => Box::pin(replay::run(&tables, &replay, stop, format, out, notes)).await,
        // These are short. A secret must not be lost between the table and the terminal.
        action => Box::pin(tables.act(action, format, out, notes)).await,
    }
}

impl<'a> Tables<'a> {
    async fn connect(endpoints: &Endpoints, names: &'a WebhooksTables) -> Result<Tables<'a>, SetupError> {
        let Webhooks { subscriptions, deliveries, client } = connect_webhooks(endpoints, names).await?;
        Ok(Tables { names, operations: Operations::new(subscriptions), deliveries, client })
    }

    async fn act(
        &self,
        action: Action,
        format: Format,
        out: &mut impl Write,
        notes: &mut impl Write,
    ) -> Result<Outcome, SetupError> {
        let (operations, now) = (&self.operations, SystemClock.now());
        let failure = |error: OperationError| self.failure(&error);
        let text = match action {
            Action::Add { owner, definition, vault } => {
                let added = operations.add(&owner, definition, &vault, now).await.map_err(failure)?;
                format.with_secret("Added", &added.0, &added.1)
            }
            Action::Rotate { id, keep, vault } => {
                let rotated = operations.rotate(OPERATOR, &id, keep, &vault, now).await.map_err(failure)?;
                format.with_secret("Rotated", &rotated.0, &rotated.1)
            }
            Action::List { owner } => self.list(owner.as_deref(), format, notes).await?,
            Action::Show(id) => format.subscription(&operations.get(OPERATOR, &id).await.map_err(failure)?),
            Action::ShowDelivery(id, webhook) => {
                let found = self.deliveries.find(&id, &webhook).await;
                format.delivery(&webhook, &found.map_err(|error| failure(OperationError::Deliveries(error)))?)
            }
            Action::Test { id, vault } => return self.test(&id, &vault, format, out).await,
            Action::Pause(id) => {
                format.changed("Paused", &operations.pause(OPERATOR, &id, now).await.map_err(failure)?)
            }
            Action::Resume(id) => {
                format.changed("Resumed", &operations.resume(OPERATOR, &id, now).await.map_err(failure)?)
            }
            Action::Remove(id) => {
                operations.remove(OPERATOR, &id).await.map_err(failure)?;
                format.removed(&id)
            }
            Action::ListDead { .. } | Action::Settle(_) | Action::Replay(_) => unreachable!("`run` handles them"),
        };
        print(out, &text)?;
        Ok(Outcome::Done)
    }

    async fn list(&self, owner: Option<&str>, format: Format, notes: &mut impl Write) -> Result<String, SetupError> {
        let (mut subscriptions, mut unreadable) = (Vec::<Subscription>::new(), 0);
        let mut after = None;
        loop {
            let page = self.operations.page(owner, after.as_ref()).await.map_err(|error| self.failure(&error))?;
            subscriptions.extend(page.subscriptions);
            unreadable += page.unreadable.len();
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        subscriptions
            .sort_by(|one, other| (&one.owner, one.created, &one.id).cmp(&(&other.owner, other.created, &other.id)));
        if unreadable > 0 {
            let note =
                format!("warning: this version cannot read {unreadable} of the subscriptions; update mini-scan\n");
            print(notes, &note)?;
        }
        Ok(format.subscriptions(&subscriptions))
    }

    async fn test(
        &self,
        id: &EndpointId,
        vault: &Vault,
        format: Format,
        out: &mut impl Write,
    ) -> Result<Outcome, SetupError> {
        let sender = HttpSender::new(vault.policy.clone(), Arc::new(SystemResolver), sender_settings());
        let sender = sender.map_err(|error| SetupError(format!("{:#}", anyhow::Error::new(error))))?;
        let trial = self.operations.test(OPERATOR, id, vault, &sender, SystemClock.now()).await;
        let trial = trial.map_err(|error| self.failure(&error))?;
        print(out, &format.trial(&trial))?;
        Ok(if trial.is_accepted() { Outcome::Done } else { Outcome::Failed })
    }

    /// Returns the ids of all subscriptions, unless one is given.
    async fn ids(&self, given: Option<EndpointId>) -> Result<Vec<EndpointId>, SetupError> {
        if let Some(id) = given {
            return Ok(vec![id]);
        }
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = self.operations.page(None, after.as_ref()).await.map_err(|error| self.failure(&error))?;
            ids.extend(page.subscriptions.into_iter().map(|subscription| subscription.id));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(ids),
            }
        }
    }

    /// Names the table, the cause and what to do.
    fn failure(&self, error: &OperationError) -> SetupError {
        let WebhooksTables { webhooks, deliveries } = self.names;
        SetupError(match error {
            OperationError::NotFound(id) => format!(
                "there is no subscription {id} in table {webhooks} (--webhooks-table).\n`mini-scan webhooks list` shows all."
            ),
            OperationError::Store(error) => unusable(&format!("{webhooks} (--webhooks-table)"), SETUP, error),
            OperationError::Deliveries(error) => unusable(&format!("{deliveries} (--deliveries-table)"), SETUP, error),
            error => error.to_string(),
        })
    }
}

/// The command that creates the tables of webhooks.
const SETUP: &str = "mini-scan setup webhooks";

fn unusable(table: &str, setup: &str, error: &StoreError) -> String {
    let create;
    let advice = match error.kind {
        StoreErrorKind::Permission => {
            "Grant this identity dynamodb:GetItem, Query, Scan, PutItem, UpdateItem and DeleteItem on the table."
        }
        StoreErrorKind::MissingTable => {
            create = format!("Create it with `{setup}`.");
            &create
        }
        StoreErrorKind::Credentials => "Renew the credentials, e.g. with `aws sso login`.",
        _ => "Run the command again.",
    };
    format!("table {table} cannot be used: {}\n{advice}", error.detail)
}

fn print(out: &mut impl Write, text: &str) -> Result<(), SetupError> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(SetupError::cannot_write)
}
