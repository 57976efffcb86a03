//! What can go wrong between the runner and the services it speaks to.

use http::StatusCode;

/// Why a request to another service, or a whole pass, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answered.
    #[error("the {service} service at `{url}` does not answer: {}", innermost(source))]
    Unreachable {
        /// Which service.
        service: &'static str,
        /// Its address.
        url: String,
        /// What the HTTP client met.
        #[source]
        source: reqwest::Error,
    },
    /// It answered, and said no.
    #[error("the {service} service refused with {status}{}: {detail}", code.as_ref().map(|code| format!(" `{code}`")).unwrap_or_default())]
    Refused {
        /// Which service.
        service: &'static str,
        /// Its status.
        status: StatusCode,
        /// The stable code of the problem document, if it sent one.
        code: Option<String>,
        /// What it said.
        detail: String,
    },
    /// It answered with something else than agreed.
    #[error("the {service} service answered something unexpected: {reason}")]
    Unexpected {
        /// Which service.
        service: &'static str,
        /// What was wrong with it.
        reason: String,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made")]
    Client(#[source] reqwest::Error),
    /// The runner was asked for a pass while one is running.
    #[error("a pass is running already, try again when it is done")]
    PassRunning,
    /// No pass can be made with these options; the sentence names what is missing.
    #[error("{0}")]
    Disabled(String),
}

impl Error {
    /// Whether the visit is not ours any more: its lease has run out or somebody else holds it.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Refused { code: Some(code), .. } if code == "STALE_EPOCH")
    }

    /// Whether the same request may work in a moment.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            _ => false,
        }
    }

    /// A short name for metrics.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Refused { .. } if self.is_stale() => "stale_epoch",
            Self::Refused { .. } => "refused",
            Self::Unexpected { .. } => "unexpected",
            Self::Client(_) => "client",
            Self::PassRunning => "pass_running",
            Self::Disabled(_) => "disabled",
        }
    }
}

/// The cause at the bottom, which is what a person can do something about ("connection refused").
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
