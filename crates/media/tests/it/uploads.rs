use bytes::Bytes;
use futures::stream;
use mana_media::{Error, Hash, Location, Options, Status, Upload, Viewer};
use mana_types::UserId;

use crate::{World, each, eventually, give_up_after, open, options, photo, upload};

#[tokio::test]
async fn a_file_is_stored_once_and_belongs_to_all_who_brought_it() {
    each(|world| async move {
        let bytes = Bytes::from_static(b"%PDF-1.7 a letter");
        let declared = Some("application/pdf".to_owned());
        let mine =
            Upload { app: Some("storage".into()), declared: declared.clone(), ..upload(world.anna, "dir/Brief.pdf") };
        let first = world.media.put(mine, bytes.clone()).await.expect("taken in");
        assert_eq!((&*first.original_name, first.app.as_deref()), ("Brief.pdf", Some("storage")));
        assert_eq!((first.status, &*first.mime_type, first.size), (Status::Ready, "application/pdf", 17));
        assert_eq!(first.hash, Hash::of(&bytes));
        assert_eq!(first.id.uuid().get_version_num(), 4, "nothing of it can be guessed");

        world.test.clock.advance_millis(1_000);
        let second = world.put(world.ben, "letter.pdf", bytes.clone()).await;
        assert_eq!((second.id, &*second.original_name, second.app), (first.id, "letter.pdf", None));
        assert_eq!(second.created_at.since(first.created_at), 1_000, "the date is that of the reference");
        assert_eq!(world.get(first.id, world.anna).await.expect("hers").original_name, "Brief.pdf");
        assert_eq!(world.objects().await, 1);

        // Again by the same user for the same app: one reference, the newest name.
        let again = Upload { app: Some("storage".into()), ..upload(world.anna, "Brief 2.pdf") };
        let again = world.media.put(again, bytes.clone()).await.expect("taken in");
        assert_eq!((again.id, &*again.original_name, again.created_at), (first.id, "Brief 2.pdf", first.created_at));
        assert_eq!(world.count("SELECT COUNT(*) FROM media_reference").await, 2);

        // Ids and hashes of others say nothing.
        let stranger = Viewer::User(crate::account(&world.test, "carl").await);
        assert_eq!(world.media.get(first.id, stranger).await.expect("an answer"), None);
        assert_eq!(world.media.by_hash(&first.hash, stranger).await.expect("an answer"), None);
        assert!(world.media.by_hash(&first.hash, Viewer::User(world.ben)).await.expect("an answer").is_some());
        assert!(world.media.get(first.id, Viewer::Service).await.expect("an answer").is_some());

        let blob = world.media.open_file(first.id, None).await.expect("the id is enough");
        assert_eq!(blob.name, format!("{}.pdf", first.id), "nobody's name for nobody in particular");
        assert_eq!((blob.inline, &*blob.etag, blob.size), (false, &*first.hash.to_string(), 17));
        assert_eq!(blob.bytes().await.expect("bytes"), bytes);
        let hers = world.media.open_file(first.id, Some(Viewer::User(world.anna))).await.expect("opens");
        assert_eq!(hers.name, "Brief 2.pdf");
        let part: Vec<Bytes> =
            futures::TryStreamExt::try_collect(hers.stream(Some(5..8)).await.expect("opens")).await.expect("a part");
        assert_eq!(part.concat(), b"1.7");
        assert_eq!(world.media.bytes(first.id, world.ben).await.expect("his, too"), bytes);
        let refused = world.media.bytes(first.id, crate::account(&world.test, "dora").await).await;
        assert!(matches!(refused, Err(Error::UnknownMedia)));
        assert!(world.fsck().await.is_clean());
    })
    .await;
}

