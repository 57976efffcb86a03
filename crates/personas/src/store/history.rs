//! Reading the audit trail, ratings and visits.

use std::collections::HashMap;
use std::fmt::Write as _;

use mana_store::{Db, Result};
use mana_types::{TickId, Timestamp, UserId};
use uuid::Uuid;

use crate::action::first_row_id;
use crate::history::{ActionFilter, ActionRow, ModuleRow, RatingFilter, RatingRow, TickRow};

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
        x.input_hash, x.result, x.code, x.error_message, x.latency_ms, x.simulated, x.at
     FROM persona_action x JOIN account a ON a.id = x.persona";

/// Actions, newest first; up to `limit`.
pub(crate) async fn actions(db: &Db, filter: &ActionFilter, limit: i64) -> Result<Vec<ActionRow>> {
    let mut conditions = Where::default();
    if let Some(persona) = filter.persona {
        conditions.and("x.persona =", Value::Id(persona.uuid()));
    }
    if let Some(tick) = &filter.tick {
        // The rows of a visit lie together: persona and time narrow them down by an index.
        let found = db.query("SELECT persona, started FROM persona_tick WHERE id = $1").bind(tick.clone());
        let Some((persona, started)) = found.optional::<(UserId, Timestamp)>().await? else { return Ok(Vec::new()) };
        conditions.and("x.persona =", Value::Id(persona.uuid()));
        conditions.and("x.id >=", Value::Id(first_row_id(started)));
        conditions.and("x.id <", Value::Id(first_row_id(started.plus_millis(1))));
        conditions.and("x.tick =", Value::Text(tick.clone()));
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

const RATINGS: &str =
    "SELECT x.id, x.seq, x.tick, x.persona, a.email, x.module, x.rating, x.notes, x.evidence, x.quote,
        x.confidence, x.simulated, x.at
     FROM persona_feedback x JOIN account a ON a.id = x.persona";

/// Ratings, newest first; up to `limit`.
pub(crate) async fn ratings(db: &Db, filter: &RatingFilter, limit: i64) -> Result<Vec<RatingRow>> {
    let mut conditions = Where::default();
    if let Some(persona) = filter.persona {
        conditions.and("x.persona =", Value::Id(persona.uuid()));
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

/// The latest visits of one persona, with the number of their rows.
pub(crate) async fn ticks_of(db: &Db, persona: UserId, limit: i64) -> Result<Vec<TickRow>> {
    let mut ticks: Vec<TickRow> = db
        .query(
            "SELECT id, epoch, attempt, started, finished, outcome, engine, model, simulated, goal, summary, token_usage,
                prompt_hash, tools_hash, memory_hash
             FROM persona_tick WHERE persona = $1 ORDER BY started DESC, id DESC LIMIT $2",
        )
        .bind(persona)
        .bind(limit)
        .all()
        .await?;
    let Some(oldest) = ticks.last() else { return Ok(ticks) };
    // Row ids begin with the start of the visit, so only the rows of these visits are read.
    let first = first_row_id(oldest.started);
    let actions = "SELECT tick, COUNT(*) FROM persona_action WHERE persona = $1 AND id >= $2 GROUP BY tick";
    let actions = db.query(actions).bind(persona).bind(first).all::<(TickId, i64)>().await?;
    let ratings = "SELECT tick, COUNT(*) FROM persona_feedback WHERE persona = $1 AND seq >= $2 GROUP BY tick";
    let ratings = db.query(ratings).bind(persona).bind(first).all::<(TickId, i64)>().await?;
    let (actions, ratings): (HashMap<_, _>, HashMap<_, _>) =
        (actions.into_iter().collect(), ratings.into_iter().collect());
    for tick in &mut ticks {
        tick.actions = actions.get(&tick.id).copied().unwrap_or_default();
        tick.ratings = ratings.get(&tick.id).copied().unwrap_or_default();
    }
    Ok(ticks)
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
