//! Descriptions and run states.

use mana_store::{Db, EngineKind, FromRow, Json, Result, Source, Tx};
use mana_types::{Cursor, Timestamp, UserId};
use uuid::Uuid;

use super::{DESCRIPTOR, DescriptorRow, RUN, RunRow, damaged};
use crate::action::first_row_id;
use crate::descriptor::Descriptor;
use crate::population::{DuePersona, LastTick, PersonaView, Ratings};
use crate::run::Run;

/// Whether there is a persona with this id.
pub(crate) async fn is_persona(db: &Db, user: UserId) -> Result<bool> {
    let found = db.query("SELECT user_id FROM persona WHERE user_id = $1").bind(user).optional::<(UserId,)>().await?;
    Ok(found.is_some())
}

#[derive(Debug, FromRow)]
struct PersonaRow {
    user_id: UserId,
    email: String,
    name: String,
    #[sqlx(flatten)]
    descriptor: DescriptorRow,
    prompt_hash: String,
    created: Timestamp,
    updated: Timestamp,
    state: String,
    pause_reason: Option<String>,
    ready_at: Timestamp,
    failures: i64,
    last_active_at: Option<Timestamp>,
    actions_since: i64,
    last_tick: Option<String>,
    last_started: Option<Timestamp>,
    last_finished: Option<Timestamp>,
    last_outcome: Option<String>,
    last_simulated: Option<bool>,
    ratings: i64,
    mean: Option<f64>,
    simulated_ratings: i64,
    simulated_mean: Option<f64>,
}

impl PersonaRow {
    fn read(self) -> Result<PersonaView> {
        let last_tick = self.last_tick.zip(self.last_started).map(|(tick_id, started_at)| LastTick {
            tick_id,
            started_at,
            finished_at: self.last_finished,
            outcome: self.last_outcome,
            simulated: self.last_simulated.unwrap_or_default(),
        });
        Ok(PersonaView {
            user_id: self.user_id,
            email: self.email,
            name: self.name,
            descriptor: self.descriptor.read()?,
            prompt_hash: self.prompt_hash,
            created_at: self.created,
            updated_at: self.updated,
            state: self.state.parse().map_err(damaged("run_state"))?,
            pause_reason: self.pause_reason,
            next_due_at: (self.ready_at < Timestamp::MAX).then_some(self.ready_at),
            failures: self.failures,
            last_active_at: self.last_active_at,
            actions7d: self.actions_since,
            last_tick,
            rated: Ratings { ratings: self.ratings, mean_rating: self.mean },
            simulated: Ratings { ratings: self.simulated_ratings, mean_rating: self.simulated_mean },
        })
    }
}

/// `$1` is the first row id that counts as recent. Account and run state are always there; joined this way SQLite
/// starts from the persona.
pub(super) fn select(condition: &str) -> String {
    format!(
        "SELECT p.user_id, a.email, a.name, {DESCRIPTOR}, p.prompt_hash, p.created, p.updated, r.state, r.pause_reason,
            r.ready_at, r.failures, r.last_active_at,
            (SELECT COUNT(*) FROM persona_action x WHERE x.persona = p.user_id AND x.id >= $1) AS actions_since,
            t.id AS last_tick, t.started AS last_started, t.finished AS last_finished, t.outcome AS last_outcome,
            t.simulated AS last_simulated,
            (SELECT COUNT(f.rating) FROM persona_feedback f WHERE f.persona = p.user_id AND NOT f.simulated) AS ratings,
            (SELECT CAST(AVG(f.rating) AS DOUBLE PRECISION) FROM persona_feedback f
                WHERE f.persona = p.user_id AND NOT f.simulated) AS mean,
            (SELECT COUNT(f.rating) FROM persona_feedback f WHERE f.persona = p.user_id AND f.simulated) AS simulated_ratings,
            (SELECT CAST(AVG(f.rating) AS DOUBLE PRECISION) FROM persona_feedback f
                WHERE f.persona = p.user_id AND f.simulated) AS simulated_mean
         FROM persona p LEFT JOIN account a ON a.id = p.user_id
         LEFT JOIN run_state r ON r.bucket = 0 AND r.persona = p.user_id
         LEFT JOIN persona_tick t ON t.id = (
            SELECT l.id FROM persona_tick l WHERE l.persona = p.user_id ORDER BY l.started DESC, l.id DESC LIMIT 1)
         WHERE {condition}"
    )
}

pub(super) const ONE: &str = "p.user_id = $2";
pub(super) const NEWEST: &str = "(p.created, p.user_id) < ($2, $3) ORDER BY p.created DESC, p.user_id DESC LIMIT $4";

