//! Signing keys: how they come, rotate and go.
//!
//! The newest key in the database signs. A process looks again after [`RELOAD_MS`], so a key that another process
//! made is used by all within that time, and the key before it signs its last token no later. Its public half stays
//! in the set until that last token has expired; then the key is removed.

use std::sync::{Arc, PoisonError, RwLock};

use mana_store::{Db, Source, Tx};
use mana_token::{FetchKeys, Jwks, KeysUnavailable, SigningKey, TOKEN_LIFETIME_MS, Verifier};
use mana_types::{Clock, KeyId, Random, Timestamp};

use crate::{Error, Identity, store};

/// A new key is made when the newest is older than this: 30 days.
const ROTATE_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How long a process signs with a key before it looks whether there is a newer one.
const RELOAD_MS: i64 = 5 * 60 * 1000;
/// How long a key stays in the public set after a newer one was made.
const RETIRE_MS: i64 = RELOAD_MS + TOKEN_LIFETIME_MS;

/// The key that signs in this process.
#[derive(Debug)]
pub(crate) struct Keys(RwLock<Current>);

#[derive(Debug, Clone)]
struct Current {
    key: Arc<SigningKey>,
    loaded: Timestamp,
}

impl Keys {
    pub(crate) async fn open(db: &Db, clock: &dyn Clock, random: &dyn Random) -> Result<Self, Error> {
        let now = db.now().await?;
        rotate(db, clock, random, now).await?;
        Ok(Self(RwLock::new(load(db, now).await?)))
    }

    fn current(&self) -> Current {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, current: Current) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = current;
    }
}

/// Makes a new key if the newest is old or there is none. True if it did.
async fn rotate(db: &Db, clock: &dyn Clock, random: &dyn Random, now: Timestamp) -> Result<bool, Error> {
    let oldest_in_use = now.plus_millis(-ROTATE_MS);
    if store::has_signing_key_since(db, oldest_in_use).await? {
        return Ok(false);
    }
    let (id, seed) = (KeyId::new(clock, random), SigningKey::new_seed(random));
    let mut tx = db.begin().await?;
    let made = store::add_signing_key(&mut tx, id, &seed, now, oldest_in_use).await?;
    tx.commit().await?;
    if made {
        tracing::info!(key.id = %id, "identity.keys.rotated");
    }
    Ok(made)
}

async fn load(db: &Db, now: Timestamp) -> Result<Current, Error> {
    Ok(Current { key: Arc::new(store::newest_signing_key(db).await?), loaded: now })
}

/// Removes keys whose last token has expired.
pub(crate) async fn sweep(tx: &mut Tx, now: Timestamp) -> Result<u64, Error> {
    Ok(store::delete_retired_keys(tx, now.plus_millis(-RETIRE_MS)).await?)
}

impl Identity {
    /// Makes a new signing key if the newest is older than 30 days. True if it did. Wants to be called about once an
    /// hour.
    #[tracing::instrument(name = "identity.keys.rotate_if_due", skip_all)]
    pub async fn rotate_if_due(&self) -> Result<bool, Error> {
        let inner = &*self.0;
        let now = inner.db.now().await?;
        let made = rotate(&inner.db, &*inner.clock, &*inner.random, now).await?;
        inner.keys.replace(load(&inner.db, now).await?);
        Ok(made)
    }

    /// The key to sign with at this time.
    pub(crate) async fn signing_key(&self, now: Timestamp) -> Result<Arc<SigningKey>, Error> {
        let mut current = self.0.keys.current();
        if now.since(current.loaded) >= RELOAD_MS {
            current = load(&self.0.db, now).await?;
            self.0.keys.replace(current.clone());
        }
        Ok(current.key)
    }

    /// The public keys whose tokens may still be valid, newest first.
    pub async fn jwks(&self) -> Result<Jwks, Error> {
        let now = self.0.db.now().await?;
        let keys = store::signing_keys(&mut Source::Db(&self.0.db), now.plus_millis(-RETIRE_MS)).await?;
        Ok(Jwks { keys: keys.iter().map(SigningKey::public).collect() })
    }

    /// The key set for a verifier in this process.
    pub fn fetch_keys(&self) -> FetchKeys {
        let identity = self.clone();
        Arc::new(move || {
            let identity = identity.clone();
            Box::pin(async move { identity.jwks().await.map_err(|error| KeysUnavailable(error.to_string())) })
        })
    }

    /// A verifier of this service's tokens, for this process.
    pub fn verifier(&self) -> Arc<Verifier> {
        Arc::new(Verifier::new(self.issuer(), Arc::clone(&self.0.clock), self.fetch_keys()))
    }
}
