//! Finds the known keys of a message and the part of the payload that is the value of each. Knows JSON's syntax, but
//! not which values are valid.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use super::text;
use super::{Reason, Rejection};

/// The raw JSON value of each known key, not validated.
#[derive(Default)]
pub(super) struct Message<'a> {
    pub(super) ip: Option<&'a str>,
    pub(super) port: Option<&'a str>,
    pub(super) service: Option<&'a str>,
    pub(super) timestamp: Option<&'a str>,
    pub(super) data_version: Option<&'a str>,
    /// The inner option is `None` for a null.
    pub(super) data: Option<Option<Data<'a>>>,
}

/// Both response keys. The version decides which one counts, and it may come after the data.
#[derive(Default)]
pub(super) struct Data<'a> {
    pub(super) response_bytes_utf8: Repeatable<'a>,
    pub(super) response_str: Repeatable<'a>,
}

/// A key that the version may make unknown. An unknown key may occur any number of times.
#[derive(Default)]
pub(super) struct Repeatable<'a> {
    pub(super) first: Option<&'a str>,
    pub(super) repeated: bool,
}

impl<'a> Message<'a> {
    /// Reads the payload in one pass. It must be UTF-8 and one JSON object, including the ignored parts.
    pub(super) fn read(payload: &'a [u8]) -> Result<Message<'a>, Rejection> {
        let malformed = |why: &dyn fmt::Display| Rejection::new(Reason::MalformedJson, why.to_string());
        let text = str::from_utf8(payload).map_err(|error| malformed(&error))?;
        let object: Object<Message<'a>> = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        object.0.ok_or_else(|| malformed(&"the payload is null; expected a JSON object"))
    }
}

/// An object with known keys. Other keys are skipped.
trait Fields<'a>: Default {
    type Name: Copy;

    /// The name of this object in error messages.
    const EXPECTED: &'static str;

    fn name(key: &str) -> Option<Self::Name>;

    /// Reads the value of this key. Fails on a second value if a duplicate is an error for this key.
    fn read_value<A: MapAccess<'a>>(&mut self, name: Self::Name, map: &mut A) -> Result<(), A::Error>;
}

#[derive(Clone, Copy)]
enum MessageKey {
    Ip,
    Port,
    Service,
    Timestamp,
    DataVersion,
    Data,
}

impl<'a> Fields<'a> for Message<'a> {
    type Name = MessageKey;

    const EXPECTED: &'static str = "a JSON object";

    fn name(key: &str) -> Option<MessageKey> {
        match key {
            "ip" => Some(MessageKey::Ip),
            "port" => Some(MessageKey::Port),
            "service" => Some(MessageKey::Service),
            "timestamp" => Some(MessageKey::Timestamp),
            "data_version" => Some(MessageKey::DataVersion),
            "data" => Some(MessageKey::Data),
            _ => None,
        }
    }

    fn read_value<A: MapAccess<'a>>(&mut self, name: MessageKey, map: &mut A) -> Result<(), A::Error> {
        match name {
            MessageKey::Ip => read_once(&mut self.ip, "ip", map),
            MessageKey::Port => read_once(&mut self.port, "port", map),
            MessageKey::Service => read_once(&mut self.service, "service", map),
            MessageKey::Timestamp => read_once(&mut self.timestamp, "timestamp", map),
            MessageKey::DataVersion => read_once(&mut self.data_version, "data_version", map),
            MessageKey::Data if self.data.is_some() => Err(A::Error::duplicate_field("data")),
            MessageKey::Data => {
                let data: Object<Data<'a>> = map.next_value()?;
                self.data = Some(data.0);
                Ok(())
            }
        }
    }
}

#[derive(Clone, Copy)]
enum DataKey {
    ResponseBytesUtf8,
    ResponseStr,
}

impl<'a> Fields<'a> for Data<'a> {
    type Name = DataKey;

    const EXPECTED: &'static str = "a JSON object as `data`";

    fn name(key: &str) -> Option<DataKey> {
        match key {
            "response_bytes_utf8" => Some(DataKey::ResponseBytesUtf8),
            "response_str" => Some(DataKey::ResponseStr),
            _ => None,
        }
    }

    fn read_value<A: MapAccess<'a>>(&mut self, name: DataKey, map: &mut A) -> Result<(), A::Error> {
        let field = match name {
            DataKey::ResponseBytesUtf8 => &mut self.response_bytes_utf8,
            DataKey::ResponseStr => &mut self.response_str,
        };
        let value = map.next_value::<&RawValue>()?.get();
        field.repeated = field.first.is_some();
        field.first.get_or_insert(value);
        Ok(())
    }
}

fn read_once<'a, A: MapAccess<'a>>(
    slot: &mut Option<&'a str>,
    name: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *slot = Some(map.next_value::<&RawValue>()?.get());
    Ok(())
}

/// An object, or `None` for a null.
struct Object<F>(Option<F>);

impl<'de, F: Fields<'de>> Deserialize<'de> for Object<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<F>(PhantomData<F>);

impl<'de, F: Fields<'de>> Visitor<'de> for ObjectVisitor<F> {
    type Value = Object<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(F::EXPECTED)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<F>, A::Error> {
        let mut fields = F::default();
        // A key read as a raw value may contain a lone surrogate. serde_json still rejects a raw control character.
        while let Some(key) = map.next_key::<&RawValue>()? {
            match find_name::<F>(key.get()) {
                Some(name) => fields.read_value(name, &mut map)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Object(Some(fields)))
    }

    fn visit_unit<E: Error>(self) -> Result<Object<F>, E> {
        Ok(Object(None))
    }

    // serde's default messages for strings and floats would repeat the value at its full length.
    fn visit_str<E: Error>(self, _: &str) -> Result<Object<F>, E> {
        Err(E::invalid_type(Unexpected::Other("string"), &self))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Object<F>, E> {
        Err(E::invalid_type(Unexpected::Other("number"), &self))
    }
}

/// Returns the known key that this raw JSON string spells.
fn find_name<'de, F: Fields<'de>>(raw_key: &str) -> Option<F::Name> {
    let escaped = text::between_quotes(raw_key)?;
    F::name(escaped).or_else(|| {
        let is_escaped = escaped.contains('\\');
        is_escaped.then(|| F::name(&text::unescape(escaped).text)).flatten()
    })
}
