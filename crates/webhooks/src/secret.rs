//! Signing secrets, and the keys that encrypt them for a store.

use std::fmt;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::ids::EndpointId;

const PREFIX: &str = "whsec_";

/// A signing secret of an endpoint: 24 to 64 bytes. Its `Debug` output hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret is 24 to 64 bytes in base64 after the prefix {PREFIX}")]
pub struct InvalidSecret;

impl Secret {
    const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
    const GENERATED_BYTES: usize = 32;

    pub fn generate() -> Secret {
        let mut bytes = Zeroizing::new(vec![0; Self::GENERATED_BYTES]);
        fill_randomly(&mut bytes);
        Secret(bytes)
    }

    /// Reads the form with the prefix `whsec_`.
    pub fn parse(text: &str) -> Result<Secret, InvalidSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| InvalidSecret)?);
        Secret::from_bytes(&bytes)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Secret, InvalidSecret> {
        if !Self::LENGTHS.contains(&bytes.len()) {
            return Err(InvalidSecret);
        }
        Ok(Secret(Zeroizing::new(bytes.to_vec())))
    }

    /// Returns the form with the prefix `whsec_`. Show it once, when the secret is created.
    pub fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", STANDARD.encode(&*self.0)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(hidden)")
    }
}

fn fill_randomly(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the generator of aws-lc aborts the program rather than fail");
}

/// A secret as a store keeps it: a version, the id of the key, a nonce, and the encrypted secret with its tag.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret(Vec<u8>);

impl SealedSecret {
    pub fn from_stored(bytes: Vec<u8>) -> SealedSecret {
        SealedSecret(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SealedSecret({} bytes)", self.0.len())
    }
}

const VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 8;
const HEADER_BYTES: usize = 1 + KEY_ID_BYTES + NONCE_LEN;

/// The keys that encrypt secrets by AES-256-GCM. The first one seals, and each one opens, so that keys can be rotated.
pub struct SecretKeys(Vec<SealingKey>);

struct SealingKey {
    id: [u8; KEY_ID_BYTES],
    key: RandomizedNonceKey,
}

/// Why a file contains no usable keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    #[error("cannot read the file with the secret key")]
    Unreadable(#[source] std::io::Error),
    #[error(
        "line {line} of the file with the secret key is not 32 bytes in base64; create one with: openssl rand -base64 32"
    )]
    InvalidKey { line: usize },
    #[error("the file with the secret key is empty; create a key with: openssl rand -base64 32")]
    NoKey,
}

/// Why a stored secret cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    #[error("the stored secret has an unknown format")]
    UnknownFormat,
    #[error("the key that encrypted the secret is missing; add its line to the file with the secret keys")]
    MissingKey,
    #[error("the stored secret was changed, or it belongs to another endpoint")]
    Corrupt,
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SecretKeys({} keys)", self.0.len())
    }
}

impl SecretKeys {
    /// Reads a file with one key per line.
    pub fn read(file: &Path) -> Result<SecretKeys, KeyFileError> {
        let text = Zeroizing::new(std::fs::read_to_string(file).map_err(KeyFileError::Unreadable)?);
        SecretKeys::parse(&text)
    }

    /// Reads one key per line: 32 bytes in base64. Empty lines and those that start with `#` are ignored.
    pub fn parse(text: &str) -> Result<SecretKeys, KeyFileError> {
        let lines = text.lines().map(str::trim).enumerate();
        let keys = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<_> = keys
            .map(|(index, line)| sealing_key(line).ok_or(KeyFileError::InvalidKey { line: index + 1 }))
            .collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyFileError::NoKey) } else { Ok(SecretKeys(keys)) }
    }

    /// Encrypts a secret for one endpoint. It cannot be opened for another one.
    pub fn seal(&self, secret: &Secret, endpoint: &EndpointId) -> SealedSecret {
        let SealingKey { id, key } = &self.0[0];
        let mut encrypted = secret.0.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(endpoint.as_str()), &mut encrypted)
            .expect("AES-GCM fails only for 64 GiB and more");
        SealedSecret([&[VERSION][..], id, nonce.as_ref(), &encrypted].concat())
    }

    pub fn open(&self, sealed: &SealedSecret, endpoint: &EndpointId) -> Result<Secret, OpenError> {
        let (header, encrypted) = sealed.0.split_at_checked(HEADER_BYTES).ok_or(OpenError::UnknownFormat)?;
        if header[0] != VERSION {
            return Err(OpenError::UnknownFormat);
        }
        let (id, nonce) = header[1..].split_at(KEY_ID_BYTES);
        let SealingKey { key, .. } = self.0.iter().find(|key| key.id == id).ok_or(OpenError::MissingKey)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::UnknownFormat)?;
        let mut decrypted = Zeroizing::new(encrypted.to_vec());
        let opened = key.open_in_place(nonce, Aad::from(endpoint.as_str()), &mut decrypted);
        Secret::from_bytes(opened.map_err(|_| OpenError::Corrupt)?).map_err(|_| OpenError::Corrupt)
    }

    /// Whether the newest key encrypted this secret. Seal it again otherwise, and remove old keys after that.
    pub fn is_sealed_with_newest(&self, sealed: &SealedSecret) -> bool {
        sealed.0.get(1..=KEY_ID_BYTES) == Some(&self.0[0].id)
    }
}

