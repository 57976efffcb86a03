//! Sessions: a sign-in and all tokens that descend from it.
//!
//! A refresh token is 32 random bytes, stored as its SHA-256. Using it rotates it: the answer carries a new one, and
//! the old one stops to work. Two cases are told apart when an old one comes again:
//!
//! - Within [`REFRESH_GRACE_MS`] of its first use it is a retry: the answer was lost on the way, or two windows of one
//!   browser asked at once. It gets another pair of the same family. The pair given out first stays valid as well,
//!   because nobody can tell which of the two arrived.
//! - Later it is a reuse: two parties hold the same token, and one of them has stolen it. The whole family is revoked,
//!   so both have to sign in again, which the thief cannot.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use mana_store::{Source, Tx};
use mana_token::{AUDIENCE, Claims, SigningKey, TOKEN_LIFETIME_MS};
use mana_types::{Random, Secret, SessionId, Timestamp, UserId};
use sha2::{Digest, Sha256};

use crate::account::{Account, Email, NewAccount};
use crate::{Error, Identity, lockout, store};

/// How long a refresh token works, in milliseconds: 30 days, anew with each rotation.
pub const REFRESH_LIFETIME_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// How long after its rotation a refresh token may come again as a retry, in milliseconds.
pub const REFRESH_GRACE_MS: i64 = 30 * 1000;

/// Somebody who has just proved who he is, with the tokens to go on with.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// The account.
    pub account: Account,
    /// The access token: a JWT.
    pub access_token: Secret,
    /// The refresh token: opaque.
    pub refresh_token: Secret,
    /// How long the access token is valid, in seconds.
    pub expires_in: i64,
}

/// The stored form of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

fn new_refresh_token(random: &dyn Random) -> (Secret, TokenHash) {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    let token = BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let hash = TokenHash::of(&token);
    (Secret::new(token), hash)
}

/// A refresh token and its family, as they are stored.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) session: SessionId,
    pub(crate) revoked: bool,
    pub(crate) expires: Timestamp,
    pub(crate) rotated: Option<Timestamp>,
    pub(crate) account: Account,
}

/// What became of a refresh token that was shown.
enum Shown {
    Refreshed { account: Account, session: SessionId, token: Secret },
    Reused(SessionId),
}

fn count(what: &'static str, outcome: &'static str) {
    metrics::counter!("mana_identity_sign_ins_total", "by" => what, "outcome" => outcome).increment(1);
}

/// Removes what can answer nothing but "sign in again" any more.
pub(crate) async fn sweep(tx: &mut Tx, now: Timestamp) -> Result<u64, Error> {
    let tokens = store::delete_expired_tokens(tx, now).await?;
    // A session without refresh tokens lives as long as the access token that was made for it.
    Ok(tokens + store::delete_ended_sessions(tx, now.plus_millis(-TOKEN_LIFETIME_MS)).await?)
}

impl Identity {
    /// Signs somebody up and in, all in one transaction.
    #[tracing::instrument(name = "identity.session.sign_up", skip_all)]
    pub(crate) async fn sign_up(&self, new: &NewAccount) -> Result<SignedIn, Error> {
        if !self.0.options.registration_open {
            return Err(Error::RegistrationClosed);
        }
        let Some(hashed) = self.hash_for_sign_up(new).await? else { return Err(Error::EmailTaken) };
        let now = self.0.db.now().await?;
        let key = self.signing_key(now).await?;
        let mut tx = self.0.db.begin().await?;
        let account = self.sign_up_in(&mut tx, new, &hashed, now).await?;
        let (session, token) = self.start(&mut tx, account.id, now).await?;
        tx.commit().await?;
        tracing::info!(user.id = %account.id, "identity.account.signed_up");
        self.signed_in(&key, account, session, token, now)
    }

    /// Signs in with e-mail and password. Whether the account exists can be seen neither in the answer nor in its time.
    #[tracing::instrument(name = "identity.session.sign_in", skip_all)]
    pub async fn sign_in(&self, email: &str, password: &Secret) -> Result<SignedIn, Error> {
        let signed_in = self.try_sign_in(email, password).await;
        match &signed_in {
            Ok(_) => count("password", "ok"),
            Err(Error::InvalidCredentials) => count("password", "wrong"),
            Err(Error::Locked { .. }) => count("password", "locked"),
            Err(_) => count("password", "failed"),
        }
        signed_in
    }

    async fn try_sign_in(&self, email: &str, password: &Secret) -> Result<SignedIn, Error> {
        let db = &self.0.db;
        let Ok(email) = Email::parse(email) else {
            // Nobody has such an address, so there is nothing to count; it takes as long all the same.
            self.0.hasher.verify(password, None).await?;
            return Err(Error::InvalidCredentials);
        };
        lockout::check(db, &email, db.now().await?).await?;
        let found = store::credentials(db, email.key()).await?;
        let right = self.0.hasher.verify(password, found.as_ref().map(|(_, hash)| hash)).await?;
        let now = db.now().await?;
        let key = self.signing_key(now).await?;
        let mut tx = db.begin().await?;
        match found {
            Some((account, _)) if right => {
                lockout::clear(&mut tx, &email, now).await?;
                let (session, token) = self.start(&mut tx, account.id, now).await.map_err(|error| match error {
                    Error::UnknownAccount => Error::InvalidCredentials, // erased while we compared
                    other => other,
                })?;
                tx.commit().await?;
                self.signed_in(&key, account, session, token, now)
            }
            _ => {
                lockout::count(&mut tx, &email, now).await?;
                tx.commit().await?;
                Err(Error::InvalidCredentials)
            }
        }
    }

