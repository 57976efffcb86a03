//! What can go wrong with the database.

use std::path::PathBuf;

/// A database that did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A row with this key is already there.
    #[error("a row with this key already exists")]
    Duplicate(#[source] sqlx::Error),
    /// A row that this one names is not there.
    #[error("a row that this one refers to does not exist")]
    Dangling(#[source] sqlx::Error),
    /// The database cannot be reached, is locked or is out of connections: the same call may work later.
    #[error("the database is not available at the moment")]
    Unavailable(#[source] sqlx::Error),
    /// Anything else the engine refused; a fault of ours.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
    /// A row that does not read as what it should be; a fault of ours or damage.
    #[error("a stored `{what}` could not be read: {why}")]
    Damaged {
        /// Which kind of row.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The address of a database that no engine here serves.
    #[error("`{0}` is not a database address, expected `sqlite:PATH` or `postgres://USER@HOST/NAME`")]
    Address(String),
    /// The database file or its folder cannot be used.
    #[error("the database file `{}` cannot be opened: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What stands in the way.
        why: String,
    },
    /// A newer release has already changed the database.
    #[error(
        "the database was last used by a newer release (it has migration {0}, which this one does not know); use that release or restore a backup"
    )]
    Newer(i64),
    /// A migration could not be applied.
    #[error("the database could not be brought up to date")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The writer's group could not be committed; nothing of it was kept.
    #[error("the changes could not be written to disk: {0}")]
    Commit(String),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::error::ErrorKind;
        match &error {
            sqlx::Error::Database(database) => match database.kind() {
                ErrorKind::UniqueViolation => Self::Duplicate(error),
                ErrorKind::ForeignKeyViolation => Self::Dangling(error),
                // SQLITE_BUSY and SQLITE_FULL; PostgreSQL's classes 08, 40, 53 and 57: try again later.
                _ if database.code().is_some_and(|code| {
                    matches!(&*code, "5" | "261" | "517" | "13")
                        || code.len() == 5 && ["08", "40", "53", "57"].iter().any(|class| code.starts_with(class))
                }) =>
                {
                    Self::Unavailable(error)
                }
                _ => Self::Database(error),
            },
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Io(_) | sqlx::Error::Tls(_) => {
                Self::Unavailable(error)
            }
            _ => Self::Database(error),
        }
    }
}

impl Error {
    /// Whether the same call may work later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Commit(_))
    }
}
