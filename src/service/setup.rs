//! `mini-scan setup`: creates the topics, subscriptions and the table that are missing, and verifies those that exist.
//! Safe to repeat and to run concurrently.

use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::checks::{within, within_limit};
use super::setup_error::{self, pubsub_advice};
use super::subscription::{Purpose, mismatch, warnings};
use super::{ChangesTables, Endpoints, SetupError, WebhooksTables};
use crate::dynamo::{self, Added, SideTable, Wait};
pub use crate::hosts::Index;
use crate::pubsub::{Admin, Problem, SubscriptionSettings};

/// A local server that starts together with other programs may need this long for its first answers.
const CREATE_WITHIN: Duration = Duration::from_secs(30);
const ACK_DEADLINE: Duration = Duration::from_secs(60);
const RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DEAD_LETTER_RETENTION: Duration = Duration::from_secs(31 * 24 * 60 * 60);
const INDEXES_PAGE: &str = "docs/indexes.md";
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Topics and subscriptions, by their full names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pubsub {
    pub topic: String,
    pub subscription: String,
    pub dead_letter_topic: String,
    /// Without it dead letters are lost, because a topic keeps nothing.
    pub dead_letter_subscription: String,
}

/// Creates the topics and subscriptions that are missing, and prints of each whether it was created or found. Refuses
/// an existing subscription that does not fit.
pub async fn pubsub(endpoints: &Endpoints, names: &Pubsub, out: &mut impl Write) -> Result<(), SetupError> {
    let admin = within(async { Admin::connect(&endpoints.pubsub()).await }, Problem::Unreachable).await;
    let admin = admin
        .map_err(|problem| cannot_create(endpoints, &format!("topic {} (--topic, --project)", names.topic), problem))?;
    let settings = SubscriptionSettings { ack_deadline: ACK_DEADLINE, retention: RETENTION, retry: Some(RETRY) };
    // Without a retry policy, so that dead letters that were listed by hand are delivered again at once.
    let dead_letters = SubscriptionSettings { retention: DEAD_LETTER_RETENTION, retry: None, ..settings.clone() };
    topic(endpoints, &admin, "topic", &names.topic, "--topic", out).await?;
    let scans = Wanted { name: &names.subscription, topic: &names.topic, purpose: Purpose::Scans, settings };
    subscription(endpoints, &admin, &scans, out).await?;
    topic(endpoints, &admin, "dead-letter topic", &names.dead_letter_topic, "--dead-letter-topic", out).await?;
    let dead_letters = Wanted {
        name: &names.dead_letter_subscription,
        topic: &names.dead_letter_topic,
        purpose: Purpose::DeadLetters,
        settings: dead_letters,
    };
    subscription(endpoints, &admin, &dead_letters, out).await
}

/// A subscription that must exist, with the settings of a new one.
struct Wanted<'a> {
    name: &'a str,
    topic: &'a str,
    purpose: Purpose,
    settings: SubscriptionSettings,
}

impl Wanted<'_> {
    fn flag(&self) -> &'static str {
        match self.purpose {
            Purpose::Scans => "--subscription",
            Purpose::DeadLetters => "--dead-letter-topic",
        }
    }
}

async fn topic(
    endpoints: &Endpoints,
    admin: &Admin,
    kind: &str,
    name: &str,
    flag: &str,
    out: &mut impl Write,
) -> Result<(), SetupError> {
    let created = within_limit(CREATE_WITHIN, admin.create_topic(name), Problem::Unreachable).await;
    let created =
        created.map_err(|problem| cannot_create(endpoints, &format!("{kind} {name} ({flag}, --project)"), problem))?;
    print(out, created, kind, name)
}

