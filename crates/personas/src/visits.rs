//! Visits as operators see them: a list, and one with all that was said and done.

use std::fmt;
use std::str::FromStr;

use mana_store::Json;
use mana_types::{InvalidCursor, TickId, Timestamp, UserId};
use serde::Serialize;
use serde_json::Value;

use crate::descriptor::hex;
use crate::history::{ActionFilter, ActionRow, RatingFilter, RatingRow, TickRow};
use crate::spend::CallRow;
use crate::tick::Outcome;
use crate::{Error, Personas, Result, store};

/// The most actions and ratings of one visit that are shown.
const MOST_ROWS: i64 = 5_000;

/// Which visits are wanted.
#[derive(Debug, Clone, Default)]
pub struct VisitFilter {
    /// Of this persona.
    pub persona: Option<UserId>,
    /// That ended this way.
    pub outcome: Option<Outcome>,
    /// By this engine.
    pub engine: Option<String>,
    /// The one with this id.
    pub tick: Option<String>,
    /// That come after this place in the list.
    pub before: Option<VisitCursor>,
}

/// The place in a list of visits after which the next page begins. Ids of visits are text, so it is not a common cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitCursor {
    /// When the last visit of the page before began.
    pub started: Timestamp,
    /// Its id.
    pub tick: TickId,
}

impl fmt::Display for VisitCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.started.as_millis().to_be_bytes()))?;
        f.write_str(&hex(self.tick.as_str().as_bytes()))
    }
}

impl FromStr for VisitCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let bytes = text.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.starts_with('+'));
            pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(InvalidCursor)
        });
        let bytes = bytes.collect::<Result<Vec<u8>, _>>()?;
        let (millis, tick) = bytes.split_first_chunk::<8>().ok_or(InvalidCursor)?;
        let tick = std::str::from_utf8(tick).ok().and_then(|tick| tick.parse().ok()).ok_or(InvalidCursor)?;
        Ok(Self { started: Timestamp::from_millis(i64::from_be_bytes(*millis)), tick })
    }
}

/// Whose visit it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Visitor {
    /// The persona.
    pub user_id: UserId,
    /// Its e-mail.
    pub email: String,
    /// Its name.
    pub name: String,
}

/// A visit in a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Visit {
    /// Its id.
    pub tick_id: TickId,
    /// Whose it was.
    pub persona: Visitor,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; none while it runs.
    pub finished_at: Option<Timestamp>,
    /// How it ended; none while it runs, or where it was only reported.
    pub outcome: Option<String>,
    /// What decided its steps.
    pub engine: Option<String>,
    /// Which model.
    pub model: Option<String>,
    /// By the rehearsal engine and not by a model.
    pub simulated: bool,
    /// What the persona had in mind.
    pub goal: Option<String>,
    /// What the persona said at the end, or why it ended.
    pub summary: Option<String>,
    /// How many claims it took.
    pub attempts: i64,
    /// How many calls of tools it has.
    pub actions: i64,
    /// How many of them failed.
    pub errors: i64,
    /// How many ratings, answers without one included.
    pub ratings: i64,
    /// What its calls of a model cost, in millionths of a US dollar.
    pub cost_micro_usd: i64,
}

impl From<TickRow> for Visit {
    fn from(row: TickRow) -> Self {
        Self {
            tick_id: row.id,
            persona: Visitor { user_id: row.persona, email: row.email, name: row.name },
            started_at: row.started,
            finished_at: row.finished,
            outcome: row.outcome,
            engine: row.engine,
            model: row.model,
            simulated: row.simulated,
            goal: row.goal,
            summary: row.summary,
            attempts: row.attempt,
            actions: row.actions,
            errors: row.errors,
            ratings: row.ratings,
            cost_micro_usd: row.cost_micro_usd,
        }
    }
}

/// Visits, newest first, and where to go on.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VisitList {
    /// The visits.
    pub visits: Vec<Visit>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// From what a visit was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hashes {
    /// The version of the persona.
    pub prompt: Option<String>,
    /// The version of the tools.
    pub tools: Option<String>,
    /// The version of the memory.
    pub memory: Option<String>,
}

/// An entry of a journal, and when it was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JournalLine {
    /// Its place.
    pub seq: i64,
    /// When it was written.
    pub at: Timestamp,
    /// What was said or done.
    pub entry: Value,
}

/// A visit with all that was said and done.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VisitPage {
    /// The visit in a line.
    #[serde(flatten)]
    pub visit: Visit,
    /// Tokens and the like, as the runner told them.
    pub usage: Option<Json<Value>>,
    /// From what it was made.
    pub hashes: Hashes,
    /// What the persona wrote before it rated.
    pub diary: Option<String>,
    /// Its journal; kept after its end.
    pub journal: Vec<JournalLine>,
    /// Its calls of tools, in order.
    pub actions: Vec<ActionRow>,
    /// Its ratings, by module.
    pub feedback: Vec<RatingRow>,
    /// Its calls of a model, in order.
    pub calls: Vec<CallRow>,
}

impl Personas {
    /// Visits, newest first.
    pub async fn visits(&self, filter: &VisitFilter, limit: u32) -> Result<VisitList> {
        let mut rows = store::visits(&self.db, filter, i64::from(limit) + 1).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().filter(|_| more);
        let next_cursor = last.map(|last| VisitCursor { started: last.started, tick: last.id.clone() }.to_string());
        Ok(VisitList { visits: rows.into_iter().map(Visit::from).collect(), next_cursor })
    }

    /// One visit with all that was said and done.
    pub async fn visit(&self, tick: &TickId) -> Result<VisitPage> {
        let id = Some(tick.as_str().to_owned());
        let one = VisitFilter { tick: id.clone(), ..VisitFilter::default() };
        let mut row = store::visits(&self.db, &one, 1).await?.pop().ok_or(Error::UnknownTick)?;
        let of_tick = ActionFilter { tick: id.clone(), ..ActionFilter::default() };
        let mut actions = store::actions(&self.db, &of_tick, MOST_ROWS).await?;
        actions.reverse();
        let of_tick = RatingFilter { tick: id, ..RatingFilter::default() };
        let mut feedback = store::ratings(&self.db, &of_tick, MOST_ROWS).await?;
        feedback.sort_by(|one, other| one.module.cmp(&other.module));
        Ok(VisitPage {
            usage: row.token_usage.take(),
            hashes: Hashes {
                prompt: row.prompt_hash.take(),
                tools: row.tools_hash.take(),
                memory: row.memory_hash.take(),
            },
            diary: row.diary.take(),
            visit: row.into(),
            journal: store::journal(&self.db, tick).await?,
            actions,
            feedback,
            calls: store::calls_of(&self.db, tick).await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        for tick in ["0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11", "t&1#%", "x"] {
            let tick: TickId = tick.parse().expect("an id");
            let cursor = VisitCursor { started: Timestamp::from_millis(1_794_992_400_000), tick };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for bad in
            ["", "abc", "zz", "0000000000000000", "000000000000000020", "0000000000000000c3", "+1+1+1+1+1+1+1+1+1"]
        {
            assert_eq!(bad.parse::<VisitCursor>(), Err(InvalidCursor), "{bad}");
        }
    }
}
