//! Flags that choose the servers: the services' own, or local ones.

use crate::service::Endpoints;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct PubsubEndpoint {
    /// Local Pub/Sub server, host:port, instead of Google's
    #[arg(long, env = "PUBSUB_EMULATOR_HOST", value_name = "HOST:PORT")]
    pub(super) pubsub_emulator_host: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct DynamoEndpoint {
    /// URL of a DynamoDB server instead of Amazon's; AWS_ENDPOINT_URL is heeded too
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB", value_name = "URL", value_parser = url)]
    endpoint_url: Option<String>,

    /// As the AWS tools have it: for every service of Amazon
    #[arg(long, env = "AWS_ENDPOINT_URL", hide = true, value_parser = url)]
    all_endpoints_url: Option<String>,
}

pub(super) fn endpoints(pubsub: Option<&PubsubEndpoint>, dynamo: Option<&DynamoEndpoint>) -> Endpoints {
    // A variable that is set to nothing chooses nothing, as in Google's and Amazon's own tools.
    let chosen = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    Endpoints {
        pubsub: pubsub.and_then(|place| chosen(&place.pubsub_emulator_host)),
        dynamo: dynamo.and_then(|place| chosen(&place.endpoint_url).or_else(|| chosen(&place.all_endpoints_url))),
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.is_empty() || text.starts_with("http://") || text.starts_with("https://") {
        true => Ok(text.to_owned()),
        false => Err("write it as http://localhost:8000".to_owned()),
    }
}
