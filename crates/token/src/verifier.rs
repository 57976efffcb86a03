//! From a bearer token to a principal.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use mana_types::{Clock, Timestamp};
use sha2::{Digest, Sha256};

use crate::claims::{AUDIENCE, Claims};
use crate::keys::Jwks;
use crate::principal::{Principal, Proof};
use crate::provider;

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its time is over.
    #[error("the access token has expired, refresh it or sign in again")]
    Expired,
    /// It is not one of ours, is damaged, or is meant for somebody else.
    #[error("the access token is not valid here")]
    Invalid,
    /// It cannot be checked now.
    #[error("access tokens cannot be checked at the moment, try again")]
    KeysUnavailable(#[source] KeysUnavailable),
}

/// The public keys cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key set could not be read: {0}")]
pub struct KeysUnavailable(pub String);

/// Asks for the current key set: from the database beside us, or from the identity service's address.
pub type FetchKeys = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Jwks, KeysUnavailable>> + Send>> + Send + Sync>;

/// How many verified tokens are remembered.
const REMEMBERED: usize = 16_384;

/// A token naming an unknown key makes us ask for the key set at most this often, in milliseconds.
const ASK_AGAIN_MS: i64 = 1_000;

type TokenHash = [u8; 32];

/// Verifies access tokens against the key set of one issuer.
///
/// Checking a signature is the dear part of a request that does little else, so a token that was found good is remembered
/// by its SHA-256 until it expires. Nothing else about it can change in that time.
pub struct Verifier {
    issuer: String,
    clock: Arc<dyn Clock>,
    fetch: FetchKeys,
    keys: RwLock<HashMap<String, DecodingKey>>,
    asked_at: tokio::sync::Mutex<Timestamp>,
    verified: Mutex<HashMap<TokenHash, Arc<Principal>>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for the tokens of this issuer.
    pub fn new(issuer: impl Into<String>, clock: Arc<dyn Clock>, fetch: FetchKeys) -> Self {
        provider::install();
        Self {
            issuer: issuer.into(),
            clock,
            fetch,
            keys: RwLock::default(),
            asked_at: tokio::sync::Mutex::new(Timestamp::MIN),
            verified: Mutex::default(),
        }
    }

    /// The principal behind a token.
    pub async fn verify(&self, token: &str) -> Result<Arc<Principal>, TokenError> {
        let hash: TokenHash = Sha256::digest(token.as_bytes()).into();
        if let Some(principal) = self.remembered(&hash) {
            return self.unexpired(principal);
        }
        let claims = self.claims(token).await?;
        let principal = Arc::new(Principal {
            user_id: claims.sub,
            email: claims.email,
            role: claims.role,
            tier: claims.tier,
            proof: Proof::AccessToken {
                session: claims.sid,
                expires_at: Timestamp::from_millis(claims.exp.saturating_mul(1000)),
            },
        });
        let principal = self.unexpired(principal)?;
        self.remember(hash, Arc::clone(&principal));
        Ok(principal)
    }

