//! The flag that chooses a server to use instead of Amazon's.

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct ServersArgs {
    /// URL of a DynamoDB server to use instead of Amazon's, e.g. http://localhost:8000; AWS_ENDPOINT_URL is read too
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB", value_name = "URL", value_parser = url)]
    dynamo_endpoint: Option<String>,

    /// As in the AWS tools, this one is for every service of Amazon.
    #[arg(long, env = "AWS_ENDPOINT_URL", hide = true, value_parser = url)]
    all_endpoints_url: Option<String>,
}

impl ServersArgs {
    /// Returns the URL of the server, if one is chosen.
    pub(super) fn dynamo(&self) -> Option<String> {
        // A variable that is set to an empty string chooses no server.
        let set = |given: &Option<String>| given.clone().filter(|url| !url.is_empty());
        set(&self.dynamo_endpoint).or_else(|| set(&self.all_endpoints_url))
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.is_empty() || text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(text.to_owned()),
        false => Err("write it with its scheme, e.g. http://localhost:8000".to_owned()),
    }
}
