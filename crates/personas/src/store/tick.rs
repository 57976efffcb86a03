//! Visits, their journal, and the rows that they leave.

use std::collections::BTreeMap;

use mana_store::{EngineKind, FromRow, Json, Result, Tx};
use mana_types::{TickId, Timestamp, UserId};
use serde::Serialize;
use serde_json::{Value, json};

use super::{RUN, RunRow, hex};
use crate::action::{NewAction, Outcome, row_id};
use crate::feedback::NewFeedback;
use crate::run::Run;
use crate::tick::{Entry, Finish, Finished, Lease};

/// A visit, and who holds its persona now.
#[derive(Debug, FromRow)]
pub(crate) struct TickRow {
    pub(crate) id: TickId,
    pub(crate) persona: UserId,
    epoch: i64,
    owner: Option<String>,
    pub(crate) started: Timestamp,
    finished: Option<Timestamp>,
    actions_written: i64,
    feedback_written: i64,
    next_due_at: Option<Timestamp>,
    holder: Option<String>,
}

impl TickRow {
    /// A claim stands behind it; else it is only reported.
    pub(crate) fn is_claimed(&self) -> bool {
        self.owner.is_some()
    }

    fn is_of(&self, lease: &Lease) -> bool {
        self.epoch == lease.epoch && self.owner.as_deref() == Some(&lease.owner)
    }

    /// What this very lease was answered when it finished the visit.
    pub(crate) fn finished_by(&self, lease: &Lease) -> Option<Finished> {
        (self.finished.is_some() && self.is_of(lease)).then_some(Finished {
            actions: self.actions_written,
            feedback: self.feedback_written,
            next_due_at: self.next_due_at,
        })
    }

    /// This very lease has given the visit back, and nobody has taken it up since.
    pub(crate) fn is_given_back_by(&self, lease: &Lease) -> bool {
        self.finished.is_none() && self.is_of(lease) && self.holder.is_none()
    }
}

/// With a `LEFT JOIN` to the run state, which is always there, because SQLite keeps the order of that one: from the few
/// visits to their personas and never through the whole population.
const TICK: &str = "t.id, t.persona, t.epoch, t.owner, t.started, t.finished, t.actions_written, t.feedback_written,
    t.next_due_at, r.owner AS holder";

pub(super) fn by_id() -> String {
    format!(
        "SELECT {TICK} FROM persona_tick t LEFT JOIN run_state r ON r.bucket = 0 AND r.persona = t.persona WHERE t.id = $1"
    )
}

/// A visit, if there is one with this id.
pub(crate) async fn tick(tx: &mut Tx, tick: &TickId) -> Result<Option<TickRow>> {
    tx.query(by_id()).bind(tick.clone()).optional().await
}

pub(super) fn by_ids(engine: EngineKind) -> String {
    let list = match engine {
        EngineKind::Sqlite => "SELECT value FROM json_each($1)",
        EngineKind::Postgres => "SELECT jsonb_array_elements_text($1)",
    };
    format!(
        "SELECT {TICK} FROM persona_tick t LEFT JOIN run_state r ON r.bucket = 0 AND r.persona = t.persona
         WHERE t.id IN ({list})"
    )
}

/// Those of these visits that there are.
pub(crate) async fn ticks(tx: &mut Tx, ids: impl Iterator<Item = &TickId>) -> Result<Vec<TickRow>> {
    let ids: Vec<TickId> = ids.cloned().collect();
    let sql = by_ids(tx.engine());
    tx.query(sql).bind(Json(ids)).all().await
}

pub(super) fn fence_sql(engine: EngineKind) -> String {
    let lock = match engine {
        EngineKind::Sqlite => "", // the one writer is lock enough
        EngineKind::Postgres => "FOR NO KEY UPDATE OF r",
    };
    format!(
        "SELECT {RUN} FROM persona_tick t
         JOIN run_state r ON r.bucket = 0 AND r.persona = t.persona AND r.tick = t.id
         JOIN persona p ON p.user_id = r.persona
         WHERE t.id = $1 AND r.owner = $2 AND r.epoch = $3 AND r.lease_until > $4 {lock}"
    )
}

/// The run state behind a visit, locked, if this lease holds it at this time.
pub(crate) async fn fence(tx: &mut Tx, tick: &TickId, lease: &Lease, now: Timestamp) -> Result<Option<Run>> {
    let sql = fence_sql(tx.engine());
    tx.query(sql)
        .bind(tick.clone())
        .bind(lease.owner.clone())
        .bind(lease.epoch)
        .bind(now)
        .optional::<RunRow>()
        .await?
        .map(RunRow::read)
        .transpose()
}

