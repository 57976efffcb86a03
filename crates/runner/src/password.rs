//! The password of a persona, derived and never stored: whoever holds the seed secret derives the same one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac};
use mana_types::Secret;
use sha2::Sha256;

/// The seed secret of a development installation. Production refuses to start with it, because anybody can read it here.
pub const DEVELOPMENT_SEED_SECRET: &str = "mana-development-seed";

/// How many characters a derived password has at most.
const LENGTH: usize = 32;

/// base64(HMAC-SHA256(seed secret, e-mail as given)), everything but letters and digits dropped, the first 32 characters.
pub fn derive_password(seed_secret: &Secret, email: &str) -> Secret {
    let mut mac = Hmac::<Sha256>::new_from_slice(seed_secret.expose().as_bytes())
        .expect("HMAC takes a key of any length (RFC 2104)");
    mac.update(email.as_bytes());
    let text = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    Secret::new(text.chars().filter(char::is_ascii_alphanumeric).take(LENGTH).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with another implementation: Python's `hmac`, `hashlib` and `base64`.
    #[test]
    fn passwords_are_the_ones_that_other_tools_derive() {
        let vectors = VECTORS;
        for (secret, email, password) in vectors {
            assert_eq!(derive_password(&Secret::new(*secret), email).expose(), *password, "{secret} {email}");
        }
    }

    const VECTORS: &[(&str, &str, &str)] = &[
        ("mana-development-seed", "persona.anna@mana.test", "Syou8iXEaeUaPlGglMA8uukJMODehIvp"),
        ("mana-development-seed", "Persona.Anna@mana.test", "OHAGAcy1FQNDIrXUzykkZfyAqh9EBolF"),
        ("s3cret", "persona.ben@mana.test", "2wV6ChpRD6kvHP76oHF0SBSCZuMLuhom"),
        ("", "x", "TLyWCZpkZ84AJGHxBUm0iYJl6YYi0Xvr"),
        ("schlüssel-mit-ü", "jürgen@mana.test", "zEgFlCTyJMSFTjEpi1Add2n9FQMpjp4h"),
        (
            "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
            "persona.kai@mana.test",
            "Q1wECU9wpqvbhsahMraJaJawntAJSgfS",
        ),
    ];
}
