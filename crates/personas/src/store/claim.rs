//! Claiming, keeping and reading leases.

use std::collections::{BTreeMap, HashMap, HashSet};

use mana_store::{Db, EngineKind, FromRow, Json, Result, Tx};
use mana_types::{TickId, Timestamp, UserId};
use serde_json::{Value, json};

use super::{DESCRIPTOR, DescriptorRow, damaged, hex};
use crate::claim::{Claim, ClaimRequest, Heartbeat};
use crate::due::MAX_ATTEMPTS;
use crate::tick::Entry;

/// What a claim took, and whom it put into quarantine instead.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) claims: Vec<Claim>,
    pub(crate) quarantined: Vec<UserId>,
}

/// Why a persona is quarantined by a claim.
const CRASHED: &str = "five attempts at the same visit ended without a word";

#[derive(Debug, FromRow)]
struct ClaimedRow {
    epoch: i64,
    attempts: i64,
    tick: TickId,
    over: bool,
    #[sqlx(flatten)]
    person: PersonRow,
}

#[derive(Debug, FromRow)]
struct PersonRow {
    persona: UserId,
    email: String,
    name: String,
    account_locale: String,
    last_active_at: Option<Timestamp>,
    #[sqlx(flatten)]
    descriptor: DescriptorRow,
}

/// Claims up to `request.limit` personas; each new visit gets one of the fresh ids.
///
/// On PostgreSQL one statement, a transaction of its own: rows that another claim has locked are skipped. On SQLite the
/// writer's transaction, and only if a look beforehand shows that something is due. Both take the first of each
/// priority from the index of what is ready, so that the price depends on what is taken and not on who is there.
///
/// On PostgreSQL it does not wait for the disk. What the visit writes next does, and takes the claim along, because the
/// log has one order; a visit journals before it acts. So a claim that a crash of the server loses has had no effect,
/// and its owner is fenced out.
pub(crate) async fn claim(db: &Db, request: &ClaimRequest, fresh: &[TickId], now: Timestamp) -> Result<Taken> {
    match db.engine() {
        EngineKind::Sqlite => claim_sqlite(db, request, fresh, now).await,
        EngineKind::Postgres => claim_postgres(db, request, fresh, now).await,
    }
}

/// Whether anything is due. Reads one entry of the index.
pub(super) const ANY_DUE: &str = "SELECT 1 FROM run_state
    WHERE bucket = 0 AND lane = 0 AND prio IN (0, 1, 2) AND ready_at <= $1 AND ready_at < 9223372036854775807 LIMIT 1";

/// `CROSS JOIN` because SQLite keeps its order: from the few that are due to their people, never the other way round.
pub(super) const DUE_SQLITE: &str = "SELECT r.rowid AS place, r.persona, r.epoch + 1 AS epoch, r.attempts + 1 AS attempts, r.tick,
        r.last_active_at, a.email, a.name, a.locale AS account_locale, p.archetype, p.system_prompt, p.module_mix, p.cadence,
        p.timezone, p.locale, p.window_start, p.window_end, p.behaviour, p.target, p.tools
    FROM (
        SELECT place FROM (
            SELECT rowid AS place FROM run_state WHERE bucket = 0 AND lane = 0 AND prio = 0 AND ready_at <= $1
            AND ready_at < 9223372036854775807 ORDER BY ready_at LIMIT $2)
        UNION ALL SELECT place FROM (
            SELECT rowid AS place FROM run_state WHERE bucket = 0 AND lane = 0 AND prio = 1 AND ready_at <= $1
            AND ready_at < 9223372036854775807 ORDER BY ready_at LIMIT $2)
        UNION ALL SELECT place FROM (
            SELECT rowid AS place FROM run_state WHERE bucket = 0 AND lane = 0 AND prio = 2 AND ready_at <= $1
            AND ready_at < 9223372036854775807 ORDER BY ready_at LIMIT $2)
        LIMIT $2
    ) due CROSS JOIN run_state r ON r.rowid = due.place CROSS JOIN persona p ON p.user_id = r.persona
    CROSS JOIN account a ON a.id = p.user_id";

