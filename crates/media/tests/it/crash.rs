//! SIGKILL at random moments of uploads, transforms and deletes. What was acknowledged holds, and nothing else is left.
//!
//! Two processes with four workers each work on the same sixteen files. Each worker has a user of his own and keeps a book:
//! a line before he does something and one after it was acknowledged. A process that is started again holds its books
//! against what is stored; only what was under way when it died may have happened or not.

#![expect(clippy::print_stderr, reason = "what was found says how much was tried")]

mod worker;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mana_media::{FsckOptions, ListQuery, Location, Media, Variant, VariantAnswer, Viewer};
use mana_testkit::TestDb;
use mana_types::{Clock, MediaId, Random, SeededRandom, SystemClock, SystemRandom, UserId};
use serde::{Deserialize, Serialize};

use crate::{LATE, account, s3};

const PROCESSES: usize = 2;
const WORKERS: usize = 4;
/// How long everything may take.
const END: Duration = Duration::from_mins(8);

/// Where the processes find the bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Place {
    Disk(PathBuf),
    S3(String),
}

/// What a process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Orders {
    database: String,
    place: Place,
    /// Its own work folder.
    work: PathBuf,
    /// The books of all.
    books: PathBuf,
    /// Its workers: their numbers and users.
    workers: Vec<(usize, UserId)>,
    /// How much each does in all.
    quota: usize,
    seed: u64,
}

/// The app of a reference and the number of its file.
type Slot = (char, usize);

/// What was begun and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Upload(Slot),
    /// Of one app, or with `*` of all.
    Delete(Slot),
}

/// A worker's book, read.
#[derive(Debug, Default)]
struct Book {
    held: BTreeMap<Slot, MediaId>,
    open: Option<Open>,
    /// Acknowledged uploads, deletes and looks at smaller images.
    done: usize,
}

impl Book {
    fn path(books: &Path, worker: usize) -> PathBuf {
        books.join(format!("{worker}.txt"))
    }

    fn read(books: &Path, worker: usize) -> Self {
        let text = std::fs::read_to_string(Self::path(books, worker)).unwrap_or_default();
        let mut book = Self::default();
        text.lines().for_each(|line| book.note(line));
        book
    }

    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let slot = |app: &str, file: &str| (app.chars().next().expect("an app"), file.parse().expect("a number"));
        match words[..] {
            ["upload", app, file] => self.open = Some(Open::Upload(slot(app, file))),
            ["delete", app, file] => self.open = Some(Open::Delete(slot(app, file))),
            ["uploaded", app, file, id] => {
                self.held.insert(slot(app, file), id.parse().expect("an id"));
                self.settle();
            }
            ["deleted", app, file] => {
                self.drop(slot(app, file));
                self.settle();
            }
            ["looked"] => self.done += 1,
            // What a process found when it was started again: this replaces what was under way.
            ["again"] => {
                self.held.clear();
                self.open = None;
            }
            ["holds", app, file, id] => {
                self.held.insert(slot(app, file), id.parse().expect("an id"));
            }
            _ => panic!("`{line}` is no line of a book"),
        }
    }

    fn settle(&mut self) {
        self.open = None;
        self.done += 1;
    }

    fn drop(&mut self, (app, file): Slot) {
        self.held.retain(|(of, number), _| *number != file || app != '*' && app != *of);
    }

    /// Holds the book against the store; what the user really has.
    async fn check(&self, media: &Media, user: UserId) -> BTreeMap<Slot, MediaId> {
        let files = worker::files();
        let mut found = BTreeMap::new();
        for app in worker::APPS {
            let query = ListQuery { viewer: Viewer::User(user), app: Some(app.into()), limit: 500, after: None };
            for record in media.list(&query).await.expect("a list").items {
                let file = files.iter().position(|file| file.hash == record.hash).expect("one of the files");
                assert_eq!(record.original_name, files[file].name);
                found.insert((app, file), record.id);
            }
        }
        let mut possible = vec![self.held.clone()];
        match self.open {
            Some(Open::Upload(slot)) => {
                let mut after = self.held.clone();
                after.extend(found.get(&slot).map(|id| (slot, *id)));
                possible.push(after);
            }
            Some(Open::Delete(slot)) => {
                let mut after = Self { held: self.held.clone(), ..Self::default() };
                after.drop(slot);
                possible.push(after.held);
            }
            None => {}
        }
        assert!(possible.contains(&found), "{user} has {found:?} instead of {possible:?}");
        for ((_, file), id) in &found {
            let bytes = media.bytes(*id, user).await.expect("what was acknowledged is there");
            assert!(bytes == files[*file].bytes, "other bytes than were uploaded");
        }
        found
    }
}

