//! The audit trail in the database: the only SQL of this crate.

use mana_store::{Db, EngineKind, Error, FromRow, Json, Result};
use mana_types::{ActionId, Cursor, RequestId, SpaceId, Timestamp, UserId};
use serde_json::{Value, json};

use crate::audit::Entry;

/// How often a batch is tried again because an account was deleted between the look at it and the write.
const TRIES: usize = 3;

/// Writes a batch in one statement and one transaction. Rows of accounts that no longer exist are left out: their trail
/// went with them. A row that is there already stays as it is. Returns how many were written.
pub(crate) async fn write(db: &Db, entries: &[Entry]) -> Result<u64> {
    let rows = Value::Array(entries.iter().map(row).collect());
    let mut tries = 0;
    loop {
        match write_once(db, &rows).await {
            Err(Error::Dangling(_)) if tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

async fn write_once(db: &Db, rows: &Value) -> Result<u64> {
    let sql = match db.engine() {
        EngineKind::Sqlite => {
            "INSERT INTO audit (id, at, user_id, space, door, client, correlation, tool, input, outcome, reason, millis, request)
             SELECT unhex(e.value ->> 'id'), e.value ->> 'at', unhex(e.value ->> 'account'), unhex(e.value ->> 'space'),
                    e.value ->> 'door', e.value ->> 'client', e.value ->> 'correlation', e.value ->> 'tool',
                    e.value ->> 'input', e.value ->> 'outcome', e.value ->> 'reason', e.value ->> 'millis',
                    unhex(e.value ->> 'request')
             FROM json_each($1) e
             WHERE EXISTS (SELECT 1 FROM account a WHERE a.id = unhex(e.value ->> 'account'))
             ON CONFLICT DO NOTHING"
        }
        EngineKind::Postgres => {
            "INSERT INTO audit (id, at, user_id, space, door, client, correlation, tool, input, outcome, reason, millis, request)
             SELECT e.id, e.at, e.account, e.space, e.door, e.client, e.correlation, e.tool, e.input, e.outcome, e.reason,
                    e.millis, e.request
             FROM jsonb_to_recordset($1) AS e(id UUID, at BIGINT, account UUID, space UUID, door TEXT, client TEXT,
                  correlation TEXT, tool TEXT, input TEXT, outcome TEXT, reason TEXT, millis BIGINT, request UUID)
             WHERE EXISTS (SELECT 1 FROM account a WHERE a.id = e.account)
             ON CONFLICT DO NOTHING"
        }
    };
    let mut tx = db.begin().await?;
    let written = tx.query(sql).bind(Json(rows.clone())).execute().await?;
    tx.commit().await?;
    Ok(written)
}

/// One entry as both statements read it: ids as 32 hexadecimal digits, which PostgreSQL takes for a UUID and SQLite
/// turns into its 16 bytes.
fn row(entry: &Entry) -> Value {
    json!({
        "id": entry.id.uuid().simple().to_string(),
        "at": entry.at.as_millis(),
        "account": entry.user.uuid().simple().to_string(),
        "space": entry.space.map(|space| space.uuid().simple().to_string()),
        "door": entry.door.as_str(),
        "client": entry.client,
        "correlation": entry.correlation,
        "tool": entry.tool,
        "input": entry.input_hash,
        "outcome": entry.outcome.as_str(),
        "reason": entry.reason,
        "millis": entry.millis,
        "request": entry.request.uuid().simple().to_string(),
    })
}

/// One row of the trail.
#[derive(Debug, FromRow)]
pub(crate) struct AuditRow {
    pub(crate) id: ActionId,
    pub(crate) at: Timestamp,
    pub(crate) space: Option<SpaceId>,
    pub(crate) door: String,
    pub(crate) client: Option<String>,
    pub(crate) correlation: Option<String>,
    pub(crate) tool: String,
    pub(crate) input: String,
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    pub(crate) millis: i64,
    pub(crate) request: RequestId,
}

/// A user's own calls, the newest first: up to `limit` rows before the cursor.
pub(crate) async fn own(db: &Db, user: UserId, before: Option<Cursor>, limit: i64) -> Result<Vec<AuditRow>> {
    let (at, id) = before.map_or((i64::MAX, uuid::Uuid::max()), |cursor| (cursor.key, cursor.id));
    db.query(
        "SELECT id, at, space, door, client, correlation, tool, input, outcome, reason, millis, request FROM audit
         WHERE user_id = $1 AND (at < $2 OR (at = $2 AND id < $3))
         ORDER BY at DESC, id DESC LIMIT $4",
    )
    .bind(user)
    .bind(at)
    .bind(id)
    .bind(limit)
    .all()
    .await
}
