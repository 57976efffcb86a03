//! Access tokens: what they claim, how they are signed and verified, and who stands behind a request.
//!
//! Tokens are compact JWS (RFC 7519, RFC 7515) with `EdDSA` over Ed25519 (RFC 8037), valid for 15 minutes. A verifier
//! pins algorithm, issuer and audience, and takes its public keys from a key set (RFC 7517), asking for it again when
//! a token names a key that it does not know yet.

mod claims;
mod keys;
mod principal;
mod provider;
mod verifier;

pub use claims::{AUDIENCE, Claims, TOKEN_LIFETIME_MS};
pub use keys::{Jwk, Jwks, KeyError, SigningKey};
pub use principal::{Principal, Proof, Role};
pub use verifier::{FetchKeys, KeysUnavailable, TokenError, Verifier};
