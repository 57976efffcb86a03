//! What a persona knows of its earlier visits: a ledger computed by query, and a story in its own words.
//!
//! Nothing here is a summary that somebody has to keep up to date: lines, open goals and annoyances are read from the
//! rows that visits leave. Past ratings are never in it, so that no rating leans on the one before. It is bounded: seven
//! visits, six annoyances, one story.

use std::collections::{BTreeMap, HashSet};

use jiff::tz::TimeZone;
use mana_types::{TickId, Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

use crate::due::zone;
use crate::fields::cut;
use crate::store::{self, PastAction, PastVisit};
use crate::tick::{Lease, Outcome};
use crate::{Error, Personas, Result};

/// How many visits are remembered, and how many annoyances.
const VISITS: i64 = 7;
const ANNOYANCES: usize = 6;
/// The longest message of an annoyance, in characters.
const LONGEST_MESSAGE: usize = 300;
/// Marks a call that was asked for and never made: no experience of the product.
const NOT_EXECUTED: &str = "not_executed";
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How often a module was used in a visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModuleUse {
    /// The module.
    pub module: String,
    /// How many calls.
    pub calls: i64,
    /// How many of them failed.
    pub errors: i64,
}

/// A visit that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remembered {
    /// The visit.
    pub tick_id: TickId,
    /// When it began.
    pub started_at: Timestamp,
    /// How it ended.
    pub outcome: Option<String>,
    /// What the persona had in mind.
    pub goal: Option<String>,
    /// What the persona said at the end.
    pub summary: Option<String>,
    /// How many calls of tools.
    pub actions: i64,
    /// How many of them failed.
    pub errors: i64,
    /// The same by module.
    pub modules: Vec<ModuleUse>,
}

/// An error that no success of the same tool has made good since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Annoyance {
    /// The module.
    pub module: String,
    /// The tool.
    pub tool: String,
    /// What kind of error.
    pub code: Option<String>,
    /// What it said.
    pub message: Option<String>,
    /// In which visit.
    pub tick_id: TickId,
}

/// The story so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// It, in the persona's words.
    pub text: String,
    /// The visits of this persona that it cites.
    pub ticks: Vec<TickId>,
    /// The latest visit that it tells of.
    pub through_tick: TickId,
    /// How many visits with a model there were after that one.
    pub visits_since: i64,
}

/// A story to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStory {
    /// It.
    pub text: String,
    /// The latest visit that it tells of.
    pub through_tick: TickId,
}

/// What a persona knows when it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// The last visits in which it got in, newest first: those with a model or, where there is none, any.
    pub last_visits: Vec<Remembered>,
    /// Days of its calendar since the last of them; none where there is none.
    pub days_since_last: Option<i64>,
    /// What it had in mind and did not complete, newest first.
    pub open_goals: Vec<String>,
    /// What went wrong and was not made good, newest first.
    pub annoyances: Vec<Annoyance>,
    /// The story so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub story: Option<Story>,
}

/// One visit in a line; its calls are among these.
fn remember(visit: &PastVisit, actions: &[PastAction]) -> Remembered {
    let mut modules: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for action in actions.iter().filter(|action| action.tick == visit.id) {
        let (calls, errors) = modules.entry(&action.module).or_default();
        *calls += 1;
        *errors += i64::from(action.is_error());
    }
    Remembered {
        tick_id: visit.id.clone(),
        started_at: visit.started,
        outcome: visit.outcome.clone(),
        goal: visit.goal.clone(),
        summary: visit.summary.clone(),
        actions: modules.values().map(|(calls, _)| calls).sum(),
        errors: modules.values().map(|(_, errors)| errors).sum(),
        modules: modules
            .into_iter()
            .map(|(module, (calls, errors))| ModuleUse { module: module.to_owned(), calls, errors })
            .collect(),
    }
}

/// Goals of visits that did not end as they should, newest first; what was completed since is not open.
fn open_goals(visits: &[PastVisit]) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut open = Vec::new();
    for visit in visits {
        let Some(goal) = visit.goal.as_deref().filter(|goal| !goal.trim().is_empty()) else { continue };
        let is_completed = visit.outcome.as_deref() == Some(Outcome::Completed.as_str());
        if seen.insert(goal) && !is_completed {
            open.push(goal.to_owned());
        }
    }
    open
}

