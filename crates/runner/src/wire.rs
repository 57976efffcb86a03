//! What is said between the runner and the services, as types. Unknown fields of an answer are ignored.

use std::collections::BTreeMap;

use mana_types::{SpaceId, TickId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conversation::Usage;

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

    /// Whether the visit is rated: there was a session, and it was not cut off by what is no part of the product.
    pub(crate) const fn is_rated(self) -> bool {
        matches!(self, Self::Completed | Self::Truncated | Self::GaveUp | Self::Budget)
    }
}

/// The numbers of a persona's behaviour. What a descriptor leaves out is average.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Behaviour {
    /// How many errors in one visit are put up with.
    pub(crate) tolerated_errors: u32,
    /// How many minutes in one visit may be spent waiting for tools.
    pub(crate) tolerated_minutes: f64,
    /// Share of words with a typo.
    pub(crate) typo_rate: f64,
    /// Share of visits that do not happen.
    pub(crate) skip_rate: f64,
    /// From 0, terse, to 1, long-winded.
    pub(crate) verbosity: f64,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { tolerated_errors: 4, tolerated_minutes: 10.0, typo_rate: 0.0, skip_rate: 0.0, verbosity: 0.5 }
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
    /// The product that it visits, where that is not Mana itself.
    #[serde(default)]
    pub(crate) target: Option<Value>,
    /// The tools that it may call, as names or as beginnings that end in `*`; all where nothing is said.
    #[serde(default)]
    pub(crate) tools: Option<Vec<String>>,
}

impl Persona {
    /// Whether it may call this tool.
    pub(crate) fn may_call(&self, tool: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => tool.starts_with(beginning),
            None => pattern == tool,
        };
        self.tools.as_ref().is_none_or(|patterns| patterns.iter().any(fits))
    }

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
    /// The size of the answer before it was cut for the persona.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) result_bytes: Option<u64>,
    /// The first 16 hexadecimal digits of the SHA-256 of the whole answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) result_hash: Option<String>,
}

/// The codes of calls that never left this process.
const UNMADE: [&str; 6] = ["denied", "invalid_input", "invalid_json", "not_executed", "over_budget", "unknown_tool"];

impl Action {
    pub(crate) fn is_error(&self) -> bool {
        self.result == ActionResult::Error
    }

    /// Whether the call was made at all. Servers have codes of their own; what they answered has a hash.
    pub(crate) fn was_made(&self) -> bool {
        self.result_hash.is_some() || self.code.as_deref().is_none_or(|code| !UNMADE.contains(&code))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionResult {
    Ok,
    Error,
}

/// The rating of one module in one visit: a number, or a reason for having none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Feedback {
    pub(crate) module: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rating: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) no_opinion: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notes: Option<String>,
    pub(crate) evidence: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confidence: Option<f64>,
    pub(crate) simulated: bool,
}

/// The module under which an answer is kept that could not be read as ratings.
pub(crate) const PARSE: &str = "__parse";

/// What a model call has taken: closes its reservation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settle {
    pub(crate) call: i64,
    pub(crate) model: String,
    #[serde(flatten)]
    pub(crate) usage: Usage,
    pub(crate) cost_micro_usd: i64,
}

/// Money that is put aside before a model call.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reserve {
    pub(crate) call: i64,
    pub(crate) model: String,
    pub(crate) tokens: u64,
    pub(crate) cost_micro_usd: i64,
    /// What must be left afterwards for the end of the visit.
    pub(crate) hold_back_micro_usd: i64,
    /// The same of the tokens.
    pub(crate) hold_back_tokens: u64,
    pub(crate) limits: Limits,
}

/// What may be spent, in millionths of a US dollar and in tokens; no limit where nothing is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tick_micro_usd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) persona_day_micro_usd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) day_micro_usd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) month_micro_usd: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tick_tokens: Option<u64>,
}

/// The answer to lines for the journal.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Journaled {
    #[serde(default)]
    pub(crate) reserve: Option<Grant>,
}

/// The answer to a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grant {
    pub(crate) granted: bool,
    /// Which limit stands against it.
    #[serde(default)]
    pub(crate) limit: Option<String>,
    #[serde(default)]
    pub(crate) limit_micro_usd: Option<i64>,
    #[serde(default)]
    pub(crate) limit_tokens: Option<i64>,
}

/// From what the visit was made: the first 16 hexadecimal digits of SHA-256 each.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Hashes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<String>,
}

/// The end of a visit, in one piece.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finish {
    pub(crate) outcome: Outcome,
    pub(crate) engine: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    pub(crate) simulated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) diary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) story: Option<Story>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) settle: Option<Settle>,
    pub(crate) hashes: Hashes,
    pub(crate) actions: Vec<Action>,
    pub(crate) feedback: Vec<Feedback>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) provider_fault: bool,
}

/// The persona's story so far, told anew up to this visit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Story {
    pub(crate) text: String,
    pub(crate) through_tick: TickId,
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
