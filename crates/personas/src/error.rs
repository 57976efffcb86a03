//! What can go wrong with personas.

use mana_types::TickId;
use mana_web::FieldError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no persona with this id.
    #[error("there is no such persona")]
    UnknownPersona,
    /// There is no visit with this id.
    #[error("there is no such visit")]
    UnknownTick,
    /// Fields of the input are wrong; all of them are named.
    #[error("the input has {} faults", .0.len())]
    Invalid(Vec<FieldError>),
    /// The account is no persona.
    #[error("this account is no persona, delete it through its own settings")]
    NotAPersona,
    /// The visit is another persona's.
    #[error("the visit `{0}` belongs to another persona")]
    ForeignTick(TickId),
    /// The lease is over, somebody else's, or an older claim's: nothing was written.
    #[error("the lease of this visit is over or held by somebody else, stop working on it; nothing was written")]
    StaleEpoch,
    /// The persona does not run at the moment.
    #[error("this persona is {0}, resume it first")]
    NotRunnable(&'static str),
    /// Accounts.
    #[error(transparent)]
    Identity(#[from] mana_identity::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] mana_store::Error),
}

/// What a function of this crate answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