/// One persona with its figures.
pub(crate) async fn persona(db: &Db, user: UserId, recent: Timestamp) -> Result<Option<PersonaView>> {
    db.query(select(ONE))
        .bind(first_row_id(recent))
        .bind(user)
        .optional::<PersonaRow>()
        .await?
        .map(PersonaRow::read)
        .transpose()
}

/// Personas with their figures, newest first.
pub(crate) async fn list(db: &Db, recent: Timestamp, limit: i64, before: Option<Cursor>) -> Result<Vec<PersonaView>> {
    let (created, id) = before.map_or((i64::MAX, Uuid::max()), |cursor| (cursor.key, cursor.id));
    db.query(select(NEWEST))
        .bind(first_row_id(recent))
        .bind(created)
        .bind(id)
        .bind(limit)
        .all::<PersonaRow>()
        .await?
        .into_iter()
        .map(PersonaRow::read)
        .collect()
}

#[derive(Debug, FromRow)]
struct DueRow {
    user_id: UserId,
    email: String,
    #[sqlx(flatten)]
    descriptor: DescriptorRow,
    last_active_at: Option<Timestamp>,
}

/// Personas that are due, those that never ran first, then the longest idle.
pub(crate) async fn due(db: &Db, now: Timestamp, limit: i64) -> Result<Vec<DuePersona>> {
    let sql = format!(
        "SELECT p.user_id, a.email, {DESCRIPTOR}, r.last_active_at
         FROM run_state r JOIN persona p ON p.user_id = r.persona JOIN account a ON a.id = p.user_id
         WHERE r.bucket = 0 AND r.lane = 0 AND r.prio IN (0, 1, 2) AND r.ready_at <= $1 AND r.ready_at < 9223372036854775807
         ORDER BY r.last_active_at NULLS FIRST, r.ready_at, p.user_id LIMIT $2"
    );
    let rows = db.query(sql).bind(now).bind(limit).all::<DueRow>().await?;
    rows.into_iter()
        .map(|row| {
            Ok(DuePersona {
                user_id: row.user_id,
                email: row.email,
                descriptor: row.descriptor.read()?,
                last_active_at: row.last_active_at,
            })
        })
        .collect()
}

/// Writes a description; what is there already is brought up to date.
pub(crate) async fn save_persona(tx: &mut Tx, user: UserId, descriptor: &Descriptor, now: Timestamp) -> Result<()> {
    tx.query(
        "INSERT INTO persona (user_id, archetype, system_prompt, prompt_hash, module_mix, cadence, timezone, locale,
            window_start, window_end, behaviour, created, updated, target, tools)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13, $14)
         ON CONFLICT (user_id) DO UPDATE SET archetype = excluded.archetype, system_prompt = excluded.system_prompt,
            prompt_hash = excluded.prompt_hash, module_mix = excluded.module_mix, cadence = excluded.cadence,
            timezone = excluded.timezone, locale = excluded.locale, window_start = excluded.window_start,
            window_end = excluded.window_end, behaviour = excluded.behaviour, updated = excluded.updated,
            target = excluded.target, tools = excluded.tools",
    )
    .bind(user)
    .bind(descriptor.archetype.clone())
    .bind(descriptor.system_prompt.clone())
    .bind(descriptor.prompt_hash())
    .bind(Json(descriptor.module_mix.clone()))
    .bind(descriptor.cadence.as_str())
    .bind(descriptor.timezone.clone())
    .bind(descriptor.locale.clone())
    .bind(descriptor.window.map(crate::due::Window::start))
    .bind(descriptor.window.map(crate::due::Window::end))
    .bind(Json(descriptor.behaviour.clone()))
    .bind(now)
    .bind(descriptor.target.clone().map(Json))
    .bind(descriptor.tools.clone().map(Json))
    .execute()
    .await
    .map(drop)
}

pub(super) fn run_sql(engine: EngineKind) -> String {
    let lock = match engine {
        EngineKind::Sqlite => "", // the one writer is lock enough
        EngineKind::Postgres => "FOR NO KEY UPDATE OF r",
    };
    format!(
        "SELECT {RUN} FROM run_state r JOIN persona p ON p.user_id = r.persona
         WHERE r.bucket = 0 AND r.persona = $1 {lock}"
    )
}

/// A persona's run state, locked until the end of the transaction.
pub(crate) async fn run(tx: &mut Tx, user: UserId) -> Result<Option<Run>> {
    let sql = run_sql(tx.engine());
    tx.query(sql).bind(user).optional::<RunRow>().await?.map(RunRow::read).transpose()
}

