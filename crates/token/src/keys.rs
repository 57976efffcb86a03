//! Signing keys and the public key set.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use mana_types::{KeyId, Random};
use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::provider;

/// A key that does not sign.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The token could not be put together.
    #[error("the access token could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// An Ed25519 key pair that signs access tokens.
pub struct SigningKey {
    id: KeyId,
    pair: ed25519_dalek::SigningKey,
    encoding: EncodingKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A key from its 32 secret bytes (the seed of RFC 8032).
    pub fn from_seed(id: KeyId, seed: &[u8; 32]) -> Self {
        provider::install();
        let pair = ed25519_dalek::SigningKey::from_bytes(seed);
        Self { id, pair, encoding: EncodingKey::from_ed_der(seed) }
    }

    /// 32 fresh secret bytes.
    pub fn new_seed(random: &dyn Random) -> [u8; 32] {
        let mut seed = [0; 32];
        random.fill(&mut seed);
        seed
    }

    /// The key's id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The public half, as it is published.
    pub fn public(&self) -> Jwk {
        Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            alg: "EdDSA".into(),
            r#use: "sig".into(),
            kid: self.id.to_string(),
            x: BASE64_URL_SAFE_NO_PAD.encode(self.pair.verifying_key().to_bytes()),
        }
    }

    /// Signs claims into a compact token.
    pub fn sign(&self, claims: &Claims) -> Result<String, KeyError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.id.to_string());
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(KeyError::Sign)
    }
}

/// A public key (RFC 8037): an Ed25519 key in the octet key pair form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    pub r#use: String,
    /// The key's id, as in the header of a token.
    pub kid: String,
    /// The 32 public bytes, base64url without padding.
    pub x: String,
}

/// The public key set: the keys whose tokens may still be valid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwks {
    /// The keys, newest first.
    pub keys: Vec<Jwk>,
}
