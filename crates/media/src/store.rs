//! All statements of this crate.
//!
//! Batches go in as one JSON array and one statement; ids in it are 32 hexadecimal digits, which PostgreSQL takes for a
//! UUID and SQLite turns into 16 bytes. A hash is text.

mod check;
mod collect;
mod job;
mod list;
mod upload;
mod upload_url;

use mana_store::{Db, Error, FromRow, Json, Result};
use mana_types::{MediaId, Timestamp, UserId};
use object_store::path::Path;
use uuid::Uuid;

use crate::blob::Key;
use crate::hash::Hash;
use crate::image::Exif;
use crate::media::{Metadata, Record, Status, Variant, Viewer};

pub(crate) use check::{
    CheckedVariant, counts, dangling, file_is_gone, hashes_in_use, media_after, requeue, variants_after,
};
pub(crate) use collect::{
    bury, condemn_unreferenced, dead_keys, forget_graves, known_variants, mark_gone, remove_condemned, unused_keys,
};
pub(crate) use job::{Job, Made, NewVariant, ask_again, claim, fail, finish, retry};
pub(crate) use list::{all, count_all, missing, page, stats};
pub(crate) use upload::{Added, NewMedia, add, drop_references, forget_user, standing};
pub(crate) use upload_url::{
    NewUploadUrl, UploadTarget, add_upload_url, release_upload_url, spend_upload_url, upload_target,
};

/// Later than every time: a job with nothing to do.
const NEVER: i64 = i64::MAX;

/// An id as it goes into a batch.
fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "stands in `map_err`, which hands it over")]
fn damaged(why: impl ToString) -> Error {
    Error::Damaged { what: "media", why: why.to_string() }
}

fn unsigned(number: i64) -> Result<u64> {
    u64::try_from(number).map_err(damaged)
}

fn read_key(hash: &str, generation: i64) -> Result<Key> {
    Ok(Key { hash: hash.parse().map_err(damaged)?, generation })
}

/// How a file is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Which {
    Id(MediaId),
    Hash(Hash),
}

/// The columns of a record: a file `m` and a reference `r` to it.
const RECORD: &str =
    "m.id, m.hash, m.size, m.mime, m.state, m.reason, m.width, m.height, m.format, m.has_alpha, m.taken_at,
    m.exif, r.name, r.app, r.created,
    (SELECT string_agg(v.name, ',') FROM media_variant v WHERE v.media = m.id) AS variants";

#[derive(Debug, FromRow)]
struct RecordRow {
    id: MediaId,
    hash: String,
    size: i64,
    mime: String,
    state: String,
    reason: Option<String>,
    width: Option<i64>,
    height: Option<i64>,
    format: Option<String>,
    has_alpha: Option<bool>,
    taken_at: Option<Timestamp>,
    exif: Option<Json<Exif>>,
    name: String,
    app: String,
    created: Timestamp,
    variants: Option<String>,
}

fn read_status(state: &str) -> Result<Status> {
    match state {
        "queued" => Ok(Status::Processing),
        "ready" | "skipped" => Ok(Status::Ready),
        "failed" => Ok(Status::Failed),
        other => Err(damaged(format!("`{other}` is no state"))),
    }
}

impl RecordRow {
    fn read(self) -> Result<Record> {
        let side = |number: i64| u32::try_from(number).map_err(damaged);
        let metadata = match (self.width, self.height, self.format) {
            (Some(width), Some(height), Some(format)) => Some(Metadata {
                width: side(width)?,
                height: side(height)?,
                format,
                has_alpha: self.has_alpha.unwrap_or(false),
            }),
            _ => None,
        };
        let mut variants: Vec<Variant> = self
            .variants
            .iter()
            .flat_map(|names| names.split(','))
            .map(|name| name.parse().map_err(damaged))
            .collect::<Result<_>>()?;
        variants.sort_unstable();
        let status = read_status(&self.state)?;
        Ok(Record {
            id: self.id,
            status,
            reason: self.reason.filter(|_| status == Status::Failed),
            original_name: self.name,
            app: Some(self.app).filter(|app| !app.is_empty()),
            mime_type: self.mime,
            size: unsigned(self.size)?,
            hash: self.hash.parse().map_err(damaged)?,
            metadata,
            exif: self.exif.map(|exif| exif.0),
            taken_at: self.taken_at,
            variants,
            created_at: self.created,
        })
    }
}

/// Whose references count: `$1` is the user, or nothing for everybody's. Two texts, so that each finds its index.
fn owner(viewer: Viewer, reference: &'static str) -> String {
    match viewer {
        Viewer::User(_) => format!("{reference}.user_id = $1"),
        Viewer::Service => "CAST($1 AS UUID) IS NULL".to_owned(),
    }
}

