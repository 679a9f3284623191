//! The guard against server-side request forgery (SSRF): which URLs and addresses a webhook may reach.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Url};

use crate::address::{Class, class, is_in};

/// What webhooks may reach. The default is https to public addresses.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Allows URLs without TLS.
    pub allow_http: bool,
    pub ports: Vec<u16>,
    /// Hosts that may have internal addresses, with their ports.
    pub allow_targets: Vec<AllowedTarget>,
    /// Internal networks that may be reached.
    pub allow_networks: Vec<IpNet>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            allow_http: false,
            ports: vec![80, 443, 8080, 8443],
            allow_targets: Vec::new(),
            allow_networks: Vec::new(),
        }
    }
}

/// A host and a port that may be reached although the address is internal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedTarget {
    host: Host,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a target is HOST:PORT, e.g. hooks.internal:8443 or [fd00::1]:8443")]
pub struct InvalidTarget;

impl FromStr for AllowedTarget {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<AllowedTarget, InvalidTarget> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidTarget)?;
        let port = port.parse().map_err(|_| InvalidTarget)?;
        Ok(AllowedTarget { host: normalized(Host::parse(host).map_err(|_| InvalidTarget)?), port })
    }
}

/// Removes the dot at the end of a fully qualified name.
fn normalized(host: Host) -> Host {
    match host {
        Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
        address => address,
    }
}

fn literal<S>(host: &Host<S>) -> Option<IpAddr> {
    match host {
        Host::Ipv4(address) => Some((*address).into()),
        Host::Ipv6(address) => Some((*address).into()),
        Host::Domain(_) => None,
    }
}

/// Why a webhook may not be sent. The text contains no URL, because URLs may contain secrets. It contains no address either:
/// owners of endpoints read it, and they must not learn to what internal names resolve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedTarget {
    #[error("the URL is not valid, or it has more than {MAX_URL_LENGTH} characters")]
    InvalidUrl,
    #[error("the URL must start with https://")]
    NotHttps,
    #[error("the URL must not contain a user name or a password")]
    UserInfo,
    #[error("the port {0} is not in the list of allowed ports")]
    Port(u16),
    #[error("the address is not on the internet; an operator can allow its network or its host")]
    InternalAddress(IpAddr),
    #[error("the address may serve credentials of a cloud, so it is never allowed")]
    MetadataAddress(IpAddr),
    #[error("the name has no address")]
    NoAddress,
}

const MAX_URL_LENGTH: usize = 2048;

/// A URL that passed the guard. `Debug` shows only its scheme, host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Target({})", self.0.origin().ascii_serialization())
    }
}

impl Policy {
    /// Checks a URL, with its address if it contains one. The addresses of a name are checked when it is resolved.
    pub fn check_url(&self, url: &str) -> Result<Target, RefusedTarget> {
        if url.len() > MAX_URL_LENGTH {
            return Err(RefusedTarget::InvalidUrl);
        }
        let mut url = Url::parse(url).map_err(|_| RefusedTarget::InvalidUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            _ => return Err(RefusedTarget::NotHttps),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RefusedTarget::UserInfo);
        }
        let (Some(host), Some(port)) = (url.host().map(|host| host.to_owned()), url.port_or_known_default()) else {
            return Err(RefusedTarget::InvalidUrl);
        };
        let host = normalized(host);
        if host == Host::Domain(String::new()) {
            return Err(RefusedTarget::InvalidUrl);
        }
        if !self.is_allowed_target(&host, port) && !self.ports.contains(&port) {
            return Err(RefusedTarget::Port(port));
        }
        if let Some(address) = literal(&host) {
            self.check_addresses(&host, port, &[address])?;
        }
        url.set_fragment(None);
        Ok(Target(url))
    }

    /// Checks what a host resolved to. One address that is not allowed refuses all, because a name with both kinds of
    /// addresses is an attack or a mistake.
    pub(crate) fn check_addresses(&self, host: &Host, port: u16, addresses: &[IpAddr]) -> Result<(), RefusedTarget> {
        if addresses.is_empty() {
            return Err(RefusedTarget::NoAddress);
        }
        let is_target = self.is_allowed_target(host, port);
        addresses.iter().try_for_each(|address| match class(*address) {
            Class::Public => Ok(()),
            Class::Internal if is_target || is_in(&self.allow_networks, *address) => Ok(()),
            Class::Internal => Err(RefusedTarget::InternalAddress(*address)),
            Class::Metadata => Err(RefusedTarget::MetadataAddress(*address)),
        })
    }

    fn is_allowed_target(&self, host: &Host, port: u16) -> bool {
        self.allow_targets.iter().any(|target| target.host == *host && target.port == port)
    }
}

