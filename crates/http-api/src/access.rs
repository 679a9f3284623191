//! Who may use an API: clients with a token, everyone on this machine, or everyone.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};

use crate::problem::{FORBIDDEN, Problem, UNAUTHORIZED};
use crate::tokens::{Scope, TokenFile};

#[derive(Debug)]
pub enum Access {
    Tokens(TokenFile),
    /// Without tokens, on a loopback address. Requests that other sites' pages cause are refused.
    Loopback,
    /// Without tokens, on an address that others may reach.
    Everyone,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("without tokens, everyone who can reach {0} could use the API")]
pub struct NeedsTokens(pub SocketAddr);

impl Access {
    /// Without tokens, only a loopback address is safe. `insecure` allows any other.
    pub fn choose(address: SocketAddr, tokens: Option<TokenFile>, insecure: bool) -> Result<Access, NeedsTokens> {
        match tokens {
            Some(tokens) => Ok(Access::Tokens(tokens)),
            None if address.ip().to_canonical().is_loopback() => Ok(Access::Loopback),
            None if insecure => Ok(Access::Everyone),
            None => Err(NeedsTokens(address)),
        }
    }

    /// Returns who sends a request, if that client has this scope. `token` reads the token from the header.
    fn caller(
        &self,
        headers: &HeaderMap,
        scope: Scope,
        scheme: &'static str,
        token: impl Fn(&str) -> Option<String>,
    ) -> Result<Caller, Problem> {
        let Access::Tokens(tokens) = self else { return Ok(Caller { name: "anonymous".into() }) };
        let unauthorized = |detail: &str| {
            Problem::new(&UNAUTHORIZED, detail).header(WWW_AUTHENTICATE, HeaderValue::from_static(scheme))
        };
        let header = headers.get(AUTHORIZATION).ok_or_else(|| unauthorized("the request has no token"))?;
        let presented = header.to_str().ok().and_then(token);
        let presented =
            presented.ok_or_else(|| unauthorized("the header Authorization does not have the expected form"))?;
        let token = tokens.find(&presented).ok_or_else(|| unauthorized("the token is unknown"))?;
        if !token.scopes.contains(&scope) {
            return Err(Problem::new(&FORBIDDEN, format!("the token lacks the scope `{scope}`")));
        }
        Ok(Caller { name: token.name })
    }
}

/// Returns the token in `Bearer TOKEN`.
fn bearer(header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Returns the password in `Basic BASE64`, whatever the name of the user is.
fn password(header: &str) -> Option<String> {
    let (scheme, encoded) = header.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (_, password) = str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(password.to_owned())
}

/// Who sent a request: the name of the token, or `anonymous`. An extension of every request to a protected route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub name: Arc<str>,
}

/// Passes on requests whose client has the scope.
pub(crate) async fn authorize(
    State((access, scope)): State<(Arc<Access>, Scope)>,
    request: Request,
    next: Next,
) -> Response {
    let caller = access.caller(request.headers(), scope, "Bearer", bearer);
    pass(caller, request, next).await
}

/// Passes on requests whose client has the scope. A browser asks a person for the token as a password.
pub(crate) async fn authorize_page(
    State((access, scope)): State<(Arc<Access>, Scope)>,
    request: Request,
    next: Next,
) -> Response {
    let token = |header: &str| bearer(header).or_else(|| password(header));
    let caller = access.caller(request.headers(), scope, "Basic realm=\"the token is the password\"", token);
    pass(caller, request, next).await
}

async fn pass(caller: Result<Caller, Problem>, mut request: Request, next: Next) -> Response {
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::line;

    #[test]
    fn without_tokens_only_loopback_is_allowed() {
        for (address, insecure, is_allowed) in [
            ("127.0.0.1:8080", false, true),
            ("[::1]:8080", false, true),
            ("[::ffff:127.0.0.1]:8080", false, true),
            ("0.0.0.0:8080", false, false),
            ("[::]:8080", false, false),
            ("192.168.1.1:8080", false, false),
            ("0.0.0.0:8080", true, true),
        ] {
            assert_eq!(Access::choose(address.parse().unwrap(), None, insecure).is_ok(), is_allowed, "{address}");
        }
    }

    #[test]
    fn a_page_takes_the_token_as_a_password_and_an_endpoint_does_not() {
        // `anyone:secret`
        let basic = "Basic YW55b25lOnNlY3JldA==";
        assert_eq!(password(basic).as_deref(), Some("secret"));
        for header in ["Basic !", "Basic YWFh", "Bearer YW55b25lOnNlY3JldA==", ""] {
            assert_eq!(password(header), None, "{header}");
        }
        assert_eq!(bearer(basic), None);
    }

    #[test]
    fn a_token_must_be_known_and_have_the_scope() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        std::fs::write(&path, line("ci", &[Scope::Read], "secret").unwrap()).unwrap();
        let access = Access::Tokens(TokenFile::open(path).unwrap());
        for (header, scope, expected) in [
            (Some("Bearer secret"), Scope::Read, Ok("ci")),
            (Some("bearer  secret "), Scope::Read, Ok("ci")),
            (Some("Bearer secret"), Scope::Write, Err("forbidden")),
            (Some("Bearer other"), Scope::Read, Err("unauthorized")),
            (Some("Bearer "), Scope::Read, Err("unauthorized")),
            (Some("secret"), Scope::Read, Err("unauthorized")),
            (Some("Basic secret"), Scope::Read, Err("unauthorized")),
            (None, Scope::Read, Err("unauthorized")),
        ] {
            let headers = header.map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).into_iter().collect();
            let caller = access.caller(&headers, scope, "Bearer", bearer);
            let found = caller.as_ref().map(|caller| &*caller.name).map_err(|problem| problem.kind().name);
            assert_eq!(found, expected, "{header:?}");
        }
    }
}