/// Writes the run state of a new persona.
pub(crate) async fn add_run(tx: &mut Tx, run: &Run) -> Result<()> {
    tx.query(
        "INSERT INTO run_state (bucket, persona, lane, prio, ready_at, epoch, attempts, failures, state, slot_at)
         VALUES (0, $1, 0, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(run.persona)
    .bind(run.prio)
    .bind(run.ready_at)
    .bind(run.epoch)
    .bind(run.attempts)
    .bind(run.failures)
    .bind(run.state.as_str())
    .bind(run.slot_at)
    .execute()
    .await
    .map(drop)
}

/// Writes a run state that was read and locked in this transaction. The epoch is a claim's alone.
pub(crate) async fn save_run(tx: &mut Tx, run: &Run) -> Result<()> {
    tx.query(
        "UPDATE run_state SET prio = $2, ready_at = $3, owner = $4, lease_until = $5, tick = $6, attempts = $7, failures = $8,
            state = $9, pause_reason = $10, last_active_at = $11, slot_at = $12
         WHERE bucket = 0 AND persona = $1",
    )
    .bind(run.persona)
    .bind(run.prio)
    .bind(run.ready_at)
    .bind(run.owner.clone())
    .bind(run.lease_until)
    .bind(run.tick.clone())
    .bind(run.attempts)
    .bind(run.failures)
    .bind(run.state.as_str())
    .bind(run.pause_reason.clone())
    .bind(run.last_active_at)
    .bind(run.slot_at)
    .execute()
    .await
    .map(drop)
}

/// How many personas are in each state, how many are due, how many never ran, and when the next is due.
#[derive(Debug, FromRow)]
pub(crate) struct CountsRow {
    pub(crate) personas: i64,
    pub(crate) idle: i64,
    pub(crate) running: i64,
    pub(crate) paused: i64,
    pub(crate) quarantined: i64,
    pub(crate) due: i64,
    pub(crate) never_ran: i64,
    pub(crate) next_due_at: Option<Timestamp>,
}

/// Counts the population.
pub(crate) async fn counts(source: &mut Source<'_>, now: Timestamp) -> Result<CountsRow> {
    source
        .query(
            "SELECT COUNT(*) AS personas,
                COUNT(CASE WHEN state = 'idle' THEN 1 END) AS idle,
                COUNT(CASE WHEN state = 'running' THEN 1 END) AS running,
                COUNT(CASE WHEN state = 'paused' THEN 1 END) AS paused,
                COUNT(CASE WHEN state = 'quarantined' THEN 1 END) AS quarantined,
                COUNT(CASE WHEN ready_at <= $1 THEN 1 END) AS due,
                COUNT(CASE WHEN last_active_at IS NULL THEN 1 END) AS never_ran,
                MIN(CASE WHEN ready_at > $1 AND ready_at < 9223372036854775807 THEN ready_at END) AS next_due_at
             FROM run_state WHERE bucket = 0",
        )
        .bind(now)
        .one()
        .await
}

/// What happened in the visits that began since a time: outcomes, results of calls, ratings; each split by whether it
/// was simulated.
#[derive(Debug)]
pub(crate) struct RecentRows {
    pub(crate) ticks: Vec<(Option<String>, bool, bool, i64)>,
    pub(crate) actions: Vec<(String, bool, i64)>,
    pub(crate) ratings: Vec<(bool, i64, i64, Option<f64>)>,
}

/// Counts recent visits, calls and ratings.
pub(crate) async fn recent(db: &Db, since: Timestamp) -> Result<RecentRows> {
    let first = first_row_id(since);
    Ok(RecentRows {
        ticks: db
            .query(
                "SELECT outcome, finished IS NOT NULL, simulated, COUNT(*) FROM persona_tick WHERE started >= $1
                 GROUP BY outcome, finished IS NOT NULL, simulated ORDER BY 1, 2, 3",
            )
            .bind(since)
            .all()
            .await?,
        actions: db
            .query("SELECT result, simulated, COUNT(*) FROM persona_action WHERE id >= $1 GROUP BY result, simulated")
            .bind(first)
            .all()
            .await?,
        ratings: db
            .query(
                "SELECT simulated, COUNT(CASE WHEN module = '__parse' THEN 1 END), COUNT(rating),
                    CAST(AVG(rating) AS DOUBLE PRECISION)
                 FROM persona_feedback WHERE seq >= $1 GROUP BY simulated",
            )
            .bind(first)
            .all()
            .await?,
    })
}