/// The latest errors, newest first, each kind once. The actions come newest first.
fn annoyances(actions: &[PastAction]) -> Vec<Annoyance> {
    let mut made_good = HashSet::new();
    let mut seen = HashSet::new();
    let mut annoyances = Vec::new();
    for action in actions {
        if !action.is_error() {
            made_good.insert(action.tool.as_str());
            continue;
        }
        let is_experience = action.code.as_deref() != Some(NOT_EXECUTED) && !made_good.contains(action.tool.as_str());
        if is_experience && annoyances.len() < ANNOYANCES && seen.insert((&action.tool, &action.code)) {
            annoyances.push(Annoyance {
                module: action.module.clone(),
                tool: action.tool.clone(),
                code: action.code.clone(),
                message: action.error_message.as_deref().map(|message| cut(message, LONGEST_MESSAGE)),
                tick_id: action.tick.clone(),
            });
        }
    }
    annoyances
}

/// The ids that stand in a text, each once.
fn cited(text: &str) -> Vec<TickId> {
    let mut ids: Vec<TickId> = Vec::new();
    for word in text.split(|char: char| !char.is_ascii_hexdigit() && char != '-') {
        let id = word.trim_matches('-').parse::<Uuid>().ok().filter(|_| word.contains('-'));
        if let Some(id) = id.and_then(|id| id.to_string().parse().ok()).filter(|id| !ids.contains(id)) {
            ids.push(id);
        }
    }
    ids
}

impl Personas {
    /// What the persona of a visit knows of its earlier ones. Only for who holds the visit.
    #[tracing::instrument(name = "personas.memory", skip_all, fields(tick = %tick))]
    pub async fn memory(&self, tick: &TickId, lease: &Lease) -> Result<Memory> {
        let now = self.db.now().await?;
        let Some((persona, timezone)) = store::holds(&self.db, tick, lease, now).await? else {
            let known = store::known_ticks(&self.db, None, std::slice::from_ref(tick)).await?;
            return Err(if known.is_empty() { Error::UnknownTick } else { Error::StaleEpoch });
        };
        let mut visits = store::past_visits(&self.db, persona, false, VISITS).await?;
        if visits.is_empty() {
            visits = store::past_visits(&self.db, persona, true, VISITS).await?;
        }
        let actions = store::actions_in(&self.db, persona, &visits).await?;
        let zone = timezone.as_deref().and_then(zone).unwrap_or(TimeZone::UTC);
        let day = |time: Timestamp| time.date_in(&zone).start_utc();
        Ok(Memory {
            days_since_last: visits.first().map(|last| day(now).since(day(last.started)) / DAY_MS),
            open_goals: open_goals(&visits),
            annoyances: annoyances(&actions),
            last_visits: visits.iter().map(|visit| remember(visit, &actions)).collect(),
            story: self.story(persona).await?,
        })
    }

    async fn story(&self, persona: UserId) -> Result<Option<Story>> {
        let Some(row) = store::story(&self.db, persona).await? else { return Ok(None) };
        let cited = cited(&row.text);
        let known: HashSet<TickId> = store::known_ticks(&self.db, Some(persona), &cited).await?.into_iter().collect();
        Ok(Some(Story {
            ticks: cited.into_iter().filter(|id| known.contains(id)).collect(),
            visits_since: store::visits_after(&self.db, persona, &row.through_tick).await?,
            text: row.text,
            through_tick: row.through_tick,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_in_a_story_are_found_wherever_they_stand() {
        let (one, two) = ("0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b11", "0199a3f2-7c1e-7b60-9a51-1f0c7d2e4b12");
        let text = format!(
            "Ich fing an [{one}]. Dann nichts ({two}, {one}). Code deadbeef-, 2026-11-20, 0199a3f27c1e7b609a511f0c7d2e4b11."
        );
        let found: Vec<String> = cited(&text).iter().map(ToString::to_string).collect();
        assert_eq!(found, [one, two]);
    }

    #[test]
    fn a_goal_completed_later_is_not_open() {
        let visit = |goal: &str, outcome: &str| PastVisit {
            id: "t".parse().expect("an id"),
            started: Timestamp::from_millis(0),
            outcome: Some(outcome.into()),
            goal: Some(goal.into()),
            summary: None,
        };
        let visits = [
            visit("shop", "completed"),
            visit("post", "gave_up"),
            visit("shop", "truncated"),
            visit("post", "completed"),
            visit("tax", "budget"),
        ];
        assert_eq!(open_goals(&visits), ["post", "tax"]);
    }
}
