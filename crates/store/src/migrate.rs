//! Bringing a database up to date.

use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::SqliteConnection;

use crate::{Error, Result};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

fn refused(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(version) => Error::Newer(version),
        other => Error::Migration(other),
    }
}

pub(crate) async fn run_sqlite(connection: &mut SqliteConnection) -> Result<()> {
    MIGRATIONS.run(connection).await.map_err(refused)
}

/// Runs under sqlx's advisory lock.
pub(crate) async fn run_postgres(pool: &PgPool) -> Result<()> {
    MIGRATIONS.run(pool).await.map_err(refused)
}
