//! The JSON forms of the API's messages, by protobuf's JSON mapping: camel case, durations as `10s`, bytes as base64.
//! Unknown fields are refused, as Google refuses them.

pub(super) mod messages;
pub(super) mod resources;

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};
use prost_types::Duration;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

type Strings = HashMap<String, String>;

/// The name of a value that only the server sets: a client that sends back what it got may send anything there.
#[derive(Default, Serialize)]
struct OutputOnly(&'static str);

impl<'de> Deserialize<'de> for OutputOnly {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OutputOnly, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| OutputOnly::default())
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The mapping lets a number come as a string.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Plain(i32),
        Quoted(String),
    }
    match Number::deserialize(deserializer)? {
        Number::Plain(number) => Ok(number),
        Number::Quoted(text) => text.parse().map_err(D::Error::custom),
    }
}

mod duration {
    use super::*;

    pub(super) fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(|duration| duration.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(|_| D::Error::custom(format!("not a duration: {text:?}")))).transpose()
    }
}

mod bytes_as_base64 {
    use super::*;

    // The mapping accepts either alphabet, with and without padding.
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );

    pub(super) fn serialize<S: Serializer>(value: &bytes::Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bytes::Bytes, D::Error> {
        let mut text = String::deserialize(deserializer)?;
        if text.contains(['-', '_']) {
            text = text.replace('-', "+").replace('_', "/");
        }
        LENIENT.decode(text).map(bytes::Bytes::from).map_err(D::Error::custom)
    }
}
