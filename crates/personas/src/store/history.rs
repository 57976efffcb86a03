//! Reading the audit trail, ratings and visits.

use std::collections::HashMap;
use std::fmt::Write as _;

use mana_store::{Db, EngineKind, Json, Result};
use mana_types::{TickId, Timestamp, UserId};
use serde_json::json;
use uuid::Uuid;

use super::{damaged, hex};
use crate::action::first_row_id;
use crate::history::{ActionFilter, ActionRow, ModuleRow, RatingFilter, RatingRow, TickRow};
use crate::visits::{JournalLine, VisitFilter};

/// A condition put together from literals, with its values in order.
#[derive(Debug, Default)]
struct Where {
    sql: String,
    values: Vec<Value>,
}

#[derive(Debug)]
enum Value {
    Id(Uuid),
    Text(String),
    Number(i64),
}

impl Where {
    /// Adds `column operator $n`.
    fn and(&mut self, test: &'static str, value: Value) {
        self.values.push(value);
        let word = if self.sql.is_empty() { "WHERE" } else { "AND" };
        let _ = write!(self.sql, " {word} {test} ${}", self.values.len()); // a String takes everything
    }

    /// Adds `(columns) < ($n, $m)`: what comes after a place in a list that is read backwards.
    fn and_before(&mut self, columns: &'static str, key: Value, id: Value) {
        self.values.extend([key, id]);
        let (word, count) = (if self.sql.is_empty() { "WHERE" } else { "AND" }, self.values.len());
        let _ = write!(self.sql, " {word} {columns} < (${}, ${count})", count - 1);
    }

    /// Adds what finds the rows of one visit by an index on persona and row id; false where there is no such visit.
    async fn and_of_visit(&mut self, db: &Db, tick: &str, [from, to]: [&'static str; 2]) -> Result<bool> {
        let found = db.query("SELECT persona, started FROM persona_tick WHERE id = $1").bind(tick.to_owned());
        let Some((persona, started)) = found.optional::<(UserId, Timestamp)>().await? else { return Ok(false) };
        self.and("x.persona =", Value::Id(persona.uuid()));
        self.and(from, Value::Id(first_row_id(started)));
        self.and(to, Value::Id(first_row_id(started.plus_millis(1))));
        self.and("x.tick =", Value::Text(tick.to_owned()));
        Ok(true)
    }

    fn query<'c>(self, db: &'c Db, select: &str, order: &str, limit: i64) -> mana_store::Query<'c> {
        let count = self.values.len();
        let mut query = db.query(format!("{select} {} ORDER BY {order} LIMIT ${}", self.sql, count + 1));
        for value in self.values {
            query = match value {
                Value::Id(id) => query.bind(id),
                Value::Text(text) => query.bind(text),
                Value::Number(number) => query.bind(number),
            };
        }
        query.bind(limit)
    }
}

const ACTIONS: &str =
    "SELECT x.id AS row_id, x.wire_id, x.tick, x.persona, a.email, x.idx, x.tool, x.module, x.tool_use_id,
        x.input_hash, x.result, x.code, x.error_message, x.latency_ms, x.result_bytes, x.result_hash, x.simulated, x.at
     FROM persona_action x JOIN account a ON a.id = x.persona";

/// Actions, newest first; up to `limit`.
pub(crate) async fn actions(db: &Db, filter: &ActionFilter, limit: i64) -> Result<Vec<ActionRow>> {
    let mut conditions = Where::default();
    if let Some(persona) = filter.persona {
        conditions.and("x.persona =", Value::Id(persona.uuid()));
    }
    if let Some(tick) = &filter.tick
        && !conditions.and_of_visit(db, tick, ["x.id >=", "x.id <"]).await?
    {
        return Ok(Vec::new());
    }
    if let Some(tool) = &filter.tool {
        conditions.and("x.tool =", Value::Text(tool.clone()));
    }
    if let Some(result) = filter.result {
        conditions.and("x.result =", Value::Text(result.as_str().to_owned()));
    }
    if let Some(since) = filter.since {
        conditions.and("x.at >=", Value::Number(since.as_millis()));
    }
    if let Some(before) = filter.before {
        conditions.and("x.id <", Value::Id(before));
    }
    conditions.query(db, ACTIONS, "x.id DESC", limit).all().await
}

