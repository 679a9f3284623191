//! Which changes a subscription is about. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::changes::Event;
use crate::scan::{Key, check_service};

/// Selects changes. An empty list selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub networks: Vec<IpNet>,
    pub ports: Vec<u16>,
    pub services: Vec<String>,
    pub events: Vec<Event>,
}

/// Why a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    #[error("a filter has at most {max} {what}")]
    TooMany { what: &'static str, max: usize },
    #[error("{0:?} is no name of a service: {1}")]
    Service(String, String),
}

impl Filter {
    const MAX_NETWORKS: usize = 100;
    const MAX_PORTS: usize = 20;
    const MAX_SERVICES: usize = 20;

    /// Sorts the lists, and removes duplicates and networks inside of others. Fails if a list is too long.
    pub fn normalized(mut self) -> Result<Filter, InvalidFilter> {
        self.networks = IpNet::aggregate(&self.networks);
        self.ports.sort_unstable();
        self.ports.dedup();
        self.services.sort_unstable();
        self.services.dedup();
        self.events.sort_unstable();
        self.events.dedup();
        for (what, count, max) in [
            ("networks", self.networks.len(), Self::MAX_NETWORKS),
            ("ports", self.ports.len(), Self::MAX_PORTS),
            ("services", self.services.len(), Self::MAX_SERVICES),
        ] {
            if count > max {
                return Err(InvalidFilter::TooMany { what, max });
            }
        }
        match self.services.iter().find_map(|name| Some((name, check_service(name).err()?))) {
            Some((name, why)) => Err(InvalidFilter::Service(name.clone(), why.to_string())),
            None => Ok(self),
        }
    }

    /// Whether a change of this service is selected.
    pub fn selects(&self, service: &Key, event: Event) -> bool {
        let ip = || service.ip().parse::<IpAddr>().ok();
        (self.networks.is_empty() || ip().is_some_and(|ip| self.networks.iter().any(|network| network.contains(&ip))))
            && (self.ports.is_empty() || service.port().parse().is_ok_and(|port| self.ports.contains(&port)))
            && (self.services.is_empty() || self.services.iter().any(|name| name == service.service()))
            && (self.events.is_empty() || self.events.contains(&event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter() -> Filter {
        Filter {
            networks: vec!["10.1.0.0/16".parse().unwrap(), "10.1.2.0/24".parse().unwrap()],
            ports: vec![443, 80, 443],
            services: vec!["HTTP".to_owned()],
            events: vec![Event::Closed, Event::Opened],
        }
    }

    fn service(ip: &str, port: u16, name: &str) -> Key {
        Key::new(ip.parse().unwrap(), port, name)
    }

    #[test]
    fn a_filter_is_normalized_and_selects_what_all_its_lists_allow() {
        let filter = filter().normalized().unwrap();
        assert_eq!(filter.networks, ["10.1.0.0/16".parse().unwrap()]);
        assert_eq!(filter.ports, [80, 443]);
        assert!(filter.selects(&service("10.1.9.9", 443, "HTTP"), Event::Opened));
        assert!(!filter.selects(&service("10.2.9.9", 443, "HTTP"), Event::Opened));
        assert!(!filter.selects(&service("10.1.9.9", 22, "HTTP"), Event::Opened));
        assert!(!filter.selects(&service("10.1.9.9", 443, "SSH"), Event::Opened));
        assert!(!filter.selects(&service("10.1.9.9", 443, "HTTP"), Event::Changed));
        assert!(Filter::default().selects(&service("::1", 1, "x"), Event::Changed));
    }

    #[test]
    fn a_filter_with_too_many_ports_or_a_wrong_service_is_refused() {
        let ports = Filter { ports: (0..21).collect(), ..Filter::default() };
        assert_eq!(ports.normalized(), Err(InvalidFilter::TooMany { what: "ports", max: 20 }));
        let services = Filter { services: vec![String::new()], ..Filter::default() };
        assert!(matches!(services.normalized(), Err(InvalidFilter::Service(..))));
    }
}
