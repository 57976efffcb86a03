//! Lists, counts and ownership. A file is counted once, however many references its viewer holds.

use std::collections::{BTreeMap, HashSet};

use mana_store::{Db, EngineKind, Json, Query, Result};
use mana_types::{Cursor, MediaId, UserId};
use uuid::Uuid;

use super::{RECORD, RecordRow, hex, owner, unsigned};
use crate::list::{AllQuery, ListQuery, Share, SortBy, Stats};
use crate::media::{Record, Viewer};

/// That there is no newer reference that fits. `+ 0`, because SQLite would otherwise walk through all that is newer instead
/// of looking the file's few references up.
const NEWER: &str = "(n.created + 0, n.user_id, n.app) > (r.created, r.user_id, r.app)";

pub(super) fn page_sql(viewer: Viewer) -> String {
    let (ours, newer) = (owner(viewer, "r"), owner(viewer, "n"));
    format!(
        "SELECT {RECORD} FROM media_reference r JOIN media m ON m.id = r.media
         WHERE {ours} AND ($2 IS NULL OR r.app = $2) AND (r.created, r.media) < ($3, $4)
            AND NOT EXISTS (SELECT 1 FROM media_reference n WHERE n.media = r.media AND {newer}
                AND ($2 IS NULL OR n.app = $2) AND {NEWER})
         ORDER BY r.created DESC, r.media DESC LIMIT $5"
    )
}

/// The newest first; each file by its newest reference that fits.
pub(crate) async fn page(db: &Db, query: &ListQuery, limit: i64) -> Result<Vec<Record>> {
    let after = query.after.unwrap_or(Cursor { key: i64::MAX, id: Uuid::max() });
    let query = db
        .query(page_sql(query.viewer))
        .bind(query.viewer.user())
        .bind(query.app.clone())
        .bind(after.key)
        .bind(after.id)
        .bind(limit);
    query.all::<RecordRow>().await?.into_iter().map(RecordRow::read).collect()
}

/// The files that fit, each by its newest reference among those apps. `$1` is the viewer, `$2` the apps, `$3` and `$4`
/// the type or its beginning, `$5` and `$6` the time, `$7` whether it has a place.
pub(super) fn matching(engine: EngineKind, viewer: Viewer) -> String {
    let (ours, newer) = (owner(viewer, "r"), owner(viewer, "n"));
    let apps = match engine {
        EngineKind::Sqlite => "(SELECT e.value FROM json_each($2) e)",
        EngineKind::Postgres => "(SELECT e.app FROM jsonb_array_elements_text($2) AS e(app))",
    };
    format!(
        "FROM media_reference r JOIN media m ON m.id = r.media
         WHERE {ours} AND ($2 IS NULL OR r.app IN {apps})
            AND NOT EXISTS (SELECT 1 FROM media_reference n WHERE n.media = r.media AND {newer}
                AND ($2 IS NULL OR n.app IN {apps}) AND {NEWER})
            AND ($3 IS NULL OR m.mime = $3) AND ($4 IS NULL OR substr(m.mime, 1, length($4)) = $4)
            AND ($5 IS NULL OR COALESCE(m.taken_at, r.created) >= $5)
            AND ($6 IS NULL OR COALESCE(m.taken_at, r.created) <= $6)
            AND ($7 IS NULL OR (m.latitude IS NOT NULL) = $7)"
    )
}

fn bind_all<'q>(statement: Query<'q>, query: &AllQuery) -> Query<'q> {
    let (exact, prefix) = match query.mime_type.as_deref() {
        None => (None, None),
        Some(pattern) => match pattern.strip_suffix('*') {
            Some(prefix) => (None, Some(prefix.to_owned())),
            None => (Some(pattern.to_owned()), None),
        },
    };
    statement
        .bind(query.viewer.user())
        .bind(Some(&query.apps).filter(|apps| !apps.is_empty()).cloned().map(Json))
        .bind(exact)
        .bind(prefix)
        .bind(query.date_from)
        .bind(query.date_to)
        .bind(query.has_location)
}

pub(crate) async fn all(db: &Db, query: &AllQuery, limit: i64, offset: i64) -> Result<Vec<Record>> {
    let direction = if query.ascending { "ASC" } else { "DESC" };
    let key = match query.sort_by {
        SortBy::CreatedAt => "r.created",
        SortBy::DateTaken => "COALESCE(m.taken_at, r.created)",
        SortBy::Size => "m.size",
    };
    let matching = matching(db.engine(), query.viewer);
    let sql = format!("SELECT {RECORD} {matching} ORDER BY {key} {direction}, m.id {direction} LIMIT $8 OFFSET $9");
    let rows = bind_all(db.query(sql), query).bind(limit).bind(offset).all::<RecordRow>().await?;
    rows.into_iter().map(RecordRow::read).collect()
}

