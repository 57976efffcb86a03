//! The leased jobs that process files.

use mana_store::{Db, EngineKind, FromRow, Json, Result, Tx};
use mana_types::{MediaId, Timestamp};
use object_store::path::Path;

use super::{NEVER, read_key};
use crate::blob::Key;
use crate::hash::Hash;
use crate::image::Exif;
use crate::media::{Metadata, Variant};

/// A claimed job. Only the holder of the newest epoch may write its result.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: MediaId,
    pub(crate) key: Key,
    pub(crate) epoch: i64,
    pub(crate) attempts: i64,
}

#[derive(Debug, FromRow)]
struct JobRow {
    id: MediaId,
    hash: String,
    generation: i64,
    epoch: i64,
    attempts: i64,
}

/// Whether a job is due. Reads one entry of the index, so that an idle worker does not wait for the writer.
pub(super) const ANY_DUE: &str =
    "SELECT ready_at FROM media WHERE ready_at <= $1 AND ready_at < 9223372036854775807 LIMIT 1";

/// Takes the job that has been due the longest, until the end of the lease.
pub(crate) async fn claim(db: &Db, now: Timestamp, lease_until: Timestamp) -> Result<Option<Job>> {
    if db.query(ANY_DUE).bind(now).optional::<(i64,)>().await?.is_none() {
        return Ok(None);
    }
    let lock = match db.engine() {
        EngineKind::Sqlite => "",
        EngineKind::Postgres => "FOR NO KEY UPDATE SKIP LOCKED",
    };
    let mut tx = db.begin().await?;
    let row = tx
        .query(format!(
            "UPDATE media SET ready_at = $2, epoch = epoch + 1, attempts = attempts + 1
             WHERE id = (SELECT d.id FROM media d WHERE d.ready_at <= $1 AND d.ready_at < 9223372036854775807
                         ORDER BY d.ready_at LIMIT 1 {lock})
             RETURNING id, hash, generation, epoch, attempts"
        ))
        .bind(now)
        .bind(lease_until)
        .optional::<JobRow>()
        .await?;
    tx.commit().await?;
    row.map(|row| {
        Ok(Job { id: row.id, key: read_key(&row.hash, row.generation)?, epoch: row.epoch, attempts: row.attempts })
    })
    .transpose()
}

/// A variant whose bytes are in the store.
#[derive(Debug)]
pub(crate) struct NewVariant {
    pub(crate) variant: Variant,
    pub(crate) path: Path,
    pub(crate) hash: Hash,
    pub(crate) size: u64,
    pub(crate) mime: &'static str,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// What processing found and made, also where it failed half-way.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub(crate) metadata: Option<Metadata>,
    pub(crate) exif: Option<Exif>,
    pub(crate) camera: Option<String>,
    pub(crate) lens: Option<String>,
    pub(crate) taken: Option<Timestamp>,
    pub(crate) offset: Option<i64>,
    pub(crate) place: Option<(f64, f64)>,
    pub(crate) variants: Vec<NewVariant>,
}

/// Writes the result of a job, good or with the reason of its failure; false if the lease went to somebody else.
pub(crate) async fn finish(tx: &mut Tx, job: &Job, made: &Made, failure: Option<&str>, now: Timestamp) -> Result<bool> {
    let metadata = made.metadata.as_ref();
    let written = tx
        .query(
            "UPDATE media SET state = CASE WHEN $3 IS NULL THEN 'ready' ELSE 'failed' END, reason = $3, finished = $4,
                ready_at = $5, attempts = 0, width = $6, height = $7, format = $8, has_alpha = $9, camera = $10, lens = $11,
                taken_at = $12, taken_offset = $13, latitude = $14, longitude = $15, exif = $16
             WHERE id = $1 AND epoch = $2 AND state = 'queued'",
        )
        .bind(job.id)
        .bind(job.epoch)
        .bind(failure.map(str::to_owned))
        .bind(now)
        .bind(NEVER)
        .bind(metadata.map(|metadata| i64::from(metadata.width)))
        .bind(metadata.map(|metadata| i64::from(metadata.height)))
        .bind(metadata.map(|metadata| metadata.format.clone()))
        .bind(metadata.map(|metadata| metadata.has_alpha))
        .bind(made.camera.clone())
        .bind(made.lens.clone())
        .bind(made.taken)
        .bind(made.offset)
        .bind(made.place.map(|place| place.0))
        .bind(made.place.map(|place| place.1))
        .bind(made.exif.clone().map(Json))
        .execute()
        .await?;
    if written == 0 {
        return Ok(false);
    }
    tx.query("DELETE FROM media_variant WHERE media = $1").bind(job.id).execute().await?;
    for variant in &made.variants {
        tx.query(
            "INSERT INTO media_variant (media, name, path, hash, size, mime, width, height, made)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(job.id)
        .bind(variant.variant.as_str())
        .bind(variant.path.to_string())
        .bind(variant.hash.to_string())
        .bind(i64::try_from(variant.size).unwrap_or(i64::MAX))
        .bind(variant.mime)
        .bind(i64::from(variant.width))
        .bind(i64::from(variant.height))
        .bind(now)
        .execute()
        .await?;
    }
    Ok(true)
}

/// Ends a job without having looked at the file; what was known of it stays.
pub(crate) async fn fail(tx: &mut Tx, job: &Job, reason: &str, now: Timestamp) -> Result<bool> {
    let query = tx.query(
        "UPDATE media SET state = 'failed', reason = $3, finished = $4, ready_at = $5, attempts = 0
         WHERE id = $1 AND epoch = $2 AND state = 'queued'",
    );
    let query = query.bind(job.id).bind(job.epoch).bind(reason.to_owned()).bind(now).bind(NEVER);
    Ok(query.execute().await? == 1)
}

/// Gives a job back until a later time.
pub(crate) async fn retry(tx: &mut Tx, job: &Job, at: Timestamp, reason: &str) -> Result<bool> {
    let query =
        tx.query("UPDATE media SET ready_at = $3, reason = $4 WHERE id = $1 AND epoch = $2 AND state = 'queued'");
    Ok(query.bind(job.id).bind(job.epoch).bind(at).bind(reason.to_owned()).execute().await? == 1)
}

/// Queues a file that was skipped, that failed before this time, or whose variants are needed anew.
pub(crate) async fn ask_again(
    tx: &mut Tx,
    media: MediaId,
    failed_before: Timestamp,
    anew: bool,
    now: Timestamp,
) -> Result<bool> {
    let query = tx.query(
        "UPDATE media SET state = 'queued', reason = NULL, ready_at = $2, attempts = 0
         WHERE id = $1 AND (state = 'skipped' OR state = 'failed' AND finished <= $3 OR state = 'ready' AND $4)",
    );
    Ok(query.bind(media).bind(now).bind(failed_before).bind(anew).execute().await? == 1)
}
