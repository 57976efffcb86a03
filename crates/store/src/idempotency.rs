//! Answers that a retry gets again: a write that carries a key is done once, and its answer is kept with it.

use mana_types::{SpaceId, Timestamp, UserId};
use serde_json::Value;
use sqlx::types::Json;

use crate::{Db, Result, Source, Tx};

/// What was answered to the first call with a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The tool that was called.
    pub tool: String,
    /// The hash of its arguments.
    pub input: String,
    /// Its result.
    pub result: Value,
}

/// The answer kept under a key, if there is one.
pub async fn find(source: &mut Source<'_>, user: UserId, space: SpaceId, key: &str) -> Result<Option<Answered>> {
    let row = source
        .query("SELECT tool, input, result FROM idempotency WHERE user_id = $1 AND space = $2 AND key = $3")
        .bind(user)
        .bind(space)
        .bind(key.to_owned())
        .optional::<(String, String, Json<Value>)>()
        .await?;
    Ok(row.map(|(tool, input, Json(result))| Answered { tool, input, result }))
}

/// Keeps an answer in the transaction of its effect. False if the key was used meanwhile: then roll back and read it.
pub async fn keep(
    tx: &mut Tx,
    user: UserId,
    space: SpaceId,
    key: &str,
    answered: &Answered,
    at: Timestamp,
) -> Result<bool> {
    let kept = tx
        .query(
            "INSERT INTO idempotency (user_id, space, key, tool, input, result, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT DO NOTHING",
        )
        .bind(user)
        .bind(space)
        .bind(key.to_owned())
        .bind(answered.tool.clone())
        .bind(answered.input.clone())
        .bind(Json(answered.result.clone()))
        .bind(at)
        .execute()
        .await?;
    Ok(kept == 1)
}

/// Forgets answers older than this. Returns how many.
pub async fn forget_before(db: &Db, time: Timestamp) -> Result<u64> {
    let mut tx = db.begin().await?;
    let forgotten = tx.query("DELETE FROM idempotency WHERE at < $1").bind(time).execute().await?;
    tx.commit().await?;
    Ok(forgotten)
}