fn sealing_key(line: &str) -> Option<SealingKey> {
    let bytes = Zeroizing::new(STANDARD.decode(line).ok()?);
    let hash = digest::digest(&SHA256, &bytes);
    let id = hash.as_ref()[..KEY_ID_BYTES].try_into().ok()?;
    Some(SealingKey { id, key: RandomizedNonceKey::new(&AES_256_GCM, &bytes).ok()? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(id: &str) -> EndpointId {
        EndpointId::parse(id).unwrap()
    }

    fn line(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    #[test]
    fn secrets_are_random_and_keep_their_text() {
        let secret = Secret::generate();
        assert_ne!(secret, Secret::generate());
        assert!(secret.reveal().starts_with("whsec_"));
        assert_eq!(Secret::parse(&secret.reveal()), Ok(secret));
    }

    #[test]
    fn short_long_and_other_secrets_are_invalid() {
        let encoded = |length| format!("whsec_{}", STANDARD.encode(vec![1; length]));
        assert!(Secret::parse(&encoded(24)).is_ok());
        assert!(Secret::parse(&encoded(64)).is_ok());
        for text in [encoded(23), encoded(65), encoded(24)[6..].to_owned(), "whsec_!".into(), String::new()] {
            assert_eq!(Secret::parse(&text), Err(InvalidSecret), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret_and_no_key() {
        let (secret, keys) = (Secret::generate(), SecretKeys::parse(&line(1)).unwrap());
        assert_eq!(format!("{secret:?}"), "Secret(hidden)");
        assert_eq!(format!("{keys:?}"), "SecretKeys(1 keys)");
        assert_eq!(format!("{:?}", keys.seal(&secret, &endpoint("a"))), "SealedSecret(69 bytes)");
    }

    #[test]
    fn a_key_file_has_one_key_per_line() {
        let parse = |text: &str| SecretKeys::parse(text).map(|keys| keys.0.len()).map_err(|error| error.to_string());
        assert_eq!(parse(&format!("# newest\n{}\n\n {} \n", line(1), line(2))), Ok(2));
        assert!(parse("").unwrap_err().contains("is empty"));
        let short = STANDARD.encode([1; 31]);
        for invalid in [short.as_str(), "not-a-key", &line(1)[1..]] {
            let error = parse(&format!("{}\n{invalid}", line(1))).unwrap_err();
            assert!(error.starts_with("line 2 "), "{error}");
            assert!(!error.contains(invalid), "the error must not show the key: {error}");
        }
    }

    #[test]
    fn reads_a_key_file_and_reports_a_missing_one() {
        let missing = SecretKeys::read(Path::new("/nonexistent/key"));
        assert!(matches!(missing, Err(KeyFileError::Unreadable(_))));
    }

    #[test]
    fn an_older_key_still_opens_and_a_missing_one_is_reported() {
        let (old, new) = (SecretKeys::parse(&line(1)).unwrap(), SecretKeys::parse(&line(2)).unwrap());
        let both = SecretKeys::parse(&format!("{}\n{}", line(2), line(1))).unwrap();
        let secret = Secret::generate();
        let sealed = old.seal(&secret, &endpoint("a"));
        assert_eq!(both.open(&sealed, &endpoint("a")), Ok(secret));
        assert!(!both.is_sealed_with_newest(&sealed));
        assert!(old.is_sealed_with_newest(&sealed));
        assert_eq!(new.open(&sealed, &endpoint("a")), Err(OpenError::MissingKey));
    }

    #[test]
    fn equal_secrets_are_sealed_differently() {
        let keys = SecretKeys::parse(&line(1)).unwrap();
        let secret = Secret::generate();
        assert_ne!(keys.seal(&secret, &endpoint("a")), keys.seal(&secret, &endpoint("a")));
    }

    proptest! {
        #[test]
        fn only_the_unchanged_secret_of_the_same_endpoint_opens(
            bytes in prop::collection::vec(any::<u8>(), 24..=64),
            position in any::<prop::sample::Index>(),
            bit in 0..8u32,
        ) {
            let keys = SecretKeys::parse(&line(1)).unwrap();
            let secret = Secret::from_bytes(&bytes).unwrap();
            let sealed = keys.seal(&secret, &endpoint("a"));
            prop_assert_eq!(keys.open(&sealed, &endpoint("a")), Ok(secret));
            prop_assert_eq!(keys.open(&sealed, &endpoint("b")), Err(OpenError::Corrupt));
            let mut changed = sealed.as_bytes().to_vec();
            changed[position.index(sealed.as_bytes().len())] ^= 1 << bit;
            prop_assert!(keys.open(&SealedSecret::from_stored(changed), &endpoint("a")).is_err());
        }

        #[test]
        fn stored_bytes_never_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let keys = SecretKeys::parse(&line(1)).unwrap();
            prop_assert!(keys.open(&SealedSecret::from_stored(bytes), &endpoint("a")).is_err());
        }
    }
}
