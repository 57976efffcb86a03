use bytes::Bytes;
use mana_media::{Error, Upload, Viewer};
use mana_types::Clock;

use crate::{LATE, World, each, give_up_after, photo, upload};

const HOUR: i64 = 3_600_000;

#[tokio::test]
async fn a_deletion_drops_only_the_callers_reference() {
    each(|world| async move {
        let bytes = Bytes::from_static(b"shared");
        let id = world.put(world.anna, "a", bytes.clone()).await.id;
        let for_app = Upload { app: Some("me".into()), ..upload(world.anna, "a") };
        world.media.put(for_app, bytes.clone()).await.expect("taken in");
        world.put(world.ben, "b", bytes.clone()).await;

        let unknown = world.media.delete(id, world.ben, Some("me")).await;
        assert!(matches!(unknown, Err(Error::UnknownMedia)), "he has it, but not for that app");
        world.media.delete(id, world.anna, Some("me")).await.expect("dropped");
        assert!(world.get(id, world.anna).await.is_some(), "the other one is still hers");
        world.media.delete(id, world.anna, None).await.expect("dropped");
        assert_eq!(world.get(id, world.anna).await, None);
        assert!(matches!(world.media.delete(id, world.anna, None).await, Err(Error::UnknownMedia)));

        world.collect_all().await;
        assert_eq!(world.media.bytes(id, world.ben).await.expect("his"), bytes);
        world.media.delete(id, world.ben, None).await.expect("dropped");
        assert!(matches!(world.media.open_file(id, None).await, Err(Error::UnknownMedia)), "at once");
        assert_eq!(world.objects().await, 1, "but the bytes wait");
        world.collect_all().await;
        assert_eq!((world.objects().await, world.count("SELECT COUNT(*) FROM media").await), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn bytes_go_after_the_period_of_grace_with_all_that_was_made_of_them() {
    each(|world| async move {
        let record = world.processed(world.anna, "a.jpg", photo(1, 900, 900)).await;
        let transform = mana_media::image::Transform::parse(Some("50"), None, None, None, None).expect("valid");
        world.media.transform(record.id, &transform).await.expect("made");
        assert_eq!(world.objects().await, 3);
        world.media.delete(record.id, world.anna, None).await.expect("dropped");
        let now = world.test.clock.now();
        let early = world.media.collect(now.plus_millis(HOUR - 1)).await.expect("collected");
        assert_eq!((early.media, early.cached, world.objects().await), (0, 1, 3), "transforms need no grace");
        let collected = world.media.collect(now.plus_millis(HOUR)).await.expect("collected");
        assert_eq!((collected.media, collected.bytes), (1, record.size));
        assert_eq!(world.objects().await, 0);
        assert!(world.fsck().await.is_clean());
        // The same bytes later are a new file under a new key, and the old removal cannot hit them.
        let again = world.processed(world.anna, "a.jpg", photo(1, 900, 900)).await;
        assert_ne!(again.id, record.id);
        assert_eq!(world.count("SELECT generation FROM media").await, 1);
        world.media.collect(now.plus_millis(25 * HOUR)).await.expect("collected");
        assert_eq!(world.count("SELECT COUNT(*) FROM media_blob").await, 1, "the first key is forgotten");
        assert!(world.fsck().await.is_clean());
    })
    .await;
}

#[tokio::test]
async fn an_upload_revives_what_is_condemned() {
    each(|world| async move {
        let bytes = Bytes::from_static(b"back again");
        let id = world.put(world.anna, "a", bytes.clone()).await.id;
        world.media.delete(id, world.anna, None).await.expect("dropped");
        assert_eq!(world.put(world.ben, "b", bytes.clone()).await.id, id);
        let collected = world.media.collect(LATE).await.expect("collected");
        assert_eq!(collected.media, 0);
        assert_eq!(world.media.bytes(id, world.ben).await.expect("his"), bytes);
    })
    .await;
}

#[tokio::test]
async fn an_account_that_goes_takes_its_references_along() {
    each(|world| async move {
        let only = world.put(world.anna, "a", Bytes::from_static(b"hers alone")).await.id;
        let shared = world.put(world.anna, "b", Bytes::from_static(b"of both")).await.id;
        world.put(world.ben, "b", Bytes::from_static(b"of both")).await;
        assert_eq!(world.media.forget_user(world.ben).await.expect("forgotten"), 1);
        world.put(world.ben, "b", Bytes::from_static(b"of both")).await;
        let mut tx = world.test.db.begin().await.expect("begins");
        tx.query("DELETE FROM account WHERE id = $1").bind(world.anna).execute().await.expect("deleted");
        tx.commit().await.expect("kept");
        assert!(matches!(world.media.open_file(only, None).await, Err(Error::UnknownMedia)), "at once");
        world.collect_all().await;
        assert!(world.media.get(shared, Viewer::User(world.ben)).await.expect("an answer").is_some());
        assert_eq!((world.objects().await, world.fsck().await.is_clean()), (1, true));
    })
    .await;
}

/// Uploads and the collector at the same time, on the same bytes.
#[tokio::test]
async fn a_race_of_uploads_and_collections_loses_nothing() {
    each(|world: World| async move {
        let bytes = Bytes::from_static(b"coming and going");
        let collector = {
            let media = world.again().await;
            tokio::spawn(async move {
                for _ in 0..60 {
                    media.collect(LATE).await.expect("collected");
                }
            })
        };
        for round in 0..40 {
            let record = world.put(world.anna, "a", bytes.clone()).await;
            assert_eq!(world.media.bytes(record.id, world.anna).await.expect("they are there"), bytes, "{round}");
            world.media.delete(record.id, world.anna, None).await.expect("dropped");
        }
        collector.await.expect("ends");
        let report = world.fsck().await;
        assert!(report.is_clean(), "{report:?}");
        let record = world.put(world.anna, "a", bytes.clone()).await;
        assert_eq!(world.media.bytes(record.id, world.anna).await.expect("they are there"), bytes);
        world.media.delete(record.id, world.anna, None).await.expect("dropped");
        world.collect_all().await;
        assert_eq!(world.objects().await, 0);
    })
    .await;
}

/// A collector that dies at any moment leaves work for the next one, and never a row without bytes.
#[tokio::test]
async fn a_collector_may_die_at_any_moment() {
    each(|world: World| async move {
        let kept = world.processed(world.anna, "kept.jpg", photo(1, 60, 60)).await;
        let mut ended = 0;
        for round in 1..70_u32 {
            // Every moment at the beginning, some of the later ones.
            let polls = round + round * round / 4;
            let record = world.put(world.anna, "a", Bytes::from(format!("file number {}", round % 3))).await;
            world.media.delete(record.id, world.anna, None).await.expect("dropped");
            ended += u32::from(give_up_after(polls, world.media.collect(LATE)).await);
            if ended > 5 {
                break;
            }
        }
        assert!(ended > 0, "some came to their end");
        let report = world.fsck().await;
        assert!(report.missing.is_empty() && report.bad_variants.is_empty(), "{report:?}");
        world.collect_all().await;
        let report = world.fsck().await;
        assert!(report.is_clean() && report.young == 0, "{report:?}");
        assert_eq!((report.media, report.objects), (1, 2));
        assert_eq!(world.get(kept.id, world.anna).await, Some(kept));
    })
    .await;
}