/// Makes visits that are reported without a claim, where they are new.
pub(crate) async fn add_reported_ticks(
    tx: &mut Tx,
    persona: UserId,
    ticks: &BTreeMap<&TickId, bool>,
    now: Timestamp,
) -> Result<u64> {
    let sql = match tx.engine() {
        EngineKind::Sqlite => {
            "INSERT INTO persona_tick (id, persona, epoch, attempt, started, finished, simulated, actions_written, feedback_written)
             SELECT e.value ->> 'id', $2, 0, 1, $3, $3, e.value ->> 'simulated', 0, 0 FROM json_each($1) e WHERE true
             ON CONFLICT DO NOTHING"
        }
        EngineKind::Postgres => {
            "INSERT INTO persona_tick (id, persona, epoch, attempt, started, finished, simulated, actions_written, feedback_written)
             SELECT e.id, $2, 0, 1, $3, $3, e.simulated, 0, 0 FROM jsonb_to_recordset($1) AS e(id text, simulated boolean)
             ON CONFLICT DO NOTHING"
        }
    };
    let rows: Vec<Value> = ticks.iter().map(|(id, simulated)| json!({ "id": id, "simulated": simulated })).collect();
    tx.query(sql).bind(Json(rows)).bind(persona).bind(now).execute().await
}

/// Appends entries to a journal; those that are there already stay. Returns how many are new.
pub(crate) async fn append_journal(tx: &mut Tx, tick: &TickId, entries: &[Entry], now: Timestamp) -> Result<u64> {
    let sql = match tx.engine() {
        EngineKind::Sqlite => {
            "INSERT INTO tick_journal (tick, seq, entry, at)
             SELECT $2, e.value ->> 'seq', e.value ->> 'entry', $3 FROM json_each($1) e WHERE true ON CONFLICT DO NOTHING"
        }
        EngineKind::Postgres => {
            "INSERT INTO tick_journal (tick, seq, entry, at)
             SELECT $2, e.seq, e.entry, $3 FROM jsonb_to_recordset($1) AS e(seq bigint, entry text) ON CONFLICT DO NOTHING"
        }
    };
    // An entry goes in as a text within the JSON of the batch, so that it stays as it is to the letter.
    let rows: Vec<Value> =
        entries.iter().map(|entry| json!({ "seq": entry.seq, "entry": entry.entry.to_string() })).collect();
    tx.query(sql).bind(Json(rows)).bind(tick.clone()).bind(now).execute().await
}

#[derive(Debug, Serialize)]
struct NewActionRow {
    id: String,
    wire: String,
    tick: TickId,
    persona: String,
    idx: i64,
    tool: String,
    module: String,
    r#use: Option<String>,
    hash: Option<String>,
    result: Outcome,
    code: Option<String>,
    message: Option<String>,
    latency: Option<i64>,
    bytes: Option<i64>,
    answer: Option<String>,
    simulated: bool,
    at: i64,
}

#[derive(Debug, Serialize)]
struct NewFeedbackRow {
    id: String,
    seq: String,
    tick: TickId,
    persona: String,
    module: String,
    rating: Option<i64>,
    notes: Option<String>,
    evidence: Vec<i64>,
    quote: Option<String>,
    confidence: Option<f64>,
    simulated: bool,
    at: i64,
}

/// Actions and ratings on their way into the database, each as one JSON array.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    actions: Vec<NewActionRow>,
    feedback: Vec<NewFeedbackRow>,
}

impl Batch {
    pub(crate) fn add_action(
        &mut self,
        persona: UserId,
        tick: &TickId,
        started: Timestamp,
        action: &NewAction,
        now: Timestamp,
    ) {
        let wire_id = action.wire_id(tick);
        self.actions.push(NewActionRow {
            id: hex(row_id(started, action.index, persona, &wire_id)),
            wire: wire_id,
            tick: tick.clone(),
            persona: hex(persona.uuid()),
            idx: action.index,
            tool: action.tool.clone(),
            module: action.module.clone(),
            r#use: action.tool_use_id.clone(),
            hash: action.input_hash.clone(),
            result: action.result,
            code: action.code.clone(),
            message: action.error_message.clone(),
            latency: action.latency_ms,
            bytes: action.result_bytes,
            answer: action.result_hash.clone(),
            simulated: action.simulated,
            at: action.at.unwrap_or(now).as_millis(),
        });
    }

    pub(crate) fn add_feedback(
        &mut self,
        persona: UserId,
        tick: &TickId,
        started: Timestamp,
        feedback: &NewFeedback,
        now: Timestamp,
    ) {
        let wire_id = feedback.wire_id(tick);
        self.feedback.push(NewFeedbackRow {
            seq: hex(row_id(started, 0, persona, &wire_id)),
            id: wire_id,
            tick: tick.clone(),
            persona: hex(persona.uuid()),
            module: feedback.module.clone(),
            rating: feedback.rating,
            notes: feedback.notes.clone(),
            evidence: feedback.evidence.clone(),
            quote: feedback.quote.clone(),
            confidence: feedback.confidence,
            simulated: feedback.simulated,
            at: now.as_millis(),
        });
    }

    /// Everything in it was decided by the rehearsal engine.
    pub(crate) fn mark_simulated(&mut self) {
        for row in &mut self.actions {
            row.simulated = true;
        }
        for row in &mut self.feedback {
            row.simulated = true;
        }
    }
}

