//! Flags of `event-pipeline send`.

use std::fs::File;
use std::io::{BufReader, stdin};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::help::{heading, more};
use super::numbers::rate;
use super::queues::QueuesArgs;
use super::servers::ServersArgs;
use crate::tools::send::{Mix, Sending, Source};

const HELP: &str = concat!(
    heading!("Examples"),
    "  event-pipeline send crates/events/examples/good.json\n",
    "  jq -c '.[]' events.json | event-pipeline send - --group-by-client\n",
    "  event-pipeline send --generate 1000 --rate 100 --clients 20 --bad-share 0.05\n\n",
    "  Each JSON document becomes one message: the whole file, or each of its lines.\n\n",
    heading!("Exit codes"),
    "  0    it sent everything\n",
    "  1    failure: it sent nothing\n",
    "  2    wrong usage: a flag is missing, unknown or out of range\n",
    "  3    partly done: SQS did not take all messages, or it was stopped\n",
    "  130  stopped at once by a second SIGINT (143 by SIGTERM)\n\n",
    more!()
);

/// Send events to the queue, from a file or generated
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct SendArgs {
    /// File with one JSON document, or with one per line; - is stdin
    #[arg(required_unless_present = "generate")]
    file: Option<PathBuf>,

    /// Send this many generated events instead
    #[arg(long, value_name = "COUNT", conflicts_with = "file", help_heading = "Generated events")]
    generate: Option<u64>,

    /// Choose the client of each event among this many
    #[arg(long, value_name = "NUMBER", default_value = "10", help_heading = "Generated events",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000), requires = "generate", next_line_help = true)]
    clients: u32,

    /// Share of invalid events, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value = "0", help_heading = "Generated events", value_parser = share,
          requires = "generate")]
    bad_share: f64,

    /// Seed of the generator. The same one gives the same events
    #[arg(long, value_name = "NUMBER", default_value = "1", help_heading = "Generated events", requires = "generate")]
    seed: u64,

    /// Send at most this many messages per second; without it there is no limit
    #[arg(long, value_name = "NUMBER", value_parser = rate, help_heading = "Sending", next_line_help = true)]
    rate: Option<f64>,

    /// Set MessageGroupId to the client, so that SQS shares the queue fairly between clients
    #[arg(long, help_heading = "Sending")]
    group_by_client: bool,

    /// Print the result as one JSON object
    #[arg(long, help_heading = "Output")]
    json: bool,

    #[command(flatten)]
    queues: QueuesArgs,

    #[command(flatten)]
    servers: ServersArgs,
}

impl SendArgs {
    /// Returns what to send. Opens the file.
    pub fn task(&self) -> Result<Sending, clap::Error> {
        let source = match (self.generate, &self.file) {
            (Some(count), _) => Source::Generated {
                mix: Mix { seed: self.seed, clients: self.clients, bad_share: self.bad_share },
                count,
            },
            (None, Some(path)) => open(path)?,
            (None, None) => {
                let text = "name a file, or set --generate\n";
                return Err(clap::Error::raw(ErrorKind::MissingRequiredArgument, text));
            }
        };
        Ok(Sending {
            endpoints: self.servers.endpoints(),
            queues: self.queues.queues(),
            source,
            rate: self.rate,
            group_by_client: self.group_by_client,
            json: self.json,
        })
    }
}

fn open(path: &Path) -> Result<Source, clap::Error> {
    if path == Path::new("-") {
        return Ok(Source::Documents { name: "stdin".to_owned(), reader: Box::new(BufReader::new(stdin())) });
    }
    let name = path.display().to_string();
    let file = File::open(path)
        .map_err(|error| clap::Error::raw(ErrorKind::ValueValidation, format!("cannot read {name}: {error}\n")))?;
    Ok(Source::Documents { name, reader: Box::new(BufReader::new(file)) })
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (0.0..=1.0).contains(number));
    number.ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}
