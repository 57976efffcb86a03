//! Calls of models, running totals, and what they add up to.

use std::collections::{BTreeMap, HashMap};

use mana_store::{Db, EngineKind, FromRow, Json, Result, Tx};
use mana_types::{TickId, Timestamp, UserId};
use serde_json::{Value, json};

use super::hex;
use crate::cost::{CostBy, Sums};
use crate::spend::{CallRow, Key, Payer, Reserve, Settle};

/// Money and tokens by scope and period.
pub(crate) type Totals = HashMap<Key, (i64, i64)>;

/// What is added to one total.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change {
    /// Whose total it is; none for everybody's.
    pub(crate) persona: Option<UserId>,
    pub(crate) cost_micro: i64,
    pub(crate) tokens: i64,
}

const CALL: &str =
    "epoch, call, model, at, day, reserved_tokens, reserved_micro, settled_at, input_tokens, output_tokens,
    cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, cost_micro, estimated";

/// Those of these two calls of a claim that there are.
pub(crate) async fn calls_named(tx: &mut Tx, payer: Payer<'_>, calls: [i64; 2]) -> Result<Vec<CallRow>> {
    tx.query(format!("SELECT {CALL} FROM model_call WHERE tick = $1 AND epoch = $2 AND call IN ($3, $4)"))
        .bind(payer.tick.clone())
        .bind(payer.epoch)
        .bind(calls[0])
        .bind(calls[1])
        .all()
        .await
}

/// All calls of a visit, in order.
pub(crate) async fn calls_of(db: &Db, tick: &TickId) -> Result<Vec<CallRow>> {
    db.query(format!("SELECT {CALL} FROM model_call WHERE tick = $1 ORDER BY epoch, call"))
        .bind(tick.clone())
        .all()
        .await
}

/// Adds to totals, locks them until the end of the transaction in the order in which they come, and returns what they
/// are then.
pub(crate) async fn add_to_totals(tx: &mut Tx, changes: BTreeMap<Key, Change>) -> Result<Totals> {
    let sql = match tx.engine() {
        EngineKind::Sqlite => {
            "INSERT INTO model_spend (scope, period, persona, cost_micro, tokens)
             SELECT e.value ->> 'scope', e.value ->> 'period', unhex(e.value ->> 'persona'), e.value ->> 'cost',
                e.value ->> 'tokens'
             FROM json_each($1) e WHERE true
             ON CONFLICT (scope, period) DO UPDATE SET cost_micro = model_spend.cost_micro + excluded.cost_micro,
                tokens = model_spend.tokens + excluded.tokens
             RETURNING scope, period, cost_micro, tokens"
        }
        EngineKind::Postgres => {
            "INSERT INTO model_spend (scope, period, persona, cost_micro, tokens)
             SELECT e.scope, e.period, e.persona, e.cost, e.tokens
             FROM jsonb_to_recordset($1) AS e(scope text, period text, persona uuid, cost bigint, tokens bigint)
             ON CONFLICT (scope, period) DO UPDATE SET cost_micro = model_spend.cost_micro + excluded.cost_micro,
                tokens = model_spend.tokens + excluded.tokens
             RETURNING scope, period, cost_micro, tokens"
        }
    };
    let rows: Vec<Value> = changes
        .into_iter()
        .map(|((scope, period), change)| {
            let persona = change.persona.map(|persona| hex(persona.uuid()));
            let (cost, tokens) = (change.cost_micro, change.tokens);
            json!({ "scope": scope, "period": period, "persona": persona, "cost": cost, "tokens": tokens })
        })
        .collect();
    let totals = tx.query(sql).bind(Json(rows)).all::<(String, String, i64, i64)>().await?;
    Ok(totals.into_iter().map(|(scope, period, cost, tokens)| ((scope, period), (cost, tokens))).collect())
}

/// Writes a reservation.
pub(crate) async fn reserve_call(
    tx: &mut Tx,
    payer: Payer<'_>,
    reserve: &Reserve,
    day: &str,
    now: Timestamp,
) -> Result<()> {
    tx.query(
        "INSERT INTO model_call (tick, epoch, call, persona, model, at, day, reserved_tokens, reserved_micro, cost_micro, estimated)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, true)",
    )
    .bind(payer.tick.clone())
    .bind(payer.epoch)
    .bind(reserve.call)
    .bind(payer.persona)
    .bind(reserve.model.clone())
    .bind(now)
    .bind(day.to_owned())
    .bind(reserve.tokens)
    .bind(reserve.cost_micro)
    .execute()
    .await
    .map(drop)
}

/// Writes what a call came to.
pub(crate) async fn settle_call(tx: &mut Tx, payer: Payer<'_>, settle: &Settle, now: Timestamp) -> Result<()> {
    tx.query(
        "UPDATE model_call SET model = $4, settled_at = $5, input_tokens = $6, output_tokens = $7, cache_read_tokens = $8,
            cache_write_5m_tokens = $9, cache_write_1h_tokens = $10, cost_micro = $11, estimated = $12
         WHERE tick = $1 AND epoch = $2 AND call = $3",
    )
    .bind(payer.tick.clone())
    .bind(payer.epoch)
    .bind(settle.call)
    .bind(settle.model.clone())
    .bind(now)
    .bind(settle.tokens.input_tokens)
    .bind(settle.tokens.output_tokens)
    .bind(settle.tokens.cache_read_tokens)
    .bind(settle.tokens.cache_write_5m_tokens)
    .bind(settle.tokens.cache_write_1h_tokens)
    .bind(settle.cost_micro)
    .bind(settle.estimated)
    .execute()
    .await
    .map(drop)
}

