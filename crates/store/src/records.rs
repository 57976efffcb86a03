//! Records: one table for the data of all modules, with revisions, soft deletion and an append-only history.
//!
//! Every change writes the record and its entry in the history in one transaction. An update is guarded by the
//! revision it read: two writers at once end in a retry or a conflict, never in a lost update.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::marker::PhantomData;

use mana_types::{ChangeId, Cursor, Page, RecordId, SpaceId, TickId, Timestamp, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::types::Json;

use crate::{EngineKind, Error, Result, Source, Tx};

/// One kind of piece of data.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + Unpin + 'static {
    /// The kind's name, `module.noun`.
    const KIND: &'static str;

    /// The one sort key beside the time of the last change: a due time, a start, a day. None sorts last.
    fn at(&self) -> Option<Timestamp> {
        None
    }

    /// What a search for words looks through.
    fn words(&self) -> String {
        String::new()
    }
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stored<T> {
    /// The record's id.
    pub id: RecordId,
    /// How often it was changed, from 1; send it back as `expectedRev` to be told of a change by somebody else.
    pub rev: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was archived, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<Timestamp>,
    /// The record itself.
    #[serde(flatten)]
    pub data: T,
}

impl<T> Stored<T> {
    /// The same record with something else in place of its content, such as a short form for a list.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Stored<U> {
        let Self { id, rev, created_at, updated_at, archived_at, data } = self;
        Stored { id, rev, created_at, updated_at, archived_at, data: change(data) }
    }
}

/// Who changes a record, for its history.
#[derive(Debug, Clone)]
pub struct Author {
    /// The user.
    pub user: UserId,
    /// The program that called, as it names itself.
    pub client: Option<String>,
    /// The visit, where a persona acted.
    pub tick: Option<TickId>,
}

/// Why a record was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E> {
    /// There is no such record in this space.
    #[error("there is no such record")]
    Missing,
    /// Somebody else changed it: it is now at this revision.
    #[error("the record was changed meanwhile, it is now at revision {0}")]
    Conflict(i64),
    /// The change itself was refused.
    #[error(transparent)]
    Refused(E),
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
}

/// In which order a list comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By [`Record::at`], the soonest first, those without one last.
    Soonest,
    /// By [`Record::at`], the latest first.
    Latest,
    /// By the last change, the most recent first.
    Recent,
}

