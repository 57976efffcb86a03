//! A store that does not do what it should.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::BoxStream;
use mana_media::{Error, Location, Status, Variant, VariantAnswer};
use mana_testkit::each_db;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};

use crate::{World, eventually, photo, upload};

/// Memory that can be told to be full, or to answer nothing at all.
#[derive(Debug, Default)]
struct Faulty {
    inner: InMemory,
    full: AtomicBool,
    down: AtomicBool,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    fn check(&self, writes: bool) -> object_store::Result<()> {
        let refuse = |why: &'static str| Err(object_store::Error::Generic { store: "faulty", source: why.into() });
        if self.down.load(Ordering::Relaxed) {
            return refuse("503 Slow Down");
        }
        if writes && self.full.load(Ordering::Relaxed) { refuse("no space left on device") } else { Ok(()) }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.check(true)?;
        self.inner.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.check(true)?;
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.check(false)?;
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        match self.check(false) {
            Ok(()) => self.inner.delete_stream(paths),
            Err(error) => Box::pin(futures::stream::iter([Err(error)])),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        match self.check(false) {
            Ok(()) => self.inner.list(prefix),
            Err(error) => Box::pin(futures::stream::iter([Err(error)])),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.check(false)?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.check(true)?;
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_fails_is_an_error_that_says_so_and_costs_nothing() {
    each_db(|test| async {
        let store = Arc::new(Faulty::default());
        let world = World::new(test, |_| Location::Other(Arc::clone(&store) as Arc<dyn ObjectStore>)).await;
        let there = world.put(world.anna, "there.jpg", photo(1, 100, 100)).await;

        store.full.store(true, Ordering::Relaxed);
        let refused = world.media.put(upload(world.anna, "a"), Bytes::from_static(b"new")).await;
        assert!(matches!(&refused, Err(error @ Error::Unavailable(_)) if error.is_transient()), "{refused:?}");
        let large = world.media.put(upload(world.anna, "a"), Bytes::from(vec![1; 9 << 20])).await;
        assert!(matches!(large, Err(Error::Unavailable(_))));
        assert_eq!(world.count("SELECT COUNT(*) FROM media").await, 1, "no row without bytes");
        // What is there costs no bytes, so a second reference to it still works.
        assert_eq!(world.put(world.ben, "there.jpg", photo(1, 100, 100)).await.id, there.id);
        // A job cannot write its variants: it comes again by itself, and is no failure of the picture.
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 1);
        assert_eq!(world.get(there.id, world.anna).await.expect("there").status, Status::Processing);

        store.down.store(true, Ordering::Relaxed);
        let refused = world.media.put(upload(world.anna, "a"), Bytes::from_static(b"new")).await;
        assert!(matches!(refused, Err(Error::Unavailable(_))));
        assert!(matches!(world.media.bytes(there.id, world.anna).await, Err(Error::Unavailable(_))));
        world.media.delete(there.id, world.ben, None).await.expect("needs no store");
        world.test.clock.advance_millis(3_600_000);
        assert_eq!(world.media.run_pending_jobs_once().await.expect("worked"), 1);
        assert_eq!(world.get(there.id, world.anna).await.expect("there").status, Status::Processing);
        let gone = world.media.delete(there.id, world.anna, None).await;
        gone.expect("needs no store");
        let now = mana_types::Clock::now(&*world.test.clock);
        let collected = world.media.collect(now.plus_millis(3_600_000)).await;
        assert!(matches!(collected, Err(Error::Unavailable(_))), "{collected:?}");

        // Everything is back: what was begun ends, nothing is lost, nothing is left.
        store.down.store(false, Ordering::Relaxed);
        store.full.store(false, Ordering::Relaxed);
        let record = world.processed(world.anna, "there.jpg", photo(1, 100, 100)).await;
        assert_eq!(record.status, Status::Ready);
        assert!(matches!(world.media.open_variant(record.id, Variant::Thumb).await, Ok(VariantAnswer::Ready(_))));
        world.collect_all().await;
        let report = world.fsck().await;
        assert!(report.is_clean() && report.objects == 2, "{report:?}");
        let temporary = world.work.join("tmp");
        assert!(eventually(|| std::fs::read_dir(&temporary).expect("a folder").count() == 0).await);
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_an_error_that_says_so() {
    each_db(|test| async {
        let world = World::new(test, Location::Disk).await;
        let Location::Disk(folder) = &world.location else { panic!("on disk") };
        let there = world.put(world.anna, "a", Bytes::from_static(b"there")).await;
        // Not by taking permissions away, which do not bind the one who runs tests in a container.
        let (originals, aside) = (folder.join("sha256"), folder.join("aside"));
        std::fs::rename(&originals, &aside).expect("moved");
        std::fs::write(&originals, b"no folder").expect("written");
        let refused = world.media.put(upload(world.anna, "a"), Bytes::from_static(b"new")).await;
        assert!(matches!(refused, Err(Error::Disk(_) | Error::Unavailable(_))), "{refused:?}");
        assert_eq!(world.count("SELECT COUNT(*) FROM media").await, 1, "no row without bytes");
        std::fs::remove_file(&originals).expect("removed");
        std::fs::rename(&aside, &originals).expect("moved back");
        assert!(world.fsck().await.is_clean());

        std::fs::remove_dir_all(folder.join("tmp")).expect("removed");
        let refused = world.media.put(upload(world.anna, "a"), Bytes::from_static(b"new")).await;
        assert!(matches!(refused, Err(Error::Disk(_))), "{refused:?}");
        assert_eq!(&*world.media.bytes(there.id, world.anna).await.expect("hers"), b"there");
    })
    .await;
}