/// Two statements on one way to the database; both read one object of what is taken, by row number. `IN` because SQLite
/// then looks each row up by its number, whatever it guesses about their count.
pub(super) const TAKE_SQLITE: &str = "UPDATE run_state SET
        epoch = epoch + 1,
        attempts = attempts + 1,
        owner = CASE WHEN attempts >= $5 THEN NULL ELSE $2 END,
        claimed_at = $3,
        lease_until = CASE WHEN attempts >= $5 THEN NULL ELSE $4 END,
        ready_at = CASE WHEN attempts >= $5 THEN 9223372036854775807 ELSE $4 END,
        state = CASE WHEN attempts >= $5 THEN 'quarantined' ELSE 'running' END,
        pause_reason = CASE WHEN attempts >= $5 THEN $6 ELSE NULL END,
        tick = $1 -> CAST(rowid AS TEXT) ->> 'tick'
    WHERE rowid IN (SELECT CAST(e.key AS INTEGER) FROM json_each($1) e);
    INSERT INTO persona_tick (id, persona, epoch, owner, attempt, started, finished, outcome, engine, simulated,
        actions_written, feedback_written)
    SELECT e.value ->> 'tick', unhex(e.value ->> 'persona'), e.value ->> 'epoch', $2, e.value ->> 'attempt', $3,
        CASE WHEN e.value ->> 'over' THEN $3 END, CASE WHEN e.value ->> 'over' THEN 'failed' END, $7, $8, 0, 0
    FROM json_each($1) e WHERE true
    ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner, attempt = excluded.attempt,
        finished = excluded.finished, outcome = excluded.outcome, engine = excluded.engine, simulated = excluded.simulated";

#[derive(Debug, FromRow)]
struct DueRow {
    place: i64,
    tick: Option<TickId>,
    epoch: i64,
    attempts: i64,
    #[sqlx(flatten)]
    person: PersonRow,
}

async fn claim_sqlite(db: &Db, request: &ClaimRequest, fresh: &[TickId], now: Timestamp) -> Result<Taken> {
    if db.query(ANY_DUE).bind(now).optional::<(i64,)>().await?.is_none() {
        return Ok(Taken::default());
    }
    let until = now.plus_millis(request.lease_ms);
    let mut tx = db.begin().await?;
    let due = tx.query(DUE_SQLITE).bind(now).bind(request.limit).all::<DueRow>().await?;
    let mut rows = serde_json::Map::new();
    let mut claimed = Vec::with_capacity(due.len());
    for (row, fresh) in due.into_iter().zip(fresh) {
        let tick = row.tick.unwrap_or_else(|| fresh.clone());
        let is_over = row.attempts > MAX_ATTEMPTS;
        let details = json!({
            "tick": tick, "persona": hex(row.person.persona.uuid()), "epoch": row.epoch, "attempt": row.attempts,
            "over": i64::from(is_over),
        });
        rows.insert(row.place.to_string(), details);
        claimed.push(ClaimedRow { epoch: row.epoch, attempts: row.attempts, tick, over: is_over, person: row.person });
    }
    tx.query(TAKE_SQLITE)
        .bind(Json(rows))
        .bind(request.owner.clone())
        .bind(now)
        .bind(until)
        .bind(MAX_ATTEMPTS)
        .bind(CRASHED)
        .bind(request.engine.clone())
        .bind(request.is_simulated())
        .execute()
        .await?;
    tx.commit().await?;
    taken(claimed, fresh, until)
}

