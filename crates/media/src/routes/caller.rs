//! Who calls.

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use mana_types::UserId;
use mana_web::{Bearer, FieldError, Problem, bearer_token};

use super::App;
use crate::media::Viewer;

/// A user by his bearer, or a program of this installation by a service key: in `X-Service-Key`, or as the bearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    User(UserId),
    Service,
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(shown) = parts.headers.get("x-service-key") {
            return if app.keys.accept(shown.to_str().unwrap_or_default()) {
                Ok(Self::Service)
            } else {
                Err(Problem::unauthorized("INVALID_SERVICE_KEY", "this is no valid service key"))
            };
        }
        if bearer_token(&parts.headers).is_some_and(|token| app.keys.accept(token)) {
            return Ok(Self::Service);
        }
        let Bearer(principal) = Bearer::from_request_parts(parts, app).await?;
        Ok(Self::User(principal.user_id))
    }
}

impl Caller {
    /// Whoever it is, where nobody needs to be anybody: a proof that does not hold is as good as none.
    pub(super) async fn guess(headers: &HeaderMap, app: &App) -> Option<Self> {
        let key = headers.get("x-service-key").and_then(|key| key.to_str().ok());
        let token = bearer_token(headers);
        if key.is_some_and(|key| app.keys.accept(key)) || token.is_some_and(|token| app.keys.accept(token)) {
            return Some(Self::Service);
        }
        let principal = app.verifier.verify(token?).await.ok()?;
        Some(Self::User(principal.user_id))
    }

    /// Through whose eyes: a program may name a user, for anybody else the name does not count.
    pub(super) fn viewer(self, user_id: Option<&str>, faults: &mut Vec<FieldError>) -> Viewer {
        match (self, user_id) {
            (Self::User(user), _) => Viewer::User(user),
            (Self::Service, None | Some("")) => Viewer::Service,
            (Self::Service, Some(text)) => match text.parse() {
                Ok(user) => Viewer::User(user),
                Err(error) => {
                    faults.push(FieldError::new("userId", mana_types::InvalidId::to_string(&error)));
                    Viewer::Service
                }
            },
        }
    }

    /// For whom something is done.
    pub(super) fn user(self, user_id: Option<&str>) -> Result<UserId, Problem> {
        let mut faults = Vec::new();
        match self.viewer(user_id, &mut faults) {
            Viewer::User(user) => Ok(user),
            Viewer::Service if faults.is_empty() => {
                Err(Problem::validation(vec![FieldError::new("userId", "is missing: whose file it is")]))
            }
            Viewer::Service => Err(Problem::validation(faults)),
        }
    }

    pub(super) fn as_viewer(self) -> Viewer {
        match self {
            Self::User(user) => Viewer::User(user),
            Self::Service => Viewer::Service,
        }
    }
}
