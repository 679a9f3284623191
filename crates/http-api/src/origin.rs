//! Recognizes requests that another site's page has caused. Pure.
//!
//! Without tokens, an API on a loopback address trusts everyone on this machine, and so does the browser of a person who
//! visits any web page. A page of another origin may send requests here, and by DNS rebinding even read the answers.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Uri};

use crate::problem::{FOREIGN_ORIGIN, Problem};

/// Checks that a request addresses this machine by a name that no other site can have, and that its origin, if it has one,
/// is this API itself.
pub(crate) fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
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
        Some(origin) if !origin.eq_ignore_ascii_case(&format!("http://{host}")) => {
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
        check(&Uri::from_static(uri), &map).is_ok()
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
        for origin in ["http://localhost:3000", "https://localhost:8080", "http://example.com", "null", ""] {
            assert!(!with(origin), "{origin}");
        }
    }
}
