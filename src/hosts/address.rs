//! What a person asks for: an address, an address with a port, or a network. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::scan::address;

/// The most addresses of a network that can be read one by one: those of a /24, or of a /120 of IPv6.
pub const MAX_ADDRESSES: usize = 256;

/// An IPv4-mapped IPv6 address is kept as its IPv4 address, as in the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `1.1.1.7` or `2001:db8::7`.
    Host(IpAddr),
    /// `1.1.1.7:443` or `[2001:db8::7]:443`.
    Port(IpAddr, u16),
    /// `1.1.1.0/24`.
    Network(Network),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an address (1.1.1.7), an address with a port (1.1.1.7:443 or [2001:db8::7]:443) or a network (1.1.1.0/24)"
)]
pub struct InvalidTarget;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} has more than {MAX_ADDRESSES} addresses: ask for a /24 (IPv6: /120) or smaller, or use `mini-scan export --network {0}`"
)]
pub struct TooLarge(pub Network);

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Target, InvalidTarget> {
        if let Some(ip) = address(text) {
            return Ok(Target::Host(ip));
        }
        if text.contains('/') {
            return text.parse().map(Target::Network);
        }
        let (host, port) = text.rsplit_once(':').ok_or(InvalidTarget)?;
        // Only an IPv6 address has brackets, and without them its port could be its last group.
        let ip = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').and_then(|host| host.parse().ok()).map(IpAddr::V6),
            None => host.parse().ok().map(IpAddr::V4),
        };
        let ip = ip.ok_or(InvalidTarget)?.to_canonical();
        Ok(Target::Port(ip, digits(port).ok_or(InvalidTarget)?))
    }
}

/// Parses a number without a sign.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A block of addresses: its first address and the length of the common prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Returns the block that contains this address. Returns `None` for a prefix longer than an address.
    fn new(ip: IpAddr, prefix: u8) -> Option<Network> {
        match ip {
            IpAddr::V4(ip) if prefix <= 32 => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Some(Network { first: Ipv4Addr::from(u32::from(ip) & mask).into(), prefix })
            }
            IpAddr::V6(ip) if prefix <= 128 => {
                if let (Some(ip), Some(prefix)) = (ip.to_ipv4_mapped(), prefix.checked_sub(96)) {
                    return Network::new(ip.into(), prefix);
                }
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Some(Network { first: Ipv6Addr::from(u128::from(ip) & mask).into(), prefix })
            }
            _ => None,
        }
    }

    /// Returns the network of [`MAX_ADDRESSES`] addresses around an address.
    pub fn around(ip: IpAddr) -> Network {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Network { first: Ipv4Addr::from(u32::from(ip) & !0xff).into(), prefix: 24 },
            IpAddr::V6(ip) => Network { first: Ipv6Addr::from(u128::from(ip) & !0xff).into(), prefix: 120 },
        }
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        Network::new(ip.to_canonical(), self.prefix).is_some_and(|network| network == *self)
    }

    /// Returns every address in ascending order. Fails if there are more than [`MAX_ADDRESSES`].
    pub fn addresses(&self) -> Result<Vec<IpAddr>, TooLarge> {
        let bits = if self.first.is_ipv4() { 32 } else { 128 };
        let count = 1_usize.checked_shl(bits - u32::from(self.prefix)).filter(|count| *count <= MAX_ADDRESSES);
        let count = u8::try_from(count.ok_or(TooLarge(*self))? - 1).map_err(|_| TooLarge(*self))?;
        Ok((0..=count)
            .map(|offset| match self.first {
                IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) | u32::from(offset)).into(),
                IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) | u128::from(offset)).into(),
            })
            .collect())
    }
}

impl FromStr for Network {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Network, InvalidTarget> {
        let (ip, prefix) = text.split_once('/').ok_or(InvalidTarget)?;
        // Not canonical yet: the prefix of an IPv4-mapped network counts the bits of the IPv6 address.
        let ip: IpAddr = ip.parse().map_err(|_| InvalidTarget)?;
        digits(prefix).and_then(|prefix| Network::new(ip, prefix)).ok_or(InvalidTarget)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_may_have_a_port_and_a_mapped_address_is_ipv4() {
        for (text, expected) in [
            ("1.1.1.7", Target::Host(ip("1.1.1.7"))),
            ("::ffff:1.1.1.7", Target::Host(ip("1.1.1.7"))),
            ("2001:DB8::7", Target::Host(ip("2001:db8::7"))),
            ("1.1.1.7:443", Target::Port(ip("1.1.1.7"), 443)),
            ("[2001:db8::7]:443", Target::Port(ip("2001:db8::7"), 443)),
            ("[::ffff:1.1.1.7]:0", Target::Port(ip("1.1.1.7"), 0)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_network_is_masked_and_a_mapped_network_is_ipv4() {
        for (text, expected) in [
            ("1.1.1.7/24", "1.1.1.0/24"),
            ("1.1.1.7/32", "1.1.1.7/32"),
            ("1.1.1.7/0", "0.0.0.0/0"),
            ("::ffff:1.1.1.7/120", "1.1.1.0/24"),
            ("::ffff:1.1.1.7/95", "::fffe:0:0/95"),
            ("2001:db8::7/120", "2001:db8::/120"),
            ("2001:db8::7/0", "::/0"),
        ] {
            let Ok(Target::Network(network)) = text.parse() else { panic!("{text}") };
            assert_eq!(network.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "host",
            "1.1.1",
            "01.1.1.1",
            "1.1.1.1:",
            "1.1.1.1:+1",
            "1.1.1.1:65536",
            "1.1.1.1/33",
            "1.1.1.1/",
            "1.1.1.1/+8",
            "::1/129",
            "fe80::1%eth0",
            "[::1]",
            "[1.1.1.1]:80",
            "::1:99999",
            "1.1.1.1/8/8",
            " 1.1.1.1",
            "http://1.1.1.1",
        ] {
            assert_eq!(text.parse::<Target>(), Err(InvalidTarget), "{text}");
        }
    }

    #[test]
    fn only_small_networks_list_their_addresses() {
        let addresses = |text: &str| text.parse::<Network>().unwrap().addresses();
        assert_eq!(addresses("1.1.1.255/24").unwrap().len(), 256);
        assert_eq!(addresses("2001:db8::/120").unwrap().last(), Some(&ip("2001:db8::ff")));
        assert_eq!(Network::around(ip("2001:db8::7")).to_string(), "2001:db8::/120");
        assert_eq!(addresses("1.1.1.7/31").unwrap(), [ip("1.1.1.6"), ip("1.1.1.7")]);
        for large in ["1.1.0.0/23", "0.0.0.0/0", "2001:db8::/119", "::/0"] {
            let error = addresses(large).unwrap_err().to_string();
            assert!(error.contains("mini-scan export"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_network_contains_exactly_its_addresses(bytes: [u8; 4], other: [u8; 4], prefix in 24_u8..=32) {
            let network = Network::new(bytes.into(), prefix).unwrap();
            let addresses = network.addresses().unwrap();
            prop_assert!(addresses.contains(&bytes.into()));
            prop_assert_eq!(Network::around(bytes.into()), Network::new(bytes.into(), 24).unwrap());
            prop_assert!(addresses.iter().all(|ip| network.contains(*ip)));
            prop_assert_eq!(network.contains(other.into()), addresses.contains(&other.into()));
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./\\[\\]]{0,24}") {
            let _ = text.parse::<Target>();
        }
    }
}
