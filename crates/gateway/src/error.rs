//! What can go wrong at the doors, before or around a tool.

use mana_registry::{FieldError, ToolError};
use mana_token::TokenError;

/// A call that did not come through.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No token was sent.
    #[error("send an access token as `Authorization: Bearer …`")]
    NoToken,
    /// The token is not accepted.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// There is no such space, or the caller is no member of it; which of the two, he may not know.
    #[error("there is no such space")]
    NoSuchSpace,
    /// The choice of tools in the address or the headers cannot be understood.
    #[error("the choice of tools cannot be understood")]
    Choice(Vec<FieldError>),
    /// There is no tool of this name, or it is not among the chosen ones.
    #[error("{}", unknown(name, near.as_deref()))]
    UnknownTool {
        /// The name as it was called.
        name: String,
        /// The name that was probably meant.
        near: Option<String>,
    },
    /// The tool did not do what was asked, or the policy did not let it.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The tool panicked; a fault of ours.
    #[error("the tool `{0}` panicked")]
    Panicked(&'static str),
    /// There is no room in the audit trail, and without it no call is made.
    #[error("the audit trail cannot be written at the moment, try again")]
    AuditUnavailable,
    /// The database.
    #[error("the data could not be read")]
    Store(#[from] mana_store::Error),
}

fn unknown(name: &str, near: Option<&str>) -> String {
    let shown: String = name.chars().take(60).collect();
    match near {
        Some(near) => format!("there is no tool `{shown}` here, did you mean `{near}`?"),
        None => format!("there is no tool `{shown}` here, list the tools to see which there are"),
    }
}
