use std::collections::BTreeMap;

use bytes::Bytes;
use mana_media::{AllQuery, ListQuery, Share, SortBy, Upload, Viewer};
use mana_types::{Clock, MediaId, Timestamp};

use crate::{World, each, photo, upload};

/// What the test itself knows of a reference.
#[derive(Debug, Clone)]
struct Known {
    id: MediaId,
    app: &'static str,
    mime: &'static str,
    size: u64,
    created: Timestamp,
    taken: Option<i64>,
    place: bool,
}

impl Known {
    fn date(&self) -> i64 {
        self.taken.unwrap_or(self.created.as_millis())
    }
}

const APPS: [&str; 3] = ["", "me", "wardrobe"];
const YEAR: i64 = 365 * 24 * 3_600_000;

/// Sixty references of Anna's to forty files, and some of Ben's to the same ones.
async fn fill(world: &World) -> Vec<Known> {
    let mut known: Vec<Known> = Vec::new();
    for number in 0..60_usize {
        world.test.clock.advance_millis(1_000);
        let file = number % 40;
        let (mime, bytes) = match file % 3 {
            0 => ("image/jpeg", photo(u32::try_from(file).expect("small"), 10, 10)),
            1 => ("text/plain", Bytes::from(format!("text {file}{}", " ".repeat(file * 7)))),
            _ => ("application/pdf", Bytes::from(format!("pdf {file}"))),
        };
        let app = APPS[number % 3];
        let declared = Some(mime.to_owned());
        let sent =
            Upload { app: Some(app.to_owned()).filter(|app| !app.is_empty()), declared, ..upload(world.anna, "a") };
        let record = world.media.put(sent.clone(), bytes.clone()).await.expect("taken in");
        assert_eq!(record.mime_type, mime);
        let taken = (file % 4 == 0)
            .then(|| world.test.clock.now().as_millis() - YEAR * i64::try_from(file % 7).expect("small"));
        let place = file % 5 == 0;
        let mut tx = world.test.db.begin().await.expect("begins");
        let place_of = place.then_some(48.2);
        tx.query("UPDATE media SET taken_at = COALESCE(taken_at, $2), latitude = $3, longitude = $3 WHERE id = $1")
            .bind(record.id)
            .bind(taken)
            .bind(place_of)
            .execute()
            .await
            .expect("noted");
        tx.commit().await.expect("kept");
        let taken = known.iter().find(|one| one.id == record.id).map_or(taken, |one| one.taken);
        known.push(Known {
            id: record.id,
            app,
            mime,
            size: bytes.len() as u64,
            created: record.created_at,
            taken,
            place,
        });
        if number % 4 == 0 {
            world.media.put(Upload { user: world.ben, ..sent }, bytes).await.expect("taken in");
        }
    }
    known
}

/// Each file once, by its newest reference that fits.
fn newest(known: &[Known], fits: impl Fn(&Known) -> bool) -> Vec<Known> {
    let mut files: BTreeMap<MediaId, Known> = BTreeMap::new();
    for one in known.iter().filter(|one| fits(one)) {
        files.insert(one.id, one.clone()); // later ones are newer
    }
    files.into_values().collect()
}

#[tokio::test]
async fn lists_show_each_file_once_and_page_without_gaps() {
    each(|world| async move {
        let known = fill(&world).await;
        for app in [None, Some("me"), Some("nothing")] {
            let mut expected = newest(&known, |one| app.is_none_or(|app| one.app == app));
            expected.sort_by_key(|one| std::cmp::Reverse((one.created, one.id)));
            let mut query =
                ListQuery { viewer: Viewer::User(world.anna), app: app.map(str::to_owned), limit: 7, after: None };
            let mut found = Vec::new();
            loop {
                let page = world.media.list(&query).await.expect("a page");
                assert!(page.items.len() <= 7);
                found.extend(page.items.iter().map(|record| record.id));
                let Some(cursor) = page.next_cursor else { break };
                query.after = Some(cursor.parse().expect("a cursor"));
            }
            assert_eq!(found, expected.iter().map(|one| one.id).collect::<Vec<_>>(), "{app:?}");
        }
        let all = ListQuery { viewer: Viewer::Service, app: None, limit: 1_000, after: None };
        assert_eq!(world.media.list(&all).await.expect("a page").items.len(), 40, "of both users, each file once");
    })
    .await;
}