    /// The checked claims of a token, as `POST /api/v1/auth/validate` answers them.
    pub async fn claims(&self, token: &str) -> Result<Claims, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        if header.alg != Algorithm::EdDSA {
            return Err(TokenError::Invalid);
        }
        let key_id = header.kid.ok_or(TokenError::Invalid)?;
        let key = match self.known_key(&key_id) {
            Some(key) => key,
            None => self.fetch_key(&key_id).await?,
        };
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_exp = false; // against our clock, below
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => TokenError::Expired,
                _ => TokenError::Invalid,
            })?
            .claims;
        if claims.exp <= self.clock.now().as_secs() { Err(TokenError::Expired) } else { Ok(claims) }
    }

    fn unexpired(&self, principal: Arc<Principal>) -> Result<Arc<Principal>, TokenError> {
        let Proof::AccessToken { expires_at, .. } = principal.proof;
        if expires_at <= self.clock.now() { Err(TokenError::Expired) } else { Ok(principal) }
    }

    fn remembered(&self, hash: &TokenHash) -> Option<Arc<Principal>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    fn remember(&self, hash: TokenHash, principal: Arc<Principal>) {
        let now = self.clock.now();
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= REMEMBERED {
            verified.retain(|_, principal| {
                let Proof::AccessToken { expires_at, .. } = principal.proof;
                expires_at > now
            });
        }
        if verified.len() >= REMEMBERED {
            verified.clear();
        }
        verified.insert(hash, principal);
    }

    fn known_key(&self, key_id: &str) -> Option<DecodingKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(key_id).cloned()
    }

    async fn fetch_key(&self, key_id: &str) -> Result<DecodingKey, TokenError> {
        let mut asked_at = self.asked_at.lock().await;
        if let Some(key) = self.known_key(key_id) {
            return Ok(key); // somebody else asked while we waited
        }
        let now = self.clock.now();
        if *asked_at > now.plus_millis(-ASK_AGAIN_MS) {
            return Err(TokenError::Invalid);
        }
        let fetched = (self.fetch)().await.map_err(TokenError::KeysUnavailable)?;
        *asked_at = now;
        let keys: HashMap<String, DecodingKey> = fetched
            .keys
            .into_iter()
            .filter(|key| key.kty == "OKP" && key.crv == "Ed25519")
            .filter_map(|key| DecodingKey::from_ed_components(&key.x).ok().map(|decoding| (key.kid, decoding)))
            .collect();
        let found = keys.get(key_id).cloned();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        found.ok_or(TokenError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use mana_types::{KeyId, ManualClock, SeededRandom, SessionId, UserId};

    use super::*;
    use crate::keys::SigningKey;
    use crate::{Role, TOKEN_LIFETIME_MS};

    struct Setting {
        clock: Arc<ManualClock>,
        key: SigningKey,
        verifier: Verifier,
    }

    fn setting() -> Setting {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_790_000_000_000)));
        let random = SeededRandom::new(3);
        let key = SigningKey::from_seed(KeyId::new(&*clock, &random), &SigningKey::new_seed(&random));
        let jwks = Jwks { keys: vec![key.public()] };
        let fetch: FetchKeys = Arc::new(move || {
            let jwks = jwks.clone();
            Box::pin(async move { Ok(jwks) })
        });
        let verifier = Verifier::new("http://mana.test", Arc::clone(&clock) as Arc<dyn Clock>, fetch);
        Setting { clock, key, verifier }
    }

    fn claims(setting: &Setting) -> Claims {
        let now = setting.clock.now();
        let random = SeededRandom::new(4);
        Claims {
            iss: "http://mana.test".into(),
            aud: AUDIENCE.into(),
            sub: UserId::new(&*setting.clock, &random),
            email: "anna@mana.test".into(),
            role: Role::User,
            sid: SessionId::new(&*setting.clock, &random),
            tier: "founder".into(),
            iat: now.as_secs(),
            exp: now.plus_millis(TOKEN_LIFETIME_MS).as_secs(),
        }
    }

    #[tokio::test]
    async fn a_good_token_names_its_user_until_it_expires() {
        let setting = setting();
        let claims = claims(&setting);
        let token = setting.key.sign(&claims).expect("signs");
        let principal = setting.verifier.verify(&token).await.expect("valid");
        assert_eq!(principal.user_id, claims.sub);
        setting.clock.advance_millis(TOKEN_LIFETIME_MS + 1);
        assert_eq!(setting.verifier.verify(&token).await, Err(TokenError::Expired));
    }

    #[tokio::test]
    async fn foreign_tokens_are_refused() {
        let setting = setting();
        let good = claims(&setting);
        let wrong_audience = setting.key.sign(&Claims { aud: "other".into(), ..good.clone() }).expect("signs");
        let wrong_issuer = setting.key.sign(&Claims { iss: "http://evil.test".into(), ..good.clone() }).expect("signs");
        let stranger = SigningKey::from_seed(setting.key.id(), &[7; 32]).sign(&good).expect("signs");
        let token = setting.key.sign(&good).expect("signs");
        let cut = &token[..token.len() - 4];
        let hs256 = "eyJhbGciOiJIUzI1NiIsImtpZCI6IngifQ.e30.c2ln";
        let none = "eyJhbGciOiJub25lIn0.e30.";
        for bad in [wrong_audience.as_str(), &wrong_issuer, &stranger, cut, hs256, none, "", "a.b.c", "Bearer"] {
            assert_eq!(setting.verifier.verify(bad).await, Err(TokenError::Invalid), "{bad}");
        }
    }
}