/// Reads the host of a request, as the connector gets it.
pub(crate) fn host(text: &str) -> Result<Host, RefusedTarget> {
    Host::parse(text).map(normalized).map_err(|_| RefusedTarget::InvalidUrl)
}

pub(crate) fn literal_address(host: &Host) -> Option<IpAddr> {
    literal(host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open() -> Policy {
        Policy { allow_http: true, ..Policy::default() }
    }

    #[test]
    fn public_targets_pass() {
        for url in
            ["https://example.com/hook?a=b", "https://1.1.1.1", "https://[2606:4700::1111]:8443/", "https://ä.example"]
        {
            assert!(Policy::default().check_url(url).is_ok(), "{url}");
        }
        assert!(open().check_url("http://example.com:8080/").is_ok());
    }

    #[test]
    fn urls_of_other_kinds_are_refused() {
        let check = |url: &str| Policy::default().check_url(url).unwrap_err();
        assert_eq!(check("http://example.com"), RefusedTarget::NotHttps);
        for url in ["ftp://example.com", "file:///etc/passwd", "gopher://example.com", "data:,x", "unix:/run/x.sock"] {
            assert_eq!(check(url), RefusedTarget::NotHttps, "{url}");
        }
        for url in [
            "",
            "example.com",
            "//example.com",
            "https://",
            "https://.",
            "https://a b/",
            "https://[::1",
            "https://a:99999",
        ] {
            assert_eq!(check(url), RefusedTarget::InvalidUrl, "{url}");
        }
        assert_eq!(check(&format!("https://example.com/{}", "x".repeat(2048))), RefusedTarget::InvalidUrl);
        for url in ["https://user@example.com", "https://:password@example.com", "https://1.1.1.1@example.com"] {
            assert_eq!(check(url), RefusedTarget::UserInfo, "{url}");
        }
        assert_eq!(check("https://example.com:22"), RefusedTarget::Port(22));
        assert_eq!(check("https://example.com:0"), RefusedTarget::Port(0));
    }

    #[test]
    fn every_spelling_of_an_internal_address_is_refused() {
        let urls = [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://0x7f.0.0.1/",
            "http://0x7f000001/",
            "http://017700000001/",
            "http://127.0.0.1./",
            "http://１２７.0.0.1/",
            "http://%31%32%37.0.0.1/",
            "http://0/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:10.0.0.1]/",
            "http://[::ffff:a00:1]/",
            "http://[0:0:0:0:0:ffff:127.0.0.1]/",
            "http://10.0.0.1:443/",
            "http:\\\\127.0.0.1\\",
            "http:127.0.0.1",
        ];
        for url in urls {
            let refused = open().check_url(url).unwrap_err();
            assert!(matches!(refused, RefusedTarget::InternalAddress(_)), "{url}: {refused:?}");
        }
        assert_eq!(open().check_url("http://[fe80::1%25eth0]/"), Err(RefusedTarget::InvalidUrl));
        for url in
            ["http://169.254.169.254/", "http://2852039166/", "http://[::ffff:169.254.169.254]/", "http://[fe80::1]/"]
        {
            let refused = open().check_url(url).unwrap_err();
            assert!(matches!(refused, RefusedTarget::MetadataAddress(_)), "{url}: {refused:?}");
        }
    }

    #[test]
    fn an_allowed_network_opens_its_addresses_but_no_metadata() {
        let policy = Policy { allow_networks: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()], ..open() };
        assert!(policy.check_url("http://10.0.0.1/").is_ok());
        assert!(policy.check_url("http://[::ffff:10.0.0.1]/").is_ok());
        for url in [
            "http://169.254.169.254/",
            "http://100.100.100.200/",
            "http://[fd00:ec2::254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
        ] {
            assert!(matches!(policy.check_url(url), Err(RefusedTarget::MetadataAddress(_))), "{url}");
        }
        let one = Policy { allow_networks: vec!["10.1.0.0/16".parse().unwrap()], ..open() };
        assert!(one.check_url("http://10.1.2.3/").is_ok());
        assert!(matches!(one.check_url("http://10.2.0.1/"), Err(RefusedTarget::InternalAddress(_))));
    }

    #[test]
    fn an_allowed_target_opens_one_host_at_one_port() {
        let policy = Policy { allow_targets: vec!["Mock-Sink:9000".parse().unwrap()], ..open() };
        let sink = host("mock-sink.").unwrap();
        assert!(policy.check_url("http://mock-sink:9000/").is_ok());
        assert_eq!(policy.check_addresses(&sink, 9000, &["10.0.0.1".parse().unwrap()]), Ok(()));
        assert!(policy.check_addresses(&sink, 80, &["10.0.0.1".parse().unwrap()]).is_err());
        assert!(policy.check_addresses(&sink, 9000, &["169.254.169.254".parse().unwrap()]).is_err());
        assert!(policy.check_addresses(&host("other").unwrap(), 9000, &["10.0.0.1".parse().unwrap()]).is_err());
        assert_eq!(policy.check_url("http://other:9000/"), Err(RefusedTarget::Port(9000)));
        let without_http = Policy { allow_http: false, ..policy };
        assert_eq!(without_http.check_url("http://mock-sink:9000/"), Err(RefusedTarget::NotHttps));
    }

    #[test]
    fn a_target_is_a_host_and_a_port() {
        for text in ["", "host", "host:", ":80", "host:x", "host:65536", "a b:80"] {
            assert_eq!(text.parse::<AllowedTarget>(), Err(InvalidTarget), "{text}");
        }
        assert!("[fd00::1]:8443".parse::<AllowedTarget>().is_ok());
    }

    #[test]
    fn one_internal_address_among_public_ones_refuses_the_name() {
        let addresses = ["1.1.1.1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        let refused = Policy::default().check_addresses(&host("example.com").unwrap(), 443, &addresses);
        assert_eq!(refused, Err(RefusedTarget::InternalAddress(addresses[1])));
        let none = Policy::default().check_addresses(&host("example.com").unwrap(), 443, &[]);
        assert_eq!(none, Err(RefusedTarget::NoAddress));
    }

    #[test]
    fn debug_and_errors_show_no_path() {
        let target = Policy::default().check_url("https://example.com/secret?token=1").unwrap();
        assert_eq!(format!("{target:?}"), "Target(https://example.com)");
        let refused = open().check_url("http://10.1.2.3/secret").unwrap_err().to_string();
        assert!(refused.starts_with("the address is not on the internet"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_url_makes_the_guard_panic_or_opens_an_internal_literal(
            url in prop_oneof!["https?://[0-9a-fx.:\\[\\]%@/]{0,24}", ".*"],
        ) {
            if let Ok(target) = open().check_url(&url) {
                let address = target.0.host().and_then(|host| literal(&host));
                prop_assert!(address.is_none_or(|address| class(address) == Class::Public), "{}", url);
            }
        }
    }
}
