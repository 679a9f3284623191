//! Finds the subscriptions of a change without a look at each of them. Pure.
//!
//! A subscription is found by each of its networks with each of its ports. Its services and events are compared only then.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use webhooks::EndpointId;

use super::filter::Filter;
use crate::changes::Event;
use crate::scan::Key;

/// Subscriptions by network and port.
#[derive(Debug, Default)]
pub struct Index {
    subscriptions: Vec<Indexed>,
    networks: HashMap<IpNet, Vec<Slot>>,
    /// The lengths of the prefixes of these networks, for IPv4 and IPv6.
    prefix_lengths: [Vec<u8>; 2],
}

/// What is compared after a subscription is found.
#[derive(Debug)]
struct Indexed {
    id: EndpointId,
    services: Box<[String]>,
    events: Box<[Event]>,
}

/// A subscription under one of its ports. The slots of a network are sorted, and those for every port come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    port: Option<u16>,
    subscription: u32,
}

impl Index {
    pub fn new<'a>(subscriptions: impl IntoIterator<Item = (&'a EndpointId, &'a Filter)>) -> Index {
        let mut index = Index::default();
        for (id, filter) in subscriptions {
            index.add(id, filter);
        }
        for slots in index.networks.values_mut() {
            slots.sort_unstable();
            slots.shrink_to_fit();
        }
        for network in index.networks.keys() {
            index.prefix_lengths[usize::from(network.addr().is_ipv6())].push(network.prefix_len());
        }
        for lengths in &mut index.prefix_lengths {
            lengths.sort_unstable();
            lengths.dedup();
        }
        index
    }

    fn add(&mut self, id: &EndpointId, filter: &Filter) {
        let subscription = u32::try_from(self.subscriptions.len()).expect("fewer subscriptions fit in memory");
        let everywhere = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let networks = if filter.networks.is_empty() { &everywhere } else { filter.networks.as_slice() };
        for network in networks {
            let slots = self.networks.entry(network.trunc()).or_default();
            if filter.ports.is_empty() {
                slots.push(Slot { port: None, subscription });
            }
            slots.extend(filter.ports.iter().map(|port| Slot { port: Some(*port), subscription }));
        }
        let (services, events) = (filter.services.clone().into(), filter.events.clone().into());
        self.subscriptions.push(Indexed { id: id.clone(), services, events });
    }

    /// Returns the subscriptions that select a change of this service, each once.
    pub fn matching(&self, service: &Key, event: Event) -> Vec<&EndpointId> {
        let ip: IpAddr = service.ip().parse().expect("a key has an address");
        let port = service.port().parse().expect("a key has a port");
        let mut found = Vec::new();
        for length in &self.prefix_lengths[usize::from(ip.is_ipv6())] {
            let network = IpNet::new(ip, *length).expect("no prefix is longer than an address").trunc();
            let Some(slots) = self.networks.get(&network) else { continue };
            found.extend(slots_of(slots, None).chain(slots_of(slots, Some(port))).map(|slot| slot.subscription));
        }
        // Networks of one subscription may contain each other.
        found.sort_unstable();
        found.dedup();
        let found = found.into_iter().map(|subscription| &self.subscriptions[subscription as usize]);
        let is_selected = |subscription: &&Indexed| {
            let Indexed { services, events, .. } = subscription;
            (services.is_empty() || services.iter().any(|name| name == service.service()))
                && (events.is_empty() || events.contains(&event))
        };
        found.filter(is_selected).map(|subscription| &subscription.id).collect()
    }
}

