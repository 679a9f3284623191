//! Recognizes requests that another site's page has caused. Pure.
//!
//! Without tokens, an API on a loopback address trusts everyone on this machine, and so does the browser of a person who
//! visits any web page. A page of another origin may send requests here, and by DNS rebinding even read the answers.

use std::net::IpAddr;
use std::str::FromStr;

use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Uri};
use url::Url;

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

    /// Any other text than what a browser sends would never match, silently.
    fn from_str(text: &str) -> Result<Origin, InvalidOrigin> {
        let url = Url::parse(text).map_err(|_| InvalidOrigin)?;
        let is_site = matches!(url.scheme(), "http" | "https") && !text.contains('*');
        let is_as_sent = url.origin().ascii_serialization() == text;
        let header = HeaderValue::from_str(text).map_err(|_| InvalidOrigin)?;
        (is_site && is_as_sent).then_some(Origin(header)).ok_or(InvalidOrigin)
    }
}

/// Checks that a request addresses this machine by a name that no other site can have, and that no page of another site,
/// except those of `allowed`, has sent it.
pub(crate) fn check_loopback(uri: &Uri, headers: &HeaderMap, allowed: &[Origin]) -> Result<(), Problem> {
    if !is_loopback(host(uri, headers)?) {
        return Err(foreign("the header Host is not localhost, 127.0.0.1 or [::1]"));
    }
    check_origin(uri, headers, allowed)
}

/// Checks that no page of another site, except those of `allowed`, has sent a request. A link on another site may lead here.
pub(crate) fn check_origin(uri: &Uri, headers: &HeaderMap, allowed: &[Origin]) -> Result<(), Problem> {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
    match single(headers, &ORIGIN)? {
        Some(origin) => {
            let own = host(uri, headers)?;
            let is_own = ["http://", "https://"]
                .iter()
                .any(|scheme| origin.strip_prefix(scheme).is_some_and(|authority| authority.eq_ignore_ascii_case(own)));
            if is_own || allowed.iter().any(|allowed| allowed.0 == origin) {
                return Ok(());
            }
            Err(foreign("the header Origin names another site"))
        }
        // A browser sends no Origin with an image, for example.
        None if is("sec-fetch-site", "cross-site") && !is("sec-fetch-mode", "navigate") => {
            Err(foreign("a page of another site has sent the request"))
        }
        None => Ok(()),
    }
}

fn foreign(detail: &str) -> Problem {
    Problem::new(&FOREIGN_ORIGIN, detail)
}

/// Returns the host that a request addresses. A request to a proxy names it in its target.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Problem> {
    let named = single(headers, &HOST)?;
    let host = uri.authority().map(|authority| authority.as_str()).or(named);
    host.ok_or_else(|| foreign("the request has no Host"))
}

/// Returns a header that a request may have once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let value = match headers.get_all(name).iter().collect::<Vec<&HeaderValue>>()[..] {
        [] => return Ok(None),
        [value] => value.to_str().ok(),
        _ => None,
    };
    value.map(Some).ok_or_else(|| foreign("the request has an unreadable or a second Host or Origin"))
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
        check_loopback(&Uri::from_static(uri), &map, &allowed).is_ok()
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
        for origin in ["http://localhost:3000", "https://localhost", "http://example.com", "null", ""] {
            assert!(!with(origin), "{origin}");
        }
    }

    #[test]
    fn a_page_of_another_site_cannot_embed_an_answer_and_can_link_to_it() {
        let fetch = |site, mode| {
            let (site_name, mode_name) = ("sec-fetch-site", "sec-fetch-mode");
            let headers =
                [(HOST, "localhost:8080"), (site_name.parse().unwrap(), site), (mode_name.parse().unwrap(), mode)];
            is_accepted("/", &headers)
        };
        assert!(!fetch("cross-site", "no-cors"));
        assert!(fetch("cross-site", "navigate"));
        assert!(fetch("same-origin", "no-cors"));
        assert!(fetch("none", "navigate"));
    }

    #[test]
    fn on_other_addresses_only_the_origin_is_checked() {
        let check = |origin| {
            let headers =
                [(HOST, HeaderValue::from_static("scans.internal")), (ORIGIN, HeaderValue::from_static(origin))];
            check_origin(&Uri::from_static("/"), &headers.into_iter().collect(), &[]).is_ok()
        };
        assert!(check("http://scans.internal") && check("https://scans.internal"));
        assert!(!check("https://example.com") && !check("null"));
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