/// Puts down for a visit what all its settled calls took, whatever process made them; nothing where there is none.
#[expect(clippy::similar_names, reason = "the classes of tokens are called so everywhere")]
pub(crate) async fn add_up_usage(tx: &mut Tx, tick: &TickId) -> Result<()> {
    let (
        calls,
        estimated,
        input_tokens,
        output_tokens,
        cache_read_tokens,
        cache_write_5m_tokens,
        cache_write_1h_tokens,
    ) = tx
        .query(
            "SELECT COUNT(*), COUNT(CASE WHEN estimated THEN 1 END), CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT),
                CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(cache_read_tokens), 0) AS BIGINT),
                CAST(COALESCE(SUM(cache_write_5m_tokens), 0) AS BIGINT),
                CAST(COALESCE(SUM(cache_write_1h_tokens), 0) AS BIGINT)
             FROM model_call WHERE tick = $1 AND settled_at IS NOT NULL",
        )
        .bind(tick.clone())
        .one::<(i64, i64, i64, i64, i64, i64, i64)>()
        .await?;
    if calls == 0 {
        return Ok(());
    }
    let usage = json!({
        "inputTokens": input_tokens,
        "outputTokens": output_tokens,
        "cacheReadTokens": cache_read_tokens,
        "cacheWrite5mTokens": cache_write_5m_tokens,
        "cacheWrite1hTokens": cache_write_1h_tokens,
        "estimated": estimated > 0,
    });
    let sql = "UPDATE persona_tick SET token_usage = $2 WHERE id = $1";
    tx.query(sql).bind(tick.clone()).bind(Json(usage)).execute().await?;
    Ok(())
}

/// What everybody spent in these periods, as far as anything was.
pub(crate) async fn spent(db: &Db, periods: [&str; 2]) -> Result<HashMap<String, i64>> {
    let rows = db
        .query("SELECT period, cost_micro FROM model_spend WHERE scope = 'all' AND period IN ($1, $2)")
        .bind(periods[0].to_owned())
        .bind(periods[1].to_owned())
        .all::<(String, i64)>()
        .await?;
    Ok(rows.into_iter().collect())
}

/// What was spent from one day to another by personas that are gone: what the totals hold and no call shows.
pub(crate) async fn spent_by_removed(db: &Db, from: &str, to: &str) -> Result<i64> {
    let (micro,) = db
        .query(
            "SELECT CAST(COALESCE((SELECT SUM(cost_micro) FROM model_spend
                    WHERE scope = 'all' AND period >= $1 AND period <= $2 AND length(period) = 10), 0)
                - COALESCE((SELECT SUM(cost_micro) FROM model_call WHERE day >= $1 AND day <= $2), 0) AS BIGINT)",
        )
        .bind(from.to_owned())
        .bind(to.to_owned())
        .one::<(i64,)>()
        .await?;
    Ok(micro)
}

/// One line of a report: a day, a model, or a persona.
#[derive(Debug)]
pub(crate) struct CostRow {
    pub(crate) key: String,
    /// Name and e-mail, where it is a persona.
    pub(crate) person: Option<(String, String)>,
    pub(crate) sums: Sums,
}

#[derive(Debug, FromRow)]
struct WordRow {
    key: String,
    #[sqlx(flatten)]
    sums: Sums,
}

#[derive(Debug, FromRow)]
struct PersonRow {
    persona: UserId,
    name: String,
    email: String,
    #[sqlx(flatten)]
    sums: Sums,
}

/// PostgreSQL adds whole numbers up to numbers of another kind, so the sums are cast.
const SUMS: &str = "COUNT(*) AS calls, CAST(SUM(c.input_tokens) AS BIGINT) AS input_tokens,
    CAST(SUM(c.output_tokens) AS BIGINT) AS output_tokens, CAST(SUM(c.cache_read_tokens) AS BIGINT) AS cache_read_tokens,
    CAST(SUM(c.cache_write_5m_tokens + c.cache_write_1h_tokens) AS BIGINT) AS cache_write_tokens,
    CAST(SUM(c.cost_micro) AS BIGINT) AS cost_micro_usd,
    CAST(SUM(CASE WHEN c.estimated THEN c.cost_micro ELSE 0 END) AS BIGINT) AS estimated_micro_usd";

/// Calls from one day to another, added up: days in their order, the others by what they cost.
pub(crate) async fn costs(db: &Db, by: CostBy, from: &str, to: &str) -> Result<Vec<CostRow>> {
    let days = "WHERE c.day >= $1 AND c.day <= $2";
    let dearest = "ORDER BY cost_micro_usd DESC";
    let word = |sql: String| db.query(sql).bind(from.to_owned()).bind(to.to_owned()).all::<WordRow>();
    let rows = match by {
        CostBy::Day => {
            word(format!("SELECT c.day AS key, {SUMS} FROM model_call c {days} GROUP BY c.day ORDER BY c.day")).await?
        }
        CostBy::Model => {
            word(format!("SELECT c.model AS key, {SUMS} FROM model_call c {days} GROUP BY c.model {dearest}, c.model"))
                .await?
        }
        CostBy::Persona => {
            let sql = format!(
                "SELECT c.persona, a.name, a.email, {SUMS} FROM model_call c JOIN account a ON a.id = c.persona {days}
                 GROUP BY c.persona, a.name, a.email {dearest}, a.email"
            );
            let rows = db.query(sql).bind(from.to_owned()).bind(to.to_owned()).all::<PersonRow>().await?;
            let line = |row: PersonRow| CostRow {
                key: row.persona.to_string(),
                person: Some((row.name, row.email)),
                sums: row.sums,
            };
            return Ok(rows.into_iter().map(line).collect());
        }
    };
    Ok(rows.into_iter().map(|row| CostRow { key: row.key, person: None, sums: row.sums }).collect())
}