/// Returns the slots of one port, or those for every port.
fn slots_of(slots: &[Slot], port: Option<u16>) -> impl Iterator<Item = &Slot> {
    let first = slots.partition_point(|slot| slot.port < port);
    slots[first..].iter().take_while(move |slot| slot.port == port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NETWORKS: [&str; 10] = [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "10.1.2.3/16",
        "10.1.2.3/32",
        "2001:db8::/32",
        "2001:db8::7/128",
        "::ffff:10.1.0.0/112",
        "128.0.0.0/1",
    ];
    const ADDRESSES: [&str; 7] = ["10.1.2.3", "10.1.2.4", "10.2.0.1", "192.0.2.1", "2001:db8::7", "2001:db8::8", "::1"];
    const SERVICES: [&str; 3] = ["HTTP", "A#B", "SSH"];

    fn filter() -> impl Strategy<Value = Filter> {
        (
            prop::collection::vec(prop::sample::select(&NETWORKS), 0..4),
            prop::collection::vec(prop::sample::select(&[0_u16, 80, 443, 65535]), 0..4),
            prop::collection::vec(prop::sample::select(&SERVICES), 0..3),
            prop::collection::vec(prop::sample::select(&Event::ALL), 0..3),
        )
            .prop_map(|(networks, ports, services, events)| Filter {
                networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
                ports,
                services: services.into_iter().map(str::to_owned).collect(),
                events,
            })
    }

    fn id(number: usize) -> EndpointId {
        EndpointId::parse(format!("wh_{number}")).unwrap()
    }

    proptest! {
        #[test]
        fn the_index_finds_what_the_filters_select(
            filters in prop::collection::vec(filter(), 0..12),
            ip in prop::sample::select(&ADDRESSES),
            port in prop::sample::select(&[0_u16, 80, 443, 8080, 65535]),
            name in prop::sample::select(&SERVICES),
            event in prop::sample::select(&Event::ALL),
        ) {
            let ids: Vec<_> = (0..filters.len()).map(id).collect();
            let service = Key::new(ip.parse().unwrap(), port, name);
            let index = Index::new(ids.iter().zip(&filters));
            let selected = ids.iter().zip(&filters).filter(|(_, filter)| filter.selects(&service, event));
            let selected: Vec<_> = selected.map(|(id, _)| id).collect();
            prop_assert_eq!(index.matching(&service, event), selected);
        }
    }

    /// Prints what `make bench-webhooks` reports of matching: 100,000 subscriptions of networks, and some of everything.
    #[test]
    #[ignore = "a measurement"]
    fn matching_100_000_subscriptions_beside_a_scan_of_them() {
        const SUBSCRIPTIONS: u32 = 100_000;
        const CHANGES: u32 = 200;
        let filters: Vec<_> = (0..SUBSCRIPTIONS).map(measured).collect();
        let ids: Vec<_> = (0..filters.len()).map(id).collect();
        let services: Vec<_> = (0..CHANGES)
            .map(|n| Key::new((n.wrapping_mul(2_654_435_761) | 0x0a00_0000).to_be_bytes().into(), 443, "HTTP"))
            .collect();
        let began = tokio::time::Instant::now();
        let index = Index::new(ids.iter().zip(&filters));
        let built = began.elapsed();
        let began = tokio::time::Instant::now();
        let found: usize = services.iter().map(|service| index.matching(service, Event::Opened).len()).sum();
        let by_index = began.elapsed() / CHANGES;
        let began = tokio::time::Instant::now();
        let selects = |service| filters.iter().filter(|filter| filter.selects(service, Event::Opened)).count();
        let scanned: usize = services.iter().map(selects).sum();
        let by_scan = began.elapsed() / CHANGES;
        assert_eq!(found, scanned);
        let ratio = by_scan.as_secs_f64() / by_index.as_secs_f64();
        println!(
            "index of {SUBSCRIPTIONS} subscriptions: built in {built:?}; a change takes {by_index:?}, and {by_scan:?} with a \
             scan: {ratio:.0} times as long; {:.1} subscriptions match",
            f64::from(u32::try_from(found).unwrap()) / f64::from(CHANGES)
        );
    }

    /// Returns a filter as customers have them: networks of several sizes, and every 10,000th of everything.
    fn measured(number: u32) -> Filter {
        let address = std::net::Ipv4Addr::from(number.wrapping_mul(2_654_435_761));
        let network = |length| IpNet::new(address.into(), length).unwrap().trunc();
        let networks = if number.is_multiple_of(10_000) {
            Vec::new()
        } else {
            vec![network([16, 22, 24, 32][number as usize % 4])]
        };
        Filter {
            networks,
            ports: if number.is_multiple_of(2) { vec![80, 443] } else { Vec::new() },
            ..Filter::default()
        }
    }
}
