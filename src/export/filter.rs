//! Which records an export contains. Pure.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use crate::dynamo::{PageFilter, Record};

/// Which records to export. Without a condition: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only records with a timestamp from here on, in Unix seconds.
    pub since: Option<u64>,
    /// Only records of these ports.
    pub ports: Vec<u16>,
    /// Only records of addresses in one of these networks.
    pub networks: Vec<Network>,
}

impl Filter {
    /// Returns the part that DynamoDB applies. It cannot compare addresses with a network.
    pub(super) fn of_pages(&self) -> PageFilter {
        PageFilter { since: self.since, ports: self.ports.clone() }
    }

    /// Decides the part that DynamoDB does not apply.
    pub(super) fn accepts(&self, record: &Record) -> bool {
        self.networks.is_empty()
            || record.ip.parse().is_ok_and(|ip| self.networks.iter().any(|network| network.contains(ip)))
    }
}

/// A network in CIDR notation, e.g. `1.1.0.0/16`. An address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                self.prefix == 0 || (network.to_bits() ^ ip.to_bits()) >> (32 - self.prefix) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                self.prefix == 0 || (network.to_bits() ^ ip.to_bits()) >> (128 - self.prefix) == 0
            }
            _ => false,
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let given: IpAddr = address.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
        let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits(given),
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits(given))
                .ok_or_else(|| format!("the prefix must be a number from 0 to {}", bits(given)))?,
        };
        // Records have IPv4-mapped addresses in IPv4 notation.
        match given.to_canonical() {
            address if bits(address) == bits(given) => Ok(Network { address, prefix }),
            address if prefix >= 96 => Ok(Network { address, prefix: prefix - 96 }),
            address => Err(format!("write the network in IPv4 notation, e.g. {address}/24")),
        }
    }
}

/// Parses a time: a date, a time as in RFC 3339, or Unix seconds.
pub fn unix_seconds(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time =
        humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339_weak(&format!("{text}T00:00:00")));
    let time = time.map_err(|_| "write it as 2026-11-21, 2026-11-21T10:00:00Z or Unix seconds".to_owned())?;
    Ok(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(network: &str, ip: &str) -> bool {
        network.parse::<Network>().unwrap().contains(ip.parse().unwrap())
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        for (network, inside, outside) in [
            ("1.1.1.0/24", "1.1.1.255", "1.1.2.0"),
            ("1.1.1.7/24", "1.1.1.0", "1.1.0.255"),
            ("1.1.1.7", "1.1.1.7", "1.1.1.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::/0", "ffff::", "1.1.1.1"),
            ("::ffff:1.1.1.0/120", "1.1.1.9", "1.1.2.0"),
            ("::1", "::1", "::2"),
        ] {
            assert!(contains(network, inside) && !contains(network, outside), "{network}");
        }
        assert!(contains("1.1.1.0/24", "::ffff:1.1.1.1"));
    }

    #[test]
    fn text_that_is_no_network_is_refused() {
        for text in ["", "1.1.1", "1.1.1.1/33", "::1/129", "1.1.1.1/", "1.1.1.1/-1", "::ffff:1.1.1.1/95", "host"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_a_date_a_time_or_unix_seconds() {
        for text in
            ["1740268800", "2025-02-23", "2025-02-23T00:00:00Z", "2025-02-23 00:00:00", "2025-02-23T00:00:00.5Z"]
        {
            assert_eq!(unix_seconds(text), Ok(1_740_268_800), "{text}");
        }
        for text in ["", "yesterday", "2025-02-30", "-1"] {
            assert!(unix_seconds(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_network_is_parsed_from_its_own_text(bytes: [u8; 16], is_v4: bool, prefix in 0..=32_u32) {
            let address = match is_v4 {
                true => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
                false => IpAddr::from(bytes).to_canonical(),
            };
            let network = Network { address, prefix };
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            prop_assert!(network.contains(address));
        }
    }
}
