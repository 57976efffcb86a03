//! Signed addresses: for an installation where knowing the id of a file is not enough to fetch it.
//!
//! An address carries until when it works (`exp`, seconds since 1970) and a signature (`sig`): HMAC-SHA256 over path, the
//! other parameters in order, and `exp`, in hexadecimal digits. The key is derived from a secret, so that the secret
//! itself signs nothing.

use std::fmt::Write as _;
use std::time::Duration;

use hmac::{Hmac, Mac};
use mana_types::{Secret, Timestamp};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How addresses are signed.
#[derive(Debug, Clone)]
pub struct SignedUrls {
    /// What the key is derived from; all processes of an installation have the same.
    pub secret: Secret,
    /// How long an address works at most.
    pub lifetime: Duration,
}

/// Why an address is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// It carries no signature.
    Missing,
    /// It was not given out like this.
    Wrong,
    /// Its time is over.
    Expired,
}

pub(crate) struct Signer {
    key: [u8; 32],
    lifetime: i64,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

fn hmac(key: &[u8], parts: &[&str]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

impl Signer {
    pub(crate) fn new(options: &SignedUrls) -> Self {
        let key = hmac(options.secret.expose().as_bytes(), &["mana media addresses, version 1"]);
        Self {
            key,
            lifetime: i64::try_from(options.lifetime.as_secs()).unwrap_or(i64::MAX).clamp(2, 10 * 365 * 86_400),
        }
    }

    /// The address with a signature. Everyone who asks within half a lifetime gets the same, so that caches help.
    pub(crate) fn sign(&self, path: &str, query: &str, now: Timestamp) -> String {
        let half = self.lifetime / 2;
        let expires = (now.as_secs() / half + 2) * half;
        let joint = if query.is_empty() { "" } else { "&" };
        format!("{path}?{query}{joint}exp={expires}&sig={}", self.signature(path, &sorted(query), expires))
    }

    /// Until when an address works, in seconds since 1970.
    pub(crate) fn check(&self, path: &str, query: &str, now: Timestamp) -> Result<i64, Unsigned> {
        let (mut expires, mut signature, mut rest) = (None, None, Vec::new());
        for pair in query.split('&') {
            let twice = match pair.split_once('=') {
                Some(("exp", text)) => expires.replace(text).is_some(),
                Some(("sig", text)) => signature.replace(text).is_some(),
                _ => {
                    rest.push(pair);
                    false
                }
            };
            if twice {
                return Err(Unsigned::Wrong);
            }
        }
        let (expires, signature) = match (expires, signature) {
            (None, None) => return Err(Unsigned::Missing),
            (Some(expires), Some(signature)) => (expires, signature),
            _ => return Err(Unsigned::Wrong),
        };
        // Only digits: `+5` and `05` would be other spellings of the same.
        let Some(expires) = expires.parse().ok().filter(|number: &i64| number.to_string() == expires) else {
            return Err(Unsigned::Wrong);
        };
        let expected = self.signature(path, &sorted(&rest.join("&")), expires);
        let is_ours: bool = expected.as_bytes().ct_eq(signature.as_bytes()).into();
        // However it came about, nothing works longer than this installation allows now.
        if !is_ours || expires > now.as_secs() + self.lifetime {
            return Err(Unsigned::Wrong);
        }
        if expires <= now.as_secs() { Err(Unsigned::Expired) } else { Ok(expires) }
    }

    fn signature(&self, path: &str, sorted: &str, expires: i64) -> String {
        let signature = hmac(&self.key, &[path, "\n", sorted, "\n", &expires.to_string()]);
        signature.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
            text
        })
    }
}

fn sorted(query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_works_as_it_was_given_out_and_not_for_ever() {
        let options = SignedUrls { secret: Secret::new("a secret"), lifetime: Duration::from_hours(1) };
        let signer = Signer::new(&options);
        let now = Timestamp::from_millis(1_800_000_000_000);
        let address = signer.sign("/file", "w=10&h=20", now);
        assert_eq!(signer.sign("/file", "w=10&h=20", now.plus_millis(1_000)), address, "stable for caches");
        let (path, query) = address.split_once('?').expect("a query");
        let expires = signer.check(path, query, now).expect("works");
        assert!((1_800..=3_600).contains(&(expires - now.as_secs())), "{expires}");

        let turned: Vec<&str> = query.split('&').rev().collect();
        assert_eq!(signer.check(path, &turned.join("&"), now), Ok(expires), "the order says nothing");
        assert_eq!(signer.check(path, query, now.plus_millis(3_600_001)), Err(Unsigned::Expired));
        assert_eq!(signer.check(path, query, now.plus_millis(-3_600_000)), Err(Unsigned::Wrong), "too far ahead");
        assert_eq!(signer.check("/other", query, now), Err(Unsigned::Wrong));
        assert_eq!(signer.check(path, &query.replace("w=10", "w=11"), now), Err(Unsigned::Wrong));
        assert_eq!(signer.check(path, &format!("{query}&q=1"), now), Err(Unsigned::Wrong));
        assert_eq!(signer.check(path, &query.replace("exp=1", "exp=2"), now), Err(Unsigned::Wrong));
        assert_eq!(signer.check(path, &query.replace("exp=", "exp=0"), now), Err(Unsigned::Wrong));
        assert_eq!(signer.check(path, &format!("{query}&exp=1"), now), Err(Unsigned::Wrong));
        assert_eq!(signer.check(path, "w=10&h=20", now), Err(Unsigned::Missing));
        assert_eq!(signer.check(path, "w=10&h=20&sig=abc", now), Err(Unsigned::Wrong));
        let other = Signer::new(&SignedUrls { secret: Secret::new("another"), ..options });
        assert_eq!(other.check(path, query, now), Err(Unsigned::Wrong));
    }
}
