//! Recognizes requests that another site's page has caused. Pure.
//!
//! Without tokens, an API on a loopback address trusts everyone on this machine, and so does the browser of a person who
//! visits any web page. A page of another origin may send requests here, and by DNS rebinding even read the answers.

use std::net::IpAddr;
use std::str::FromStr;

use hyper::header::{HOST, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};

use crate::problem::{FOREIGN_ORIGIN, Problem};

/// The origin of another site, e.g. `https://example.com`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an origin as a browser sends it, e.g. https://example.com or http://localhost:3000")]
pub struct InvalidOrigin;

impl Origin {
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// A browser sends lower case, no path and no default port. Any other text would never match, silently.
    fn from_str(text: &str) -> Result<Origin, InvalidOrigin> {
        let (scheme, authority) = text.split_once("://").ok_or(InvalidOrigin)?;
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(InvalidOrigin),
        };
        let parsed: Authority = authority.parse().map_err(|_| InvalidOrigin)?;
        let is_sent = !parsed.host().is_empty()
            && !authority.contains(['@', '*'])
            && !authority.bytes().any(|byte| byte.is_ascii_uppercase())
            && !authority.ends_with(default_port)
            && (parsed.port().is_none() || parsed.port_u16().is_some());
        let header = HeaderValue::from_str(text).map_err(|_| InvalidOrigin)?;
        is_sent.then_some(Origin(header)).ok_or(InvalidOrigin)
    }
}

/// Checks that a request addresses this machine by a name that no other site can have, and that its origin, if it has one,
/// is this API itself or one of `allowed`.
pub(crate) fn check(uri: &Uri, headers: &HeaderMap, allowed: &[Origin]) -> Result<(), Problem> {
    let refuse = |detail: &str| Err(Problem::new(&FOREIGN_ORIGIN, detail));
    let text = |name| match headers.get_all(name).iter().collect::<Vec<&HeaderValue>>()[..] {
        [] => Ok(None),
        [value] => value.to_str().map(Some).map_err(|_| ()),
        _ => Err(()),
    };
    let (Ok(host), Ok(origin)) = (text(HOST), text(ORIGIN)) else {
        return refuse("the request has an unreadable or a second Host or Origin");
    };
    // A request to a proxy names the host in its target as well.
    let Some(host) = uri.authority().map(|authority| authority.as_str()).or(host) else {
        return refuse("the request has no Host");
    };
    if !is_loopback(host) {
        return refuse("the header Host is not localhost, 127.0.0.1 or [::1]");
    }
    match origin {
        Some(origin)
            if !origin.eq_ignore_ascii_case(&format!("http://{host}"))
                && !allowed.iter().any(|allowed| allowed.0 == origin) =>
        {
            refuse("the header Origin names another site")
        }
        _ => Ok(()),
    }
}

/// Returns whether the host of `host:port` is `localhost` or a loopback address.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(_, port)| port.is_empty() || is_port(port)).map(|(host, _)| host),
        None => Some(authority.split_once(':').map_or(authority, |(host, _)| host)),
    };
    host.is_some_and(|host| {
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    })
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_accepted(uri: &'static str, headers: &[(hyper::header::HeaderName, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| _ = map.append(name, value));
        let allowed = ["https://example.com".parse().unwrap()];
        check(&Uri::from_static(uri), &map, &allowed).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_accepted() {
        for host in ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "127.8.9.1", "[::1]:8080", "[::1]"]
        {
            assert!(is_accepted("/", &[(HOST, host)]), "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::1].x",
            "[::1]:x",
            "[::1",
            "x@localhost",
        ] {
            assert!(!is_accepted("/", &[(HOST, host)]), "{host}");
        }
        assert!(!is_accepted("/", &[]));
        assert!(!is_accepted("/", &[(HOST, "localhost"), (HOST, "example.com")]));
        assert!(!is_accepted("http://example.com/", &[(HOST, "localhost")]));
    }

    #[test]
    fn an_origin_must_be_this_api() {
        let with = |origin| is_accepted("/", &[(HOST, "localhost:8080"), (ORIGIN, origin)]);
        assert!(with("http://localhost:8080"));
        assert!(with("https://example.com"));
        for origin in ["http://localhost:3000", "https://localhost:8080", "http://example.com", "null", ""] {
            assert!(!with(origin), "{origin}");
        }
    }

    #[test]
    fn an_allowed_origin_is_written_as_a_browser_sends_it() {
        for origin in ["https://example.com", "http://localhost:3000", "https://[::1]:8443", "http://10.0.0.1"] {
            assert!(origin.parse::<Origin>().is_ok(), "{origin}");
        }
        for origin in [
            "",
            "*",
            "null",
            "example.com",
            "https://",
            "https://example.com/",
            "https://Example.com",
            "https://example.com:443",
            "http://example.com:80",
            "https://*.example.com",
            "https://user@example.com",
            "https://example.com:x",
            "https://example.com:99999",
            "ftp://example.com",
            "https://example.com\r\n",
        ] {
            assert_eq!(origin.parse::<Origin>(), Err(InvalidOrigin), "{origin}");
        }
    }
}
