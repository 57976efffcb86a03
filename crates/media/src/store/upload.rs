//! Files and references come and go.

use mana_store::{Db, EngineKind, Result, Tx};
use mana_types::{MediaId, Timestamp, UserId};

use super::NEVER;
use crate::blob::Key;
use crate::hash::Hash;

/// Where the bytes of a hash are, or may be put.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) generation: i64,
    /// A row says that they are there.
    pub(crate) in_use: bool,
}

pub(crate) async fn standing(db: &Db, hash: &Hash) -> Result<Standing> {
    let newest: Option<(i64, bool)> = db
        .query("SELECT generation, dead IS NULL FROM media_blob WHERE hash = $1 ORDER BY generation DESC LIMIT 1")
        .bind(hash.to_string())
        .optional()
        .await?;
    Ok(match newest {
        Some((generation, in_use)) => Standing { generation: generation + i64::from(!in_use), in_use },
        None => Standing { generation: 0, in_use: false },
    })
}

/// A file whose bytes are in the store.
#[derive(Debug)]
pub(crate) struct NewMedia {
    pub(crate) id: MediaId,
    pub(crate) key: Key,
    pub(crate) size: u64,
    pub(crate) mime: String,
    pub(crate) is_image: bool,
    pub(crate) skip_processing: bool,
    pub(crate) user: UserId,
    pub(crate) app: String,
    pub(crate) name: String,
}

/// What became of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is this file, new or not.
    Is(MediaId),
    /// Somebody removed or added the same bytes meanwhile: look again, nothing was written.
    Crossed,
}

/// Adds a reference, and the file if it is new. Revives what is condemned; queues again what failed, and what was
/// skipped unless it is to be skipped this time, too.
pub(crate) async fn add(tx: &mut Tx, new: &NewMedia, now: Timestamp) -> Result<Added> {
    // Locks the row, so that the collector either took it before this line or sees that it is needed.
    let found: Option<(MediaId,)> = tx
        .query(
            "UPDATE media SET condemned = NULL,
                reason = CASE WHEN state = 'failed' OR state = 'skipped' AND NOT $3 THEN NULL ELSE reason END,
                attempts = CASE WHEN state = 'failed' OR state = 'skipped' AND NOT $3 THEN 0 ELSE attempts END,
                ready_at = CASE WHEN state = 'failed' OR state = 'skipped' AND NOT $3 THEN $4 ELSE ready_at END,
                state = CASE WHEN state = 'failed' OR state = 'skipped' AND NOT $3 THEN 'queued' ELSE state END
             WHERE hash = $1 AND generation = $2 RETURNING id",
        )
        .bind(new.key.hash.to_string())
        .bind(new.key.generation)
        .bind(new.skip_processing)
        .bind(now)
        .optional()
        .await?;
    let id = match found {
        Some((id,)) => id,
        None if insert(tx, new, now).await? => new.id,
        None => return Ok(Added::Crossed),
    };
    tx.query(
        "INSERT INTO media_reference (media, user_id, app, name, created) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (media, user_id, app) DO UPDATE SET name = excluded.name",
    )
    .bind(id)
    .bind(new.user)
    .bind(new.app.clone())
    .bind(new.name.clone())
    .bind(now)
    .execute()
    .await?;
    Ok(Added::Is(id))
}

/// False if the key was given up, or if somebody else has just added the same bytes.
async fn insert(tx: &mut Tx, new: &NewMedia, now: Timestamp) -> Result<bool> {
    let hash = new.key.hash.to_string();
    let free = tx
        .query("INSERT INTO media_blob (hash, generation) VALUES ($1, $2) ON CONFLICT (hash, generation) DO NOTHING")
        .bind(hash.clone())
        .bind(new.key.generation)
        .execute()
        .await?;
    if free == 0 {
        return Ok(false);
    }
    let (state, ready_at) = match (new.is_image, new.skip_processing) {
        (false, _) => ("ready", NEVER),
        (true, true) => ("skipped", NEVER),
        (true, false) => ("queued", now.as_millis()),
    };
    let added = tx
        .query(
            "INSERT INTO media (id, hash, generation, size, mime, created, state, ready_at, epoch, attempts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(new.id)
        .bind(hash)
        .bind(new.key.generation)
        .bind(i64::try_from(new.size).unwrap_or(i64::MAX))
        .bind(new.mime.clone())
        .bind(now)
        .bind(state)
        .bind(ready_at)
        .execute()
        .await?;
    Ok(added == 1)
}

/// Drops a user's references to a file, of one app or of all, and condemns the file if they were the last; how many.
pub(crate) async fn drop_references(
    tx: &mut Tx,
    media: MediaId,
    user: UserId,
    app: Option<String>,
    now: Timestamp,
) -> Result<u64> {
    // The row first: of two who drop the last two references at once, the second sees that his is the last.
    let lock = match tx.engine() {
        EngineKind::Sqlite => "SELECT id FROM media WHERE id = $1",
        EngineKind::Postgres => "SELECT id FROM media WHERE id = $1 FOR UPDATE",
    };
    if tx.query(lock).bind(media).optional::<(MediaId,)>().await?.is_none() {
        return Ok(0);
    }
    let dropped = tx
        .query("DELETE FROM media_reference WHERE media = $1 AND user_id = $2 AND ($3 IS NULL OR app = $3)")
        .bind(media)
        .bind(user)
        .bind(app)
        .execute()
        .await?;
    tx.query(
        "UPDATE media SET condemned = $2 WHERE id = $1 AND condemned IS NULL
         AND NOT EXISTS (SELECT 1 FROM media_reference r WHERE r.media = $1)",
    )
    .bind(media)
    .bind(now)
    .execute()
    .await?;
    Ok(dropped)
}

/// The collector condemns what nobody refers to any more.
pub(crate) async fn forget_user(tx: &mut Tx, user: UserId) -> Result<u64> {
    tx.query("DELETE FROM media_reference WHERE user_id = $1").bind(user).execute().await
}
