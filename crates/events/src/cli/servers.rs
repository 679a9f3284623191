//! Flags that choose servers to use instead of Amazon's.

use crate::names::Endpoints;

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct ServersArgs {
    /// URL of an SQS server to use instead of Amazon's, e.g. http://localhost:9324; AWS_ENDPOINT_URL is read too
    #[arg(long, env = "AWS_ENDPOINT_URL_SQS", value_name = "URL", value_parser = url)]
    sqs_endpoint: Option<String>,

    /// URL of a DynamoDB server to use instead of Amazon's, e.g. http://localhost:8000; AWS_ENDPOINT_URL is read too
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB", value_name = "URL", value_parser = url)]
    dynamo_endpoint: Option<String>,

    /// As in the AWS tools, this one is for every service of Amazon.
    #[arg(long, env = "AWS_ENDPOINT_URL", hide = true, value_parser = url)]
    all_endpoints_url: Option<String>,
}

impl ServersArgs {
    pub(super) fn endpoints(&self) -> Endpoints {
        // A variable that is set to an empty string chooses no server.
        let set = |given: &Option<String>| given.clone().filter(|url| !url.is_empty());
        let all = || set(&self.all_endpoints_url);
        Endpoints { sqs: set(&self.sqs_endpoint).or_else(all), dynamo: set(&self.dynamo_endpoint).or_else(all) }
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.is_empty() || text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(text.to_owned()),
        false => Err("write it with its scheme, e.g. http://localhost:9324".to_owned()),
    }
}
