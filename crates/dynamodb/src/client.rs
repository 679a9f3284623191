//! Connects to DynamoDB: to the service with this machine's credentials, or to a local server without any. Knows no
//! table.

use std::net::IpAddr;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::config::Credentials;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::{Client, Config};
pub use aws_sdk_dynamodbstreams::Client as StreamsClient;
use ops::cause;

use crate::credentials::CancelSafeCredentials;
use crate::error::{StoreErrorKind, by_code, lacks_credentials};
use crate::sdk_headers::NoSdkHeaders;

/// Why a request to DynamoDB failed, in a user's terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("no AWS region is set")]
    NoRegion,
    #[error("no AWS credentials: {0}")]
    NoCredentials(String),
    #[error("it does not exist")]
    NotFound,
    #[error("permission denied: {0}")]
    Refused(String),
    #[error("DynamoDB does not answer: {0}")]
    Unreachable(String),
    /// The table exists, but cannot store what it should.
    #[error("{0}")]
    DoesNotFit(String),
    #[error("{0}")]
    Other(String),
}

/// Returns a client with its own connections, for the runtime that calls this. The SDK does not retry, because its callers
/// do.
///
/// For an `endpoint` on the loopback interface the region has a default. Credentials come from the environment, else
/// from the profile, else they are dummies; the metadata service of a cloud instance is never asked.
pub async fn connect(endpoint: Option<&str>, user_agent: &'static str) -> Result<Client, Problem> {
    let config = sdk_config(endpoint).await?;
    Ok(Client::from_conf(Config::from(&config).to_builder().interceptor(NoSdkHeaders { user_agent }).build()))
}

/// Returns a client for DynamoDB's streams, which a local server serves at the same endpoint.
pub async fn connect_streams(endpoint: Option<&str>, user_agent: &'static str) -> Result<StreamsClient, Problem> {
    let config = aws_sdk_dynamodbstreams::Config::from(&sdk_config(endpoint).await?);
    Ok(StreamsClient::from_conf(config.to_builder().interceptor(NoSdkHeaders { user_agent }).build()))
}

/// Returns the configuration of a client of AWS, e.g. of another service.
pub async fn sdk_config(endpoint: Option<&str>) -> Result<SdkConfig, Problem> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if endpoint.is_some_and(is_loopback) {
        let region = aws_config::meta::region::RegionProviderChain::first_try(
            aws_config::environment::EnvironmentVariableRegionProvider::new(),
        )
        .or_else(aws_config::profile::ProfileFileRegionProvider::new())
        .or_else(Region::from_static("us-east-1"));
        loader = loader.region(region).credentials_provider(local_credentials());
    }
    let config = with_cancel_safe_credentials(loader.load().await);
    // A variable that is set to an empty string sets no region.
    if config.region().is_none_or(|region| region.as_ref().is_empty()) {
        return Err(Problem::NoRegion);
    }
    Ok(config)
}

fn with_cancel_safe_credentials(config: SdkConfig) -> SdkConfig {
    let provider = config
        .credentials_provider()
        .map(|provider| SharedCredentialsProvider::new(CancelSafeCredentials::new(provider)));
    let mut builder = config.into_builder();
    builder.set_credentials_provider(provider);
    builder.build()
}

fn local_credentials() -> CredentialsProviderChain {
    // DynamoDB Local accepts only letters and digits in an access key id.
    let dummy = Credentials::new("local", "local", None, None, "local");
    CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
        .or_else("Profile", ProfileFileCredentialsProvider::builder().build())
        .or_else("Local", dummy)
}

fn is_loopback(endpoint: &str) -> bool {
    let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl Problem {
    /// Names the problem behind an error of the SDK.
    pub fn of<E>(error: &SdkError<E>) -> Problem
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Some(code) = error.code() else {
            let cause = cause(error);
            return match error {
                error if lacks_credentials(error) => Problem::NoCredentials(cause),
                SdkError::ServiceError(_) => Problem::Other(cause),
                _ => Problem::Unreachable(cause),
            };
        };
        let message = error.message().unwrap_or("no message");
        let detail = format!("{code}: {message}");
        match by_code(code, message) {
            Some(StoreErrorKind::MissingTable) => Problem::NotFound,
            Some(StoreErrorKind::Permission) => Problem::Refused(detail),
            Some(StoreErrorKind::Credentials) => Problem::NoCredentials(detail),
            _ => Problem::Other(detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for endpoint in ["http://localhost:8000", "http://127.0.0.1:8000/", "https://[::1]:8000", "http://LocalHost"] {
            assert!(is_loopback(endpoint), "{endpoint}");
        }
        for endpoint in ["http://dynamodb:8000", "https://dynamodb.eu-west-1.amazonaws.com", "http://127.0.0.1.nip.io"]
        {
            assert!(!is_loopback(endpoint), "{endpoint}");
        }
    }
}
