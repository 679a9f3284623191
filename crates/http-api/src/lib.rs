//! What every REST API of this workspace needs: access by tokens, problems (RFC 9457), limits, page tokens, ETags, a server
//! with a drain, and a page that renders the OpenAPI document.
//!
//! It knows no program: routes, problems and texts are given to it.

mod access;
mod docs;
mod etag;
mod extract;
mod guard;
mod in_progress;
mod origin;
pub mod page_token;
pub mod problem;
mod reference;
mod server;
mod tokens;

pub use access::{Access, Caller, NeedsTokens};
pub use docs::inline;
pub use etag::{Etag, Listed, if_match, json, json_of};
pub use extract::{Body, Path, Query};
pub use guard::{Arrived, Guard, IDEMPOTENCY_KEY, IDEMPOTENT_REPLAYED, Limits, Observer, Responded};
pub use origin::{InvalidOrigin, Origin};
pub use problem::{FieldError, Problem, ProblemBody, ProblemType};
pub use reference::{Bearer, Reference, openapi};
pub use server::{Drained, Server};
pub use tokens::{InvalidTokens, Scope, TokenFile, append, line, new_token};