/// `+ 0`, because SQLite would otherwise walk through all that the user has, the newest first, until it meets the file.
fn record_sql(which: Which, viewer: Viewer) -> String {
    let owner = owner(viewer, "r");
    let by = match which {
        Which::Id(_) => "m.id",
        Which::Hash(_) => "m.hash",
    };
    format!(
        "SELECT {RECORD} FROM media m JOIN media_reference r ON r.media = m.id
         WHERE {by} = $2 AND {owner} AND ($3 IS NULL OR r.app = $3)
         ORDER BY r.created + 0 DESC, r.user_id DESC, r.app DESC LIMIT 1"
    )
}

/// A file as its viewer sees it, by his newest reference, or by that of one app.
pub(crate) async fn record(db: &Db, which: Which, viewer: Viewer, app: Option<&str>) -> Result<Option<Record>> {
    let query = db.query(record_sql(which, viewer)).bind(viewer.user());
    let query = match which {
        Which::Id(id) => query.bind(id),
        Which::Hash(hash) => query.bind(hash.to_string()),
    };
    query.bind(app.map(str::to_owned)).optional::<RecordRow>().await?.map(RecordRow::read).transpose()
}

/// What delivering needs to know of a file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) id: MediaId,
    pub(crate) key: Key,
    pub(crate) size: u64,
    pub(crate) mime: String,
    pub(crate) created: Timestamp,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    /// What the viewer calls it.
    pub(crate) name: Option<String>,
}

#[derive(Debug, FromRow)]
struct FileRow {
    id: MediaId,
    hash: String,
    generation: i64,
    size: i64,
    mime: String,
    created: Timestamp,
    state: String,
    reason: Option<String>,
    name: Option<String>,
}

const FILE: &str = "SELECT m.id, m.hash, m.generation, m.size, m.mime, m.created, m.state, m.reason,
        (SELECT r.name FROM media_reference r WHERE r.media = m.id AND r.user_id = $2
         ORDER BY r.created + 0 DESC, r.app DESC LIMIT 1) AS name
     FROM media m WHERE m.id = $1 AND EXISTS (SELECT 1 FROM media_reference h WHERE h.media = m.id)";

/// A file by its id, which is what permits to fetch it; with the name that this user gave it.
pub(crate) async fn file(db: &Db, id: MediaId, user: Option<UserId>) -> Result<Option<File>> {
    let row = db.query(FILE).bind(id).bind(user).optional::<FileRow>().await?;
    row.map(|row| {
        Ok(File {
            id: row.id,
            key: read_key(&row.hash, row.generation)?,
            size: unsigned(row.size)?,
            mime: row.mime,
            created: row.created,
            state: row.state,
            reason: row.reason,
            name: row.name,
        })
    })
    .transpose()
}

/// A variant that exists.
#[derive(Debug, FromRow)]
pub(crate) struct Stored {
    pub(crate) path: String,
    pub(crate) hash: String,
    pub(crate) size: i64,
    pub(crate) mime: String,
    pub(crate) made: Timestamp,
}

impl Stored {
    pub(crate) fn path(&self) -> Path {
        Path::from(self.path.as_str())
    }
}

pub(crate) async fn variant(db: &Db, media: MediaId, variant: Variant) -> Result<Option<Stored>> {
    db.query("SELECT path, hash, size, mime, made FROM media_variant WHERE media = $1 AND name = $2")
        .bind(media)
        .bind(variant.as_str())
        .optional()
        .await
}

#[cfg(test)]
mod tests {
    use mana_store::EngineKind;
    use mana_types::{MediaId, UserId};
    use uuid::Uuid;

    use super::{FILE, Which, job, list, record_sql};
    use crate::media::Viewer;

    /// What a user asks all the time must not walk through what others have, nor, for one file, through what he has.
    /// `PostgreSQL` knows its tables' sizes; SQLite has to be led.
    #[tokio::test]
    async fn nothing_walks_through_more_than_it_shows() {
        let test = mana_testkit::sqlite().await;
        let viewer = Viewer::User(UserId::from_uuid(Uuid::nil()));
        let (id, hash) = (Which::Id(MediaId::from_uuid(Uuid::nil())), Which::Hash(crate::Hash::of(b"")));
        let all = format!("SELECT COUNT(*) {}", list::matching(EngineKind::Sqlite, viewer));
        let lists = [list::page_sql(viewer), all];
        let lookups =
            [record_sql(id, viewer), record_sql(hash, viewer), FILE.to_owned(), list::MISSING_SQLITE.to_owned()];
        let of_lists = lists.iter().map(|sql| (sql, true));
        for (sql, is_list) in
            of_lists.chain(lookups.iter().map(|sql| (sql, false))).chain([(&job::ANY_DUE.to_owned(), false)])
        {
            let plan = test.db.query(format!("EXPLAIN QUERY PLAN {sql}")).all::<(i64, i64, i64, String)>().await;
            for (.., step) in plan.expect("a plan") {
                let walks = step.starts_with("SCAN") && !step.starts_with("SCAN e ") && !step.starts_with("SCAN a ");
                let through_his =
                    step.contains("media_reference_of_user") && !(is_list && step.starts_with("SEARCH r "));
                assert!(!walks && !through_his, "{step}\nin {sql}");
            }
        }
    }
}
