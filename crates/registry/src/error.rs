//! What a tool answers when it does not do what was asked.

use std::fmt::Write as _;

use mana_store::records::ChangeError;
use mana_types::FieldError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a tool did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// There is nothing with this id in this space.
    #[error("there is no {what} `{id}` here")]
    NotFound {
        /// What was looked for, in a word.
        what: &'static str,
        /// The id as it was given.
        id: String,
    },
    /// Fields of the input are wrong; all of them are named.
    #[error("{}", wrong(.0))]
    Invalid(Vec<FieldError>),
    /// Somebody else changed the record.
    #[error("the {what} was changed meanwhile, it is now at revision {rev}")]
    Conflict {
        /// What was to be changed, in a word.
        what: &'static str,
        /// Its revision now.
        rev: i64,
    },
    /// A rule of the module says no.
    #[error("{message}")]
    Rule {
        /// A stable word for programs, such as `already-sent`.
        code: &'static str,
        /// What the rule is.
        message: String,
        /// What to do instead.
        hint: Option<String>,
    },
    /// The policy says no, before the tool was reached.
    #[error("{message}")]
    Denied {
        /// A stable word for programs, such as `rate-limit-exceeded`.
        reason: &'static str,
        /// The policy in a sentence.
        message: String,
        /// What to do instead.
        hint: Option<String>,
        /// When the same call would be allowed, in milliseconds from now.
        retry_after_ms: Option<u64>,
    },
    /// The key was used for another call.
    #[error("this idempotency key was already used for another call")]
    KeyReused,
    /// A tool that is marked as reading tried to write; a fault of ours.
    #[error("this tool only reads")]
    ReadOnly,
    /// It took too long, and nothing of it was kept.
    #[error("the call took longer than {0} ms and was undone")]
    Deadline(u64),
    /// The database.
    #[error("the data could not be read or written")]
    Store(#[from] mana_store::Error),
    /// A service that the tool needs does not answer; the same call may work later.
    #[error("{0}")]
    Unavailable(String),
    /// The service of files failed, or was asked at the wrong time; a fault of ours.
    #[error("files could not be read or written")]
    Media(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A result that could not be put into JSON; a fault of ours.
    #[error("the result could not be written as JSON")]
    Output(#[source] serde_json::Error),
}

fn wrong(fields: &[FieldError]) -> String {
    let mut text = String::new();
    for field in fields {
        if !text.is_empty() {
            text.push_str("; ");
        }
        if field.field.is_empty() {
            text.push_str(&field.message);
        } else {
            let _ = write!(text, "`{}`: {}", field.field, field.message); // writing to a String cannot fail
        }
    }
    text
}

/// An error as an agent reads it and can act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// A stable word for programs.
    pub code: String,
    /// What went wrong, in a sentence.
    pub message: String,
    /// Every wrong field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub field_errors: Vec<FieldError>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same call may work later.
    pub retryable: bool,
    /// When to try again, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The request, to quote in a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl ToolError {
    /// One wrong field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError::new(field, message)])
    }

    /// A rule of the module.
    pub fn rule(code: &'static str, message: impl Into<String>) -> Self {
        Self::Rule { code, message: message.into(), hint: None }
    }

    /// The same error, with what to do instead.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Rule { code, message, .. } => Self::Rule { code, message, hint: Some(hint.into()) },
            other => other,
        }
    }

    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not-found",
            Self::Invalid(_) => "invalid-input",
            Self::Conflict { .. } => "conflict",
            Self::Rule { code, .. } => code,
            Self::Denied { reason, .. } => reason,
            Self::KeyReused => "idempotency-key-reused",
            Self::Deadline(_) => "deadline-exceeded",
            Self::Store(error) if error.is_transient() => "unavailable",
            Self::Unavailable(_) => "unavailable",
            Self::Media(_) | Self::ReadOnly | Self::Store(_) | Self::Output(_) => "internal",
        }
    }

    /// Whether it is a fault of ours, that the log must know of and the caller must not see the inside of.
    pub fn is_internal(&self) -> bool {
        self.code() == "internal"
    }

    /// The error as an agent reads it.
    pub fn failure(&self) -> Failure {
        let message = if self.is_internal() {
            "something went wrong on our side, please report it with the `requestId`".to_owned()
        } else {
            self.to_string()
        };
        let field_errors = if let Self::Invalid(fields) = self { fields.clone() } else { Vec::new() };
        let hint = match self {
            Self::NotFound { what, .. } => Some(format!("list the {what}s to see which ids there are")),
            Self::Invalid(_) => Some("correct the named fields and call again".into()),
            Self::Conflict { .. } => Some("read it again and decide whether your change still fits".into()),
            Self::Rule { hint, .. } | Self::Denied { hint, .. } => hint.clone(),
            Self::KeyReused => Some("use a new key for a new call".into()),
            Self::Deadline(_) => Some("ask for less at once".into()),
            Self::Unavailable(_) | Self::Media(_) | Self::ReadOnly | Self::Store(_) | Self::Output(_) => None,
        };
        let retry_after_ms = match self {
            Self::Denied { retry_after_ms, .. } => *retry_after_ms,
            Self::Store(error) if error.is_transient() => Some(1_000),
            Self::Unavailable(_) => Some(2_000),
            _ => None,
        };
        let retryable = retry_after_ms.is_some() || matches!(self, Self::Conflict { .. } | Self::Deadline(_));
        Failure { code: self.code().into(), message, field_errors, hint, retryable, retry_after_ms, request_id: None }
    }

    pub(crate) fn from_change(error: ChangeError<Self>, what: &'static str, id: &dyn std::fmt::Display) -> Self {
        match error {
            ChangeError::Missing => Self::NotFound { what, id: id.to_string() },
            ChangeError::Conflict(rev) => Self::Conflict { what, rev },
            ChangeError::Refused(refused) => refused,
            ChangeError::Store(store) => Self::Store(store),
        }
    }
}
