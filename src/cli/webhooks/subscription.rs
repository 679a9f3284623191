//! Flags that create, show and change subscriptions.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::error::ErrorKind;
use ipnet::IpNet;
use ops::flags::duration;
use webhooks::{EndpointId, RefusedTarget, WebhookId};

use super::{SharedArgs, id};
use crate::changes::Event;
use crate::cli::help::{exit_codes, heading, more};
use crate::cli::targets::{SecretKeyArgs, TargetArgs};
use crate::subscriptions::operations::{
    DEFAULT_CONCURRENCY, Definition, InvalidDefinition, MAX_CONCURRENCY, MAX_PER_SECOND, Vault,
};
use crate::subscriptions::{Filter, parse_event, parse_network};
use crate::webhook_commands::Action;

const ADD_HELP: &str = concat!(
    heading!("Examples"),
    "  openssl rand -base64 32 > key\n",
    "  mini-scan webhooks add --url https://hooks.example.com/scans \\\n",
    "    --network 1.1.0.0/16 --port 3389 --secret-key-file key\n",
    "  mini-scan webhooks add --url http://10.1.2.3:8080/ --allow-http \\\n",
    "    --allow-target 10.1.2.3:8080 --secret-key-file key\n\n",
    "  It prints the signing secret once. The same --allow flags are needed where\n",
    "  `mini-scan changes --webhooks` runs. It tells of changes from about 5 s after;\n",
    "  `mini-scan webhooks replay` tells of earlier ones.\n\n",
    exit_codes!(),
    more!()
);

const LIST_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks list --owner laptop\n",
    "  mini-scan webhooks list --json | jq -r 'select(.status == \"disabled\").id'\n\n",
    "  It shows no path of a URL, because it may contain a secret.\n\n",
    exit_codes!(),
    more!()
);

const SHOW_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks show wh_0123456789abcdefghjk\n",
    "  mini-scan webhooks show wh_0123456789abcdefghjk \\\n",
    "    --delivery msg_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4\n\n",
    exit_codes!(),
    more!()
);

const TEST_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks test wh_0123456789abcdefghjk --secret-key-file key\n\n",
    "  It makes one attempt from this machine, stores nothing, and fails unless the\n",
    "  endpoint answers with a status from 200 to 299.\n\n",
    exit_codes!(),
    more!()
);

const ROTATE_HELP: &str = concat!(
    heading!("Examples"),
    "  mini-scan webhooks rotate wh_0123456789abcdefghjk --secret-key-file key\n\n",
    "  It prints the new signing secret once. It also encrypts the old secrets with the\n",
    "  first key of the file. A secret that no key opens is removed.\n\n",
    exit_codes!(),
    more!()
);

const ONE_HELP: &str = concat!(exit_codes!(), more!());

/// Create a subscription, and print its signing secret once
#[derive(Debug, clap::Args)]
#[command(after_help = ADD_HELP)]
pub(super) struct AddArgs {
    /// URL that gets the webhooks
    #[arg(long, help_heading = "Subscription", next_line_help = true)]
    url: String,

    /// Tell only of addresses in this network, e.g. 1.1.0.0/16; repeatable, up to 100 times
    #[arg(long = "network", value_name = "CIDR", value_delimiter = ',', value_parser = parse_network,
          help_heading = "Subscription", next_line_help = true)]
    networks: Vec<IpNet>,

    /// Tell only of this port; repeatable, up to 20 times
    #[arg(long = "port", value_name = "PORT", value_delimiter = ',', help_heading = "Subscription")]
    ports: Vec<u16>,

    /// Tell only of this service, with the same case; repeatable, up to 20 times
    #[arg(long = "service", value_name = "SERVICE", help_heading = "Subscription", next_line_help = true)]
    services: Vec<String>,

    /// Tell only of this type: scan.opened, scan.changed or scan.closed; repeatable
    #[arg(long = "event", value_name = "TYPE", value_delimiter = ',', value_parser = parse_event,
          help_heading = "Subscription", next_line_help = true)]
    events: Vec<Event>,

    /// Who owns it. A token of the API with this name can see and change it
    #[arg(long, default_value = "operator", value_name = "NAME", value_parser = owner, help_heading = "Subscription",
          next_line_help = true)]
    owner: String,

    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT", help_heading = "Subscription")]
    description: String,

    /// Attempts that each instance makes at the same time, from 1 to 100
    #[arg(long, default_value_t = DEFAULT_CONCURRENCY, value_name = "NUMBER", help_heading = "Subscription",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_CONCURRENCY)), next_line_help = true)]
    max_concurrency: u16,

    /// Attempts that each instance starts per second, from 1 to 10000; without it there is no limit
    #[arg(long, value_name = "NUMBER", help_heading = "Subscription", value_parser = per_second, next_line_help = true)]
    max_per_second: Option<NonZeroU32>,

    #[command(flatten)]
    targets: TargetArgs,

    #[command(flatten)]
    key: SecretKeyArgs,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

