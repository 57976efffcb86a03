//! Planted damage is found, named, and repaired where that loses nothing.

use bytes::Bytes;
use mana_media::{FsckOptions, Location, Variant, VariantAnswer};
use mana_testkit::each_db;

use crate::{LATE, World, photo};

/// Where a file's bytes are, by its hash.
fn place(world: &World, root: &str, hash: &str) -> std::path::PathBuf {
    let Location::Disk(folder) = &world.location else { panic!("on disk") };
    folder.join(root).join(&hash[..2]).join(&hash[2..4]).join(hash)
}

#[tokio::test]
async fn planted_damage_is_found() {
    each_db(|test| async {
        let world = World::new(test, Location::Disk).await;
        let mut records = Vec::new();
        for number in 0..6 {
            records.push(world.processed(world.anna, "a.jpg", photo(number, 820, 400)).await);
        }
        let clean = world.fsck().await;
        assert!(clean.is_clean(), "{clean:?}");
        assert_eq!((clean.media, clean.variants, clean.objects, clean.young), (6, 12, 18, 0));
        assert_eq!(clean.bytes, records.iter().map(|record| record.size).sum::<u64>());

        let original = |number: usize| place(&world, "sha256", &records[number].hash.to_string());
        std::fs::remove_file(original(0)).expect("removed");
        std::fs::write(original(1), b"short").expect("written");
        let mut flipped = std::fs::read(original(2)).expect("read");
        flipped[300] ^= 1;
        std::fs::write(original(2), flipped).expect("written");
        let variants = place(&world, "variants", &records[3].hash.to_string());
        let thumb = std::fs::read_dir(&variants).expect("a folder").map(|entry| entry.expect("an entry").path());
        let thumb = thumb.into_iter().find(|path| path.to_string_lossy().contains("thumb")).expect("there");
        std::fs::remove_file(thumb).expect("removed");
        let stray = place(&world, "sha256", &mana_media::Hash::of(b"stray").to_string());
        std::fs::create_dir_all(stray.parent().expect("a folder")).expect("made");
        std::fs::write(&stray, b"stray").expect("written");
        std::fs::write(stray.with_file_name("note.txt"), b"not ours").expect("written");

        let check = async |deep, repair| world.media.fsck(FsckOptions { deep, repair }, |_| ()).await.expect("checked");
        let shallow = check(false, false).await;
        assert_eq!((&*shallow.missing, &*shallow.wrong_size), (&[records[0].id][..], &[records[1].id][..]));
        assert_eq!((shallow.wrong_hash.len(), shallow.young), (0, 1), "the stray one is young yet");
        assert_eq!(shallow.bad_variants, [(records[3].id, Variant::Thumb)]);
        assert!(!shallow.is_clean());

        world.test.clock.set(LATE);
        let mut last = None;
        let deep = world.media.fsck(FsckOptions { deep: true, repair: false }, |progress| last = Some(progress));
        let deep = deep.await.expect("checked");
        assert_eq!(deep.wrong_hash, [records[2].id]);
        assert_eq!((deep.orphans.len(), deep.young), (1, 0), "{deep:?}");
        let last = last.expect("it says how far it is");
        assert_eq!((last.done, last.total), (18, 18));

        // Asking for what is lost has it made anew; so does a repair.
        assert!(matches!(world.media.open_variant(records[3].id, Variant::Thumb).await, Ok(VariantAnswer::NotReady)));
        world.media.run_pending_jobs_once().await.expect("worked");
        assert!(matches!(world.media.open_variant(records[3].id, Variant::Thumb).await, Ok(VariantAnswer::Ready(_))));
        let medium = std::fs::read_dir(&variants).expect("a folder").map(|entry| entry.expect("an entry").path());
        for path in medium {
            std::fs::write(path, b"?").expect("written");
        }
        let repaired = check(true, true).await;
        assert_eq!((repaired.bad_variants.len(), repaired.repaired), (2, 3), "{repaired:?}");
        world.media.run_pending_jobs_once().await.expect("worked");
        let after = check(true, false).await;
        assert_eq!((after.bad_variants.len(), after.orphans.len()), (0, 0), "{after:?}");
        assert!(!stray.exists() && stray.with_file_name("note.txt").exists(), "what is not ours is left alone");

        // Uploading a file again brings its bytes back.
        for number in [0, 1] {
            world.put(world.ben, "again.jpg", photo(number, 820, 400)).await;
        }
        let healed = check(true, false).await;
        assert_eq!((healed.missing.len(), healed.wrong_size.len(), healed.wrong_hash.len()), (0, 0, 1), "{healed:?}");
    })
    .await;
}

#[tokio::test]
async fn what_crashes_leave_behind_is_litter_and_goes() {
    each_db(|test| async {
        let world = World::new(test, Location::Disk).await;
        let Location::Disk(folder) = &world.location else { panic!("on disk") };
        let kept = world.processed(world.anna, "a.jpg", photo(1, 100, 100)).await;
        let gone = world.put(world.anna, "b", Bytes::from_static(b"gone")).await;
        world.media.delete(gone.id, world.anna, None).await.expect("dropped");

        // A crash between the removal of the row and that of the bytes.
        let mut tx = world.test.db.begin().await.expect("begins");
        tx.query("DELETE FROM media WHERE id = $1").bind(gone.id).execute().await.expect("deleted");
        tx.query("UPDATE media_blob SET dead = 1 WHERE hash = $1")
            .bind(gone.hash.to_string())
            .execute()
            .await
            .expect("given up");
        tx.commit().await.expect("kept");
        // One between bytes and row of an upload; one of a job; one in the middle of an upload.
        let stray = place(&world, "sha256", &mana_media::Hash::of(b"stray").to_string());
        std::fs::create_dir_all(stray.parent().expect("a folder")).expect("made");
        std::fs::write(&stray, b"stray").expect("written");
        let variants = place(&world, "variants", &kept.hash.to_string());
        std::fs::write(variants.join("thumb-0000000000000000.webp"), b"old").expect("written");
        std::fs::write(folder.join("tmp/0123.part"), b"half").expect("written");

        assert_eq!(world.fsck().await.young, 3);
        let collected = world.media.collect(LATE).await.expect("collected");
        assert_eq!((collected.orphans, collected.temporary), (2, 1), "{collected:?}");
        let report = world.fsck().await;
        assert_eq!((report.is_clean(), report.young, report.objects), (true, 0, 2), "{report:?}");
        // The keys that were given up are not used again.
        world.put(world.anna, "s", Bytes::from_static(b"stray")).await;
        world.put(world.anna, "g", Bytes::from_static(b"gone")).await;
        assert_eq!(world.count("SELECT COUNT(*) FROM media WHERE generation = 1").await, 2);
        assert!(world.fsck().await.is_clean());
    })
    .await;
}
