//! Flags that decide which URLs may be reached, and the file that encrypts signing secrets.

use std::path::PathBuf;
use std::sync::Arc;

use clap::error::ErrorKind;
use webhooks::{AllowedTarget, Policy, SecretKeys};

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Targets")]
pub(super) struct TargetArgs {
    /// Allow URLs without TLS
    #[arg(long, env = "EVENT_PIPELINE_ALLOW_HTTP")]
    allow_http: bool,

    /// Allow a host with a private address, e.g. mock-sink:8080; repeatable
    #[arg(
        long,
        env = "EVENT_PIPELINE_ALLOW_TARGET",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        next_line_help = true
    )]
    allow_target: Vec<AllowedTarget>,

    /// Allow private networks, e.g. 10.1.0.0/16; repeatable. Addresses that serve credentials of clouds stay closed
    #[arg(
        long,
        alias = "allow-network",
        env = "EVENT_PIPELINE_ALLOW_NETWORKS",
        value_name = "CIDR",
        value_delimiter = ',',
        next_line_help = true
    )]
    allow_networks: Vec<ipnet::IpNet>,

    /// Ports that URLs may have
    #[arg(long, env = "EVENT_PIPELINE_TARGET_PORTS", value_name = "PORT", value_delimiter = ',',
          default_values_t = Policy::default().ports, next_line_help = true)]
    target_ports: Vec<u16>,
}

impl TargetArgs {
    pub(super) fn policy(&self) -> Policy {
        Policy {
            allow_http: self.allow_http,
            ports: self.target_ports.clone(),
            allow_targets: self.allow_target.clone(),
            allow_networks: self.allow_networks.clone(),
        }
    }
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Targets")]
pub(super) struct SecretKeyArgs {
    /// File with the key that encrypts signing secrets: 32 bytes in base64, e.g. of `openssl rand -base64 32`. Older keys
    /// follow on their own lines. Without it, deliveries to targets with a secret wait
    #[arg(long, env = "EVENT_PIPELINE_SECRET_KEY_FILE", value_name = "FILE", next_line_help = true)]
    secret_key_file: Option<PathBuf>,
}

impl SecretKeyArgs {
    /// Reads the keys, or returns why they cannot be used.
    pub(super) fn keys(&self) -> Result<Option<Arc<SecretKeys>>, clap::Error> {
        let Some(path) = &self.secret_key_file else { return Ok(None) };
        let keys = SecretKeys::read(path).map_err(|error| {
            let why = anyhow::Error::new(error);
            clap::Error::raw(ErrorKind::ValueValidation, format!("{why:#} ({})\n", path.display()))
        })?;
        Ok(Some(Arc::new(keys)))
    }
}
