//! The layer itself: transactions, group commit, opening.

use std::sync::Arc;

use mana_store::{Db, DbOptions, EngineKind, Error};
use mana_testkit::{START, each_db};
use mana_types::{ManualClock, SpaceId, Timestamp};

async fn spaces(db: &Db) -> i64 {
    db.query("SELECT COUNT(*) FROM space").one::<(i64,)>().await.expect("counts").0
}

async fn add(db: &Db, slug: &str, number: u128) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    let id = SpaceId::from_uuid(uuid::Uuid::from_u128(number));
    mana_store::space::create(&mut tx, id, mana_store::space::SpaceKind::Team, slug, slug, START).await?;
    tx.commit().await
}

#[tokio::test]
async fn what_is_not_committed_is_not_kept() {
    each_db(|test| async move {
        let mut tx = test.db.begin().await.expect("begins");
        let id = SpaceId::from_uuid(uuid::Uuid::from_u128(1));
        mana_store::space::create(&mut tx, id, mana_store::space::SpaceKind::Team, "a", "a", START)
            .await
            .expect("adds");
        drop(tx);
        assert_eq!(spaces(&test.db).await, 0);
        add(&test.db, "b", 2).await.expect("adds");
        assert_eq!(spaces(&test.db).await, 1);
    })
    .await;
}

#[tokio::test]
async fn a_failure_in_a_group_takes_nobody_else_with_it() {
    each_db(|test| async move {
        let db = &test.db;
        // Forty at once; the odd ones want the slug of the even one before.
        let all = (0..40_u128).map(|n| {
            let db = db.clone();
            tokio::spawn(async move { add(&db, &format!("slug-{}", n / 2), n + 1).await })
        });
        let mut duplicates = 0;
        for task in all.collect::<Vec<_>>() {
            match task.await.expect("does not panic") {
                Ok(()) => {}
                Err(Error::Duplicate(_)) => duplicates += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(duplicates, 20);
        assert_eq!(spaces(db).await, 20);
    })
    .await;
}

#[tokio::test]
async fn work_dropped_half_way_is_undone_while_others_go_on() {
    each_db(|test| async move {
        let db = &test.db;
        let tasks: Vec<_> = (0..30_u128)
            .map(|n| {
                let db = db.clone();
                tokio::spawn(async move {
                    if n % 3 == 0 {
                        let mut tx = db.begin().await.expect("begins");
                        let id = SpaceId::from_uuid(uuid::Uuid::from_u128(1000 + n));
                        let kind = mana_store::space::SpaceKind::Team;
                        let adding = mana_store::space::create(&mut tx, id, kind, "x", "dropped", START);
                        // Cut off or not, nothing of it may be kept: it is dropped without a commit. The count below is the test.
                        let _ = tokio::time::timeout(std::time::Duration::from_micros(50), adding).await;
                    } else {
                        add(&db, &format!("kept-{n}"), n + 1).await.expect("adds");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("does not panic");
        }
        assert_eq!(spaces(db).await, 20);
    })
    .await;
}

#[tokio::test]
async fn sqlite_readers_cannot_write_and_its_version_is_recent() {
    let test = mana_testkit::sqlite().await;
    assert!(test.db.query("DELETE FROM space").execute().await.is_err());
    let version = test.db.version().await.expect("answers");
    let number: Vec<u32> =
        version.trim_start_matches("SQLite ").split('.').map(|part| part.parse().expect("a number")).collect();
    assert!(number >= vec![3, 51, 3], "{version}");
}

#[tokio::test]
async fn a_newer_database_and_a_wrong_address_are_refused_in_plain_words() {
    each_db(|test| async move {
        let mut tx = test.db.begin().await.expect("begins");
        let sql = match test.engine() {
            EngineKind::Sqlite => {
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', true, x'00', 1)"
            }
            EngineKind::Postgres => {
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (9999, 'later', true, '\\x00', 1)"
            }
        };
        tx.query(sql).execute().await.expect("inserts");
        tx.commit().await.expect("commits");
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(0)));
        let refused = Db::open(&DbOptions::new(&test.address), clock).await.expect_err("is newer");
        assert!(matches!(refused, Error::Newer(9999)), "{refused}");
    })
    .await;
    let clock = Arc::new(ManualClock::at(START));
    let refused = Db::open(&DbOptions::new("mysql://u:secret@host/db"), Arc::clone(&clock) as _).await;
    let message = refused.expect_err("is no address of ours").to_string();
    assert!(message.contains("mysql://…@host/db") && !message.contains("secret"), "{message}");
    let refused = Db::open(&DbOptions::new("sqlite:/nowhere/at/all.db"), clock).await.expect_err("no such folder");
    assert!(matches!(refused, Error::File { .. }), "{refused}");
}
