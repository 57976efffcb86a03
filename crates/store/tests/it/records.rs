//! Records, their revisions and their history.

use mana_store::idempotency::{Answered, find, forget_before, keep};
use mana_store::records::{self, Author, ChangeError, Filter, Op, Order, Record, Stamp, Stored};
use mana_store::space::{self, SpaceKind, SpaceRole};
use mana_store::{Db, Source, Tx};
use mana_testkit::{START, TestDb, each_db};
use mana_types::{ChangeId, RecordId, SpaceId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    title: String,
    #[serde(default)]
    is_pinned: bool,
    #[serde(default)]
    tags: Vec<String>,
    due: Option<Timestamp>,
}

impl Record for Note {
    const KIND: &'static str = "test.note";

    fn at(&self) -> Option<Timestamp> {
        self.due
    }

    fn words(&self) -> String {
        self.title.clone()
    }
}

fn note(title: &str) -> Note {
    Note { title: title.into(), is_pinned: false, tags: Vec::new(), due: None }
}

struct Home {
    space: SpaceId,
    author: Author,
}

async fn home(test: &TestDb) -> Home {
    let user = UserId::new(&*test.clock, &*test.random);
    let id = SpaceId::new(&*test.clock, &*test.random);
    let mut tx = test.db.begin().await.expect("begins");
    tx.query(
        "INSERT INTO account (id, email, email_key, name, password_hash, role, kind, tier, email_verified, locale, timezone, created, updated)
         VALUES ($1, $2, $2, 'Anna', 'x', 'user', 'human', 'free', true, 'de', 'Europe/Berlin', 0, 0)",
    )
    .bind(user)
    .bind(format!("{user}@mana.test"))
    .execute()
    .await
    .expect("adds the account");
    space::create(&mut tx, id, SpaceKind::Personal, "Anna", &id.to_string(), START).await.expect("adds the space");
    space::join(&mut tx, id, user, SpaceRole::Owner, START).await.expect("joins");
    tx.commit().await.expect("commits");
    let found = space::personal(&test.db, user).await.expect("reads").expect("is there");
    assert_eq!((found.space, found.timezone.as_str()), (id, "Europe/Berlin"));
    assert_eq!(space::membership(&test.db, user, id).await.expect("reads"), Some(found));
    Home { space: id, author: Author { user, client: Some("test".into()), tick: None } }
}

fn stamp(test: &TestDb) -> Stamp {
    test.clock.advance_millis(1);
    Stamp { seq: ChangeId::new(&*test.clock, &*test.random), at: mana_types::Clock::now(&*test.clock) }
}

async fn add(test: &TestDb, home: &Home, data: Note) -> Stored<Note> {
    let stamp = stamp(test);
    let id = RecordId::new(&*test.clock, &*test.random);
    let mut tx = test.db.begin().await.expect("begins");
    let stored = records::add(&mut tx, home.space, &home.author, id, stamp, data).await.expect("adds");
    tx.commit().await.expect("commits");
    stored
}

async fn rename(
    tx: &mut Tx,
    test: &TestDb,
    home: &Home,
    id: RecordId,
    expected: Option<i64>,
    title: &str,
) -> Result<Stored<Note>, ChangeError<()>> {
    records::change::<Note, ()>(tx, home.space, &home.author, id, expected, stamp(test), Op::Update, |note| {
        title.clone_into(&mut note.title);
        Ok(())
    })
    .await
}

async fn titles(db: &Db, home: &Home, filter: Filter<Note>) -> Vec<String> {
    let page = records::list(&mut Source::Db(db), home.space, &filter).await.expect("lists");
    page.items.into_iter().map(|stored| stored.data.title).collect()
}

#[tokio::test]
async fn a_record_lives_changes_is_archived_and_returns() {
    each_db(|test| async move {
        let home = home(&test).await;
        let added = add(&test, &home, note("Milch kaufen")).await;
        assert_eq!(added.rev, 1);
        let mut tx = test.db.begin().await.expect("begins");
        let changed = rename(&mut tx, &test, &home, added.id, Some(1), "Brot kaufen").await.expect("renames");
        assert_eq!((changed.rev, changed.created_at), (2, added.created_at));
        let stale = rename(&mut tx, &test, &home, added.id, Some(1), "x").await;
        assert!(matches!(stale, Err(ChangeError::Conflict(2))), "{stale:?}");
        let nobody = RecordId::new(&*test.clock, &*test.random);
        assert!(matches!(rename(&mut tx, &test, &home, nobody, None, "x").await, Err(ChangeError::Missing)));
        for (op, archived) in [(Op::Archive, true), (Op::Archive, true), (Op::Restore, false)] {
            let now = records::change::<Note, ()>(
                &mut tx,
                home.space,
                &home.author,
                added.id,
                None,
                stamp(&test),
                op,
                |_| Ok(()),
            )
            .await
            .expect("changes");
            assert_eq!(now.archived_at.is_some(), archived);
        }
        tx.commit().await.expect("commits");
        let stored = records::get::<Note>(&mut Source::Db(&test.db), home.space, added.id).await.expect("reads");
        assert_eq!(stored.map(|stored| (stored.rev, stored.data.title)), Some((4, "Brot kaufen".into())));
        let history: Vec<(i64, String)> = test
            .db
            .query("SELECT rev, op FROM record_change WHERE space = $1 AND id = $2 ORDER BY seq")
            .bind(home.space)
            .bind(added.id)
            .all()
            .await
            .expect("reads");
        let history: Vec<_> = history.iter().map(|(rev, op)| (*rev, op.as_str())).collect();
        assert_eq!(history, [(1, "create"), (2, "update"), (3, "archive"), (4, "restore")]);
    })
    .await;
}