    /// Exchanges a refresh token for a new pair.
    #[tracing::instrument(name = "identity.session.refresh", skip_all)]
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<SignedIn, Error> {
        let refreshed = self.try_refresh(refresh_token).await;
        match &refreshed {
            Ok(_) => count("refresh", "ok"),
            Err(Error::InvalidRefreshToken) => count("refresh", "wrong"),
            Err(_) => count("refresh", "failed"),
        }
        refreshed
    }

    async fn try_refresh(&self, refresh_token: &Secret) -> Result<SignedIn, Error> {
        let hash = TokenHash::of(refresh_token.expose());
        let now = self.0.db.now().await?;
        let key = self.signing_key(now).await?;
        let mut tx = self.0.db.begin().await?;
        let shown = self.show(&mut tx, hash, now).await?;
        tx.commit().await?;
        match shown {
            Shown::Refreshed { account, session, token } => self.signed_in(&key, account, session, token, now),
            Shown::Reused(session) => {
                tracing::warn!(session.id = %session, "identity.session.refresh_token_reused");
                count("refresh", "reused");
                Err(Error::InvalidRefreshToken)
            }
        }
    }

    async fn show(&self, tx: &mut Tx, hash: TokenHash, now: Timestamp) -> Result<Shown, Error> {
        let first_use = store::rotate_token(tx, hash, now).await?;
        let held = store::refresh_token(&mut Source::Tx(tx), hash).await?.ok_or(Error::InvalidRefreshToken)?;
        if held.revoked || held.expires <= now {
            return Err(Error::InvalidRefreshToken);
        }
        let retry = held.rotated.is_some_and(|rotated| now.since(rotated) <= REFRESH_GRACE_MS);
        if !first_use && !retry {
            store::revoke_session(tx, held.session, now).await?;
            return Ok(Shown::Reused(held.session));
        }
        if !store::touch_session(tx, held.session, now).await? {
            return Err(Error::InvalidRefreshToken); // revoked meanwhile
        }
        let token = self.add_refresh_token(tx, held.session, now).await?;
        Ok(Shown::Refreshed { account: held.account, session: held.session, token })
    }

    /// Ends the sign-in that a refresh token descends from. A token that is not known ends nothing, and that is fine.
    #[tracing::instrument(name = "identity.session.sign_out", skip_all)]
    pub async fn sign_out(&self, refresh_token: &Secret) -> Result<(), Error> {
        let hash = TokenHash::of(refresh_token.expose());
        let now = self.0.db.now().await?;
        let mut tx = self.0.db.begin().await?;
        store::revoke_session_of_token(&mut tx, hash, now).await?;
        Ok(tx.commit().await?)
    }

    /// An access token for a user without a password, for whoever runs this installation. A session stands behind it.
    #[tracing::instrument(name = "identity.session.mint", skip_all)]
    pub async fn mint(&self, user: UserId) -> Result<String, Error> {
        let account = self.user(user).await?.ok_or(Error::UnknownAccount)?;
        let now = self.0.db.now().await?;
        let key = self.signing_key(now).await?;
        let session = SessionId::new(&*self.0.clock, &*self.0.random);
        let mut tx = self.0.db.begin().await?;
        known_account(store::add_session(&mut tx, session, user, now).await)?;
        tx.commit().await?;
        self.access_token(&key, &account, session, now)
    }

    /// The account behind a sign-in that has not ended.
    pub async fn session_account(&self, session: SessionId, user: UserId) -> Result<Account, Error> {
        store::session_account(&self.0.db, session, user).await?.ok_or(Error::SessionEnded)
    }

    async fn start(&self, tx: &mut Tx, user: UserId, now: Timestamp) -> Result<(SessionId, Secret), Error> {
        let session = SessionId::new(&*self.0.clock, &*self.0.random);
        known_account(store::add_session(tx, session, user, now).await)?;
        let token = self.add_refresh_token(tx, session, now).await?;
        Ok((session, token))
    }

    async fn add_refresh_token(&self, tx: &mut Tx, session: SessionId, now: Timestamp) -> Result<Secret, Error> {
        let (token, hash) = new_refresh_token(&*self.0.random);
        store::add_token(tx, hash, session, now.plus_millis(REFRESH_LIFETIME_MS)).await?;
        Ok(token)
    }

    fn signed_in(
        &self,
        key: &SigningKey,
        account: Account,
        session: SessionId,
        refresh_token: Secret,
        now: Timestamp,
    ) -> Result<SignedIn, Error> {
        let access_token = Secret::new(self.access_token(key, &account, session, now)?);
        Ok(SignedIn { account, access_token, refresh_token, expires_in: TOKEN_LIFETIME_MS / 1000 })
    }

    fn access_token(
        &self,
        key: &SigningKey,
        account: &Account,
        session: SessionId,
        now: Timestamp,
    ) -> Result<String, Error> {
        let claims = Claims {
            iss: self.issuer().to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: account.id,
            email: account.email.clone(),
            role: account.role,
            sid: session,
            tier: account.tier.clone(),
            iat: now.as_secs(),
            exp: now.plus_millis(TOKEN_LIFETIME_MS).as_secs(),
        };
        key.sign(&claims).map_err(Error::Sign)
    }
}

/// A session that names no account was asked for an account that has just been erased.
fn known_account(added: mana_store::Result<()>) -> Result<(), Error> {
    added.map_err(|error| match error {
        mana_store::Error::Dangling(_) => Error::UnknownAccount,
        other => Error::Store(other),
    })
}
