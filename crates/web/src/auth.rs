//! Who calls: a bearer of an access token, or a program that holds a service key.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::HeaderMap;
use http::request::Parts;
use mana_token::{Principal, TokenError, Verifier};
use mana_types::Secret;
use subtle::ConstantTimeEq;

use crate::Problem;

/// The token of an `Authorization: Bearer` header.
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The caller, proved by a bearer token.
#[derive(Debug, Clone)]
pub struct Bearer(pub Arc<Principal>);

impl<S> FromRequestParts<S> for Bearer
where
    S: Send + Sync,
    Arc<Verifier>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer_token(&parts.headers).ok_or_else(|| {
            Problem::unauthorized("UNAUTHORIZED", "send an access token as `Authorization: Bearer …`")
        })?;
        let verifier = Arc::<Verifier>::from_ref(state);
        verifier.verify(token).await.map(Self).map_err(|error| refused(&error))
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        refused(&error)
    }
}

fn refused(error: &TokenError) -> Problem {
    match error {
        TokenError::Expired => Problem::unauthorized("TOKEN_EXPIRED", error.to_string()),
        TokenError::Invalid => Problem::unauthorized("TOKEN_INVALID", error.to_string()),
        TokenError::KeysUnavailable(cause) => {
            tracing::warn!(cause = %cause, "web.keys_unavailable");
            Problem::unavailable(error.to_string())
        }
    }
}

/// The caller, proved to be an administrator; everybody else is answered 403.
#[derive(Debug, Clone)]
pub struct Admin(pub Arc<Principal>);

impl<S> FromRequestParts<S> for Admin
where
    S: Send + Sync,
    Arc<Verifier>: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Bearer(principal) = Bearer::from_request_parts(parts, state).await?;
        if principal.is_admin() { Ok(Self(principal)) } else { Err(Problem::forbidden("this needs an administrator")) }
    }
}

/// The keys that programs of this installation show. Several may be valid at once, so that one can be replaced
/// without a gap; none means that nobody gets in.
#[derive(Debug, Clone, Default)]
pub struct ServiceKeys(Arc<[Secret]>);

impl ServiceKeys {
    /// The valid keys; empty ones are left out.
    pub fn new(keys: impl IntoIterator<Item = Secret>) -> Self {
        Self(keys.into_iter().filter(|key| !key.is_empty()).collect())
    }

    /// Whether this is one of the keys. Takes as long for a wrong key as for a right one of the same length.
    pub fn accept(&self, shown: &str) -> bool {
        let mut accepted = subtle::Choice::from(0);
        for key in self.0.iter() {
            accepted |= key.expose().as_bytes().ct_eq(shown.as_bytes());
        }
        accepted.into()
    }
}

/// A program of this installation, proved by `X-Service-Key`.
#[derive(Debug, Clone, Copy)]
pub struct ServiceCaller;

impl<S> FromRequestParts<S> for ServiceCaller
where
    S: Send + Sync,
    ServiceKeys: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let shown = parts.headers.get("x-service-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if ServiceKeys::from_ref(state).accept(shown) {
            Ok(Self)
        } else {
            Err(Problem::unauthorized("INVALID_SERVICE_KEY", "this needs a valid service key in `X-Service-Key`"))
        }
    }
}