async fn claim_postgres(db: &Db, request: &ClaimRequest, fresh: &[TickId], now: Timestamp) -> Result<Taken> {
    let until = now.plus_millis(request.lease_ms);
    // The number stands in the text: with a placeholder PostgreSQL guesses how many are wanted, finds no plan that suits
    // every guess, and plans this statement anew each time, which costs more than running it.
    let limit = request.limit;
    let rows = db
        .query(format!(
            "WITH quick AS MATERIALIZED (
                SELECT set_config('synchronous_commit', 'off', true) AS said
            ), due AS MATERIALIZED (
                SELECT d.persona, ROW_NUMBER() OVER () AS n
                FROM (VALUES (0::bigint), (1), (2)) AS levels(prio)
                CROSS JOIN LATERAL (
                    SELECT s.persona FROM run_state s
                    WHERE s.bucket = 0 AND s.lane = 0 AND s.prio = levels.prio AND s.ready_at <= $2
                        AND s.ready_at < 9223372036854775807
                    ORDER BY s.ready_at LIMIT {limit} FOR NO KEY UPDATE SKIP LOCKED) d
                LIMIT {limit}
            ), claimed AS (
                UPDATE run_state s SET
                    epoch = s.epoch + 1,
                    attempts = s.attempts + 1,
                    owner = CASE WHEN s.attempts >= $5 THEN NULL ELSE $1 END,
                    claimed_at = $2,
                    lease_until = CASE WHEN s.attempts >= $5 THEN NULL ELSE $3 END,
                    ready_at = CASE WHEN s.attempts >= $5 THEN 9223372036854775807 ELSE $3 END,
                    state = CASE WHEN s.attempts >= $5 THEN 'quarantined' ELSE 'running' END,
                    pause_reason = CASE WHEN s.attempts >= $5 THEN $6 ELSE NULL END,
                    tick = COALESCE(s.tick, ids.fresh)
                FROM due JOIN jsonb_array_elements_text($4) WITH ORDINALITY AS ids(fresh, n) ON ids.n = due.n
                WHERE s.bucket = 0 AND s.persona = due.persona
                RETURNING s.persona, s.epoch, s.attempts, s.tick, s.state, s.last_active_at
            ), begun AS (
                INSERT INTO persona_tick (id, persona, epoch, owner, attempt, started, finished, outcome, engine, simulated,
                    actions_written, feedback_written)
                SELECT c.tick, c.persona, c.epoch, $1, c.attempts, $2,
                    CASE WHEN c.state <> 'running' THEN $2 END, CASE WHEN c.state <> 'running' THEN 'failed' END, $7, $8, 0, 0
                FROM claimed c
                ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, owner = excluded.owner, attempt = excluded.attempt,
                    finished = excluded.finished, outcome = excluded.outcome, engine = excluded.engine,
                    simulated = excluded.simulated
            )
            SELECT c.persona, c.epoch, c.attempts, c.tick, c.state <> 'running' AS over, c.last_active_at, a.email, a.name,
                a.locale AS account_locale, {DESCRIPTOR}
            FROM quick, claimed c JOIN persona p ON p.user_id = c.persona JOIN account a ON a.id = c.persona"
        ))
        .bind(request.owner.clone())
        .bind(now)
        .bind(until)
        .bind(Json(fresh.to_vec()))
        .bind(MAX_ATTEMPTS)
        .bind(CRASHED)
        .bind(request.engine.clone())
        .bind(request.is_simulated())
        .all::<ClaimedRow>()
        .await?;
    taken(rows, fresh, until)
}

