//! Flags of `mini-scan webhooks`.

mod sink;

pub use sink::SinkArgs;

use super::help::{exit_codes, heading, more};

const HELP: &str =
    concat!(heading!("Examples"), "  mini-scan webhooks sink --secret-file secret\n\n", exit_codes!(), more!());

/// Receive webhooks for trying
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct WebhooksArgs {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, clap::Subcommand)]
enum Part {
    Sink(SinkArgs),
}

/// What `mini-scan webhooks` does.
#[derive(Debug)]
pub enum WebhooksTask<'a> {
    Sink(&'a SinkArgs),
}

impl WebhooksArgs {
    pub fn task(&self) -> WebhooksTask<'_> {
        match &self.part {
            Part::Sink(args) => WebhooksTask::Sink(args),
        }
    }
}
