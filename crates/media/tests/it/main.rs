//! The media service as its callers see it, on each database and each store.

mod collect;
mod crash;
mod doors_client;
mod doors_files;
mod doors_records;
mod doors_uploads;
mod doors_world;
mod faults;
mod fsck;
mod jobs;
mod law;
mod lists;
mod pictures;
mod s3;
mod transforms;
mod uploads;

use std::path::PathBuf;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use mana_media::{Fsck, FsckOptions, Location, Media, Options, Record, Upload, Viewer};
use mana_testkit::{TestDb, each_db};
use mana_types::{Clock, MediaId, Random, Timestamp, UserId};

/// Much later than any object or temporary file was written by the machine's own clock.
const LATE: Timestamp = Timestamp::from_millis(4_000_000_000_000);

/// One media service with a few people.
struct World {
    test: TestDb,
    media: Media,
    location: Location,
    work: PathBuf,
    anna: UserId,
    ben: UserId,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new(test: TestDb, location: impl FnOnce(PathBuf) -> Location) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let location = location(folder.path().join("store"));
        if let Location::Disk(path) = &location {
            std::fs::create_dir_all(path).expect("a folder");
        }
        let work = folder.path().join("work");
        let media = open(&test, options(&location, &work)).await;
        let (anna, ben) = (account(&test, "anna").await, account(&test, "ben").await);
        Self { test, media, location, work, anna, ben, _folder: folder }
    }

    /// The same service as another process has it.
    async fn again(&self) -> Media {
        let mut test = self.test.clone();
        test.db = self.test.again().await;
        open(&test, options(&self.location, &self.work)).await
    }

    async fn put(&self, user: UserId, name: &str, bytes: impl Into<Bytes>) -> Record {
        self.media.put(upload(user, name), bytes.into()).await.expect("taken in")
    }

    async fn get(&self, id: MediaId, user: UserId) -> Option<Record> {
        self.media.get(id, Viewer::User(user)).await.expect("an answer")
    }

    /// Ready, with all that can be made of it.
    async fn processed(&self, user: UserId, name: &str, bytes: impl Into<Bytes>) -> Record {
        let id = self.put(user, name, bytes).await.id;
        self.media.run_pending_jobs_once().await.expect("worked");
        self.get(id, user).await.expect("still there")
    }

    async fn fsck(&self) -> Fsck {
        let options = FsckOptions { deep: true, repair: false };
        self.media.fsck(options, |_| ()).await.expect("checked")
    }

    async fn count(&self, sql: &'static str) -> i64 {
        self.test.db.query(sql).one::<(i64,)>().await.expect("a number").0
    }

    /// How many originals and variants lie in the store, whoever names them.
    async fn objects(&self) -> u64 {
        self.fsck().await.objects
    }

    /// As an hour later, but without what an hour would do to leases.
    async fn collect_all(&self) {
        self.media.collect(self.test.clock.now()).await.expect("condemned");
        self.media.collect(LATE).await.expect("collected");
    }
}

/// Memory that several services share, as processes share a bucket.
fn memory() -> Location {
    Location::Other(Arc::new(object_store::memory::InMemory::new()))
}

fn options(location: &Location, work: &std::path::Path) -> Options {
    Options { decodes: 2, ..Options::new(location.clone(), work) }
}

async fn open(test: &TestDb, options: Options) -> Media {
    let random = Arc::clone(&test.random) as Arc<dyn Random>;
    Media::open(options, test.db.clone(), random).await.expect("opens")
}

/// Runs a story on each database and each store.
async fn each<F>(story: impl Fn(World) -> F)
where
    F: Future<Output = ()>,
{
    each_db(|test| async {
        let mut twin = test.clone();
        twin.db = test.again().await;
        story(World::new(test, Location::Disk).await).await;
        // The same database, emptied: a database costs more than a store.
        empty(&twin).await;
        story(World::new(twin.clone(), |_| memory()).await).await;
        empty(&twin).await;
        let server = s3::Server::start().await;
        story(World::new(twin, |_| server.location()).await).await;
    })
    .await;
}

async fn empty(test: &TestDb) {
    let mut tx = test.db.begin().await.expect("begins");
    for table in ["media_reference", "media_variant", "media", "media_blob", "account"] {
        tx.query(format!("DELETE FROM {table}")).execute().await.expect("emptied");
    }
    tx.commit().await.expect("kept");
    test.clock.set(mana_testkit::START);
}

async fn account(test: &TestDb, name: &str) -> UserId {
    let id = UserId::new(&*test.clock, &*test.random);
    let mut tx = test.db.begin().await.expect("begins");
    tx.query(
        "INSERT INTO account (id, email, email_key, name, password_hash, role, kind, tier, email_verified, locale, timezone,
            created, updated)
         VALUES ($1, $2, $2, $2, '', 'user', 'human', 'free', TRUE, 'en', 'UTC', 0, 0)",
    )
    .bind(id)
    .bind(name.to_owned())
    .execute()
    .await
    .expect("added");
    tx.commit().await.expect("kept");
    id
}

fn upload(user: UserId, name: &str) -> Upload {
    Upload { user, app: None, name: name.to_owned(), declared: None, skip_processing: false }
}

/// A JPEG that no other number has.
fn photo(number: u32, width: u16, height: u16) -> Bytes {
    let mut pixels = Vec::with_capacity(usize::from(width) * usize::from(height) * 3);
    for y in 0..u32::from(height) {
        for x in 0..u32::from(width) {
            let value = (x * 7 + y * 3 + number * 31).to_le_bytes();
            pixels.extend_from_slice(&[value[0], (x / 4).to_le_bytes()[0], (y / 4 + number).to_le_bytes()[0]]);
        }
    }
    let mut jpeg = Vec::new();
    let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 80);
    encoder.encode(&pixels, width, height, jpeg_encoder::ColorType::Rgb).expect("encoded");
    jpeg.into()
}

/// Waits for what another thread is about to do.
async fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    for _ in 0..200 {
        if holds() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Drops a future after so many polls; whether it came to its end before.
async fn give_up_after<F: Future>(polls: u32, future: F) -> bool {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        let ended = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if ended {
            return true;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    false
}