#[tokio::test]
async fn the_same_bytes_from_many_at_once_are_one_file() {
    each(|world| async move {
        let bytes = photo(1, 40, 30);
        let other = world.again().await;
        let tasks: Vec<_> = (0..40)
            .map(|number| {
                let media = if number % 2 == 0 { world.media.clone() } else { other.clone() };
                let user = if number % 3 == 0 { world.anna } else { world.ben };
                let app = (number % 5 < 2).then(|| "me".to_owned());
                let sent = Upload { app, ..upload(user, &format!("{number}.jpg")) };
                let body = stream::iter(
                    bytes
                        .chunks(97)
                        .map(|part| Ok::<_, std::io::Error>(Bytes::copy_from_slice(part)))
                        .collect::<Vec<_>>(),
                );
                tokio::spawn(async move { media.upload(sent, body).await })
            })
            .collect();
        let mut ids = Vec::new();
        for task in tasks {
            ids.push(task.await.expect("ends").expect("no error to anybody").id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(world.count("SELECT COUNT(*) FROM media").await, 1);
        assert_eq!(world.count("SELECT COUNT(*) FROM media_reference").await, 4, "two users, with and without the app");
        let report = world.fsck().await;
        assert_eq!((report.objects, report.young, report.is_clean()), (1, 0, true), "{report:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    each(|world| async move {
        let limited = Options { max_bytes: 1_000, ..options(&world.location, &world.work) };
        let media = open(&world.test, limited).await;
        let send = async |bytes: Vec<Bytes>, sent: Upload| {
            media.upload(sent, stream::iter(bytes.into_iter().map(Ok::<_, std::io::Error>))).await
        };
        let anna = world.anna;
        assert!(matches!(send(vec![], upload(anna, "a")).await, Err(Error::Empty)));
        assert!(matches!(send(vec![Bytes::new()], upload(anna, "a")).await, Err(Error::Empty)));
        let chunks = |count: usize, size: usize| vec![Bytes::from(vec![1; size]); count];
        assert!(matches!(send(chunks(11, 91), upload(anna, "a")).await, Err(Error::TooLarge { limit: 1_000 })));
        assert!(send(chunks(10, 100), upload(anna, "a")).await.is_ok(), "exactly the limit");
        let bad_app = Upload { app: Some("a/b".into()), ..upload(anna, "a") };
        assert!(matches!(send(chunks(1, 1), bad_app).await, Err(Error::InvalidApp)));
        let nobody = UserId::new(&*world.test.clock, &*world.test.random);
        assert!(matches!(send(chunks(1, 3), upload(nobody, "a")).await, Err(Error::UnknownUser)));

        let broken = stream::iter([Ok(Bytes::from_static(b"half")), Err(std::io::Error::other("gone"))]);
        assert!(matches!(media.upload(upload(anna, "a"), broken).await, Err(Error::Interrupted(_))));

        let images = Options { allowed: vec!["image/*".into()], ..options(&world.location, &world.work) };
        let images = open(&world.test, images).await;
        let lying = Upload { declared: Some("image/png".into()), ..upload(anna, "a.png") };
        let refused = images.put(lying, Bytes::from_static(b"<!doctype html><p>")).await;
        assert!(matches!(&refused, Err(Error::NotAllowed(mime)) if mime == "text/html"), "{refused:?}");
        assert!(images.put(upload(anna, "a"), photo(1, 8, 8)).await.is_ok());

        assert_eq!(world.count("SELECT COUNT(*) FROM media").await, 2);
        let temporary = match &world.location {
            Location::Disk(folder) => folder.join("tmp"),
            Location::S3(_) | Location::Memory | Location::Other(_) => world.work.join("tmp"),
        };
        let is_empty = || std::fs::read_dir(&temporary).expect("a folder").count() == 0;
        assert!(eventually(is_empty).await, "a temporary file is left");
        // The bytes of nobody's file are there, young, and go with the litter.
        assert_eq!(world.fsck().await.young, 1);
        world.collect_all().await;
        assert_eq!((world.objects().await, world.fsck().await.is_clean()), (2, true));
    })
    .await;
}

#[tokio::test]
async fn a_large_file_arrives_whole() {
    each(|world| async move {
        let mut bytes = vec![0; 20_000_001];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = (place * place % 251).to_le_bytes()[0];
        }
        let bytes = Bytes::from(bytes);
        let record = world.put(world.anna, "big", bytes.clone()).await;
        let blob = world.media.open_file(record.id, None).await.expect("opens");
        assert_eq!(blob.rehash().await.expect("read"), Hash::of(&bytes));
        let tail = blob.stream(Some(19_999_990..20_000_001)).await.expect("opens");
        let tail: Vec<Bytes> = futures::TryStreamExt::try_collect(tail).await.expect("a part");
        assert_eq!(tail.concat(), bytes[19_999_990..]);
        let local = world.work.join("local");
        std::fs::write(&local, &bytes).expect("written");
        let again = world.media.put_file(upload(world.ben, "big"), &local).await.expect("taken in");
        assert_eq!((again.id, again.size), (record.id, 20_000_001));
        assert!(world.fsck().await.is_clean());
    })
    .await;
}

/// A caller that goes away at any moment leaves a file or litter, never half of either.
#[tokio::test]
async fn a_caller_may_go_away_at_any_moment() {
    each(|world: World| async move {
        let mut finished = false;
        for polls in 1..200_u32 {
            let bytes = Bytes::from(format!("file number {polls}"));
            finished = give_up_after(polls, world.media.put(upload(world.anna, "a"), bytes)).await;
            if finished && polls > 20 {
                break;
            }
        }
        assert!(finished, "one of them came to its end");
        let report = world.fsck().await;
        assert!(report.missing.is_empty() && report.dangling == 0 && report.wrong_hash.is_empty(), "{report:?}");
        world.collect_all().await;
        let report = world.fsck().await;
        assert!(report.is_clean() && report.young == 0, "{report:?}");
        assert_eq!(report.objects, report.media);
    })
    .await;
}
