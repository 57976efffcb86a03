//! One query for two engines.

use std::borrow::Cow;

use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Arguments, AssertSqlSafe, Encode, FromRow, Postgres, Sqlite, Type};

use crate::{Db, Result, Tx};

/// A value that binds to a placeholder of either engine.
pub trait Bind: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}

impl<T> Bind for T where T: for<'q> Encode<'q, Sqlite> + Type<Sqlite> + for<'q> Encode<'q, Postgres> + Type<Postgres> {}

/// A row of either engine: derive [`FromRow`], or use a tuple.
pub trait Row: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

impl<T> Row for T where T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin {}

/// An SQL text: a literal, or one put together in a store from literals. Values are bound, never pasted in.
pub type Sql = Cow<'static, str>;

pub(crate) enum Run<'c> {
    SqlitePool(&'c SqlitePool, SqliteArguments),
    Sqlite(&'c mut SqliteConnection, SqliteArguments),
    PostgresPool(&'c PgPool, PgArguments),
    Postgres(&'c mut PgConnection, PgArguments),
}

/// A statement on its way: bind its values in order, then run it.
#[must_use = "a query does nothing until it is run"]
pub struct Query<'c> {
    sql: Sql,
    run: sqlx::Result<Run<'c>>,
}

impl std::fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("sql", &self.sql).finish_non_exhaustive()
    }
}

macro_rules! each_engine {
    ($run:expr, $sql:expr, |$query:ident, $on:ident| $then:expr, $with:path) => {
        match $run {
            Run::SqlitePool($on, arguments) => {
                let $query = $with(AssertSqlSafe($sql), arguments);
                $then
            }
            Run::Sqlite($on, arguments) => {
                let $query = $with(AssertSqlSafe($sql), arguments);
                $then
            }
            Run::PostgresPool($on, arguments) => {
                let $query = $with(AssertSqlSafe($sql), arguments);
                $then
            }
            Run::Postgres($on, arguments) => {
                let $query = $with(AssertSqlSafe($sql), arguments);
                $then
            }
        }
    };
}

impl<'c> Query<'c> {
    pub(crate) fn new(sql: Sql, run: Run<'c>) -> Self {
        Self { sql, run: Ok(run) }
    }

    /// Binds the next placeholder.
    pub fn bind<T: Bind>(mut self, value: T) -> Self {
        if let Ok(run) = &mut self.run {
            let bound = match run {
                Run::SqlitePool(_, arguments) | Run::Sqlite(_, arguments) => Arguments::add(arguments, value),
                Run::PostgresPool(_, arguments) | Run::Postgres(_, arguments) => Arguments::add(arguments, value),
            };
            if let Err(error) = bound {
                self.run = Err(sqlx::Error::Encode(error));
            }
        }
        self
    }

    /// All rows.
    pub async fn all<R: Row>(self) -> Result<Vec<R>> {
        let sql = self.sql;
        Ok(each_engine!(self.run?, sql, |query, on| query.fetch_all(on).await?, sqlx::query_as_with))
    }

    /// The one row there is.
    pub async fn one<R: Row>(self) -> Result<R> {
        let sql = self.sql;
        Ok(each_engine!(self.run?, sql, |query, on| query.fetch_one(on).await?, sqlx::query_as_with))
    }

    /// The row, if there is one.
    pub async fn optional<R: Row>(self) -> Result<Option<R>> {
        let sql = self.sql;
        Ok(each_engine!(self.run?, sql, |query, on| query.fetch_optional(on).await?, sqlx::query_as_with))
    }

    /// Runs it and counts the rows that it changed.
    pub async fn execute(self) -> Result<u64> {
        let sql = self.sql;
        Ok(each_engine!(self.run?, sql, |query, on| query.execute(on).await?.rows_affected(), sqlx::query_with))
    }
}

/// Where a read goes: to the database, or to a transaction that must see its own writes.
#[derive(Debug)]
pub enum Source<'a> {
    /// The latest committed state.
    Db(&'a Db),
    /// The state within a transaction.
    Tx(&'a mut Tx),
}

impl Source<'_> {
    /// A query on this source.
    pub fn query(&mut self, sql: impl Into<Sql>) -> Query<'_> {
        match self {
            Self::Db(db) => db.query(sql),
            Self::Tx(tx) => tx.query(sql),
        }
    }

    /// Which engine answers.
    pub fn engine(&self) -> crate::EngineKind {
        match self {
            Self::Db(db) => db.engine(),
            Self::Tx(tx) => tx.engine(),
        }
    }
}