/// List subscriptions with the hosts that they tell
#[derive(Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
pub(super) struct ListArgs {
    /// List only those of this owner
    #[arg(long, value_name = "NAME", help_heading = "Selection")]
    owner: Option<String>,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

/// Show a subscription with its whole URL, or what became of a delivery
#[derive(Debug, clap::Args)]
#[command(after_help = SHOW_HELP)]
pub(super) struct ShowArgs {
    /// Id of the subscription
    #[arg(value_parser = id)]
    id: EndpointId,

    /// Show this delivery instead: the header webhook-id. A success is known only with `changes --log-deliveries`, and a log
    /// entry may be missing
    #[arg(long, value_name = "MESSAGE", value_parser = webhook_id, help_heading = "Selection", next_line_help = true)]
    delivery: Option<WebhookId>,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

/// Send one signed webhook of the type scan.test
#[derive(Debug, clap::Args)]
#[command(after_help = TEST_HELP)]
pub(super) struct TestArgs {
    /// Id of the subscription
    #[arg(value_parser = id)]
    id: EndpointId,

    #[command(flatten)]
    targets: TargetArgs,

    #[command(flatten)]
    key: SecretKeyArgs,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ONE_HELP)]
pub(super) struct OneArgs {
    /// Id of the subscription
    #[arg(value_parser = id)]
    pub(super) id: EndpointId,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

/// Make a new signing secret, and print it once
#[derive(Debug, clap::Args)]
#[command(after_help = ROTATE_HELP)]
pub(super) struct RotateArgs {
    /// Id of the subscription
    #[arg(value_parser = id)]
    id: EndpointId,

    /// How long the old secret signs too, so that the receiver has time to take the new one
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration, help_heading = "Secret",
          next_line_help = true)]
    keep: Duration,

    #[command(flatten)]
    key: SecretKeyArgs,

    #[command(flatten)]
    pub(super) shared: SharedArgs,
}

impl AddArgs {
    pub(super) fn action(&self) -> Result<Action, clap::Error> {
        let definition = Definition {
            description: self.description.clone(),
            url: self.url.clone(),
            filter: Filter {
                networks: self.networks.clone(),
                ports: self.ports.clone(),
                services: self.services.clone(),
                events: self.events.clone(),
            },
            max_concurrency: self.max_concurrency,
            max_per_second: self.max_per_second.map(NonZeroU32::get),
        };
        let policy = self.targets.policy();
        let definition = definition.checked(&policy).map_err(|error| refused(&error))?;
        let vault = Vault { policy, keys: self.key.keys()? };
        Ok(Action::Add { owner: self.owner.clone(), definition, vault })
    }
}

impl ListArgs {
    pub(super) fn action(&self) -> Action {
        Action::List { owner: self.owner.clone() }
    }
}

impl ShowArgs {
    pub(super) fn action(&self) -> Action {
        match &self.delivery {
            None => Action::Show(self.id.clone()),
            Some(delivery) => Action::ShowDelivery(self.id.clone(), delivery.clone()),
        }
    }
}

impl TestArgs {
    pub(super) fn action(&self) -> Result<Action, clap::Error> {
        let vault = Vault { policy: self.targets.policy(), keys: self.key.keys()? };
        Ok(Action::Test { id: self.id.clone(), vault })
    }
}

impl RotateArgs {
    pub(super) fn action(&self) -> Result<Action, clap::Error> {
        let vault = Vault { policy: webhooks::Policy::default(), keys: self.key.keys()? };
        Ok(Action::Rotate { id: self.id.clone(), keep: self.keep, vault })
    }
}

/// Returns what is wrong, with the flag that allows it.
fn refused(error: &InvalidDefinition) -> clap::Error {
    let advice = match error {
        InvalidDefinition::Url(RefusedTarget::NotHttps) => "\nFor a receiver without TLS, set --allow-http.",
        InvalidDefinition::Url(RefusedTarget::Port(_)) => "\nAllow it with --webhook-ports.",
        InvalidDefinition::Url(RefusedTarget::InternalAddress(_)) => {
            "\nFor a private receiver, set --allow-target HOST:PORT or --allow-networks CIDR."
        }
        InvalidDefinition::Url(RefusedTarget::UserInfo) => {
            "\nPut a secret into the path or the query, or let the receiver verify the signature."
        }
        _ => "",
    };
    clap::Error::raw(ErrorKind::ValueValidation, format!("{error}{advice}\n"))
}

pub(super) fn webhook_id(text: &str) -> Result<WebhookId, String> {
    WebhookId::from_stored(text).ok_or_else(|| "it must be the value of a header webhook-id: msg_…".to_owned())
}

/// Accepts what a name of a token can be.
fn owner(text: &str) -> Result<String, String> {
    let is_valid = (1..=256).contains(&text.len()) && text.chars().all(|c| c.is_alphanumeric() || "-_.@:".contains(c));
    if is_valid { Ok(text.to_owned()) } else { Err("a name has 1 to 256 letters, digits and -_.@:".to_owned()) }
}

fn per_second(text: &str) -> Result<NonZeroU32, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU32| number.get() <= MAX_PER_SECOND);
    number.ok_or_else(|| format!("it must be a whole number from 1 to {MAX_PER_SECOND}"))
}