#[tokio::test]
async fn many_changes_at_once_lose_none() {
    each_db(|test| async move {
        let home = std::sync::Arc::new(home(&test).await);
        let added = add(&test, &home, note("0")).await;
        let tasks: Vec<_> = (0..12)
            .map(|_| {
                let (test, home) = (test.clone(), std::sync::Arc::clone(&home));
                tokio::spawn(async move {
                    let mut tx = test.db.begin().await.expect("begins");
                    let counted = records::change::<Note, ()>(
                        &mut tx,
                        home.space,
                        &home.author,
                        added.id,
                        None,
                        stamp(&test),
                        Op::Update,
                        |note| {
                            note.title = (note.title.parse::<i64>().expect("a number") + 1).to_string();
                            Ok(())
                        },
                    )
                    .await;
                    match counted {
                        Ok(_) => tx.commit().await.map(|()| 1).expect("commits"),
                        Err(ChangeError::Conflict(_)) => 0,
                        Err(other) => panic!("{other:?}"),
                    }
                })
            })
            .collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.expect("does not panic");
        }
        let stored = records::get::<Note>(&mut Source::Db(&test.db), home.space, added.id)
            .await
            .expect("reads")
            .expect("is there");
        assert_eq!(stored.data.title, done.to_string());
        assert_eq!(stored.rev, 1 + done);
    })
    .await;
}

#[tokio::test]
async fn lists_filter_and_page_the_same_on_each_engine() {
    each_db(|test| async move {
        let home = home(&test).await;
        for n in 0..25_i64 {
            let mut data = note(&format!("Aufgabe {n} Ärger"));
            data.is_pinned = n % 5 == 0;
            data.tags = if n % 2 == 0 { vec!["gerade".into()] } else { Vec::new() };
            data.due = (n % 3 != 0).then(|| START.plus_millis((25 - n) * 1000));
            add(&test, &home, data).await;
        }
        let db = &test.db;
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let filter = Filter::<Note>::new(Order::Soonest).page(4, cursor);
            let page = records::list(&mut Source::Db(db), home.space, &filter).await.expect("lists");
            seen.extend(page.items.into_iter().map(|stored| (stored.data.due, stored.data.title)));
            match page.next_cursor {
                Some(next) => cursor = Some(next.parse().expect("its own cursor")),
                None => break,
            }
        }
        assert_eq!(seen.len(), 25);
        let dues: Vec<_> = seen.iter().map(|(due, _)| due.map_or(i64::MAX, Timestamp::as_millis)).collect();
        assert!(dues.is_sorted(), "{dues:?}");
        assert_eq!(titles(db, &home, Filter::new(Order::Recent)).await[0], "Aufgabe 24 Ärger");
        assert_eq!(titles(db, &home, Filter::new(Order::Soonest).flag("isPinned", true)).await.len(), 5);
        assert_eq!(titles(db, &home, Filter::new(Order::Soonest).flag("isPinned", false)).await.len(), 20);
        assert_eq!(titles(db, &home, Filter::new(Order::Soonest).holds("tags", "gerade")).await.len(), 13);
        assert_eq!(titles(db, &home, Filter::new(Order::Recent).words("7 ÄRGER")).await.len(), 2);
        assert_eq!(titles(db, &home, Filter::new(Order::Recent).words("100%_")).await.len(), 0);
        assert_eq!(titles(db, &home, Filter::new(Order::Recent).is("title", "Aufgabe 3 Ärger")).await.len(), 1);
        assert_eq!(titles(db, &home, Filter::new(Order::Recent).absent("due")).await.len(), 9);
        let soon = Filter::new(Order::Soonest).from(START).until(START.plus_millis(5000));
        assert_eq!(titles(db, &home, soon.clone()).await.len(), 2);
        assert_eq!(records::count(&mut Source::Db(db), home.space, &soon.page(1, None)).await.expect("counts"), 2);
        let by_text = Filter::new(Order::Recent).since("due", START).before("due", START.plus_millis(5000));
        assert_eq!(titles(db, &home, by_text).await.len(), 2);
        let times = [Timestamp::MIN, START, START.plus_millis(60_000)];
        assert_eq!(titles(db, &home, Filter::new(Order::Recent).created(times[0], times[1])).await.len(), 0);
        assert_eq!(titles(db, &home, Filter::new(Order::Recent).created(times[1], times[2])).await.len(), 25);
        let elsewhere = SpaceId::new(&*test.clock, &*test.random);
        let other = Home { space: elsewhere, author: home.author.clone() };
        assert!(titles(db, &other, Filter::new(Order::Recent)).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn numbers_have_no_gaps_and_answers_are_kept_once() {
    each_db(|test| async move {
        let home = home(&test).await;
        for (expected, keep) in [(1, true), (2, false), (2, true), (3, true)] {
            let mut tx = test.db.begin().await.expect("begins");
            assert_eq!(records::next_number(&mut tx, home.space, "invoice-2026").await.expect("counts"), expected);
            if keep {
                tx.commit().await.expect("commits");
            }
        }
        let answered = Answered { tool: "t".into(), input: "h".into(), result: serde_json::json!({"a": [1, "ü"]}) };
        for first in [true, false] {
            let mut tx = test.db.begin().await.expect("begins");
            let kept = keep(&mut tx, home.author.user, home.space, "k", &answered, START).await.expect("keeps");
            assert_eq!(kept, first);
            tx.commit().await.expect("commits");
        }
        let found = find(&mut Source::Db(&test.db), home.author.user, home.space, "k").await.expect("reads");
        assert_eq!(found, Some(answered));
        assert_eq!(forget_before(&test.db, START.plus_millis(1)).await.expect("forgets"), 1);
    })
    .await;
}