/// The latest actions of one persona.
pub(crate) async fn actions_of(db: &Db, persona: UserId, limit: i64) -> Result<Vec<ActionRow>> {
    actions(db, &ActionFilter { persona: Some(persona), ..ActionFilter::default() }, limit).await
}

const RATINGS: &str = "SELECT x.id, x.seq, x.tick, x.persona, a.email, x.module, x.rating, x.notes,
        CASE WHEN x.rating IS NULL AND x.module <> '__parse' THEN COALESCE(x.notes, '') END AS no_opinion,
        x.evidence, x.quote, x.confidence, x.simulated, x.at
     FROM persona_feedback x JOIN account a ON a.id = x.persona";

/// Ratings, newest first; up to `limit`.
pub(crate) async fn ratings(db: &Db, filter: &RatingFilter, limit: i64) -> Result<Vec<RatingRow>> {
    let mut conditions = Where::default();
    if let Some(persona) = filter.persona {
        conditions.and("x.persona =", Value::Id(persona.uuid()));
    }
    if let Some(tick) = &filter.tick
        && !conditions.and_of_visit(db, tick, ["x.seq >=", "x.seq <"]).await?
    {
        return Ok(Vec::new());
    }
    if let Some(module) = &filter.module {
        conditions.and("x.module =", Value::Text(module.clone()));
    }
    if let Some(since) = filter.since {
        conditions.and("x.at >=", Value::Number(since.as_millis()));
    }
    if let Some(before) = filter.before {
        conditions.and("x.seq <", Value::Id(before));
    }
    conditions.query(db, RATINGS, "x.seq DESC", limit).all().await
}

/// The latest visits of one persona.
pub(crate) async fn ticks_of(db: &Db, persona: UserId, limit: i64) -> Result<Vec<TickRow>> {
    visits(db, &VisitFilter { persona: Some(persona), ..VisitFilter::default() }, limit).await
}

/// With `LEFT JOIN`s to what is always or sometimes there, so that SQLite starts from the visits, in their order.
pub(super) const VISITS: &str =
    "SELECT t.id, t.persona, a.email, a.name, t.epoch, t.attempt, t.started, t.finished, t.outcome, t.engine,
        t.model, t.simulated, t.goal, t.summary, t.token_usage, t.prompt_hash, t.tools_hash, t.memory_hash, t.diary,
        COALESCE(s.cost_micro, 0) AS cost_micro_usd
     FROM persona_tick t LEFT JOIN account a ON a.id = t.persona
     LEFT JOIN model_spend s ON s.scope = 'tick:' || t.id AND s.period = ''";

/// Visits with the number of their rows, newest first; up to `limit`.
pub(crate) async fn visits(db: &Db, filter: &VisitFilter, limit: i64) -> Result<Vec<TickRow>> {
    let mut conditions = Where::default();
    if let Some(persona) = filter.persona {
        conditions.and("t.persona =", Value::Id(persona.uuid()));
    }
    if let Some(tick) = &filter.tick {
        conditions.and("t.id =", Value::Text(tick.clone()));
    }
    if let Some(outcome) = filter.outcome {
        conditions.and("t.outcome =", Value::Text(outcome.as_str().to_owned()));
    }
    if let Some(engine) = &filter.engine {
        conditions.and("t.engine =", Value::Text(engine.clone()));
    }
    if let Some(before) = &filter.before {
        let (started, id) = (before.started.as_millis(), before.tick.as_str().to_owned());
        conditions.and_before("(t.started, t.id)", Value::Number(started), Value::Text(id));
    }
    let mut visits: Vec<TickRow> = conditions.query(db, VISITS, "t.started DESC, t.id DESC", limit).all().await?;
    count_rows(db, &mut visits).await?;
    Ok(visits)
}

/// Where the rows of these visits lie: row ids begin with the start of the visit, so that persona and time narrow them
/// down by an index.
pub(super) fn rows_of_visits<'a>(
    visits: impl Iterator<Item = (&'a TickId, UserId, Timestamp)>,
) -> Vec<serde_json::Value> {
    visits
        .map(|(tick, persona, started)| {
            let (first, past) = (first_row_id(started), first_row_id(started.plus_millis(1)));
            json!({ "tick": tick, "persona": hex(persona.uuid()), "first": hex(first), "past": hex(past) })
        })
        .collect()
}

