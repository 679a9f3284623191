//! Flags of `widget-registry token`.

use std::path::PathBuf;

use anyhow::Context;
use clap::error::ErrorKind;
use http_api::{Scope, append, line, new_token};

use super::help::{exit_codes, heading, more};

/// Lets people and secret scanners recognize a token of this API.
const TOKEN_PREFIX: &str = "widget_registry_";

const HELP: &str = concat!(
    heading!("Examples"),
    "  widget-registry token laptop --tokens-file tokens\n",
    "  widget-registry token ci --scope read --scope write\n\n",
    exit_codes!(),
    more!()
);

/// Create a token for clients of the API, and print it once
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = HELP, next_help_heading = "Token")]
pub struct TokenArgs {
    /// Name of the token in logs: letters, digits and -_.@:
    name: String,

    /// What the token allows, read or write; repeat the flag for both
    #[arg(long = "scope", value_name = "SCOPE", default_value = "read", value_parser = scope)]
    scopes: Vec<Scope>,

    /// File to which the digest of the token is added. Without it, the line for the file is printed on stderr
    #[arg(long, env = "WIDGET_REGISTRY_TOKENS_FILE", value_name = "FILE", next_line_help = true)]
    tokens_file: Option<PathBuf>,
}

impl TokenArgs {
    /// Creates a token. Adds its line to the file, or returns the line beside the token.
    pub fn create(&self) -> anyhow::Result<(String, Option<String>)> {
        let token = new_token(TOKEN_PREFIX).context("cannot create a token")?;
        let mut scopes = self.scopes.clone();
        scopes.dedup();
        let line = line(&self.name, &scopes, &token).map_err(|why| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("the name {:?} is invalid: {why}\n", self.name))
        })?;
        let Some(path) = self.tokens_file.as_ref().filter(|path| !path.as_os_str().is_empty()) else {
            return Ok((token, Some(line)));
        };
        append(path, &line).with_context(|| format!("cannot write the tokens file {}", path.display()))?;
        Ok((token, None))
    }
}

/// The API of widgets has no webhooks.
fn scope(text: &str) -> Result<Scope, String> {
    let scopes = [Scope::Read, Scope::Write];
    let found = scopes.into_iter().find(|scope| scope.to_string() == text);
    found.ok_or_else(|| "the scopes are `read` and `write`".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use http_api::TokenFile;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        token: TokenArgs,
    }

    #[test]
    fn a_created_token_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let file = path.to_str().unwrap();
        let command = ["token", "one", "--scope", "write", "--tokens-file", file];
        let (token, line) = Command::try_parse_from(command).unwrap().token.create().unwrap();
        assert!(token.starts_with(TOKEN_PREFIX) && line.is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("one write ") && !text.contains(&token), "{text}");
        assert!(TokenFile::open(path).is_ok());
    }

    #[test]
    fn other_scopes_and_names_are_refused() {
        assert!(Command::try_parse_from(["token", "one", "--scope", "webhooks"]).is_err());
        assert!(Command::try_parse_from(["token", "a b"]).unwrap().token.create().is_err());
    }
}
