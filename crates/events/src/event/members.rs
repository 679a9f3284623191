//! The members of a JSON object with their texts, in order. Refuses an object that has a member twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

pub(super) type Members<'a> = Vec<(String, &'a RawValue)>;

#[derive(Debug)]
pub(super) enum Error {
    Duplicate(String),
    Malformed(serde_json::Error),
}

pub(super) fn members(body: &[u8]) -> Result<Members<'_>, Error> {
    let Object { members } = serde_json::from_slice(body).map_err(Error::Malformed)?;
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::Duplicate(pair[0].to_owned())),
        None => Ok(members),
    }
}

struct Object<'a> {
    members: Members<'a>,
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<'de>, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    // Sorting many names costs time.
                    if members.len() == MAX_MEMBERS {
                        return Err(A::Error::custom(format!("the object has more than {MAX_MEMBERS} members")));
                    }
                    members.push(member);
                }
                Ok(Object { members })
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

const MAX_MEMBERS: usize = 1000;