pub(crate) async fn count_all(db: &Db, query: &AllQuery) -> Result<u64> {
    let sql = format!("SELECT COUNT(*) {}", matching(db.engine(), query.viewer));
    let (count,): (i64,) = bind_all(db.query(sql), query).one().await?;
    unsigned(count)
}

pub(crate) async fn stats(db: &Db, viewer: Viewer) -> Result<Stats> {
    let ours = owner(viewer, "r");
    // The year on the clock where the picture was taken; else that of the newest reference.
    let year = match db.engine() {
        EngineKind::Sqlite => "CAST(strftime('%Y', f.at / 1000.0, 'unixepoch') AS INTEGER)",
        EngineKind::Postgres => "CAST(EXTRACT(YEAR FROM to_timestamp(f.at / 1000.0) AT TIME ZONE 'UTC') AS BIGINT)",
    };
    let by_app = format!(
        "SELECT f.app, COUNT(*), CAST(SUM(f.size) AS BIGINT)
         FROM (SELECT DISTINCT r.app, m.id, m.size FROM media_reference r JOIN media m ON m.id = r.media WHERE {ours}) f
         GROUP BY f.app"
    );
    let by_year = format!(
        "SELECT {year} AS year, COUNT(*), CAST(SUM(f.size) AS BIGINT)
         FROM (SELECT m.id, m.size, COALESCE(m.taken_at + COALESCE(m.taken_offset, 0) * 60000, MAX(r.created)) AS at
               FROM media_reference r JOIN media m ON m.id = r.media WHERE {ours}
               GROUP BY m.id, m.size, m.taken_at, m.taken_offset) f
         GROUP BY 1"
    );
    let apps: Vec<(String, i64, i64)> = db.query(by_app).bind(viewer.user()).all().await?;
    let years: Vec<(i64, i64, i64)> = db.query(by_year).bind(viewer.user()).all().await?;
    let share = |count, size| Ok::<_, mana_store::Error>(Share { count: unsigned(count)?, size: unsigned(size)? });
    let by_year: BTreeMap<i64, Share> =
        years.into_iter().map(|(year, count, size)| Ok((year, share(count, size)?))).collect::<Result<_>>()?;
    Ok(Stats {
        // Each file has one year, so the years add up to the whole; apps may share a file.
        total_count: by_year.values().map(|share| share.count).sum(),
        total_size: by_year.values().map(|share| share.size).sum(),
        by_app: apps.into_iter().map(|(app, count, size)| Ok((app, share(count, size)?))).collect::<Result<_>>()?,
        by_year,
    })
}

/// In the order from the ids that are named to the references, each found by its key.
pub(super) const MISSING_SQLITE: &str =
    "SELECT DISTINCT r.media FROM json_each($2) e CROSS JOIN media_reference r ON r.media = unhex(e.value)
    WHERE r.user_id = $1 AND ($3 IS NULL OR r.app IN (SELECT a.value FROM json_each($3) a))";

/// Which of these files the user holds for none of these apps (for no app at all, where none is named), in the order
/// given. One query on exactly those ids.
pub(crate) async fn missing(db: &Db, user: UserId, ids: &[MediaId], apps: &[&str]) -> Result<Vec<MediaId>> {
    let sql = match db.engine() {
        EngineKind::Sqlite => MISSING_SQLITE,
        EngineKind::Postgres => {
            "SELECT DISTINCT r.media FROM jsonb_array_elements_text($2) AS e(id) JOIN media_reference r ON r.media = e.id::uuid
             WHERE r.user_id = $1 AND ($3 IS NULL OR r.app IN (SELECT a.app FROM jsonb_array_elements_text($3) AS a(app)))"
        }
    };
    let batch: Vec<String> = ids.iter().map(|id| hex(id.uuid())).collect();
    let apps = Some(apps).filter(|apps| !apps.is_empty());
    let apps = apps.map(|apps| Json(apps.iter().map(|app| (*app).to_owned()).collect::<Vec<_>>()));
    let held: Vec<(MediaId,)> = db.query(sql).bind(user).bind(Json(batch)).bind(apps).all().await?;
    let held: HashSet<MediaId> = held.into_iter().map(|(id,)| id).collect();
    Ok(ids.iter().filter(|id| !held.contains(id)).copied().collect())
}
