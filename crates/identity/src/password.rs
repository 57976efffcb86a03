//! Passwords: argon2id (RFC 9106), kept as PHC strings.
//!
//! A hash takes some 20 ms of one core and 19 MiB, so it runs on the blocking pool and never on more threads at once
//! than there are cores: a flood of sign-ins queues up instead of starving everything else.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::{Error as HashError, PasswordHasher, PasswordVerifier};
use argon2::{Argon2, Params};
use mana_types::{Random, Secret};
use tokio::sync::Semaphore;

use crate::{Error, InvalidInput};

/// Characters that a password has at least.
const SHORTEST: usize = 8;
/// Characters that a password has at most.
const LONGEST: usize = 128;

/// A password of 8 to 128 characters.
#[derive(Debug, Clone)]
pub struct Password(Secret);

impl Password {
    /// Takes a password as it was chosen; nothing is trimmed.
    pub fn parse(text: &str) -> Result<Self, InvalidInput> {
        match text.chars().count() {
            SHORTEST..=LONGEST => Ok(Self(Secret::new(text))),
            0..SHORTEST => Err(InvalidInput("too short, expected 8 to 128 characters")),
            _ => Err(InvalidInput("too long, expected 8 to 128 characters")),
        }
    }
}

/// A hashed password: a PHC string such as `$argon2id$v=19$m=7168,t=5,p=1$…`.
#[derive(Clone)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(***)")
    }
}

/// How much work a hash is, with one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// How often the memory is gone through.
    pub passes: u32,
}

impl Default for HashCost {
    /// One of the settings that the OWASP password storage cheat sheet recommends as equally strong: 7 MiB, five passes.
    /// The others want up to 46 MiB for each sign-in under way, which a small machine feels and does not gain by.
    fn default() -> Self {
        Self { memory_kib: 7 * 1024, passes: 5 }
    }
}

/// Hashes and compares.
#[derive(Debug)]
pub(crate) struct Hasher {
    argon2: Argon2<'static>,
    permits: Arc<Semaphore>,
    random: Arc<dyn Random>,
    /// What a password is compared with where there is no account, so that it takes as long.
    nobody: PasswordHash,
}

impl Hasher {
    pub(crate) async fn new(cost: &HashCost, random: Arc<dyn Random>) -> Result<Self, Error> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(Error::Cost)?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut hasher = Self {
            argon2: Argon2::from(params),
            permits: Arc::new(Semaphore::new(cores)),
            random,
            nobody: PasswordHash(String::new()),
        };
        let unguessable = hasher.random_bytes::<32>();
        hasher.nobody = hasher.hash_bytes(unguessable.to_vec()).await?;
        Ok(hasher)
    }

    /// Hashes with a fresh salt.
    pub(crate) async fn hash(&self, password: &Password) -> Result<PasswordHash, Error> {
        self.hash_bytes(password.0.expose().as_bytes().to_vec()).await
    }

    /// Whether the password belongs to the hash. Without a hash it never does, and takes as long to say so.
    pub(crate) async fn verify(&self, password: &Secret, stored: Option<&PasswordHash>) -> Result<bool, Error> {
        let exists = stored.is_some();
        let phc = stored.unwrap_or(&self.nobody).0.clone();
        let (argon2, password) = (self.argon2.clone(), password.clone());
        let compared = self.work(move || argon2.verify_password(password.expose().as_bytes(), phc.as_str())).await?;
        match compared {
            Ok(()) => Ok(exists),
            Err(HashError::PasswordInvalid) => Ok(false),
            Err(error) => Err(Error::Hash(error)),
        }
    }

    async fn hash_bytes(&self, password: Vec<u8>) -> Result<PasswordHash, Error> {
        let salt = self.random_bytes::<16>();
        let argon2 = self.argon2.clone();
        let hashed = self.work(move || argon2.hash_password_with_salt(&password, &salt)).await?;
        Ok(PasswordHash(hashed.map_err(Error::Hash)?.to_string()))
    }

    fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes);
        bytes
    }

    /// Runs it on the blocking pool. The permit goes with the work, so that who gives up waiting frees no core early.
    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("nobody closes this semaphore");
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        working.await.map_err(Error::HashingStopped)
    }
}

#[cfg(test)]
mod tests {
    use mana_types::SeededRandom;

    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        for (text, fits) in [
            ("1234567".to_owned(), false),
            ("ÄÖÜäöüß€".to_owned(), true),
            ("x".repeat(128), true),
            ("€".repeat(128), true),
            ("x".repeat(129), false),
            (String::new(), false),
        ] {
            assert_eq!(Password::parse(&text).is_ok(), fits, "{text}");
        }
    }

    #[tokio::test]
    async fn the_default_cost_is_the_recommended_floor_and_only_the_right_password_fits() {
        let hasher = Hasher::new(&HashCost::default(), Arc::new(SeededRandom::new(1))).await.expect("usable");
        let hash = hasher.hash(&Password::parse("correct horse").expect("long enough")).await.expect("hashes");
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{}", hash.as_str());
        assert!(hasher.verify(&Secret::new("correct horse"), Some(&hash)).await.expect("compares"));
        assert!(!hasher.verify(&Secret::new("correct house"), Some(&hash)).await.expect("compares"));
        assert!(!hasher.verify(&Secret::new("correct horse"), None).await.expect("compares"));
        assert_eq!(format!("{hash:?}"), "PasswordHash(***)");
    }
}
