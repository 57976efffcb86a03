//! How a command ends when it does not succeed.

use std::fmt::Write as _;

use serde_json::Value;

/// Why a command ended. Its code is what the shell sees.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// 1: it did not work.
    #[error("{0}")]
    Failed(String),
    /// 2: it was called wrongly.
    #[error("{0}")]
    Usage(String),
    /// 3: it names what does not exist.
    #[error("{0}")]
    NotFound(String),
    /// 4: it is not allowed.
    #[error("{0}")]
    Denied(String),
    /// 5: something that it needs does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// 6: the settings.
    #[error(transparent)]
    Settings(#[from] crate::settings::Invalid),
    /// 7: it does not fit with what is already there.
    #[error("{0}")]
    Conflict(String),
    /// 8: `mana doctor` found problems.
    #[error("{0}")]
    Problems(String),
    /// 130: interrupted.
    #[error("interrupted")]
    Interrupted,
    /// 1: anything unforeseen, with its causes.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Denied(_) => 4,
            Self::Unreachable(_) => 5,
            Self::Settings(_) => 6,
            Self::Conflict(_) => 7,
            Self::Problems(_) => 8,
            Self::Interrupted => 130,
        }
    }

    /// A problem document of one of our services, as a command's failure.
    pub(crate) fn of_problem(status: u16, body: &Value) -> Self {
        let mut message = body["detail"].as_str().unwrap_or("the request failed").to_owned();
        // One fault is told in the sentence itself.
        let details = body["details"].as_array().filter(|details| details.len() > 1);
        for detail in details.into_iter().flatten() {
            let field = detail["field"].as_str().unwrap_or_default();
            let why = detail["message"].as_str().unwrap_or_default();
            let _ = write!(message, "\n  - {field}: {why}"); // writing to a String cannot fail
        }
        match status {
            401 | 403 => Self::Denied(message),
            404 => Self::NotFound(message),
            409 => Self::Conflict(message),
            502..=504 => Self::Unreachable(message),
            _ => Self::Failed(message),
        }
    }
}

impl From<mana_store::Error> for Failure {
    fn from(error: mana_store::Error) -> Self {
        match error {
            mana_store::Error::Unavailable(_) => Self::Unreachable(format!("{:#}", anyhow::Error::from(error))),
            other => Self::Failed(format!("{:#}", anyhow::Error::from(other))),
        }
    }
}

/// What a command answers.
pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;