/// Counts the rows of visits in one table, and those of them that failed.
pub(super) fn count(engine: EngineKind, table: &str, key: &str, failed: &str) -> String {
    match engine {
        EngineKind::Sqlite => format!(
            "SELECT x.tick, COUNT(*), {failed} FROM json_each($1) e CROSS JOIN {table} x
                ON x.persona = unhex(e.value ->> 'persona') AND x.{key} >= unhex(e.value ->> 'first')
                AND x.{key} < unhex(e.value ->> 'past') AND x.tick = e.value ->> 'tick'
             GROUP BY x.tick"
        ),
        EngineKind::Postgres => format!(
            "SELECT x.tick, COUNT(*), {failed}
             FROM jsonb_to_recordset($1) AS e(tick text, persona uuid, first uuid, past uuid) JOIN {table} x
                ON x.persona = e.persona AND x.{key} >= e.first AND x.{key} < e.past AND x.tick = e.tick
             GROUP BY x.tick"
        ),
    }
}

async fn count_rows(db: &Db, visits: &mut [TickRow]) -> Result<()> {
    if visits.is_empty() {
        return Ok(());
    }
    let rows = rows_of_visits(visits.iter().map(|visit| (&visit.id, visit.persona, visit.started)));
    let actions = count(db.engine(), "persona_action", "id", "COUNT(CASE WHEN x.result = 'error' THEN 1 END)");
    let ratings = count(db.engine(), "persona_feedback", "seq", "COUNT(CASE WHEN x.module = '__parse' THEN 1 END)");
    let actions = db.query(actions).bind(Json(rows.clone())).all::<(TickId, i64, i64)>().await?;
    let ratings = db.query(ratings).bind(Json(rows)).all::<(TickId, i64, i64)>().await?;
    let by_tick = |rows: Vec<(TickId, i64, i64)>| -> HashMap<TickId, (i64, i64)> {
        rows.into_iter().map(|(tick, all, failed)| (tick, (all, failed))).collect()
    };
    let (actions, ratings) = (by_tick(actions), by_tick(ratings));
    for visit in visits {
        (visit.actions, visit.errors) = actions.get(&visit.id).copied().unwrap_or_default();
        (visit.ratings, _) = ratings.get(&visit.id).copied().unwrap_or_default();
    }
    Ok(())
}

/// The journal of a visit, in order.
pub(crate) async fn journal(db: &Db, tick: &TickId) -> Result<Vec<JournalLine>> {
    let rows = db
        .query("SELECT seq, at, entry FROM tick_journal WHERE tick = $1 ORDER BY seq")
        .bind(tick.clone())
        .all::<(i64, Timestamp, String)>()
        .await?;
    rows.into_iter()
        .map(|(seq, at, text)| {
            let entry = serde_json::from_str(&text).map_err(|error| damaged("tick_journal")(error.to_string()))?;
            Ok(JournalLine { seq, at, entry })
        })
        .collect()
}

/// The ratings of one persona by module, and how many answers could not be read.
pub(crate) async fn module_ratings(db: &Db, persona: UserId) -> Result<Vec<ModuleRow>> {
    db.query(
        "SELECT module, simulated, COUNT(*) AS answers, COUNT(rating) AS ratings,
            CAST(AVG(rating) AS DOUBLE PRECISION) AS mean
         FROM persona_feedback WHERE persona = $1 GROUP BY module, simulated ORDER BY module, simulated",
    )
    .bind(persona)
    .all()
    .await
}

/// The persona with this e-mail, whatever its case.
pub(crate) async fn resolve(db: &Db, email: &str) -> Result<Option<UserId>> {
    let found = db
        .query("SELECT p.user_id FROM persona p JOIN account a ON a.id = p.user_id WHERE a.email_key = $1")
        .bind(email.to_lowercase())
        .optional::<(UserId,)>()
        .await?;
    Ok(found.map(|(user,)| user))
}
