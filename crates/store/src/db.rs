//! The two engines behind one handle.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mana_types::{Clock, Timestamp};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Postgres, Transaction};

use crate::migrate;
use crate::query::{Query, Run, Sql};
use crate::writer::{Work, Writer};
use crate::{Error, Result};

/// How long a statement waits for a lock or a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which engine a database is. For the few statements that must differ; they stand side by side in one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// The embedded default.
    Sqlite,
    /// `PostgreSQL`, or what speaks its protocol.
    Postgres,
}

/// How to open a database.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// `sqlite:PATH` or `postgres://…`.
    pub address: String,
    /// How many connections read at once (SQLite, at most two a core) or in all (PostgreSQL).
    pub connections: u32,
    /// Whether times come from the given clock even where the database has one of its own. Only for tests, so that
    /// they can move time; in production PostgreSQL's clock decides for all processes.
    pub trust_clock: bool,
}

impl DbOptions {
    /// The usual: eight connections, the database's own clock.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), connections: 8, trust_clock: false }
    }
}

#[derive(Debug, Clone)]
enum Engine {
    Sqlite { readers: SqlitePool, writer: Writer },
    Postgres(PgPool),
}

/// A database. Cheap to clone; reads go here, writes through [`Db::begin`].
#[derive(Debug, Clone)]
pub struct Db {
    engine: Engine,
    clock: Arc<dyn Clock>,
    trust_clock: bool,
}

impl Db {
    /// Opens a database and brings it up to date, under a lock, so that many processes may start at once.
    pub async fn open(options: &DbOptions, clock: Arc<dyn Clock>) -> Result<Self> {
        let engine = if let Some(path) = options.address.strip_prefix("sqlite:") {
            open_sqlite(Path::new(path.trim_start_matches("//")), options.connections).await?
        } else if options.address.starts_with("postgres://") || options.address.starts_with("postgresql://") {
            open_postgres(&options.address, options.connections).await?
        } else {
            return Err(Error::Address(without_password(&options.address)));
        };
        Ok(Self { engine, clock, trust_clock: options.trust_clock })
    }

    /// Which engine this is.
    pub fn engine(&self) -> EngineKind {
        match self.engine {
            Engine::Sqlite { .. } => EngineKind::Sqlite,
            Engine::Postgres(_) => EngineKind::Postgres,
        }
    }

    /// A reading query on the latest committed state. On SQLite these connections cannot write.
    pub fn query(&self, sql: impl Into<Sql>) -> Query<'_> {
        let run = match &self.engine {
            Engine::Sqlite { readers, .. } => Run::SqlitePool(readers, sqlx::sqlite::SqliteArguments::default()),
            Engine::Postgres(pool) => Run::PostgresPool(pool, sqlx::postgres::PgArguments::default()),
        };
        Query::new(sql.into(), run)
    }

    /// Starts a transaction. Dropped without [`Tx::commit`], nothing of it is kept.
    pub async fn begin(&self) -> Result<Tx> {
        let run = match &self.engine {
            Engine::Sqlite { writer, .. } => TxRun::Sqlite(writer.begin().await?),
            Engine::Postgres(pool) => TxRun::Postgres(pool.begin().await?),
        };
        Ok(Tx { run })
    }

    /// The time that decides: PostgreSQL's own, which all processes share, or the process's clock on SQLite.
    pub async fn now(&self) -> Result<Timestamp> {
        match &self.engine {
            Engine::Postgres(_) if !self.trust_clock => {
                let (millis,) =
                    self.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint").one::<(i64,)>().await?;
                Ok(Timestamp::from_millis(millis))
            }
            _ => Ok(self.clock.now()),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.query("SELECT 1").one::<(i32,)>().await.map(drop)
    }

    /// The engine's own version, for people.
    pub async fn version(&self) -> Result<String> {
        let (sql, name) = match self.engine() {
            EngineKind::Sqlite => ("SELECT sqlite_version()", "SQLite"),
            EngineKind::Postgres => ("SELECT current_setting('server_version')", "PostgreSQL"),
        };
        let (version,) = self.query(sql).one::<(String,)>().await?;
        Ok(format!("{name} {version}"))
    }

    /// Finishes what is under way and closes all connections.
    pub async fn close(&self) -> Result<()> {
        match &self.engine {
            Engine::Sqlite { readers, writer } => {
                readers.close().await;
                writer.close().await
            }
            Engine::Postgres(pool) => {
                pool.close().await;
                Ok(())
            }
        }
    }
}