struct Story {
    test: TestDb,
    place: Place,
    folder: tempfile::TempDir,
    people: Vec<UserId>,
    quota: usize,
    chance: SeededRandom,
    seed: u64,
    children: Vec<Option<Child>>,
    until: Instant,
}

impl Story {
    async fn begin(test: TestDb, server: Option<&s3::Server>, total: usize, seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = match server.map(s3::Server::location) {
            Some(Location::S3(s3)) => Place::S3(s3.endpoint.expect("an address")),
            _ => Place::Disk(folder.path().join("store")),
        };
        for name in ["store", "books"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let mut people = Vec::new();
        for number in 0..PROCESSES * WORKERS {
            people.push(account(&test, &format!("worker-{number}")).await);
        }
        let quota = total.div_ceil(people.len());
        let (chance, children, until) = (SeededRandom::new(seed), Vec::new(), Instant::now() + END);
        Self { test, place, folder, people, quota, chance, seed, children, until }
    }

    fn books(&self) -> PathBuf {
        self.folder.path().join("books")
    }

    fn below(&self, end: u64) -> u64 {
        self.chance.next_u64() % end
    }

    fn orders(&self, process: usize) -> Orders {
        Orders {
            database: self.test.address.clone(),
            place: self.place.clone(),
            work: self.folder.path().join(format!("work-{process}")),
            books: self.books(),
            workers: (process * WORKERS..(process + 1) * WORKERS).map(|worker| (worker, self.people[worker])).collect(),
            quota: self.quota,
            seed: self.chance.next_u64(),
        }
    }

    /// This very program, told to be a process of workers.
    fn start(&self, process: usize) -> Child {
        let program = std::env::current_exe().expect("this program has a path");
        let mut child = Command::new(program)
            .args(["crash::worker::works", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("can be started");
        let orders = serde_json::to_vec(&self.orders(process)).expect("can be written down");
        let mut input = child.stdin.take().expect("is piped");
        input.write_all(&orders).expect("is read");
        child
    }

    /// Lines in all books: two for most of what was done.
    fn lines(&self) -> usize {
        let count = |worker| {
            std::fs::read(Book::path(&self.books(), worker))
                .map_or(0, |text| String::from_utf8_lossy(&text).lines().count())
        };
        (0..self.people.len()).map(count).sum()
    }

    /// Whether a process has ended by itself, which it may only with success.
    fn ended(&mut self, process: usize) -> bool {
        let Some(child) = &mut self.children[process] else { return true };
        let Some(status) = child.try_wait().expect("can be asked") else { return false };
        assert!(status.success(), "seed {}: process {process} failed: {status}", self.seed);
        self.children[process] = None;
        true
    }

    /// Waits until `holds`, or until everybody is done.
    async fn wait(&mut self, holds: impl Fn(&Self) -> bool) {
        loop {
            let ended = (0..PROCESSES).filter(|process| self.ended(*process)).count();
            if ended == PROCESSES || holds(self) {
                return;
            }
            assert!(Instant::now() < self.until, "seed {}: not done within {END:?}, {} lines", self.seed, self.lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn run(&mut self, kills: usize) {
        for process in 0..PROCESSES {
            let child = self.start(process);
            self.children.push(Some(child));
        }
        let mut killed = 0;
        let total = self.quota * self.people.len();
        for kill in 1..=kills {
            let lines = total * kill * 7 / (kills + 1) / 4; // 1.75 lines each
            self.wait(|story| story.lines() >= lines).await;
            tokio::time::sleep(Duration::from_millis(self.below(40))).await;
            let process = usize::try_from(self.below(PROCESSES as u64)).expect("small");
            if !self.ended(process)
                && let Some(mut child) = self.children[process].take()
            {
                child.kill().and_then(|()| child.wait()).expect("can be killed");
                killed += 1;
            }
            if self.below(2) == 0 {
                self.let_leases_end().await;
            }
            self.children[process] = Some(self.start(process));
        }
        self.wait(|_| false).await;
        assert!(killed * 2 >= kills, "only {killed} of {kills} found somebody at work");
    }

    /// As if five minutes passed: the jobs of the dead are anybody's, and those of the living, too.
    async fn let_leases_end(&self) {
        let mut tx = self.test.db.begin().await.expect("begins");
        tx.query("UPDATE media SET ready_at = 0 WHERE state = 'queued'").execute().await.expect("moved");
        tx.commit().await.expect("kept");
    }

    async fn one(&self, sql: &'static str) -> usize {
        let count = self.test.db.query(sql).one::<(i64,)>().await.expect("a number").0;
        usize::try_from(count).expect("a number of things")
    }

    /// Afterwards everything is as the books say, and nothing else is there.
    async fn end(&self) {
        self.test.clock.set(SystemClock::default().now().plus_millis(3_600_000));
        // Later on these are forgotten.
        let went = self.one("SELECT COUNT(*) FROM media_blob WHERE dead IS NOT NULL").await;
        let most = self.one("SELECT COALESCE(MAX(generation), 0) FROM media_blob").await;
        let media = worker::open(&self.orders(0), self.test.db.clone()).await;
        let files = worker::files();
        let mut held: BTreeMap<usize, MediaId> = BTreeMap::new();
        let mut references = 0;
        for (worker, user) in self.people.iter().enumerate() {
            let book = Book::read(&self.books(), worker);
            assert_eq!((book.done, book.open), (self.quota, None));
            references += book.check(&media, *user).await.len();
            held.extend(book.held.iter().map(|((_, file), id)| (*file, *id)));
        }
        assert_eq!(self.one("SELECT COUNT(*) FROM media_reference").await, references);

        // The jobs that died too often are tried once more because somebody asks.
        for id in held.values() {
            media.open_variant(*id, Variant::Thumb).await.expect("an answer");
        }
        media.run_pending_jobs_once().await.expect("worked");
        for (file, id) in &held {
            match media.open_variant(*id, Variant::Thumb).await.expect("an answer") {
                VariantAnswer::Ready(blob) => {
                    assert_eq!(blob.rehash().await.expect("read").to_string(), blob.etag);
                    assert!(files[*file].is_image);
                }
                VariantAnswer::Absent => assert!(!files[*file].is_image, "{}", files[*file].name),
                answer => panic!("{}: {answer:?}", files[*file].name),
            }
        }
        assert_eq!(
            self.one("SELECT COUNT(*) FROM media WHERE state NOT IN ('ready', 'skipped') AND condemned IS NULL").await,
            0
        );

        for process in 0..PROCESSES {
            let orders = self.orders(process);
            let media = worker::open(&orders, self.test.db.clone()).await;
            media.collect(self.test.clock.now()).await.expect("condemned");
            media.collect(LATE).await.expect("collected");
            let temporary = match &orders.place {
                Place::Disk(folder) => folder.join("tmp"),
                Place::S3(_) => orders.work.join("tmp"),
            };
            assert_eq!(std::fs::read_dir(temporary).expect("a folder").count(), 0, "uploads that never ended");
        }
        let report = media.fsck(FsckOptions { deep: true, repair: false }, |_| ()).await.expect("checked");
        assert!(report.is_clean() && report.young == 0, "seed {}: {report:?}", self.seed);
        assert_eq!(report.media, held.len() as u64, "{report:?}");
        assert_eq!(report.objects, report.media + report.variants, "{report:?}");
        assert_eq!(self.one("SELECT COUNT(*) FROM media_blob WHERE dead IS NOT NULL AND gone IS NULL").await, 0);
        eprintln!(
            "{} operations; {references} references to {} files with {} variants; {went} went, one of them {most} times",
            self.quota * self.people.len(),
            report.media,
            report.variants,
        );
        assert!(went > 0 || self.quota < 1_000, "nothing was collected in all that time");
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        for child in self.children.iter_mut().flatten() {
            // Gone already, or the test has failed and has said why.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}

async fn killed(test: TestDb, on_disk: bool, total: usize, kills: usize, seed: u64) {
    let began = Instant::now();
    eprintln!("{:?}, {}, seed {seed}", test.engine(), if on_disk { "a folder" } else { "S3" });
    let server = if on_disk { None } else { Some(s3::Server::start().await) };
    let mut story = Story::begin(test, server.as_ref(), total, seed).await;
    story.run(kills).await;
    story.end().await;
    eprintln!("{kills} kills, {:.1} s", began.elapsed().as_secs_f64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_its_process_in_a_folder() {
    killed(mana_testkit::sqlite().await, true, 600, 6, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_its_process_in_s3() {
    let test = match mana_testkit::postgres().await {
        Some(test) => test,
        None => mana_testkit::sqlite().await,
    };
    killed(test, false, 600, 6, 2).await;
}

/// `.ci/media/run.sh`; a new seed every time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: a step of its own in `.ci/run`"]
async fn ten_thousand_operations_outlive_their_processes() {
    let seed = SystemRandom.next_u64() >> 1;
    killed(mana_testkit::sqlite().await, true, 10_000, 60, seed).await;
    let test = match mana_testkit::postgres().await {
        Some(test) => test,
        None => mana_testkit::sqlite().await,
    };
    killed(test, false, 10_000, 60, seed + 1).await;
}
