//! What a widget is: its serial number, name, ports and connections, and every reason to refuse one. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest serial number and the longest name, in characters.
pub const MAX_CHARACTERS: usize = 64;

/// Serial numbers that no request could name: they are other paths of the API, or clients shorten them.
const RESERVED: [&str; 4] = ["associations", "associations:batch", ".", ".."];

/// A serial number: 1 to 64 printable ASCII characters without `/` and `#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

impl Serial {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Serial {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Serial, Invalid> {
        let is_allowed = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'/' | b'#');
        match text.len() {
            _ if RESERVED.contains(&&*text) => Err(Invalid::ReservedSerial),
            1..=MAX_CHARACTERS if text.bytes().all(is_allowed) => Ok(Serial(text)),
            _ => Err(Invalid::Serial),
        }
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> String {
        serial.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name: 1 to 64 characters, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Name, Invalid> {
        match text.chars().count() {
            1..=MAX_CHARACTERS if !text.chars().any(char::is_control) => Ok(Name(text)),
            _ => Err(Invalid::Name),
        }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

/// A kind of port. A port connects only to the same port of another widget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Port {
    P,
    Q,
    R,
}

impl Port {
    pub const ALL: [Port; 3] = [Port::P, Port::Q, Port::R];

    /// Returns its name in requests and in the set of ports of an item.
    pub fn name(self) -> &'static str {
        match self {
            Port::P => "P",
            Port::Q => "Q",
            Port::R => "R",
        }
    }

    pub fn parse(text: &str) -> Result<Port, Invalid> {
        Port::ALL.into_iter().find(|port| port.name() == text).ok_or(Invalid::Port)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The ports of a widget: one to three, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Port>", into = "Vec<Port>")]
pub struct Ports(Vec<Port>);

impl Ports {
    pub fn contains(&self, port: Port) -> bool {
        self.0.contains(&port)
    }

    pub fn iter(&self) -> impl Iterator<Item = Port> + '_ {
        self.0.iter().copied()
    }
}

impl TryFrom<Vec<Port>> for Ports {
    type Error = Invalid;

    fn try_from(mut ports: Vec<Port>) -> Result<Ports, Invalid> {
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        match ports.len() {
            0 => Err(Invalid::NoPorts),
            distinct if distinct < count => Err(Invalid::DuplicatePorts),
            _ => Ok(Ports(ports)),
        }
    }
}

impl From<Ports> for Vec<Port> {
    fn from(ports: Ports) -> Vec<Port> {
        ports.0
    }
}

/// The widget at the other end of each port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Peers([Option<Serial>; 3]);

impl Peers {
    pub fn get(&self, port: Port) -> Option<&Serial> {
        self.0[port as usize].as_ref()
    }

    pub fn set(&mut self, port: Port, peer: Option<Serial>) {
        self.0[port as usize] = peer;
    }

    /// Returns the connected ports with their peers.
    pub fn iter(&self) -> impl Iterator<Item = (Port, &Serial)> {
        Port::ALL.into_iter().filter_map(|port| Some((port, self.get(port)?)))
    }
}

/// Which state of which widget: a widget that was deleted and created again has another incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Revision {
    pub incarnation: Uuid,
    /// 1 after the creation, and one more after each change.
    pub version: u64,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.version)
    }
}

impl Revision {
    pub fn parse(text: &str) -> Option<Revision> {
        let (incarnation, version) = text.split_once('.')?;
        Some(Revision { incarnation: Uuid::try_parse(incarnation).ok()?, version: version.parse().ok()? })
    }
}

/// A time in UTC with milliseconds, e.g. `2026-11-22T10:00:00.123Z`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(String);

impl Timestamp {
    pub fn of(time: std::time::SystemTime) -> Timestamp {
        Timestamp(humantime::format_rfc3339_millis(time).to_string())
    }

    /// Takes what a table contains. No decision depends on it.
    pub fn stored(text: &str) -> Timestamp {
        Timestamp(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Widget {
    pub serial: Serial,
    pub name: Name,
    pub ports: Ports,
    pub peers: Peers,
    pub revision: Revision,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Why a part of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("a serial number has 1 to 64 printable ASCII characters, without / and #")]
    Serial,
    #[error("this serial number is reserved, because no path could name its widget")]
    ReservedSerial,
    #[error("a name has 1 to 64 characters, without control characters")]
    Name,
    #[error("a port is P, Q or R")]
    Port,
    #[error("a widget has at least one port")]
    NoPorts,
    #[error("a port is listed twice")]
    DuplicatePorts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_printable_and_can_be_named_by_a_path() {
        let longest = "9".repeat(64);
        for text in ["1", "123", "a b", "~!$&'()*+,;=:@%?", &longest] {
            assert_eq!(Serial::try_from(text.to_owned()).map(String::from).as_deref(), Ok(text));
        }
        for text in ["", "a/b", "a#b", "a\nb", "\u{7f}", "é", &format!("{longest}9")] {
            assert_eq!(Serial::try_from(text.to_owned()), Err(Invalid::Serial), "{text}");
        }
        for text in RESERVED {
            assert_eq!(Serial::try_from(text.to_owned()), Err(Invalid::ReservedSerial), "{text}");
        }
    }

    #[test]
    fn a_name_is_counted_in_characters() {
        let longest = "é".repeat(64);
        for text in ["w", " ", "widget 1", &longest] {
            assert_eq!(Name::try_from(text.to_owned()).map(String::from).as_deref(), Ok(text));
        }
        for text in ["", "a\tb", "\u{1b}[31m", &format!("{longest}é")] {
            assert_eq!(Name::try_from(text.to_owned()), Err(Invalid::Name), "{text}");
        }
    }

    #[test]
    fn ports_are_one_to_three_different_ones_in_order() {
        let ports = |ports: &[Port]| Ports::try_from(ports.to_vec()).map(Vec::from);
        assert_eq!(ports(&[Port::R, Port::P]), Ok(vec![Port::P, Port::R]));
        assert_eq!(ports(&Port::ALL), Ok(Port::ALL.to_vec()));
        assert_eq!(ports(&[]), Err(Invalid::NoPorts));
        assert_eq!(ports(&[Port::P, Port::P]), Err(Invalid::DuplicatePorts));
        for text in ["p", "S", "", "PQ"] {
            assert_eq!(Port::parse(text), Err(Invalid::Port));
        }
    }

    #[test]
    fn a_revision_is_read_back_from_its_text() {
        let revision = Revision { incarnation: Uuid::from_u128(7), version: 12 };
        assert_eq!(Revision::parse(&revision.to_string()), Some(revision));
        for text in ["", ".", "7", "7.12", "00000000-0000-0000-0000-000000000007.", "x.1"] {
            assert_eq!(Revision::parse(text), None, "{text}");
        }
    }
}