#[tokio::test]
async fn sorted_lists_agree_with_a_count_of_our_own() {
    each(|world| async move {
        let known = fill(&world).await;
        let middle = world.test.clock.now().plus_millis(-30_000);
        let any = AllQuery { limit: 9, ..AllQuery::of(Viewer::User(world.anna)) };
        let queries = [
            any.clone(),
            AllQuery { apps: vec!["me".into(), "wardrobe".into()], sort_by: SortBy::Size, ..any.clone() },
            AllQuery { mime_type: Some("image/*".into()), sort_by: SortBy::DateTaken, ascending: true, ..any.clone() },
            AllQuery { mime_type: Some("text/plain".into()), has_location: Some(false), ..any.clone() },
            AllQuery { has_location: Some(true), ascending: true, ..any.clone() },
            AllQuery { date_from: Some(middle), sort_by: SortBy::DateTaken, ..any.clone() },
            AllQuery {
                date_to: Some(middle),
                apps: vec!["me".into()],
                sort_by: SortBy::Size,
                ascending: true,
                ..any.clone()
            },
            AllQuery { mime_type: Some("video/*".into()), ..any },
        ];
        for query in queries {
            // The newest reference among the apps that were asked for, then the other filters.
            let mut expected =
                newest(&known, |one| query.apps.is_empty() || query.apps.iter().any(|app| app == one.app));
            expected.retain(|one| {
                query.mime_type.as_deref().is_none_or(|mime| {
                    mime.strip_suffix('*').map_or(mime == one.mime, |start| one.mime.starts_with(start))
                }) && query.has_location.is_none_or(|place| place == one.place)
                    && query.date_from.is_none_or(|from| one.date() >= from.as_millis())
                    && query.date_to.is_none_or(|to| one.date() <= to.as_millis())
            });
            expected.sort_by_key(|one| {
                let key = match query.sort_by {
                    SortBy::CreatedAt => one.created.as_millis(),
                    SortBy::DateTaken => one.date(),
                    SortBy::Size => i64::try_from(one.size).expect("small"),
                };
                (key, one.id)
            });
            if !query.ascending {
                expected.reverse();
            }
            let mut found = Vec::new();
            let mut query = query.clone();
            loop {
                let part = world.media.list_all(&query).await.expect("a list");
                assert_eq!(part.total, expected.len() as u64, "{query:?}");
                found.extend(part.items.iter().map(|record| record.id));
                assert_eq!(part.has_more, found.len() < expected.len(), "{query:?}");
                if !part.has_more {
                    break;
                }
                query.offset += query.limit;
            }
            assert_eq!(found, expected.iter().map(|one| one.id).collect::<Vec<_>>(), "{query:?}");
        }
        let beyond = AllQuery { offset: 1_000, ..AllQuery::of(Viewer::User(world.anna)) };
        let beyond = world.media.list_all(&beyond).await.expect("a list");
        assert_eq!((beyond.items.len(), beyond.total, beyond.has_more), (0, 40, false));
    })
    .await;
}

#[tokio::test]
async fn figures_count_each_file_once() {
    each(|world| async move {
        let known = fill(&world).await;
        let stats = world.media.stats(Viewer::User(world.anna)).await.expect("counted");
        let files = newest(&known, |_| true);
        let sum = |files: &[Known]| Share { count: files.len() as u64, size: files.iter().map(|one| one.size).sum() };
        assert_eq!(Share { count: stats.total_count, size: stats.total_size }, sum(&files));
        for app in APPS {
            assert_eq!(stats.by_app[app], sum(&newest(&known, |one| one.app == app)), "{app}");
        }
        let mut years: BTreeMap<i64, Share> = BTreeMap::new();
        for one in &files {
            let year = Timestamp::from_millis(one.date()).to_string()[..4].parse().expect("a year");
            let share = years.entry(year).or_default();
            share.count += 1;
            share.size += one.size;
        }
        assert_eq!(stats.by_year, years);
        assert!(years.len() > 3);
        let his = world.media.stats(Viewer::User(world.ben)).await.expect("counted");
        let all = world.media.stats(Viewer::Service).await.expect("counted");
        assert!(his.total_count < 40 && all.total_count == 40 && all.total_size == stats.total_size);
        let nobody = crate::account(&world.test, "carl").await;
        assert_eq!(world.media.stats(Viewer::User(nobody)).await.expect("counted"), mana_media::Stats::default());
    })
    .await;
}

#[tokio::test]
async fn ownership_of_thousands_is_one_query_and_right() {
    mana_testkit::each_db(|test| async {
        let world = World::new(test, |_| mana_media::Location::Memory).await;
        // Rows as uploads leave them, put in at once.
        let mut ids = Vec::new();
        let mut tx = world.test.db.begin().await.expect("begins");
        for number in 0..5_000_u32 {
            let id = MediaId::unguessable(&*world.test.random);
            let hash = mana_media::Hash::of(&number.to_le_bytes()).to_string();
            tx.query("INSERT INTO media_blob (hash, generation) VALUES ($1, 0)")
                .bind(hash.clone())
                .execute()
                .await
                .expect("added");
            tx.query(
                "INSERT INTO media (id, hash, generation, size, mime, created, state, ready_at, epoch, attempts)
                      VALUES ($1, $2, 0, 1, 'text/plain', 0, 'ready', 9223372036854775807, 0, 0)",
            )
            .bind(id)
            .bind(hash)
            .execute()
            .await
            .expect("added");
            let (owner, app) =
                (if number % 500 == 7 { world.ben } else { world.anna }, if number % 2 == 0 { "me" } else { "comic" });
            tx.query("INSERT INTO media_reference (media, user_id, app, name, created) VALUES ($1, $2, $3, 'a', 0)")
                .bind(id)
                .bind(owner)
                .bind(app)
                .execute()
                .await
                .expect("added");
            ids.push(id);
        }
        tx.commit().await.expect("kept");
        let unknown = MediaId::unguessable(&*world.test.random);
        let asked: Vec<MediaId> = ids.iter().copied().chain([unknown, unknown]).collect();
        let started = std::time::Instant::now();
        let missing = world.media.verify_ownership(world.anna, &asked, &[]).await.expect("an answer");
        assert!(started.elapsed().as_millis() < 1_000, "{:?}: that is not one query", started.elapsed());
        let bens = ids.iter().copied().skip(7).step_by(500);
        assert_eq!(missing, bens.chain([unknown, unknown]).collect::<Vec<_>>(), "in the order given");
        let missing = world.media.verify_ownership(world.anna, &asked, &["me", "wardrobe"]).await.expect("an answer");
        assert_eq!(missing.len(), 2_502, "also what is hers for another app");
        assert_eq!(world.media.verify_ownership(world.anna, &ids[..7], &["me", "comic"]).await.expect("an answer"), []);
        world.test.db.close().await.expect("closed");
        assert_eq!(world.media.verify_ownership(world.anna, &[], &["me"]).await.expect("nothing is asked"), []);
    })
    .await;
}
