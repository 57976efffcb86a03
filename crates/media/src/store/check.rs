//! What `fsck` and the cache ask.

use std::collections::HashSet;

use mana_store::{Db, EngineKind, Json, Result, Tx};
use mana_types::{MediaId, Timestamp};
use object_store::path::Path;
use uuid::Uuid;

use super::{damaged, read_key, unsigned};
use crate::blob::Key;
use crate::hash::Hash;
use crate::media::Variant;

/// How many files and variants there are.
pub(crate) async fn counts(db: &Db) -> Result<(u64, u64)> {
    let (media, variants): (i64, i64) =
        db.query("SELECT (SELECT COUNT(*) FROM media), (SELECT COUNT(*) FROM media_variant)").one().await?;
    Ok((unsigned(media)?, unsigned(variants)?))
}

/// The next files after this one, by id.
pub(crate) async fn media_after(db: &Db, after: MediaId, most: i64) -> Result<Vec<(MediaId, Key, u64)>> {
    let rows: Vec<(MediaId, String, i64, i64)> = db
        .query("SELECT id, hash, generation, size FROM media WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(after)
        .bind(most)
        .all()
        .await?;
    rows.into_iter()
        .map(|(id, hash, generation, size)| Ok((id, read_key(&hash, generation)?, unsigned(size)?)))
        .collect()
}

/// Whether a file was removed meanwhile.
pub(crate) async fn file_is_gone(db: &Db, media: MediaId) -> Result<bool> {
    Ok(db.query("SELECT id FROM media WHERE id = $1").bind(media).optional::<(MediaId,)>().await?.is_none())
}

/// A variant as its row has it.
#[derive(Debug)]
pub(crate) struct CheckedVariant {
    pub(crate) media: MediaId,
    pub(crate) variant: Variant,
    pub(crate) path: Path,
    pub(crate) size: u64,
    pub(crate) hash: Hash,
}

/// The next variants after this one, by file and name.
pub(crate) async fn variants_after(db: &Db, after: (MediaId, &str), most: i64) -> Result<Vec<CheckedVariant>> {
    let rows: Vec<(Uuid, String, String, i64, String)> = db
        .query(
            "SELECT media, name, path, size, hash FROM media_variant WHERE (media, name) > ($1, $2)
             ORDER BY media, name LIMIT $3",
        )
        .bind(after.0)
        .bind(after.1.to_owned())
        .bind(most)
        .all()
        .await?;
    rows.into_iter()
        .map(|(media, name, path, size, hash)| {
            Ok(CheckedVariant {
                media: MediaId::from_uuid(media),
                variant: name.parse().map_err(damaged)?,
                path: Path::from(path),
                size: unsigned(size)?,
                hash: hash.parse().map_err(damaged)?,
            })
        })
        .collect()
}

/// References to files that do not exist. The database forbids them; this looks whether it does.
pub(crate) async fn dangling(db: &Db) -> Result<u64> {
    let (count,): (i64,) = db
        .query("SELECT COUNT(*) FROM media_reference r WHERE NOT EXISTS (SELECT 1 FROM media m WHERE m.id = r.media)")
        .one()
        .await?;
    unsigned(count)
}

/// Has the variants of a file made anew.
pub(crate) async fn requeue(tx: &mut Tx, media: MediaId, now: Timestamp) -> Result<bool> {
    let query = tx.query(
        "UPDATE media SET state = 'queued', reason = NULL, ready_at = $2, attempts = 0
         WHERE id = $1 AND state IN ('ready', 'failed')",
    );
    Ok(query.bind(media).bind(now).execute().await? == 1)
}

/// Which of these hashes belong to a file that somebody refers to.
pub(crate) async fn hashes_in_use(db: &Db, hashes: &[Hash]) -> Result<HashSet<Hash>> {
    let sql = match db.engine() {
        EngineKind::Sqlite => {
            "SELECT m.hash FROM json_each($1) e CROSS JOIN media m ON m.hash = e.value
             WHERE EXISTS (SELECT 1 FROM media_reference r WHERE r.media = m.id)"
        }
        EngineKind::Postgres => {
            "SELECT m.hash FROM jsonb_array_elements_text($1) AS e(hash) JOIN media m ON m.hash = e.hash
             WHERE EXISTS (SELECT 1 FROM media_reference r WHERE r.media = m.id)"
        }
    };
    let rows: Vec<(String,)> = db.query(sql).bind(Json(hashes.to_vec())).all().await?;
    rows.into_iter().map(|(hash,)| hash.parse().map_err(damaged)).collect()
}