async fn subscription(
    endpoints: &Endpoints,
    admin: &Admin,
    wanted: &Wanted<'_>,
    out: &mut impl Write,
) -> Result<(), SetupError> {
    let Wanted { name, topic, settings, .. } = wanted;
    let create =
        |settings| within_limit(CREATE_WITHIN, admin.create_subscription(name, topic, settings), Problem::Unreachable);
    let mut created = create(settings).await;
    if settings.retention > RETENTION && matches!(created, Err(Problem::Invalid(_))) {
        // Google's emulator accepts at most 7 days, and the service 31.
        let shorter = SubscriptionSettings { retention: RETENTION, ..settings.clone() };
        created = create(&shorter).await;
    }
    let thing = format!("subscription {name} ({}, --project)", wanted.flag());
    let created = created.map_err(|problem| cannot_create(endpoints, &thing, problem))?;
    let warnings = if created { Vec::new() } else { verify(endpoints, admin, wanted, &thing).await? };
    print(out, created, "subscription", name)?;
    warnings.iter().try_for_each(|warning| print_line(out, "warning", "subscription", &format!("{name}: {warning}")))
}

/// Returns the warnings about an existing subscription, or how it differs from what is wanted.
async fn verify(
    endpoints: &Endpoints,
    admin: &Admin,
    wanted: &Wanted<'_>,
    thing: &str,
) -> Result<Vec<String>, SetupError> {
    let Wanted { name, topic, purpose, .. } = wanted;
    let found = match within(admin.subscription(name), Problem::Unreachable).await {
        Ok(found) => found,
        Err(problem @ Problem::Refused(_)) => {
            return Ok(vec![format!("cannot check that it is a pull subscription on topic {topic}: {problem}")]);
        }
        Err(problem) => {
            let advice = pubsub_advice(endpoints, &problem);
            return Err(SetupError(format!("{thing} exists, but cannot be checked: {problem}\n{advice}")));
        }
    };
    match mismatch(&found, topic) {
        None => Ok(warnings(name, &found, *purpose)),
        Some(difference) => {
            let names = match purpose {
                Purpose::Scans => "--subscription or --topic",
                Purpose::DeadLetters => "--dead-letter-topic, whose subscription has the same id",
            };
            Err(SetupError(format!(
                "{thing} exists, but does not fit: {difference}.\nChoose another name with {names}. To replace it and \
                 lose its messages, delete it and run setup again: gcloud pubsub subscriptions delete {name}"
            )))
        }
    }
}

/// Creates the table and these indexes if they are missing, and prints of each whether it was created or found. Refuses
/// an existing table that cannot store scans.
pub async fn table(
    endpoints: &Endpoints,
    name: &str,
    indexes: &[Index],
    out: &mut impl Write,
) -> Result<(), SetupError> {
    let create = async {
        let client = within(async { endpoints.dynamo().await }, dynamo::Problem::Unreachable).await?;
        let table = dynamo::create(&client, name, indexes).await?;
        Ok((client, table))
    };
    let (client, table) = create.await.map_err(|problem| setup_error::table(endpoints, name, problem))?;
    print(out, table.is_new, "table", name)?;
    if !table.has_stream {
        let warning = format!(
            "{name}: it has no stream of new and old images, so other programs cannot follow its changes. Enable it: aws \
             dynamodb update-table --table-name {name} --stream-specification \
             StreamEnabled=true,StreamViewType=NEW_AND_OLD_IMAGES"
        );
        print_line(out, "warning", "table", &warning)?;
    }
    for index in indexes {
        let added = add_index(&client, name, *index, out).await;
        let added = added.map_err(|problem| setup_error::index(endpoints, name, *index, problem))?;
        let index = index.name();
        match added {
            Added::Created => print(out, true, "index", &format!("{index} of {name}"))?,
            Added::Found => print(out, table.is_new, "index", &format!("{index} of {name}"))?,
            Added::Differs(why) => {
                let text = format!("{index} of {name}: {why}. Setup leaves it unchanged ({INDEXES_PAGE})");
                print_line(out, "warning", "index", &text)?;
            }
        }
    }
    Ok(())
}