/// Writes the actions of a batch in one statement. A row that is there already stays. Returns how many are new.
pub(crate) async fn insert_actions(tx: &mut Tx, batch: &mut Batch) -> Result<u64> {
    if batch.actions.is_empty() {
        return Ok(0);
    }
    let sql = match tx.engine() {
        EngineKind::Sqlite => {
            "INSERT INTO persona_action (id, wire_id, tick, persona, idx, tool, module, tool_use_id, input_hash, result, code,
                error_message, latency_ms, result_bytes, result_hash, simulated, at)
             SELECT unhex(e.value ->> 'id'), e.value ->> 'wire', e.value ->> 'tick', unhex(e.value ->> 'persona'),
                e.value ->> 'idx', e.value ->> 'tool', e.value ->> 'module', e.value ->> 'use', e.value ->> 'hash',
                e.value ->> 'result', e.value ->> 'code', e.value ->> 'message', e.value ->> 'latency',
                e.value ->> 'bytes', e.value ->> 'answer', e.value ->> 'simulated', e.value ->> 'at'
             FROM json_each($1) e WHERE true ON CONFLICT DO NOTHING"
        }
        EngineKind::Postgres => {
            "INSERT INTO persona_action (id, wire_id, tick, persona, idx, tool, module, tool_use_id, input_hash, result, code,
                error_message, latency_ms, result_bytes, result_hash, simulated, at)
             SELECT e.id, e.wire, e.tick, e.persona, e.idx, e.tool, e.module, e.use, e.hash, e.result, e.code, e.message,
                e.latency, e.bytes, e.answer, e.simulated, e.at
             FROM jsonb_to_recordset($1) AS e(id uuid, wire text, tick text, persona uuid, idx bigint, tool text, module text,
                use text, hash text, result text, code text, message text, latency bigint, bytes bigint, answer text,
                simulated boolean, at bigint)
             ON CONFLICT DO NOTHING"
        }
    };
    tx.query(sql).bind(Json(std::mem::take(&mut batch.actions))).execute().await
}

/// Writes the ratings of a batch in one statement. A row that is there already stays. Returns how many are new.
pub(crate) async fn insert_feedback(tx: &mut Tx, batch: &mut Batch) -> Result<u64> {
    if batch.feedback.is_empty() {
        return Ok(0);
    }
    let sql = match tx.engine() {
        EngineKind::Sqlite => {
            "INSERT INTO persona_feedback (id, seq, tick, persona, module, rating, notes, evidence, quote, confidence,
                simulated, at)
             SELECT e.value ->> 'id', unhex(e.value ->> 'seq'), e.value ->> 'tick', unhex(e.value ->> 'persona'),
                e.value ->> 'module', e.value ->> 'rating', e.value ->> 'notes', e.value -> 'evidence', e.value ->> 'quote',
                e.value ->> 'confidence', e.value ->> 'simulated', e.value ->> 'at'
             FROM json_each($1) e WHERE true ON CONFLICT DO NOTHING"
        }
        EngineKind::Postgres => {
            "INSERT INTO persona_feedback (id, seq, tick, persona, module, rating, notes, evidence, quote, confidence,
                simulated, at)
             SELECT e.id, e.seq, e.tick, e.persona, e.module, e.rating, e.notes, e.evidence, e.quote, e.confidence,
                e.simulated, e.at
             FROM jsonb_to_recordset($1) AS e(id text, seq uuid, tick text, persona uuid, module text, rating bigint,
                notes text, evidence jsonb, quote text, confidence double precision, simulated boolean, at bigint)
             ON CONFLICT DO NOTHING"
        }
    };
    tx.query(sql).bind(Json(std::mem::take(&mut batch.feedback))).execute().await
}

/// Writes how a visit ended.
pub(crate) async fn finish_tick(
    tx: &mut Tx,
    tick: &TickId,
    finish: &Finish,
    finished: Finished,
    now: Timestamp,
) -> Result<()> {
    tx.query(
        "UPDATE persona_tick SET finished = $2, outcome = $3, engine = $4, model = $5, simulated = $6, goal = $7, summary = $8,
            token_usage = $9, prompt_hash = $10, tools_hash = $11, memory_hash = $12, actions_written = $13,
            feedback_written = $14, next_due_at = $15, diary = $16
         WHERE id = $1",
    )
    .bind(tick.clone())
    .bind(now)
    .bind(finish.outcome.as_str())
    .bind(finish.engine.clone())
    .bind(finish.model.clone())
    .bind(finish.simulated)
    .bind(finish.goal.clone())
    .bind(finish.summary.clone())
    .bind(finish.usage.clone().map(Json))
    .bind(finish.prompt_hash.clone())
    .bind(finish.tools_hash.clone())
    .bind(finish.memory_hash.clone())
    .bind(finished.actions)
    .bind(finished.feedback)
    .bind(finished.next_due_at)
    .bind(finish.diary.clone())
    .execute()
    .await
    .map(drop)
}
