//! The flags of the command that runs a sink.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use ops::flags::duration;
use webhooks::Secret;

use crate::{Behaviour, Format, Settings, StatusCode};

/// What differs between the programs that have this command: the names of environment variables, and the help text.
pub trait Names: std::fmt::Debug + Clone + Send + Sync + 'static {
    /// The text below the flags.
    const HELP: &'static str;
    const LISTEN: &'static str;
    /// Has a secret. No flag has it, because other users of the machine can see arguments.
    const SECRET: &'static str;
    const SECRET_FILE: &'static str;
    const JSON: &'static str;
    const STATUS: &'static str;
    const FAIL_FOR: &'static str;
    const FAIL_SHARE: &'static str;
    const HANG: &'static str;
}

/// Receive webhooks for trying: print each one, verify its signature, and fail or hang on demand
#[derive(Debug, clap::Args)]
#[command(after_help = N::HELP)]
pub struct SinkArgs<N: Names> {
    #[command(flatten)]
    receiving: ReceivingArgs<N>,
    #[command(flatten)]
    failing: FailingArgs<N>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Receiving")]
struct ReceivingArgs<N: Names> {
    /// Address of the sink. Port 0 is any free port
    #[arg(long, env = N::LISTEN, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,

    /// File with the signing secret. Several, e.g. during a rotation, have their own lines. Without a secret, signatures
    /// are not verified
    #[arg(long, env = N::SECRET_FILE, value_name = "FILE", next_line_help = true)]
    secret_file: Option<PathBuf>,

    /// Print one JSON object per request, with its body
    #[arg(long, env = N::JSON)]
    json: bool,

    #[arg(skip)]
    names: PhantomData<N>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Failures")]
struct FailingArgs<N: Names> {
    /// Status of each answer, from 200 to 599. A wrong signature is always answered with 400
    #[arg(long, env = N::STATUS, value_name = "STATUS", default_value = "204", value_parser = status,
          next_line_help = true)]
    status: StatusCode,

    /// Answer 503 for this long, from the first webhook on
    #[arg(long, env = N::FAIL_FOR, value_name = "TIME", default_value = "0s", value_parser = duration)]
    fail_for: Duration,

    /// Answer this share with 503, from 0 to 1
    #[arg(long, env = N::FAIL_SHARE, value_name = "SHARE", default_value = "0", value_parser = share)]
    fail_share: f64,

    /// Never answer
    #[arg(long, env = N::HANG, conflicts_with_all = ["fail_for", "fail_share", "status"])]
    hang: bool,

    #[arg(skip)]
    names: PhantomData<N>,
}

impl<N: Names> SinkArgs<N> {
    /// Returns the settings, or why they are refused.
    pub fn settings(&self) -> Result<Settings, clap::Error> {
        let ReceivingArgs { listen, json, .. } = self.receiving;
        let FailingArgs { status, fail_for, fail_share, hang, .. } = self.failing;
        Ok(Settings {
            listen,
            secrets: self.secrets()?,
            behaviour: Behaviour { status, fail_for, fail_share, hang },
            format: if json { Format::Json } else { Format::Text },
        })
    }

    fn secrets(&self) -> Result<Vec<Secret>, clap::Error> {
        let refused = |why: String| clap::Error::raw(ErrorKind::ValueValidation, format!("{why}\n"));
        #[expect(clippy::disallowed_methods, reason = "the secret must not be an argument")]
        let variable = std::env::var(N::SECRET).ok().filter(|text| !text.is_empty());
        let mut secrets = parse(variable.as_deref().unwrap_or_default())
            .map_err(|error| refused(format!("the secret in {} is refused: {error}", N::SECRET)))?;
        if let Some(path) = &self.receiving.secret_file {
            let shown = path.display();
            let text = std::fs::read_to_string(path)
                .map_err(|error| refused(format!("cannot read {shown} (--secret-file): {error}")))?;
            let of_file = parse(&text)
                .map_err(|error| refused(format!("a secret in {shown} (--secret-file) is refused: {error}")))?;
            if of_file.is_empty() {
                return Err(refused(format!("{shown} (--secret-file) has no secret")));
            }
            secrets.extend(of_file);
        }
        Ok(secrets)
    }
}

fn parse(text: &str) -> Result<Vec<Secret>, webhooks::InvalidSecret> {
    text.split_whitespace().map(Secret::parse).collect()
}

fn status(text: &str) -> Result<StatusCode, String> {
    let status = text.parse().ok().filter(|status| (200..=599).contains(status));
    status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or_else(|| "it must be from 200 to 599".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it must be a number from 0 to 1".to_owned())
}
