//! Bearer tokens: a file with the digest, the name and the scopes of each. The tokens themselves are stored nowhere.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tracing::{error, info};

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Read,
    Write,
    /// Subscriptions to changes.
    Webhooks,
}

impl Scope {
    pub const ALL: [Scope; 3] = [Scope::Read, Scope::Write, Scope::Webhooks];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Webhooks => "webhooks",
        })
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        let found = Scope::ALL.into_iter().find(|scope| scope.to_string() == text);
        found.ok_or_else(|| "the scopes are `read`, `write` and `webhooks`".to_owned())
    }
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) name: Arc<str>,
    pub(crate) scopes: Vec<Scope>,
    digest: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidTokens {
    #[error("cannot read the tokens in {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("line {line} of {path} is no token: {why}. Expected `NAME SCOPES SHA256`, e.g. `ci read,write 9f86…`")]
    Line { path: PathBuf, line: usize, why: &'static str },
    #[error("{path} has no token")]
    Empty { path: PathBuf },
}

/// Returns a new random token. The prefix lets people and secret scanners recognize it.
pub fn new_token(prefix: &str) -> io::Result<String> {
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// Returns the line of a token in the file, without its end. Fails if the name has a character other than a visible one.
pub fn line(name: &str, scopes: &[Scope], token: &str) -> Result<String, &'static str> {
    if name.is_empty() || name.starts_with('#') || !name.chars().all(|c| c.is_alphanumeric() || "-_.@:".contains(c)) {
        return Err("a name has letters, digits and -_.@: only");
    }
    let scopes: Vec<_> = scopes.iter().map(Scope::to_string).collect();
    let digest: String = Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{name} {} {digest}", scopes.join(",")))
}

/// Adds a line to a file of tokens. Only the owner may read a new file.
pub fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let ends_in_a_line = fs::read(path).map_or(true, |text| text.last().is_none_or(|last| *last == b'\n'));
    let start = if ends_in_a_line { "" } else { "\n" };
    options.open(path)?.write_all(format!("{start}{line}\n").as_bytes())
}

/// The tokens of a file. A change of the file takes effect with the next request.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Of the file as it was read last, whether it was valid or not.
    stamp: Option<Stamp>,
    tokens: Arc<[Token]>,
}

/// What changes with the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<std::time::SystemTime>,
    length: u64,
    /// A file that replaces another one by a rename has another number.
    inode: u64,
}

impl TokenFile {
    /// Reads the tokens for the first time.
    pub fn open(path: PathBuf) -> Result<TokenFile, InvalidTokens> {
        let stamp = stamp(&path);
        let tokens = read(&path)?;
        Ok(TokenFile { path, state: Mutex::new(State { stamp, tokens }) })
    }

    /// Returns the token that a client presents. Compares all digests in constant time.
    pub(crate) fn find(&self, presented: &str) -> Option<Token> {
        let digest = Sha256::digest(presented.as_bytes());
        let mut found = None;
        for token in self.current().iter() {
            if bool::from(token.digest.ct_eq(&digest)) {
                found = Some(token.clone());
            }
        }
        found
    }

    /// Returns the tokens. Reads the file again if it has changed. If it is invalid now, the last valid tokens stay.
    fn current(&self) -> Arc<[Token]> {
        let stamp = stamp(&self.path);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp != state.stamp {
            state.stamp = stamp;
            match read(&self.path) {
                Ok(tokens) => {
                    info!(tokens = tokens.len(), path = %self.path.display(), "read the changed tokens");
                    state.tokens = tokens;
                }
                Err(error) => error!(
                    %error,
                    cause = std::error::Error::source(&error).map(ToString::to_string),
                    "the changed tokens are invalid; the last valid ones stay in use"
                ),
            }
        }
        state.tokens.clone()
    }
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp { modified: metadata.modified().ok(), length: metadata.len(), inode: inode(&metadata) })
}

fn read(path: &Path) -> Result<Arc<[Token]>, InvalidTokens> {
    let text = fs::read_to_string(path).map_err(|source| InvalidTokens::File { path: path.to_owned(), source })?;
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let tokens = lines.map(|(number, line)| {
        parse(line).map_err(|why| InvalidTokens::Line { path: path.to_owned(), line: number, why })
    });
    let tokens = tokens.collect::<Result<Arc<[Token]>, _>>()?;
    if tokens.is_empty() {
        return Err(InvalidTokens::Empty { path: path.to_owned() });
    }
    Ok(tokens)
}

/// The error never repeats the line, which may be a token that somebody pasted here.
fn parse(line: &str) -> Result<Token, &'static str> {
    let [name, scopes, digest] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err("it does not have three parts");
    };
    let scopes: Result<_, _> = scopes.split(',').map(Scope::from_str).collect();
    let scopes = scopes.map_err(|_| "its scopes are not a list of `read`, `write` and `webhooks` with commas")?;
    let digest = hex(digest).ok_or("its digest does not have 64 hexadecimal digits")?;
    Ok(Token { name: name.into(), scopes, digest })
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tokens: &TokenFile, presented: &str) -> Option<String> {
        tokens.find(presented).map(|token| token.name.to_string())
    }

    #[test]
    fn a_changed_file_takes_effect_with_the_next_request() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let (one, two) = (new_token("t_").unwrap(), new_token("t_").unwrap());
        fs::write(&path, format!("# people\n\n{}\n", line("one", &[Scope::Read], &one).unwrap())).unwrap();
        let tokens = TokenFile::open(path.clone()).unwrap();
        assert_eq!((name(&tokens, &one), name(&tokens, &two)), (Some("one".to_owned()), None));

        fs::write(&path, line("two", &Scope::ALL, &two).unwrap() + "\n# longer\n").unwrap();
        assert_eq!((name(&tokens, &one), name(&tokens, &two)), (None, Some("two".to_owned())));
        assert_eq!(tokens.find(&two).unwrap().scopes, Scope::ALL);

        fs::write(&path, "broken").unwrap();
        assert_eq!(name(&tokens, &two), Some("two".to_owned()));
        fs::remove_file(&path).unwrap();
        assert_eq!(name(&tokens, &two), Some("two".to_owned()));
    }

    #[test]
    fn an_error_names_the_line_but_does_not_repeat_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        for text in ["secret", "a read secret", "a all 00", "a read", &format!("a read {}", "é".repeat(32))] {
            fs::write(&path, format!("# first\n{text}\n")).unwrap();
            let error = TokenFile::open(path.clone()).unwrap_err().to_string();
            assert!(error.starts_with("line 2 of") && !error.contains("secret"), "{error}");
        }
        fs::write(&path, "# nothing\n").unwrap();
        assert!(matches!(TokenFile::open(path), Err(InvalidTokens::Empty { .. })));
    }

    #[test]
    fn tokens_are_long_and_different_and_names_are_visible() {
        let (one, two) = (new_token("t_").unwrap(), new_token("t_").unwrap());
        assert!(one.len() > 40 && one != two);
        for name in ["", "a b", "a\n", "#a", "\u{1b}"] {
            assert!(line(name, &[Scope::Read], "t").is_err(), "{name}");
        }
    }
}
