//! Accounts, sign-in and the spaces of a user.
//!
//! - [`account`]: who exists; signing up makes an account and its personal space in one transaction.
//! - sessions: a sign-in, its short access tokens (`EdDSA`, 15 minutes) and its rotating refresh tokens.
//! - keys: the signing keys, their rotation and the public key set.
//! - passwords: argon2id on the blocking pool. Lockout: five wrong ones close an e-mail for half an hour.
//!
//! [`router`] serves it; [`Identity`] is the same for whoever lives in the same process.

pub mod account;
mod error;
mod keys;
mod lockout;
mod password;
mod routes;
mod session;
mod store;

use std::sync::Arc;

use mana_store::Db;
use mana_types::{Clock, Random};

pub use account::{Account, AccountKind, Email, Name, NewAccount};
pub use error::{Error, InvalidInput};
pub use password::{HashCost, Password, PasswordHash};
pub use routes::router;
pub use session::{REFRESH_GRACE_MS, REFRESH_LIFETIME_MS, SignedIn};

use crate::keys::Keys;
use crate::password::Hasher;

/// What an operator decides about accounts.
#[derive(Debug, Clone)]
pub struct IdentityOptions {
    /// The public address of this service, the `iss` of its tokens.
    pub issuer: String,
    /// Whether anybody may sign up. Administrators and personas are added either way.
    pub registration_open: bool,
    /// How much work a password hash is.
    pub hash_cost: HashCost,
}

impl IdentityOptions {
    /// The usual: everybody may sign up, hashing at the recommended cost.
    pub fn new(issuer: impl Into<String>) -> Self {
        Self { issuer: issuer.into(), registration_open: true, hash_cost: HashCost::default() }
    }
}

/// The identity service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    options: IdentityOptions,
    keys: Keys,
    hasher: Hasher,
}

impl Identity {
    /// Opens the service; makes a signing key if there is none or the newest is old.
    pub async fn open(
        db: Db,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        options: IdentityOptions,
    ) -> Result<Self, Error> {
        let keys = Keys::open(&db, &*clock, &*random).await?;
        let hasher = Hasher::new(&options.hash_cost, Arc::clone(&random)).await?;
        Ok(Self(Arc::new(Inner { db, clock, random, options, keys, hasher })))
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.0.options.issuer
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    /// Removes what has expired: refresh tokens, sessions, failures, signing keys. Returns how many rows. Wants to be
    /// called about once an hour.
    #[tracing::instrument(name = "identity.sweep", skip_all)]
    pub async fn sweep(&self) -> Result<u64, Error> {
        let now = self.0.db.now().await?;
        let mut tx = self.0.db.begin().await?;
        let mut removed = session::sweep(&mut tx, now).await?;
        removed += lockout::sweep(&mut tx, now).await?;
        removed += keys::sweep(&mut tx, now).await?;
        tx.commit().await?;
        Ok(removed)
    }
}
