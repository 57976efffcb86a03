//! What is said between the runner and the services, as types. Unknown fields of an answer are ignored.

use std::collections::BTreeMap;

use mana_types::{SpaceId, TickId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// To its own end.
    Completed,
    /// Cut at the most steps a visit may have.
    Truncated,
    /// The model would not.
    Refused,
    /// The persona met more errors than it tolerates.
    GaveUp,
    /// The persona did not feel like it today.
    Skipped,
    /// The budget was used up.
    Budget,
    /// It took longer than a visit may.
    Timeout,
    /// The MCP server did not answer, or offered no tools.
    McpUnavailable,
    /// The MCP server did not take the persona's token.
    McpUnauthorized,
    /// The model provider was away.
    ProviderDown,
    /// The runner stopped, or lost the visit to another.
    Interrupted,
    /// Anything else; the summary says what.
    Failed,
}

impl Outcome {
    /// The outcome's name on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::GaveUp => "gave_up",
            Self::Skipped => "skipped",
            Self::Budget => "budget",
            Self::Timeout => "timeout",
            Self::McpUnavailable => "mcp_unavailable",
            Self::McpUnauthorized => "mcp_unauthorized",
            Self::ProviderDown => "provider_down",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
        }
    }

    /// Whether the persona came, or stayed away by its own decision. Everything else is a failure of the system.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Completed | Self::Truncated | Self::Refused | Self::GaveUp | Self::Skipped | Self::Budget)
    }

    /// Whether the visit is rated: there was a session, and it ended by the persona's doing.
    pub(crate) const fn is_rated(self) -> bool {
        matches!(self, Self::Completed | Self::Truncated | Self::GaveUp)
    }
}

/// The numbers of a persona's behaviour. What a descriptor leaves out is average.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Behaviour {
    /// How many errors in one visit are put up with.
    pub(crate) tolerated_errors: u32,
    /// Share of words with a typo.
    pub(crate) typo_rate: f64,
    /// Share of visits that do not happen.
    pub(crate) skip_rate: f64,
    /// From 0, terse, to 1, long-winded.
    pub(crate) verbosity: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { tolerated_errors: 4, typo_rate: 0.0, skip_rate: 0.0, verbosity: 0.5 }
    }
}

/// A persona, as a claim describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Persona {
    pub(crate) email: String,
    #[serde(default)]
    pub(crate) name: Option<String>,
    pub(crate) archetype: String,
    pub(crate) system_prompt: String,
    pub(crate) module_mix: BTreeMap<String, f64>,
    #[serde(default)]
    pub(crate) locale: Option<String>,
    #[serde(default)]
    pub(crate) timezone: Option<String>,
    #[serde(default)]
    pub(crate) behaviour: Option<Behaviour>,
    #[serde(default)]
    pub(crate) last_active_at: Option<Timestamp>,
}

impl Persona {
    /// The name to show: the given one, or what stands before the `@`.
    pub(crate) fn shown_name(&self) -> String {
        let name = self.name.as_deref().filter(|name| !name.is_empty());
        name.unwrap_or_else(|| self.email.split('@').next().unwrap_or(&self.email)).to_owned()
    }
}

/// A visit that is ours until its lease runs out.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Claim {
    pub(crate) tick_id: TickId,
    pub(crate) epoch: i64,
    pub(crate) persona: Persona,
    #[serde(default)]
    pub(crate) resumed: bool,
    #[serde(default)]
    pub(crate) journal: Vec<JournalEntry>,
}

/// One line of a visit's journal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JournalEntry {
    pub(crate) seq: i64,
    pub(crate) entry: Value,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) claims: Vec<Claim>,
}

/// Names one held visit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Held {
    pub(crate) tick_id: TickId,
    pub(crate) epoch: i64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Beat {
    pub(crate) held: Vec<TickId>,
    pub(crate) lost: Vec<TickId>,
}

/// The audit row of one tool call. There is exactly one for each `tool_use`, also for those that were never executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Action {
    pub(crate) index: usize,
    pub(crate) tool_name: String,
    pub(crate) module: String,
    pub(crate) input_hash: String,
    pub(crate) result: ActionResult,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) error_message: Option<String>,
    pub(crate) latency_ms: u64,
    pub(crate) tool_use_id: String,
}

impl Action {
    pub(crate) fn is_error(&self) -> bool {
        self.result == ActionResult::Error
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionResult {
    Ok,
    Error,
}

/// The rating of one module in one visit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Feedback {
    pub(crate) module: String,
    pub(crate) rating: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notes: Option<String>,
    pub(crate) evidence: Vec<usize>,
    pub(crate) simulated: bool,
}

/// From what the visit was made: the first 16 hexadecimal digits of SHA-256 each.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Hashes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<String>,
}

/// The end of a visit, in one piece.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finish {
    pub(crate) outcome: Outcome,
    pub(crate) engine: &'static str,
    pub(crate) simulated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
    pub(crate) hashes: Hashes,
    pub(crate) actions: Vec<Action>,
    pub(crate) feedback: Vec<Feedback>,
}

/// A sign-in.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignedIn {
    pub(crate) user: SignedInUser,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SignedInUser {
    pub(crate) id: UserId,
}

/// A fresh pair of tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refreshed {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

/// A space that the persona belongs to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Space {
    pub(crate) id: SpaceId,
    pub(crate) metadata: SpaceMetadata,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SpaceMetadata {
    pub(crate) r#type: String,
}