/// What the rows say, in the order in which they were due; visits taken up again come first.
fn taken(rows: Vec<ClaimedRow>, fresh: &[TickId], until: Timestamp) -> Result<Taken> {
    let places: HashMap<&TickId, usize> = fresh.iter().enumerate().map(|(place, id)| (id, place)).collect();
    let mut taken = Taken::default();
    for row in rows {
        let person = row.person;
        if row.over {
            taken.quarantined.push(person.persona);
            continue;
        }
        let descriptor = person.descriptor.read()?;
        taken.claims.push(Claim {
            resumed: !places.contains_key(&row.tick),
            tick: row.tick,
            epoch: row.epoch,
            persona: person.persona,
            email: person.email,
            name: person.name,
            locale: descriptor.locale.clone().unwrap_or(person.account_locale),
            descriptor,
            last_active_at: person.last_active_at,
            attempt: row.attempts,
            lease_until: until,
            journal: Vec::new(),
        });
    }
    taken.claims.sort_by_key(|claim| places.get(&claim.tick).map_or(0, |place| place + 1));
    Ok(taken)
}

/// The journals of these visits, each in order.
pub(crate) async fn journals(db: &Db, ticks: impl Iterator<Item = &TickId>) -> Result<BTreeMap<TickId, Vec<Entry>>> {
    let sql = match db.engine() {
        EngineKind::Sqlite => {
            "SELECT j.tick, j.seq, j.entry FROM json_each($1) e JOIN tick_journal j ON j.tick = e.value ORDER BY j.tick, j.seq"
        }
        EngineKind::Postgres => {
            "SELECT j.tick, j.seq, j.entry FROM jsonb_array_elements_text($1) AS e(id) JOIN tick_journal j ON j.tick = e.id
             ORDER BY j.tick, j.seq"
        }
    };
    let ids: Vec<TickId> = ticks.cloned().collect();
    let mut journals: BTreeMap<TickId, Vec<Entry>> = BTreeMap::new();
    for (tick, seq, text) in db.query(sql).bind(Json(ids)).all::<(TickId, i64, String)>().await? {
        let entry = serde_json::from_str(&text).map_err(|error| damaged("tick_journal")(error.to_string()))?;
        journals.entry(tick).or_default().push(Entry { seq, entry });
    }
    Ok(journals)
}

/// In the order from the few visits that are named to their personas, as above.
pub(super) const BEAT_SQLITE: &str = "UPDATE run_state SET lease_until = $2, ready_at = CASE WHEN state = 'running' THEN $2 ELSE ready_at END
    WHERE rowid IN (
        SELECT r.rowid FROM json_each($1) e CROSS JOIN persona_tick t ON t.id = e.value ->> 'tick'
        CROSS JOIN run_state r ON r.bucket = 0 AND r.persona = t.persona AND r.tick = t.id AND r.epoch = e.value ->> 'epoch'
            AND r.owner = $3 AND r.lease_until > $4)
    RETURNING tick";

/// Moves the end of all these leases that are still held; returns which. A paused persona stays unclaimable.
pub(crate) async fn heartbeat(tx: &mut Tx, beat: &Heartbeat, now: Timestamp) -> Result<HashSet<TickId>> {
    let rows: Vec<Value> = beat.ticks.iter().map(|(tick, epoch)| json!({ "tick": tick, "epoch": epoch })).collect();
    let sql = match tx.engine() {
        EngineKind::Sqlite => BEAT_SQLITE,
        EngineKind::Postgres => {
            "UPDATE run_state SET lease_until = $2, ready_at = CASE WHEN state = 'running' THEN $2 ELSE ready_at END
             FROM (SELECT t.id, t.persona, e.epoch
                   FROM jsonb_to_recordset($1) AS e(tick text, epoch bigint) JOIN persona_tick t ON t.id = e.tick) held
             WHERE run_state.bucket = 0 AND run_state.persona = held.persona AND run_state.tick = held.id
                AND run_state.epoch = held.epoch AND run_state.owner = $3 AND run_state.lease_until > $4
             RETURNING tick"
        }
    };
    let held = tx
        .query(sql)
        .bind(Json(rows))
        .bind(now.plus_millis(beat.lease_ms))
        .bind(beat.owner.clone())
        .bind(now)
        .all::<(TickId,)>()
        .await?;
    Ok(held.into_iter().map(|(tick,)| tick).collect())
}
