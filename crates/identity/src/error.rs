//! What can go wrong with accounts and sign-in.

use mana_token::KeyError;
use mana_web::FieldError;

/// A value that cannot be taken; says what is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidInput(pub &'static str);

/// Why identity did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the input are wrong; all of them are named.
    #[error("the input is wrong: {}", faults(.0))]
    Invalid(Vec<FieldError>),
    /// The password alone is too short or too long.
    #[error("the password is {0}")]
    WeakPassword(InvalidInput),
    /// Another account has this e-mail.
    #[error("this e-mail is already registered, sign in instead")]
    EmailTaken,
    /// Nobody may sign up here.
    #[error("registration is closed here, ask an administrator for an account")]
    RegistrationClosed,
    /// E-mail or password are wrong; which one is not told.
    #[error("e-mail or password are wrong")]
    InvalidCredentials,
    /// Too many wrong passwords.
    #[error("too many wrong passwords for this e-mail, try again in {} minutes", .retry_after_secs.div_ceil(60))]
    Locked {
        /// When to try again, in whole seconds from now.
        retry_after_secs: u64,
    },
    /// The refresh token is unknown, expired, revoked or was used before.
    #[error("the refresh token is not valid any more, sign in again")]
    InvalidRefreshToken,
    /// The sign-in behind an access token has ended, or its account is gone.
    #[error("this sign-in has ended, sign in again")]
    SessionEnded,
    /// There is no account with this id.
    #[error("there is no such account")]
    UnknownAccount,
    /// A person's account is never made a persona.
    #[error("this account belongs to a person and never becomes a persona, choose another e-mail")]
    BelongsToPerson,
    /// A cost that argon2 does not take.
    #[error("the cost of password hashing is not usable")]
    Cost(#[source] argon2::Error),
    /// The password could not be hashed or compared.
    #[error("the password could not be hashed")]
    Hash(#[source] argon2::password_hash::Error),
    /// The thread that hashed has ended without a result.
    #[error("the password could not be hashed")]
    HashingStopped(#[source] tokio::task::JoinError),
    /// The access token could not be made.
    #[error("the access token could not be made")]
    Sign(#[source] KeyError),
    /// The database.
    #[error(transparent)]
    Store(#[from] mana_store::Error),
}

fn faults(fields: &[FieldError]) -> String {
    fields.iter().map(|wrong| format!("`{}`: {}", wrong.field, wrong.message)).collect::<Vec<_>>().join("; ")
}
