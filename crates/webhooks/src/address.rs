//! Classes of IP addresses: which ones a webhook may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What the guard knows of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Public,
    /// Not on the internet: private, loopback, reserved, multicast, or a wrapped IPv4 address. Networks can be allowed.
    Internal,
    /// Serves the metadata and credentials of a cloud. It is never allowed.
    Metadata,
}

const INTERNAL_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// Everything outside of this network is internal: unique local, link-local, multicast, NAT64, discard-only, SRv6.
const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);
const INTERNAL_V6: [Ipv6Net; 4] = [
    // IETF protocols, with Teredo and ORCHID.
    v6([0x2001, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0], 32),
    v6([0x2002, 0, 0, 0], 16),
    v6([0x3fff, 0, 0, 0], 20),
];

const METADATA_V4: [Ipv4Net; 4] = [
    // Link-local: the metadata of most clouds, credentials of containers, and DNS.
    v4([169, 254, 0, 0], 16),
    // Alibaba, Azure and Oracle use addresses that are not link-local.
    v4([100, 100, 100, 200], 32),
    v4([168, 63, 129, 16], 32),
    v4([192, 0, 0, 192], 32),
];
const METADATA_V6: [Ipv6Net; 4] = [
    v6([0xfe80, 0, 0, 0], 10),
    // Amazon, Google and Scaleway.
    v6([0xfd00, 0xec2, 0, 0], 32),
    v6([0xfd20, 0xce, 0, 0], 32),
    v6([0xfd00, 0x42, 0, 0], 32),
];

const fn v4(address: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(start: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = start;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

pub(crate) fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    if METADATA_V4.iter().any(|network| network.contains(&address)) {
        Class::Metadata
    } else if INTERNAL_V4.iter().any(|network| network.contains(&address)) {
        Class::Internal
    } else {
        Class::Public
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return class_v4(mapped);
    }
    let leads_to_metadata = wrapped_v4(address).is_some_and(|wrapped| class_v4(wrapped) == Class::Metadata);
    if leads_to_metadata || METADATA_V6.iter().any(|network| network.contains(&address)) {
        Class::Metadata
    } else if !GLOBAL_UNICAST_V6.contains(&address) || INTERNAL_V6.iter().any(|network| network.contains(&address)) {
        Class::Internal
    } else {
        Class::Public
    }
}

/// Returns the IPv4 address to which a gateway would send: NAT64, 6to4, Teredo, and IPv4-compatible addresses.
fn wrapped_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, _, _, _, _, high, low] | [0, 0, 0, 0, 0, 0, high, low] => Some(from(high, low)),
        [0x2002, high, low, ..] => Some(from(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(from(!high, !low)),
        _ => None,
    }
}

/// Whether one of the networks contains an address. An IPv4-mapped address is in the networks of its IPv4 address.
pub(crate) fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class_of(address: &str) -> Class {
        class(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_the_internet_are_public() {
        for address in ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2001:4860::8888"] {
            assert_eq!(class_of(address), Class::Public, "{address}");
            if let Ok(address) = address.parse::<Ipv4Addr>() {
                assert_eq!(class(address.to_ipv6_mapped().into()), Class::Public, "{address}");
            }
        }
    }

    #[test]
    fn reserved_addresses_are_internal() {
        let addresses = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.255",
            "172.16.0.1",
            "172.31.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:a00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
        ];
        for address in addresses {
            assert_eq!(class_of(address), Class::Internal, "{address}");
        }
    }

    #[test]
    fn metadata_services_are_recognized_in_every_form() {
        let addresses = [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:42::42",
            "::ffff:169.254.169.254",
            "::a9fe:a9fe",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "2001:0:1:2:3:4:5601:5601",
        ];
        for address in addresses {
            assert_eq!(class_of(address), Class::Metadata, "{address}");
        }
    }

    proptest! {
        #[test]
        fn an_ipv4_address_has_the_same_class_when_it_is_mapped(address in any::<u32>()) {
            let address = Ipv4Addr::from(address);
            prop_assert_eq!(class(address.into()), class(address.to_ipv6_mapped().into()));
        }

        #[test]
        fn the_standard_library_calls_no_public_address_private(address in any::<u32>()) {
            let address = Ipv4Addr::from(address);
            let is_special = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_broadcast() || address.is_documentation() || address.is_multicast() || address.is_unspecified();
            prop_assert!(!(is_special && class(address.into()) == Class::Public), "{}", address);
        }

        #[test]
        fn only_global_unicast_is_public(address in any::<u128>()) {
            let address = Ipv6Addr::from(address);
            if class(address.into()) == Class::Public {
                prop_assert_eq!(address.segments()[0] >> 13, 1);
            }
        }
    }
}
