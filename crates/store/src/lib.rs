//! The database: one layer over SQLite and PostgreSQL, and what every service stands on.
//!
//! - [`Db`] reads, [`Tx`] writes; a query is one SQL text with `$1` placeholders for both engines.
//! - [`space`] and membership: the boundary of data. The rules for changing it belong to `identity`.
//! - [`records`]: one table for the records of all modules, with revisions, soft deletion and an append-only history.
//! - [`idempotency`]: answers that a retry gets again.
//!
//! SQLite: write-ahead log, one writer connection with `synchronous=FULL` and group commit, several read-only
//! connections. PostgreSQL: a pool, version 15 or later.

mod db;
mod error;
pub mod idempotency;
mod migrate;
mod query;
pub mod records;
pub mod space;
mod writer;

pub use db::{Db, DbOptions, EngineKind, Tx};
pub use error::Error;
pub use query::{Bind, Query, Row, Source, Sql};
pub use sqlx::FromRow;
pub use sqlx::types::Json;

/// What a store function answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;
