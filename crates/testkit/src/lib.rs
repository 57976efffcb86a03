//! For tests: each database, with a clock and chance that do what the test says.
//!
//! [`each_db`] runs one story on SQLite and again on PostgreSQL. PostgreSQL comes from `TEST_DATABASE_URL` (a server
//! where databases may be created), or is started from the installed binaries on a private socket and ends with the
//! test process. Where there is neither, the run says so and goes on with SQLite.
//!
//! [`model`] is a model that says what the test wrote, and checks how it was asked.

pub mod model;
mod postgres;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mana_store::{Db, DbOptions, EngineKind};
use mana_types::{Clock, ManualClock, SeededRandom, Timestamp};

/// A fresh, empty, migrated database of its own, and the time and chance that go with it.
#[derive(Debug, Clone)]
pub struct TestDb {
    /// The database. Its `now` is the clock below.
    pub db: Db,
    /// Stands still at [`START`] until moved.
    pub clock: Arc<ManualClock>,
    /// The same numbers in every run.
    pub random: Arc<SeededRandom>,
    /// The address, to open it a second time.
    pub address: String,
    folder: Arc<tempfile::TempDir>,
}

impl TestDb {
    /// Which engine this is.
    pub fn engine(&self) -> EngineKind {
        self.db.engine()
    }

    /// Opens the same database once more, as another process would.
    pub async fn again(&self) -> Db {
        let options = DbOptions { address: self.address.clone(), connections: 4, trust_clock: true };
        Db::open(&options, Arc::clone(&self.clock) as Arc<dyn Clock>).await.expect("the test database opens again")
    }
}

/// When every test begins: Wednesday, 2026-11-18 at 09:00 UTC.
pub const START: Timestamp = Timestamp::from_millis(1_794_992_400_000);

/// Runs a story on each engine that is here, SQLite first.
pub async fn each_db<F>(story: impl Fn(TestDb) -> F)
where
    F: Future<Output = ()>,
{
    // A story may take only parts of the database; its folder stays until the story has ended.
    let on_sqlite = sqlite().await;
    let folder = Arc::clone(&on_sqlite.folder);
    story(on_sqlite).await;
    drop(folder);
    if let Some(on_postgres) = postgres().await {
        story(on_postgres).await;
    }
}

/// A fresh SQLite database.
pub async fn sqlite() -> TestDb {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let address = format!("sqlite:{}", folder.path().join("mana.db").display());
    open(address, folder).await
}

/// The address of a fresh PostgreSQL database without any tables; none where there is no server to be had.
pub async fn empty_postgres() -> Option<String> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = postgres::server().await?;
    Some(server.create(&format!("empty_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))).await)
}

/// Makes a SQLite database look as if a later release had changed it.
pub async fn pretend_newer(address: &str) {
    use sqlx::{ConnectOptions, Connection, Executor};
    let options: sqlx::sqlite::SqliteConnectOptions = address.parse().expect("the address of a test database is valid");
    let mut connection = options.connect().await.expect("the test database opens");
    let sql = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
               VALUES (9999, 'later', true, x'00', 1)";
    connection.execute(sql).await.expect("the row is added");
    connection.close().await.expect("the test database closes");
}

/// A fresh PostgreSQL database; none where there is no server to be had.
pub async fn postgres() -> Option<TestDb> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let server = postgres::server().await?;
    let name = format!("mana_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let address = server.create(&name).await;
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    Some(open(address, folder).await)
}

async fn open(address: String, folder: tempfile::TempDir) -> TestDb {
    let clock = Arc::new(ManualClock::at(START));
    let options = DbOptions { address: address.clone(), connections: 4, trust_clock: true };
    let db = Db::open(&options, Arc::clone(&clock) as Arc<dyn Clock>).await.expect("the test database opens");
    TestDb { db, clock, random: Arc::new(SeededRandom::new(7)), address, folder: Arc::new(folder) }
}