/// Creates the history table, the lease table and the stream of the table of scans if they are missing, and prints of
/// each whether it was created or found. Refuses those that do not fit.
pub async fn changes(endpoints: &Endpoints, tables: &ChangesTables, out: &mut impl Write) -> Result<(), SetupError> {
    let scans = &tables.scans;
    let client = within(async { endpoints.dynamo().await }, dynamo::Problem::Unreachable).await;
    let client = client.map_err(|problem| setup_error::table(endpoints, scans, problem))?;
    let enabled = dynamo::enable_stream(&client, scans).await;
    print(out, enabled.map_err(|problem| setup_error::stream(endpoints, scans, problem))?, "stream", scans)?;
    side_table(endpoints, &client, SideTable::History, &tables.history, out).await?;
    side_table(endpoints, &client, SideTable::Leases, &tables.leases, out).await
}

/// Creates the tables of webhooks if they are missing, and prints of each whether it was created or found. Refuses those
/// that do not fit.
pub async fn webhooks(endpoints: &Endpoints, tables: &WebhooksTables, out: &mut impl Write) -> Result<(), SetupError> {
    let client = within(async { endpoints.dynamo().await }, dynamo::Problem::Unreachable).await;
    let of_table = |problem| setup_error::side_table(endpoints, SideTable::Subscriptions, &tables.webhooks, problem);
    let client = client.map_err(of_table)?;
    side_table(endpoints, &client, SideTable::Subscriptions, &tables.webhooks, out).await?;
    side_table(endpoints, &client, SideTable::Deliveries, &tables.deliveries, out).await
}

async fn side_table(
    endpoints: &Endpoints,
    client: &dynamo::Client,
    kind: SideTable,
    name: &str,
    out: &mut impl Write,
) -> Result<(), SetupError> {
    let created = dynamo::create_table(client, kind.spec(), name).await;
    let created = created.map_err(|problem| setup_error::side_table(endpoints, kind, name, problem))?;
    print(out, created == dynamo::TableSetup::Created, setup_error::name_of(kind), name)
}

/// Adds an index, and shows what it waits for: as a line, and on a terminal with the time.
async fn add_index(
    client: &dynamo::Client,
    table: &str,
    index: Index,
    out: &mut impl Write,
) -> Result<Added, dynamo::Problem> {
    let spinner = ProgressBar::new_spinner().with_message("waiting for DynamoDB; Ctrl-C does not stop its work");
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
        spinner.set_style(style);
    }
    let mut shown = None;
    let report = |wait: Wait| {
        if shown.replace(wait) != Some(wait) {
            spinner.enable_steady_tick(Duration::from_secs(1));
            let text = format!("{} of {table}: {}", index.name(), waiting_for(wait));
            // If nobody reads the output, the next line reports that.
            let _ = spinner.suspend(|| print_line(out, "waiting", "index", &text));
        }
    };
    let added = dynamo::add_index(client, table, index, report).await;
    spinner.finish_and_clear();
    added
}

fn waiting_for(wait: Wait) -> &'static str {
    match wait {
        Wait::Building => {
            "DynamoDB is building it from the existing records. If setup is stopped, DynamoDB continues; run setup again"
        }
        Wait::Deleting => "DynamoDB is deleting an index of this name",
        Wait::OtherChange => "DynamoDB is changing the table or another index, and allows one such change at a time",
    }
}

fn print(out: &mut impl Write, created: bool, kind: &str, name: &str) -> Result<(), SetupError> {
    print_line(out, if created { "created" } else { "found" }, kind, name)
}

fn print_line(out: &mut impl Write, what: &str, kind: &str, text: &str) -> Result<(), SetupError> {
    writeln!(out, "{what:<7}  {kind:<17}  {text}").map_err(SetupError::cannot_write)
}

fn cannot_create(endpoints: &Endpoints, thing: &str, problem: Problem) -> SetupError {
    SetupError(format!("{thing} cannot be created: {problem}\n{}", pubsub_advice(endpoints, &problem)))
}