#[derive(Debug, Clone)]
enum Condition {
    Text(&'static str, String),
    Not(&'static str, String),
    Flag(&'static str, bool),
    Holds(&'static str, String),
    Absent(&'static str),
    Since(&'static str, String),
    Before(&'static str, String),
    Created(Timestamp, Timestamp),
}

/// Which records are wanted, and in which order.
///
/// Field names are those of the JSON (camelCase) and always literals; only values come from outside.
#[derive(Debug, Clone)]
pub struct Filter<T> {
    order: Order,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    words: Vec<String>,
    archived: bool,
    conditions: Vec<Condition>,
    limit: u32,
    cursor: Option<Cursor>,
    kind: PhantomData<fn() -> T>,
}

/// The most records that one statement reads.
pub const MOST: u32 = 10_000;

impl<T: Record> Filter<T> {
    /// All records that are not archived, in this order.
    pub fn new(order: Order) -> Self {
        Self {
            order,
            from: None,
            until: None,
            words: Vec::new(),
            archived: false,
            conditions: Vec::new(),
            limit: MOST,
            cursor: None,
            kind: PhantomData,
        }
    }

    /// Only those whose `at` lies at or after this time.
    pub fn from(mut self, time: Timestamp) -> Self {
        self.from = Some(time);
        self
    }

    /// Only those whose `at` lies before this time.
    pub fn until(mut self, time: Timestamp) -> Self {
        self.until = Some(time);
        self
    }

    /// Only those whose words contain this text, whatever its case. Said twice, they contain both.
    pub fn words(mut self, text: &str) -> Self {
        self.words.push(text.to_lowercase());
        self
    }

    /// Only those whose field is this text.
    pub fn is(mut self, field: &'static str, value: impl Into<String>) -> Self {
        self.conditions.push(Condition::Text(field, value.into()));
        self
    }

    /// Only those whose field is absent or another text.
    pub fn is_not(mut self, field: &'static str, value: impl Into<String>) -> Self {
        self.conditions.push(Condition::Not(field, value.into()));
        self
    }

    /// Only those whose flag is set so; an absent flag counts as not set.
    pub fn flag(mut self, field: &'static str, value: bool) -> Self {
        self.conditions.push(Condition::Flag(field, value));
        self
    }

    /// Only those whose list field contains this text.
    pub fn holds(mut self, field: &'static str, value: impl Into<String>) -> Self {
        self.conditions.push(Condition::Holds(field, value.into()));
        self
    }

    /// Only those whose field, a time or a day, is this one or a later one. All times are written in one form, in
    /// which the order of the texts is the order of the times; so are all days.
    pub fn since(mut self, field: &'static str, value: impl Display) -> Self {
        self.conditions.push(Condition::Since(field, value.to_string()));
        self
    }

    /// Only those whose field, a time or a day, lies before this one.
    pub fn before(mut self, field: &'static str, value: impl Display) -> Self {
        self.conditions.push(Condition::Before(field, value.to_string()));
        self
    }

    /// Only those made at or after the first time and before the second.
    pub fn created(mut self, from: Timestamp, until: Timestamp) -> Self {
        self.conditions.push(Condition::Created(from, until));
        self
    }

    /// Only those whose field is absent.
    pub fn absent(mut self, field: &'static str) -> Self {
        self.conditions.push(Condition::Absent(field));
        self
    }

    /// The archived ones instead of the others.
    pub fn archived(mut self, archived: bool) -> Self {
        self.archived = archived;
        self
    }

    /// At most this many, after this place.
    pub fn page(mut self, limit: u32, cursor: Option<Cursor>) -> Self {
        self.limit = limit.min(MOST);
        self.cursor = cursor;
        self
    }

    fn key(&self) -> &'static str {
        match self.order {
            Order::Soonest | Order::Latest => "at",
            Order::Recent => "updated",
        }
    }

    /// The condition as SQL; its values are `$3` and on, after space and kind.
    fn condition(&self, engine: EngineKind) -> (String, Vec<Value>) {
        let mut sql = String::from("space = $1 AND kind = $2");
        sql.push_str(if self.archived { " AND deleted IS NOT NULL" } else { " AND deleted IS NULL" });
        let mut values = Vec::new();
        let mut add = |sql: &mut String, before: &str, value: Value, after: &str| {
            values.push(value);
            let _ = write!(sql, " AND {before}${}{after}", values.len() + 2);
        };
        if let Some(from) = self.from {
            add(&mut sql, "at >= ", Value::Number(from.as_millis()), "");
        }
        if let Some(until) = self.until {
            add(&mut sql, "at < ", Value::Number(until.as_millis()), "");
        }
        for words in &self.words {
            let pattern = words.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            add(&mut sql, "words LIKE ", Value::Text(format!("%{pattern}%")), " ESCAPE '\\'");
        }
        for condition in &self.conditions {
            match condition {
                Condition::Text(field, value) => {
                    add(&mut sql, &format!("data->>'{field}' = "), Value::Text(value.clone()), "");
                }
                Condition::Not(field, value) => {
                    add(&mut sql, &format!("COALESCE(data->>'{field}', '') <> "), Value::Text(value.clone()), "");
                }
                Condition::Flag(field, value) => {
                    // The same JSON `true` reads as 1 in SQLite and as the text true in PostgreSQL.
                    let holds = match engine {
                        EngineKind::Sqlite => format!("COALESCE(data->>'{field}', 0) = 1"),
                        EngineKind::Postgres => format!("COALESCE(data->>'{field}', 'false') = 'true'"),
                    };
                    let _ = write!(sql, " AND {}{holds}", if *value { "" } else { "NOT " });
                }
                Condition::Holds(field, value) => match engine {
                    EngineKind::Sqlite => add(
                        &mut sql,
                        &format!("EXISTS (SELECT 1 FROM json_each(data, '$.{field}') WHERE value = "),
                        Value::Text(value.clone()),
                        ")",
                    ),
                    EngineKind::Postgres => {
                        add(&mut sql, &format!("data->'{field}' ? "), Value::Text(value.clone()), "");
                    }
                },
                Condition::Absent(field) => {
                    let _ = write!(sql, " AND data->>'{field}' IS NULL");
                }
                Condition::Since(field, value) => {
                    add(&mut sql, &format!("data->>'{field}' >= "), Value::Text(value.clone()), "");
                }
                Condition::Before(field, value) => {
                    add(&mut sql, &format!("data->>'{field}' < "), Value::Text(value.clone()), "");
                }
                Condition::Created(from, until) => {
                    add(&mut sql, "created >= ", Value::Number(from.as_millis()), "");
                    add(&mut sql, "created < ", Value::Number(until.as_millis()), "");
                }
            }
        }
        (sql, values)
    }
}

#[derive(Debug, Clone)]
enum Value {
    Number(i64),
    Text(String),
}

impl<'c> crate::Query<'c> {
    fn bind_value(self, value: Value) -> crate::Query<'c> {
        match value {
            Value::Number(number) => self.bind(number),
            Value::Text(text) => self.bind(text),
        }
    }
}

/// A record as its columns: read straight into its type, without a JSON tree in between.
type RecordRow<T> = (RecordId, i64, i64, Json<T>, Timestamp, Timestamp, Option<Timestamp>);

fn stored<T>(row: RecordRow<T>) -> Stored<T> {
    let (id, rev, _, Json(data), created_at, updated_at, archived_at) = row;
    Stored { id, rev, created_at, updated_at, archived_at, data }
}

/// A record whose JSON does not read as its type is damage, not a fault of the statement.
fn damaged<T: Record>(error: Error) -> Error {
    match error {
        Error::Database(sqlx::Error::ColumnDecode { source, .. }) => {
            Error::Damaged { what: T::KIND, why: source.to_string() }
        }
        other => other,
    }
}

/// The rows of a page that travelled as one text.
fn unpacked<T: Record>(page: &str) -> Result<Vec<RecordRow<T>>> {
    type Packed<T> = (RecordId, i64, i64, T, i64, i64, Option<i64>);
    let rows: Vec<Packed<T>> =
        serde_json::from_str(page).map_err(|error| Error::Damaged { what: T::KIND, why: error.to_string() })?;
    let time = Timestamp::from_millis;
    let unpack = |(id, rev, at, data, created, updated, deleted): Packed<T>| {
        (id, rev, at, Json(data), time(created), time(updated), deleted.map(time))
    };
    Ok(rows.into_iter().map(unpack).collect())
}

/// One page of the wanted records.
pub async fn list<T: Record>(source: &mut Source<'_>, space: SpaceId, filter: &Filter<T>) -> Result<Page<Stored<T>>> {
    let (mut sql, mut values) = filter.condition(source.engine());
    let key = filter.key();
    let (beyond, direction) = match filter.order {
        Order::Soonest => (">", "ASC"),
        Order::Latest | Order::Recent => ("<", "DESC"),
    };
    let mut after = None;
    if let Some(cursor) = filter.cursor {
        values.push(Value::Number(cursor.key));
        let place = values.len() + 2;
        let _ = write!(sql, " AND ({key}, id) {beyond} (${place}, ${})", place + 1);
        after = Some(RecordId::from_uuid(cursor.id));
    }
    let limit_place = values.len() + 3 + usize::from(after.is_some());
    let rows = format!(
        "SELECT id, rev, at, data, created, updated, deleted FROM record WHERE {sql}
         ORDER BY {key} {direction}, id {direction} LIMIT ${limit_place}"
    );
    let engine = source.engine();
    let sql = match engine {
        // Row by row, SQLite's answers are handed from its thread to ours one at a time, which costs more than reading
        // them. So the whole page travels as one text.
        EngineKind::Sqlite => format!(
            "SELECT json_group_array(json_array(lower(hex(id)), rev, at, json(data), created, updated, deleted)) FROM ({rows})"
        ),
        EngineKind::Postgres => rows,
    };
    let mut query = source.query(Cow::Owned(sql)).bind(space).bind(T::KIND);
    for value in values {
        query = query.bind_value(value);
    }
    if let Some(id) = after {
        query = query.bind(id);
    }
    query = query.bind(i64::from(filter.limit) + 1);
    let mut rows: Vec<RecordRow<T>> = match engine {
        EngineKind::Sqlite => unpacked(&query.one::<(String,)>().await?.0)?,
        EngineKind::Postgres => query.all().await.map_err(damaged::<T>)?,
    };
    let more = rows.len() > filter.limit as usize;
    rows.truncate(filter.limit as usize);
    let next_cursor = match rows.last() {
        Some((id, _, at, _, _, updated, _)) if more => {
            let key = if filter.order == Order::Recent { updated.as_millis() } else { *at };
            Some(Cursor { key, id: id.uuid() }.to_string())
        }
        _ => None,
    };
    Ok(Page { items: rows.into_iter().map(stored).collect(), next_cursor })
}

/// How many records the filter finds, whatever its limit.
pub async fn count<T: Record>(source: &mut Source<'_>, space: SpaceId, filter: &Filter<T>) -> Result<i64> {
    let (sql, values) = filter.condition(source.engine());
    let mut query =
        source.query(Cow::Owned(format!("SELECT COUNT(*) FROM record WHERE {sql}"))).bind(space).bind(T::KIND);
    for value in values {
        query = query.bind_value(value);
    }
    query.one::<(i64,)>().await.map(|(count,)| count)
}

/// One record, archived or not; none if this space has no such record.
pub async fn get<T: Record>(source: &mut Source<'_>, space: SpaceId, id: RecordId) -> Result<Option<Stored<T>>> {
    source
        .query(
            "SELECT id, rev, at, data, created, updated, deleted FROM record
             WHERE space = $1 AND kind = $2 AND id = $3",
        )
        .bind(space)
        .bind(T::KIND)
        .bind(id)
        .optional::<RecordRow<T>>()
        .await
        .map(|row| row.map(stored))
        .map_err(damaged::<T>)
}

/// The state of a record to be written, and what to call the change.
struct Written<'a, T> {
    record: &'a Stored<T>,
    op: &'static str,
    seq: ChangeId,
}

fn json<T: Serialize>(kind: &'static str, data: &T) -> Result<serde_json::Value> {
    serde_json::to_value(data).map_err(|error| Error::Damaged { what: kind, why: error.to_string() })
}

async fn write_change<T: Record>(
    tx: &mut Tx,
    space: SpaceId,
    author: &Author,
    data: serde_json::Value,
    written: &Written<'_, T>,
) -> Result<()> {
    tx.query(
        "INSERT INTO record_change (space, kind, id, rev, seq, op, data, actor, client, tick, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(space)
    .bind(T::KIND)
    .bind(written.record.id)
    .bind(written.record.rev)
    .bind(written.seq)
    .bind(written.op)
    .bind(Json(data))
    .bind(author.user)
    .bind(author.client.clone())
    .bind(author.tick.as_ref().map(|tick| tick.as_str().to_owned()))
    .bind(written.record.updated_at)
    .execute()
    .await
    .map(drop)
}

fn sort_key<T: Record>(data: &T) -> i64 {
    data.at().map_or(i64::MAX, Timestamp::as_millis)
}

/// Ids and time for a change: made by the caller, so that nothing here is left to chance.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The change's place in the feed.
    pub seq: ChangeId,
    /// When it happens.
    pub at: Timestamp,
}

/// Adds a record under a new id.
pub async fn add<T: Record>(
    tx: &mut Tx,
    space: SpaceId,
    author: &Author,
    id: RecordId,
    stamp: Stamp,
    data: T,
) -> Result<Stored<T>> {
    let value = json(T::KIND, &data)?;
    tx.query(
        "INSERT INTO record (space, kind, id, rev, at, words, data, created, updated)
         VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $7)",
    )
    .bind(space)
    .bind(T::KIND)
    .bind(id)
    .bind(sort_key(&data))
    .bind(data.words().to_lowercase())
    .bind(Json(value.clone()))
    .bind(stamp.at)
    .execute()
    .await?;
    let record = Stored { id, rev: 1, created_at: stamp.at, updated_at: stamp.at, archived_at: None, data };
    let written = Written { record: &record, op: "create", seq: stamp.seq };
    write_change(tx, space, author, value, &written).await?;
    Ok(record)
}

/// What a change to a record asks for beside its new content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// New content.
    Update,
    /// Out of sight, to be found among the archived.
    Archive,
    /// Back in sight.
    Restore,
}

/// How often a change is tried again when somebody else is quicker.
const TRIES: usize = 8;

/// Changes a record: reads it, lets `change` alter it, writes it if nobody else has meanwhile.
///
/// With `expected` the record must be at that revision. Archiving what is archived, and restoring what is not, change
/// nothing and answer the record as it is.
#[expect(clippy::too_many_arguments, reason = "each is one plain fact of a change; a struct would only rename them")]
pub async fn change<T: Record, E>(
    tx: &mut Tx,
    space: SpaceId,
    author: &Author,
    id: RecordId,
    expected: Option<i64>,
    stamp: Stamp,
    op: Op,
    mut change: impl FnMut(&mut T) -> std::result::Result<(), E>,
) -> Result<Stored<T>, ChangeError<E>> {
    for _ in 0..TRIES {
        let mut record = get::<T>(&mut Source::Tx(tx), space, id).await?.ok_or(ChangeError::Missing)?;
        let read = record.rev;
        if expected.is_some_and(|expected| expected != read) {
            return Err(ChangeError::Conflict(read));
        }
        match op {
            Op::Archive if record.archived_at.is_some() => return Ok(record),
            Op::Restore if record.archived_at.is_none() => return Ok(record),
            _ => {}
        }
        change(&mut record.data).map_err(ChangeError::Refused)?;
        record.rev = read + 1;
        record.updated_at = stamp.at;
        record.archived_at = match op {
            Op::Archive => Some(stamp.at),
            Op::Restore => None,
            Op::Update => record.archived_at,
        };
        let value = json(T::KIND, &record.data)?;
        let changed = tx
            .query(
                "UPDATE record SET rev = $1, at = $2, words = $3, data = $4, updated = $5, deleted = $6
                 WHERE space = $7 AND kind = $8 AND id = $9 AND rev = $10",
            )
            .bind(record.rev)
            .bind(sort_key(&record.data))
            .bind(record.data.words().to_lowercase())
            .bind(Json(value.clone()))
            .bind(stamp.at)
            .bind(record.archived_at)
            .bind(space)
            .bind(T::KIND)
            .bind(id)
            .bind(read)
            .execute()
            .await?;
        if changed == 0 {
            continue; // somebody else was quicker: look again
        }
        let op = match op {
            Op::Update => "update",
            Op::Archive => "archive",
            Op::Restore => "restore",
        };
        let written = Written { record: &record, op, seq: stamp.seq };
        write_change(tx, space, author, value, &written).await?;
        return Ok(record);
    }
    let now = get::<T>(&mut Source::Tx(tx), space, id).await?.ok_or(ChangeError::Missing)?;
    Err(ChangeError::Conflict(now.rev))
}

/// The next of a space's running numbers, from 1 and without gaps: it is taken back if the transaction is.
pub async fn next_number(tx: &mut Tx, space: SpaceId, name: &str) -> Result<i64> {
    tx.query(
        "INSERT INTO counter (space, name, value) VALUES ($1, $2, 1)
         ON CONFLICT (space, name) DO UPDATE SET value = counter.value + 1 RETURNING value",
    )
    .bind(space)
    .bind(name.to_owned())
    .one::<(i64,)>()
    .await
    .map(|(value,)| value)
}
