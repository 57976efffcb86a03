//! Removing what nobody needs. Every step says what it will do before it is done, so that a crash leaves it to be found.

use std::collections::HashSet;

use mana_store::{Db, EngineKind, Json, Result, Tx};
use mana_types::{MediaId, Timestamp};

use super::{read_key, unsigned};
use crate::blob::Key;

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Condemns what lost its last reference without a word, as when an account goes; how many.
pub(crate) async fn condemn_unreferenced(tx: &mut Tx, now: Timestamp) -> Result<u64> {
    let query = tx.query(
        "UPDATE media SET condemned = $1
         WHERE condemned IS NULL AND NOT EXISTS (SELECT 1 FROM media_reference r WHERE r.media = media.id)",
    );
    query.bind(now).execute().await
}

/// Removes the rows of up to `most` files that were condemned before this time and that nobody refers to, and gives
/// up their keys; their keys and sizes. An upload that revives one of them either comes first, and then it stays, or
/// comes after, and then it finds the key given up.
pub(crate) async fn remove_condemned(
    tx: &mut Tx,
    before: Timestamp,
    most: usize,
    now: Timestamp,
) -> Result<Vec<(Key, u64)>> {
    let lock = match tx.engine() {
        EngineKind::Sqlite => "",
        EngineKind::Postgres => "FOR UPDATE SKIP LOCKED",
    };
    // The lock first and the look at the references in a statement of its own: it sees what was committed until then.
    let condemned: Vec<(MediaId, String, i64, i64)> = tx
        .query(format!(
            "SELECT id, hash, generation, size FROM media WHERE condemned <= $1 ORDER BY condemned, id LIMIT $2 {lock}"
        ))
        .bind(before)
        .bind(count(most))
        .all()
        .await?;
    let mut removed = Vec::with_capacity(condemned.len());
    for (id, hash, generation, size) in condemned {
        let gone = tx
            .query(
                "DELETE FROM media WHERE id = $1 AND condemned IS NOT NULL
                 AND NOT EXISTS (SELECT 1 FROM media_reference r WHERE r.media = $1)",
            )
            .bind(id)
            .execute()
            .await?;
        if gone == 0 {
            // Somebody holds it after all; let it be.
            tx.query("UPDATE media SET condemned = NULL WHERE id = $1").bind(id).execute().await?;
            continue;
        }
        tx.query("UPDATE media_blob SET dead = $3 WHERE hash = $1 AND generation = $2")
            .bind(hash.clone())
            .bind(generation)
            .bind(now)
            .execute()
            .await?;
        removed.push((read_key(&hash, generation)?, unsigned(size)?));
    }
    Ok(removed)
}

/// Keys that were given up and whose bytes may still be there.
pub(crate) async fn dead_keys(db: &Db, most: usize) -> Result<Vec<Key>> {
    let rows: Vec<(String, i64)> = db
        .query("SELECT hash, generation FROM media_blob WHERE dead IS NOT NULL AND gone IS NULL ORDER BY dead LIMIT $1")
        .bind(count(most))
        .all()
        .await?;
    rows.into_iter().map(|(hash, generation)| read_key(&hash, generation)).collect()
}

/// Notes that the bytes of a key are gone.
pub(crate) async fn mark_gone(tx: &mut Tx, key: Key, now: Timestamp) -> Result<()> {
    let query = tx.query("UPDATE media_blob SET gone = $3 WHERE hash = $1 AND generation = $2 AND dead IS NOT NULL");
    query.bind(key.hash.to_string()).bind(key.generation).bind(now).execute().await.map(drop)
}

/// Forgets keys whose bytes are long gone: by then no removal of them can be under way any more.
pub(crate) async fn forget_graves(tx: &mut Tx, gone_before: Timestamp) -> Result<u64> {
    tx.query("DELETE FROM media_blob WHERE dead IS NOT NULL AND gone <= $1").bind(gone_before).execute().await
}

/// Gives up the key of an object that no row names, so that none ever will; false if one does after all.
pub(crate) async fn bury(tx: &mut Tx, key: Key, now: Timestamp) -> Result<bool> {
    let buried = tx
        .query(
            "INSERT INTO media_blob (hash, generation, dead) VALUES ($1, $2, $3)
             ON CONFLICT (hash, generation) DO UPDATE SET gone = NULL WHERE media_blob.dead IS NOT NULL",
        )
        .bind(key.hash.to_string())
        .bind(key.generation)
        .bind(now)
        .execute()
        .await?;
    Ok(buried == 1)
}

/// Which of these keys are given up or were never in use: nobody needs their bytes.
pub(crate) async fn unused_keys(db: &Db, keys: &[Key]) -> Result<HashSet<Key>> {
    let sql = match db.engine() {
        EngineKind::Sqlite => {
            "SELECT b.hash, b.generation FROM json_each($1) e
             CROSS JOIN media_blob b ON b.hash = e.value ->> 'hash' AND b.generation = e.value ->> 'generation'
             WHERE b.dead IS NULL"
        }
        EngineKind::Postgres => {
            "SELECT b.hash, b.generation FROM jsonb_to_recordset($1) AS e(hash text, generation bigint)
             JOIN media_blob b ON b.hash = e.hash AND b.generation = e.generation WHERE b.dead IS NULL"
        }
    };
    let batch: Vec<_> =
        keys.iter().map(|key| serde_json::json!({ "hash": key.hash, "generation": key.generation })).collect();
    let rows: Vec<(String, i64)> = db.query(sql).bind(Json(batch)).all().await?;
    let mut unused: HashSet<Key> = keys.iter().copied().collect();
    for (hash, generation) in rows {
        unused.remove(&read_key(&hash, generation)?);
    }
    Ok(unused)
}

/// Which of these paths are those of variants.
pub(crate) async fn known_variants(db: &Db, paths: &[String]) -> Result<HashSet<String>> {
    let sql = match db.engine() {
        EngineKind::Sqlite => "SELECT v.path FROM json_each($1) e CROSS JOIN media_variant v ON v.path = e.value",
        EngineKind::Postgres => {
            "SELECT v.path FROM jsonb_array_elements_text($1) AS e(path) JOIN media_variant v ON v.path = e.path"
        }
    };
    let rows: Vec<(String,)> = db.query(sql).bind(Json(paths.to_vec())).all().await?;
    Ok(rows.into_iter().map(|(path,)| path).collect())
}