/// An address without its password, fit for messages.
fn without_password(address: &str) -> String {
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => address.to_owned(),
    }
}

async fn open_sqlite(path: &Path, connections: u32) -> Result<Engine> {
    let unusable = |why: String| Error::File { path: path.to_owned(), why };
    let _lock = lock_file(path).await?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(PATIENCE)
        .pragma("mmap_size", "0")
        .statement_cache_capacity(256);
    let writer = Writer::open(&options.clone().create_if_missing(true)).await.map_err(|error| match error {
        Error::Unavailable(source) | Error::Database(source) => unusable(source.to_string()),
        other => other,
    })?;
    writer.with_connection(async |connection| migrate::run_sqlite(connection).await).await?;
    // Each reader is a thread with a cache of its own, so the cores bound their number.
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let most = u32::try_from(2 * cores).unwrap_or(connections);
    let readers = SqlitePoolOptions::new()
        .max_connections(connections.min(most))
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .connect_lazy_with(options.read_only(true));
    Ok(Engine::Sqlite { readers, writer })
}

/// Migrations take their turn: SQLite has no advisory lock, so a file beside the database serves.
async fn lock_file(path: &Path) -> Result<std::fs::File> {
    let beside: PathBuf = path.with_extension("lock");
    let unusable = |error: &std::io::Error| Error::File { path: beside.clone(), why: error.to_string() };
    let file = std::fs::File::create(&beside).map_err(|error| unusable(&error))?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
    match locked {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(error)) => Err(unusable(&error)),
        Err(error) => Err(unusable(&std::io::Error::other(error))),
    }
}

async fn open_postgres(address: &str, connections: u32) -> Result<Engine> {
    let options: PgConnectOptions = address.parse().map_err(|_| Error::Address(without_password(address)))?;
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .connect_with(options.application_name("mana").statement_cache_capacity(256))
        .await?;
    migrate::run_postgres(&pool).await?;
    Ok(Engine::Postgres(pool))
}

#[derive(Debug)]
enum TxRun {
    Sqlite(Work),
    Postgres(Transaction<'static, Postgres>),
}

/// A transaction: all of it is kept, or nothing. Never held open while anything but the database is awaited.
#[derive(Debug)]
pub struct Tx {
    run: TxRun,
}

impl Tx {
    /// A query within the transaction; it sees the transaction's own writes.
    pub fn query(&mut self, sql: impl Into<Sql>) -> Query<'_> {
        let run = match &mut self.run {
            TxRun::Sqlite(work) => Run::Sqlite(work.connection(), sqlx::sqlite::SqliteArguments::default()),
            TxRun::Postgres(tx) => Run::Postgres(tx, sqlx::postgres::PgArguments::default()),
        };
        Query::new(sql.into(), run)
    }

    /// Which engine this is.
    pub fn engine(&self) -> EngineKind {
        match self.run {
            TxRun::Sqlite(_) => EngineKind::Sqlite,
            TxRun::Postgres(_) => EngineKind::Postgres,
        }
    }

    /// Makes it durable. On SQLite one `fsync` may serve several transactions that were waiting.
    pub async fn commit(self) -> Result<()> {
        match self.run {
            TxRun::Sqlite(work) => work.commit().await,
            TxRun::Postgres(tx) => Ok(tx.commit().await?),
        }
    }
}
