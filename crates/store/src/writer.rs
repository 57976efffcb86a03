//! SQLite's one writer, with group commit.
//!
//! Whoever writes takes the connection, does its work, and gives the connection on. Those who were waiting meanwhile work
//! in the same transaction, each inside a savepoint, and one commit (one `fsync`) makes all of them durable; each learns
//! of its success only then. A piece of work that is dropped half-way is rolled back to its savepoint by whoever comes
//! next, so it takes nobody else with it. The first of a group needs no savepoint: until it has finished, the whole
//! transaction is its own.

use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Executor};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};

use crate::{Error, Result};

#[derive(Debug, Clone)]
pub(crate) struct Writer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    group: Arc<Mutex<Group>>,
    /// Somebody has finished: commit after those who wait now. Room for one signal, since one commit serves all.
    finished: mpsc::Sender<()>,
}

#[derive(Debug)]
struct Group {
    connection: SqliteConnection,
    /// A transaction is open.
    open: bool,
    /// What the piece of work under way has open; none between two pieces.
    unfinished: Option<Opened>,
    /// Who wants to know when the group is committed.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

/// What a piece of work opened, and therefore what undoes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opened {
    /// The transaction itself: it is the first of its group.
    Transaction,
    /// A savepoint in the transaction of those before it.
    Savepoint,
}

impl Group {
    /// Undoes work that was dropped half-way.
    async fn clean(&mut self) -> sqlx::Result<()> {
        match self.unfinished {
            Some(Opened::Transaction) => {
                self.connection.execute("ROLLBACK").await?;
                self.open = false;
            }
            Some(Opened::Savepoint) => {
                self.connection.execute("ROLLBACK TO work; RELEASE work").await?;
            }
            None => {}
        }
        self.unfinished = None;
        Ok(())
    }

    async fn begin(&mut self) -> sqlx::Result<()> {
        self.clean().await?;
        // Noted before it is done: whoever is dropped while waiting for the engine leaves behind what is to be undone.
        let begin = if self.open {
            self.unfinished = Some(Opened::Savepoint);
            "SAVEPOINT work"
        } else {
            self.open = true;
            self.unfinished = Some(Opened::Transaction);
            "BEGIN IMMEDIATE"
        };
        self.connection.execute(begin).await.map(drop)
    }

    async fn commit(&mut self) {
        if !self.open {
            return;
        }
        let committed = match self.clean().await {
            Ok(()) if !self.open => Ok(()), // what was open was undone: nothing is left to keep
            Ok(()) => self.connection.execute("COMMIT").await.map(drop),
            Err(error) => Err(error),
        };
        self.finish(committed).await;
    }

    async fn finish(&mut self, committed: sqlx::Result<()>) {
        let told = committed.map_err(|error| error.to_string());
        if told.is_err() {
            // The transaction is spoilt; leave the connection ready for the next.
            if let Err(error) = self.connection.execute("ROLLBACK").await {
                tracing::debug!(error = %error, "store.writer.nothing_to_roll_back"); // a BEGIN that failed opened nothing
            }
        }
        self.open = false;
        self.unfinished = None;
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(told.clone()); // who no longer listens has given up on the answer
        }
    }
}

impl Writer {
    pub(crate) async fn open(options: &SqliteConnectOptions) -> Result<Self> {
        let connection = options.connect().await?;
        let group = Group { connection, open: false, unfinished: None, waiting: Vec::new() };
        let group = Arc::new(Mutex::new(group));
        let (finished, mut signals) = mpsc::channel(1);
        let committed = Arc::clone(&group);
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                // The lock is first come, first served: whoever waits for it now joins this commit.
                committed.lock().await.commit().await;
            }
        });
        Ok(Self(Arc::new(Shared { group, finished })))
    }

    /// The connection itself, outside of any transaction: for migrations and maintenance.
    pub(crate) async fn with_connection<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T>,
    ) -> Result<T> {
        let mut group = self.0.group.lock().await;
        group.commit().await;
        work(&mut group.connection).await
    }

    pub(crate) async fn begin(&self) -> Result<Work> {
        let mut group = Arc::clone(&self.0.group).lock_owned().await;
        let mut began = group.begin().await;
        if began.is_err() && group.open {
            // A transaction that the engine has ended on its own (disk full, for one): start over once.
            group.finish(began).await;
            began = group.begin().await;
        }
        began?;
        Ok(Work { group: Some(group), shared: Arc::clone(&self.0) })
    }

    pub(crate) async fn close(&self) -> Result<()> {
        let mut group = self.0.group.lock().await;
        group.commit().await;
        group.connection.execute("PRAGMA optimize").await?;
        group.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        Ok(())
    }
}

/// One piece of work on the writer's connection.
#[derive(Debug)]
pub(crate) struct Work {
    group: Option<OwnedMutexGuard<Group>>,
    shared: Arc<Shared>,
}

impl Work {
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.group.as_mut().expect("only `commit` takes the group, and it takes `self` with it").connection
    }

    pub(crate) async fn commit(mut self) -> Result<()> {
        let Some(mut group) = self.group.take() else { return Ok(()) };
        if group.unfinished == Some(Opened::Savepoint) {
            group.connection.execute("RELEASE work").await?;
        }
        group.unfinished = None;
        let (told, durable) = oneshot::channel();
        group.waiting.push(told);
        drop(group);
        let _ = self.shared.finished.try_send(()); // full: a commit is already due
        match durable.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(why)) => Err(Error::Commit(why)),
            Err(_) => Err(Error::Commit("the writer has stopped".into())),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.group.take().is_some() {
            let _ = self.shared.finished.try_send(()); // full: a commit is already due
        }
    }
}
