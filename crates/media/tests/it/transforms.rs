use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mana_media::image::Transform;
use mana_media::{Error, Location, Options};
use mana_testkit::each_db;

use crate::{World, each, open, options, photo};

fn thumb(width: &str) -> Transform {
    Transform::parse(Some(width), None, None, None, None).expect("valid")
}

/// How many results lie in the cache.
fn cached(world: &World) -> usize {
    std::fs::read_dir(world.work.join("cache"))
        .expect("a folder")
        .flatten()
        .flat_map(|entry| std::fs::read_dir(entry.path()))
        .flatten()
        .count()
}

#[tokio::test]
async fn a_transform_is_made_once_and_kept() {
    each(|world| async move {
        let id = world.put(world.anna, "a.jpg", photo(1, 600, 400)).await.id;
        let first = world.media.transform(id, &thumb("120")).await.expect("made");
        let bytes = first.bytes().await.expect("bytes");
        assert_eq!((first.size, &*first.mime, first.inline), (bytes.len() as u64, "image/webp", true));
        let again = world.media.transform(id, &thumb("120")).await.expect("kept");
        assert_eq!((&again.etag, again.bytes().await.expect("bytes")), (&first.etag, bytes.clone()));
        // Another process over the same folder finds it, too.
        let other = world.again().await.transform(id, &thumb("120")).await.expect("kept");
        assert_eq!(other.etag, first.etag);
        assert_eq!(cached(&world), 1);
        // A file that is lost is made anew.
        std::fs::remove_dir_all(world.work.join("cache")).expect("removed");
        assert_eq!(world.media.transform(id, &thumb("120")).await.expect("made anew").etag, first.etag);

        let text = world.put(world.anna, "a", Bytes::from_static(b"words")).await.id;
        assert!(matches!(world.media.transform(text, &thumb("9")).await, Err(Error::NotAnImage)));
        let damaged = photo(2, 200, 200).slice(..300);
        let damaged = world.put(world.anna, "a.jpg", damaged).await.id;
        assert!(matches!(world.media.transform(damaged, &thumb("9")).await, Err(Error::Image(_))));
        let unknown = mana_types::MediaId::unguessable(&*world.test.random);
        assert!(matches!(world.media.transform(unknown, &thumb("9")).await, Err(Error::UnknownMedia)));
        world.media.delete(id, world.anna, None).await.expect("dropped");
        assert!(
            matches!(world.media.transform(id, &thumb("120")).await, Err(Error::UnknownMedia)),
            "also what is cached"
        );
    })
    .await;
}

#[tokio::test]
async fn the_same_transform_wanted_by_many_at_once_runs_once() {
    each_db(|test| async {
        let world = World::new(test, |_| Location::Memory).await;
        let one = Options { decodes: 1, waiting: 1, ..options(&world.location, &world.work) };
        let media = open(&world.test, one).await;
        let id = media.put(crate::upload(world.anna, "a.jpg"), photo(1, 1200, 900)).await.expect("taken in").id;
        // With one place to wait in, fifty computations would be refused; one with forty-nine waiting for it is not.
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let media = media.clone();
                tokio::spawn(async move { media.transform(id, &thumb("300")).await })
            })
            .collect();
        let mut etags = Vec::new();
        for task in tasks {
            etags.push(task.await.expect("ends").expect("no refusal").etag);
        }
        etags.dedup();
        assert_eq!(etags.len(), 1);
        let started = Instant::now();
        media.transform(id, &thumb("300")).await.expect("kept");
        assert!(started.elapsed() < Duration::from_millis(200), "{:?}: no decode any more", started.elapsed());
    })
    .await;
}

#[tokio::test]
async fn beyond_the_queue_whoever_comes_is_told_to_come_again() {
    each_db(|test| async {
        let world = World::new(test, |_| Location::Memory).await;
        let narrow = Options { decodes: 1, waiting: 2, ..options(&world.location, &world.work) };
        let media = open(&world.test, narrow).await;
        let id = media.put(crate::upload(world.anna, "a.jpg"), photo(1, 1600, 1200)).await.expect("taken in").id;
        let (made, busy) = (AtomicU64::new(0), AtomicU64::new(0));
        futures::future::join_all((0..12_u32).map(|number| {
            let (media, made, busy) = (media.clone(), &made, &busy);
            async move {
                match media.transform(id, &thumb(&(500 + number).to_string())).await {
                    Ok(_) => made.fetch_add(1, Ordering::Relaxed),
                    Err(Error::Busy) => busy.fetch_add(1, Ordering::Relaxed),
                    Err(error) => panic!("{error}"),
                };
            }
        }))
        .await;
        assert_eq!((made.into_inner(), busy.into_inner()), (3, 9), "one at work, two waiting");
        media.transform(id, &thumb("511")).await.expect("later there is room");
    })
    .await;
}

#[tokio::test]
async fn the_cache_stays_within_its_bytes() {
    each_db(|test| async {
        let world = World::new(test, |_| Location::Memory).await;
        let id = world.put(world.anna, "a.jpg", photo(1, 400, 300)).await.id;
        let size = world.media.transform(id, &thumb("200")).await.expect("made").size;
        let small = Options { cache_bytes: size * 3, ..options(&world.location, &world.work.join("small")) };
        let media = open(&world.test, Options { location: world.location.clone(), ..small }).await;
        // Memory is each process's own: this one has its own copy of the picture.
        media.put(crate::upload(world.anna, "a.jpg"), photo(1, 400, 300)).await.expect("taken in");
        for width in 180..200_u32 {
            media.transform(id, &thumb(&width.to_string())).await.expect("made");
        }
        let folder = world.work.join("small/cache");
        let files = std::fs::read_dir(folder)
            .expect("a folder")
            .flatten()
            .flat_map(|entry| std::fs::read_dir(entry.path()))
            .flatten();
        let sizes: Vec<u64> = files.map(|entry| entry.expect("an entry").metadata().expect("known").len()).collect();
        assert!(sizes.iter().sum::<u64>() <= size * 3 && sizes.len() >= 2, "{sizes:?} within {}", size * 3);
    })
    .await;
}
