use bytes::Bytes;
use mana_media::{Error, Status, Upload, Variant, VariantAnswer, Viewer};
use mana_web::CancellationToken;

use crate::{World, each, photo, upload};

async fn answer(world: &World, id: mana_types::MediaId, variant: Variant) -> VariantAnswer {
    world.media.open_variant(id, variant).await.expect("an answer")
}

#[tokio::test]
async fn an_image_is_processed_once_and_has_its_variants() {
    each(|world| async move {
        let record = world.put(world.anna, "a.jpg", photo(1, 1000, 700)).await;
        assert_eq!((record.status, &record.metadata, &*record.variants), (Status::Processing, &None, &[][..]));
        assert!(matches!(answer(&world, record.id, Variant::Thumb).await, VariantAnswer::NotReady));
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 1);
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 0);

        let record = world.get(record.id, world.anna).await.expect("there");
        let metadata = record.metadata.expect("known by now");
        assert_eq!(
            (metadata.width, metadata.height, &*metadata.format, metadata.has_alpha),
            (1000, 700, "jpeg", false)
        );
        assert_eq!((record.status, record.variants), (Status::Ready, vec![Variant::Thumb, Variant::Medium]));
        assert!(matches!(answer(&world, record.id, Variant::Large).await, VariantAnswer::Absent), "never enlarged");
        let VariantAnswer::Ready(thumb) = answer(&world, record.id, Variant::Thumb).await else { panic!("not there") };
        assert_eq!((&*thumb.mime, thumb.inline), ("image/webp", true));
        let bytes = thumb.bytes().await.expect("bytes");
        assert_eq!(bytes.len() as u64, thumb.size);
        assert_eq!(&bytes[8..12], b"WEBP");
        assert_eq!(thumb.etag, mana_media::Hash::of(&bytes).to_string());

        // The second user gets what is there.
        let his = world.put(world.ben, "b.jpg", photo(1, 1000, 700)).await;
        assert_eq!((his.status, his.variants.len()), (Status::Ready, 2));
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 0);
        assert!(world.fsck().await.is_clean());
        assert!(matches!(
            world.media.open_variant(mana_types::MediaId::unguessable(&*world.test.random), Variant::Thumb).await,
            Err(Error::UnknownMedia)
        ));
    })
    .await;
}

#[tokio::test]
async fn what_was_skipped_or_failed_is_processed_when_somebody_asks() {
    each(|world| async move {
        let skipped = Upload { skip_processing: true, ..upload(world.anna, "a.jpg") };
        let record = world.media.put(skipped.clone(), photo(1, 300, 300)).await.expect("taken in");
        assert_eq!((record.status, record.variants.len()), (Status::Ready, 0));
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 0);
        world.media.put(skipped, photo(1, 300, 300)).await.expect("taken in");
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 0, "skipped again");
        assert!(matches!(answer(&world, record.id, Variant::Thumb).await, VariantAnswer::NotReady));
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 1);
        assert!(matches!(answer(&world, record.id, Variant::Thumb).await, VariantAnswer::Ready(_)));

        let whole = photo(2, 300, 300);
        let half = whole.slice(..whole.len() / 8);
        let damaged = world.processed(world.anna, "half.jpg", half.clone()).await;
        assert_eq!((damaged.status, damaged.reason.is_some()), (Status::Failed, true), "{damaged:?}");
        assert!(matches!(answer(&world, damaged.id, Variant::Thumb).await, VariantAnswer::Failed(_)));
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 0, "not at every wish");
        world.test.clock.advance_millis(60_000);
        assert!(matches!(answer(&world, damaged.id, Variant::Thumb).await, VariantAnswer::NotReady));
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 1);
        // The original is there all the same.
        assert_eq!(world.media.bytes(damaged.id, world.anna).await.expect("bytes"), half);
        assert_eq!(world.put(world.ben, "half.jpg", half).await.status, Status::Processing, "another upload asks, too");

        let text = world.processed(world.anna, "a.txt", Bytes::from_static(b"words")).await;
        assert!(matches!(answer(&world, text.id, Variant::Thumb).await, VariantAnswer::Absent));
        assert!(world.fsck().await.is_clean());
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_worker_died_is_taken_up_and_given_up_in_the_end() {
    each(|world| async move {
        let record = world.put(world.anna, "a.jpg", photo(1, 64, 64)).await;
        let claim = "UPDATE media SET ready_at = ready_at + 300000, epoch = epoch + 1, attempts = attempts + 1
            WHERE state = 'queued'";
        let die = async || {
            let mut tx = world.test.db.begin().await.expect("begins");
            tx.query(claim).execute().await.expect("claimed, and not another word");
            tx.commit().await.expect("kept");
        };
        die().await;
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 0, "the lease holds");
        world.test.clock.advance_millis(300_000);
        assert_eq!(world.again().await.run_pending_jobs_once().await.expect("worked"), 1);
        assert_eq!(world.get(record.id, world.anna).await.expect("there").status, Status::Ready);

        let killer = world.put(world.anna, "killer.jpg", photo(2, 64, 64)).await;
        for _ in 0..6 {
            die().await;
            world.test.clock.advance_millis(300_000);
        }
        world.media.run_pending_jobs_once().await.expect("worked");
        let killer = world.get(killer.id, world.anna).await.expect("there");
        assert_eq!(
            (killer.status, killer.reason.as_deref()),
            (Status::Failed, Some("processing it was begun six times and never ended"))
        );
    })
    .await;
}

#[tokio::test]
async fn two_workers_share_the_jobs_and_stop_when_told() {
    each(|world| async move {
        let other = world.again().await;
        let stop = CancellationToken::new();
        let workers = [world.media.clone(), other].map(|media| {
            let stop = stop.clone();
            tokio::spawn(async move { media.run_jobs(stop).await })
        });
        let mut ids = Vec::new();
        for number in 0..12 {
            ids.push(world.put(world.anna, "a.jpg", photo(number, 90, 60)).await.id);
        }
        for id in ids {
            let mut status = Status::Processing;
            for _ in 0..1_000 {
                status = world.get(id, world.anna).await.expect("there").status;
                if status != Status::Processing {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert_eq!(status, Status::Ready);
        }
        stop.cancel();
        for worker in workers {
            worker.await.expect("stops");
        }
        assert_eq!(world.count("SELECT MAX(epoch) FROM media").await, 1, "nobody did anything twice");
        assert!(world.fsck().await.is_clean());
        assert_eq!(world.media.stats(Viewer::User(world.anna)).await.expect("counted").total_count, 12);
    })
    .await;
}
