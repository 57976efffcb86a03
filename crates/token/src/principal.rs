//! Who makes a request.

use mana_types::{SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// What a user may do beyond his own spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// An account like any other.
    User,
    /// Runs this installation.
    Admin,
    /// A program of this installation.
    Service,
}

impl Role {
    /// The role's name as it is stored and spoken.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "user" => Ok(Self::User),
            "admin" => Ok(Self::Admin),
            "service" => Ok(Self::Service),
            other => Err(format!("`{other}` is not a role, expected `user`, `admin` or `service`")),
        }
    }
}

/// How a principal proved who he is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Proof {
    /// An access token of a sign-in.
    #[serde(rename_all = "camelCase")]
    AccessToken {
        /// The sign-in.
        session: SessionId,
        /// When the token stops to be valid.
        expires_at: Timestamp,
    },
}

/// Who makes a request: a user, and how he proved it. The space joins it where a request names one, because
/// membership is looked up each time and never frozen into a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// The user.
    pub user_id: UserId,
    /// His e-mail.
    pub email: String,
    /// What he may do beyond his own spaces.
    pub role: Role,
    /// His tier.
    pub tier: String,
    /// How he proved it.
    pub proof: Proof,
}

impl Principal {
    /// Whether admin interfaces are open to him.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}
