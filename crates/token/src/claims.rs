//! What a token says.

use mana_types::{SessionId, UserId};
use serde::{Deserialize, Serialize};

use crate::Role;

/// The `aud` of every access token.
pub const AUDIENCE: &str = "mana";

/// How long an access token is valid, in milliseconds: 15 minutes.
pub const TOKEN_LIFETIME_MS: i64 = 15 * 60 * 1000;

/// The claims of an access token. `iat` and `exp` are seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who signed it: the public address of the identity service.
    pub iss: String,
    /// Whom it is for: [`AUDIENCE`].
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The user's e-mail at the time of signing in.
    pub email: String,
    /// What the user may do beyond his own spaces.
    pub role: Role,
    /// The sign-in it descends from.
    pub sid: SessionId,
    /// The user's tier, such as `founder` or `free`.
    pub tier: String,
    /// When it was signed.
    pub iat: i64,
    /// When it stops to be valid.
    pub exp: i64,
}
