//! What is remembered of earlier visits.

use mana_store::{Db, EngineKind, FromRow, Json, Result, Tx};
use mana_types::{TickId, Timestamp, UserId};

use super::history::rows_of_visits;
use crate::memory::NewStory;
use crate::tick::Lease;

/// A visit that is over.
#[derive(Debug, FromRow)]
pub(crate) struct PastVisit {
    pub(crate) id: TickId,
    pub(crate) started: Timestamp,
    pub(crate) outcome: Option<String>,
    pub(crate) goal: Option<String>,
    pub(crate) summary: Option<String>,
}

/// A call of a tool in such a visit.
#[derive(Debug, FromRow)]
pub(crate) struct PastAction {
    pub(crate) tick: TickId,
    pub(crate) tool: String,
    pub(crate) module: String,
    result: String,
    pub(crate) code: Option<String>,
    pub(crate) error_message: Option<String>,
}

impl PastAction {
    pub(crate) fn is_error(&self) -> bool {
        self.result == "error"
    }
}

/// A story as it is kept.
#[derive(Debug, FromRow)]
pub(crate) struct StoryRow {
    pub(crate) text: String,
    pub(crate) through_tick: TickId,
}

/// The persona of a visit and its time zone, if this lease holds it at this time. Locks nothing: it is for reading.
pub(crate) async fn holds(
    db: &Db,
    tick: &TickId,
    lease: &Lease,
    now: Timestamp,
) -> Result<Option<(UserId, Option<String>)>> {
    db.query(HOLDS).bind(tick.clone()).bind(lease.owner.clone()).bind(lease.epoch).bind(now).optional().await
}

pub(super) const HOLDS: &str = "SELECT t.persona, p.timezone FROM persona_tick t
     LEFT JOIN run_state r ON r.bucket = 0 AND r.persona = t.persona LEFT JOIN persona p ON p.user_id = t.persona
     WHERE t.id = $1 AND r.tick = t.id AND r.owner = $2 AND r.epoch = $3 AND r.lease_until > $4";

/// Visits that are over and in which the persona got in. Staying away, and a door that was shut, are no visits to it.
const GOT_IN: &str = "t.finished IS NOT NULL AND
    COALESCE(t.outcome, '') NOT IN ('skipped', 'provider_down', 'mcp_unavailable', 'mcp_unauthorized')";
pub(super) const WITH_MODEL: &str = "AND NOT t.simulated AND t.engine IS NOT NULL";

/// The latest visits of a persona, newest first; without `any` only those with a model.
pub(crate) async fn past_visits(db: &Db, persona: UserId, any: bool, limit: i64) -> Result<Vec<PastVisit>> {
    db.query(past(if any { "" } else { WITH_MODEL })).bind(persona).bind(limit).all().await
}

pub(super) fn past(which: &str) -> String {
    format!(
        "SELECT t.id, t.started, t.outcome, t.goal, t.summary FROM persona_tick t WHERE t.persona = $1 AND {GOT_IN} {which}
         ORDER BY t.started DESC, t.id DESC LIMIT $2"
    )
}

/// The calls in these visits of one persona, newest first.
pub(crate) async fn actions_in(db: &Db, persona: UserId, visits: &[PastVisit]) -> Result<Vec<PastAction>> {
    if visits.is_empty() {
        return Ok(Vec::new());
    }
    let rows = rows_of_visits(visits.iter().map(|visit| (&visit.id, persona, visit.started)));
    db.query(calls_in(db.engine())).bind(Json(rows)).all().await
}

pub(super) fn calls_in(engine: EngineKind) -> String {
    let columns = "x.tick, x.tool, x.module, x.result, x.code, x.error_message";
    match engine {
        EngineKind::Sqlite => format!(
            "SELECT {columns} FROM json_each($1) e CROSS JOIN persona_action x ON x.persona = unhex(e.value ->> 'persona')
                AND x.id >= unhex(e.value ->> 'first') AND x.id < unhex(e.value ->> 'past') AND x.tick = e.value ->> 'tick'
             ORDER BY x.id DESC LIMIT 5000"
        ),
        EngineKind::Postgres => format!(
            "SELECT {columns} FROM jsonb_to_recordset($1) AS e(tick text, persona uuid, first uuid, past uuid)
             JOIN persona_action x ON x.persona = e.persona AND x.id >= e.first AND x.id < e.past AND x.tick = e.tick
             ORDER BY x.id DESC LIMIT 5000"
        ),
    }
}

/// Those of these visits that there are; of one persona, where one is named.
pub(crate) async fn known_ticks(db: &Db, persona: Option<UserId>, ids: &[TickId]) -> Result<Vec<TickId>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let list = match db.engine() {
        EngineKind::Sqlite => "SELECT value FROM json_each($1)",
        EngineKind::Postgres => "SELECT jsonb_array_elements_text($1)",
    };
    let rows = db
        .query(format!("SELECT id, persona FROM persona_tick WHERE id IN ({list})"))
        .bind(Json(ids.to_vec()))
        .all::<(TickId, UserId)>()
        .await?;
    let wanted = |owner: UserId| persona.is_none_or(|persona| persona == owner);
    Ok(rows.into_iter().filter(|(_, owner)| wanted(*owner)).map(|(id, _)| id).collect())
}

/// A persona's story.
pub(crate) async fn story(db: &Db, persona: UserId) -> Result<Option<StoryRow>> {
    db.query("SELECT text, through_tick FROM persona_story WHERE persona = $1").bind(persona).optional().await
}

/// How many visits with a model a persona made after one of them, up to a hundred.
pub(crate) async fn visits_after(db: &Db, persona: UserId, tick: &TickId) -> Result<i64> {
    let (visits,) = db
        .query(format!(
            "SELECT COUNT(*) FROM (
                SELECT 1 FROM persona_tick t WHERE t.persona = $1 AND {GOT_IN} {WITH_MODEL}
                    AND t.started > (SELECT b.started FROM persona_tick b WHERE b.id = $2) LIMIT 100) since"
        ))
        .bind(persona)
        .bind(tick.clone())
        .one::<(i64,)>()
        .await?;
    Ok(visits)
}

/// Writes a persona's story over the one before.
pub(crate) async fn save_story(tx: &mut Tx, persona: UserId, story: &NewStory, now: Timestamp) -> Result<()> {
    tx.query(
        "INSERT INTO persona_story (persona, text, through_tick, updated) VALUES ($1, $2, $3, $4)
         ON CONFLICT (persona) DO UPDATE SET text = excluded.text, through_tick = excluded.through_tick,
            updated = excluded.updated",
    )
    .bind(persona)
    .bind(story.text.clone())
    .bind(story.through_tick.clone())
    .bind(now)
    .execute()
    .await
    .map(drop)
}
