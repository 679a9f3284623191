//! Flags that choose the table and the DynamoDB server.

use super::pubsub::set;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Destination")]
pub(super) struct TableArgs {
    /// DynamoDB table of the records
    #[arg(long, env = "MINI_SCAN_TABLE", default_value = "scan-results", next_line_help = true)]
    pub(super) table: String,

    #[command(flatten)]
    server: ServerArgs,
}

/// The DynamoDB server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Destination")]
pub(super) struct ServerArgs {
    /// URL of a DynamoDB server to use instead of Amazon's, e.g. http://localhost:8000; AWS_ENDPOINT_URL is read too
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB", value_name = "URL", value_parser = url)]
    endpoint_url: Option<String>,

    /// As in the AWS tools, this one is for every service of Amazon.
    #[arg(long, env = "AWS_ENDPOINT_URL", hide = true, value_parser = url)]
    all_endpoints_url: Option<String>,
}

impl TableArgs {
    /// Returns the URL of the chosen server, or `None` for Amazon's own.
    pub(super) fn endpoint(&self) -> Option<String> {
        self.server.endpoint()
    }
}

impl ServerArgs {
    /// Returns the URL of the chosen server, or `None` for Amazon's own.
    pub(super) fn endpoint(&self) -> Option<String> {
        set(&self.endpoint_url).or_else(|| set(&self.all_endpoints_url)).map(str::to_owned)
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.is_empty() || text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(text.to_owned()),
        false => Err("write it with its scheme, e.g. http://localhost:8000".to_owned()),
    }
}

/// Moves the flags of the table to the source, for commands that read it.
pub(super) fn table_is_the_source(arg: clap::Arg) -> clap::Arg {
    if arg.get_help_heading() == Some("Destination") { arg.help_heading("Source") } else { arg }
}
