//! Reading what happened: actions, ratings, visits.

use mana_store::{FromRow, Json};
use mana_types::{Cursor, Page, TickId, Timestamp, UserId};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::action::Outcome;
use crate::{Error, Personas, Result, store};

/// Which actions are wanted.
#[derive(Debug, Clone, Default)]
pub struct ActionFilter {
    /// Of this persona.
    pub persona: Option<UserId>,
    /// Of this visit.
    pub tick: Option<String>,
    /// Of this tool.
    pub tool: Option<String>,
    /// With this result.
    pub result: Option<Outcome>,
    /// That happened at or after this time.
    pub since: Option<Timestamp>,
    /// That come after this row in the list.
    pub before: Option<Uuid>,
}

/// Which ratings are wanted.
#[derive(Debug, Clone, Default)]
pub struct RatingFilter {
    /// Of this persona.
    pub persona: Option<UserId>,
    /// Of this visit.
    pub tick: Option<String>,
    /// Of this module.
    pub module: Option<String>,
    /// Given at or after this time.
    pub since: Option<Timestamp>,
    /// That come after this row in the list.
    pub before: Option<Uuid>,
}

/// One tool call of a visit.
#[derive(Debug, Clone, Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ActionRow {
    #[serde(skip)]
    row_id: Uuid,
    /// `{tickId}-{index}-{toolName}`.
    #[serde(rename = "id")]
    pub wire_id: String,
    /// The visit.
    #[serde(rename = "tickId")]
    pub tick: TickId,
    /// The persona.
    #[serde(rename = "userId")]
    pub persona: UserId,
    /// The persona's e-mail.
    pub email: String,
    /// Its place in the visit.
    #[serde(rename = "index")]
    pub idx: i64,
    /// The tool.
    #[serde(rename = "toolName")]
    pub tool: String,
    /// The tool's module.
    pub module: String,
    /// The id of the call in the conversation.
    pub tool_use_id: Option<String>,
    /// The hash of its arguments.
    pub input_hash: Option<String>,
    /// `ok` or `error`.
    pub result: String,
    /// What kind of error it was.
    pub code: Option<String>,
    /// What the error said.
    pub error_message: Option<String>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<i64>,
    /// How large the answer was before it was cut for the persona.
    pub result_bytes: Option<i64>,
    /// The hash of the whole answer.
    pub result_hash: Option<String>,
    /// Decided by the rehearsal engine and not by a model.
    pub simulated: bool,
    /// When it happened.
    pub at: Timestamp,
}

/// One rating of one module in a visit.
#[derive(Debug, Clone, Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct RatingRow {
    /// `{tickId}-{module}`.
    pub id: String,
    #[serde(skip)]
    seq: Uuid,
    /// The visit.
    #[serde(rename = "tickId")]
    pub tick: TickId,
    /// The persona.
    #[serde(rename = "userId")]
    pub persona: UserId,
    /// The persona's e-mail.
    pub email: String,
    /// The module; `__parse` for an answer that could not be read.
    pub module: String,
    /// 1 to 5; none for no opinion or what could not be read.
    pub rating: Option<i64>,
    /// Why.
    pub notes: Option<String>,
    /// Why there is no rating, where the persona had no opinion.
    pub no_opinion: Option<String>,
    /// The places of the actions that it rests on.
    pub evidence: Json<Vec<i64>>,
    /// A sentence from the visit.
    pub quote: Option<String>,
    /// How sure the persona was, 0 to 1.
    pub confidence: Option<f64>,
    /// Rated by the rehearsal engine and not by a model.
    pub simulated: bool,
    /// When it was given.
    pub at: Timestamp,
}

/// One visit.
#[derive(Debug, Clone, Serialize, FromRow)]
#[serde(rename_all = "camelCase")]
pub struct TickRow {
    /// Its id.
    #[serde(rename = "tickId")]
    pub id: TickId,
    /// The persona.
    #[serde(skip)]
    pub persona: UserId,
    /// Its e-mail.
    #[serde(skip)]
    pub email: String,
    /// Its name.
    #[serde(skip)]
    pub name: String,
    /// The epoch of its latest claim; 0 where it was only reported.
    pub epoch: i64,
    /// How many claims it took.
    pub attempt: i64,
    /// When it began.
    #[serde(rename = "startedAt")]
    pub started: Timestamp,
    /// When it ended.
    #[serde(rename = "finishedAt")]
    pub finished: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<String>,
    /// What decided its steps.
    pub engine: Option<String>,
    /// Which model.
    pub model: Option<String>,
    /// By the rehearsal engine and not by a model.
    pub simulated: bool,
    /// What the persona had in mind.
    pub goal: Option<String>,
    /// What the persona said at the end.
    pub summary: Option<String>,
    /// Tokens and the like.
    #[serde(rename = "usage")]
    pub token_usage: Option<Json<Value>>,
    /// The version of the persona.
    pub prompt_hash: Option<String>,
    /// The version of the tools.
    pub tools_hash: Option<String>,
    /// The version of the memory.
    pub memory_hash: Option<String>,
    /// What the persona wrote before it rated.
    #[serde(skip)]
    pub diary: Option<String>,
    /// What its calls of a model cost, in millionths of a US dollar.
    pub cost_micro_usd: i64,
    /// How many actions it has.
    #[sqlx(default)]
    pub actions: i64,
    /// How many of them failed.
    #[sqlx(default)]
    pub errors: i64,
    /// How many ratings it has.
    #[sqlx(default)]
    pub ratings: i64,
}

/// The answers about one module, simulated or not.
#[derive(Debug, Clone, FromRow)]
pub struct ModuleRow {
    /// The module.
    pub module: String,
    /// By the rehearsal engine and not by a model.
    pub simulated: bool,
    /// How many answers there are, with a rating or without.
    pub answers: i64,
    /// How many ratings.
    pub ratings: i64,
    /// Their average.
    pub mean: Option<f64>,
}

/// Cuts a list that was read one row too long to a page.
fn page<T>(mut items: Vec<T>, limit: u32, id: impl Fn(&T) -> Uuid) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_cursor = items.last().filter(|_| more).map(|last| Cursor { key: 0, id: id(last) }.to_string());
    Page { items, next_cursor }
}

impl Personas {
    /// Actions, newest first.
    pub async fn actions(&self, filter: &ActionFilter, limit: u32) -> Result<Page<ActionRow>> {
        let items = store::actions(&self.db, filter, i64::from(limit) + 1).await?;
        Ok(page(items, limit, |row| row.row_id))
    }

    /// Ratings, newest first.
    pub async fn ratings(&self, filter: &RatingFilter, limit: u32) -> Result<Page<RatingRow>> {
        let items = store::ratings(&self.db, filter, i64::from(limit) + 1).await?;
        Ok(page(items, limit, |row| row.seq))
    }

    /// The persona that a person means by an id or an e-mail.
    pub async fn resolve(&self, name: &str) -> Result<UserId> {
        if let Ok(user) = name.parse() {
            return if store::is_persona(&self.db, user).await? { Ok(user) } else { Err(Error::UnknownPersona) };
        }
        store::resolve(&self.db, name).await?.ok_or(Error::UnknownPersona)
    }
}
