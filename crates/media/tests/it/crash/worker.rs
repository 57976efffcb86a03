//! A process of workers: does what chance says until it is killed or its workers have done their share.

use std::collections::HashMap;
use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, RgbImage};
use mana_media::image::{Fit, Format, Limits, Transform, transform};
use mana_media::{Error, FsckOptions, Hash, Location, Media, Options, S3, Upload, Variant, VariantAnswer, Viewer};
use mana_store::{Db, DbOptions};
use mana_types::{Clock, MediaId, Random, Secret, SeededRandom, SystemClock, SystemRandom, UserId};
use mana_web::CancellationToken;

use super::{Book, Orders, Place, Slot};
use crate::photo;

/// The apps that references belong to.
pub(super) const APPS: [char; 2] = ['a', 'b'];

/// How long nobody's bytes stay: long enough for a job to store what it made, short enough to be over many times in a run.
const GRACE: Duration = Duration::from_secs(1);

/// One of the sixteen.
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Bytes,
    pub(super) hash: Hash,
    pub(super) is_image: bool,
}

/// The sixteen files, the same in every process.
pub(super) fn files() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let other = |number: u32, format: ImageFormat| {
            let picture = RgbImage::from_fn(180 + number * 30, 150, |x, y| {
                image::Rgb([x * 3 + number, y * 5, x * y + number].map(|value| value.to_le_bytes()[0]))
            });
            let mut bytes = Cursor::new(Vec::new());
            DynamicImage::ImageRgb8(picture).write_to(&mut bytes, format).expect("encoded");
            Bytes::from(bytes.into_inner())
        };
        let webp = |number: u32| {
            let wanted = Transform::new(Some(300), None, Fit::Inside, Format::Webp, None).expect("right");
            let made = transform(&photo(number, 400, 300), &Limits::default(), &wanted).expect("made");
            Bytes::from(made.bytes)
        };
        let contents: [(&str, Bytes); 16] = [
            ("one.jpg", photo(1, 40, 30)),
            ("two.jpg", photo(2, 300, 200)),
            ("three.jpg", photo(3, 640, 480)),
            ("four.jpg", photo(4, 900, 700)),
            ("five.jpg", photo(5, 100, 400)),
            ("six.png", other(6, ImageFormat::Png)),
            ("seven.png", other(7, ImageFormat::Png)),
            ("eight.png", other(8, ImageFormat::Png)),
            ("nine.webp", webp(9)),
            ("ten.webp", webp(10)),
            ("eleven.webp", webp(11)),
            ("twelve.gif", other(12, ImageFormat::Gif)),
            ("thirteen.gif", other(13, ImageFormat::Gif)),
            ("fourteen.txt", Bytes::from_static(b"not a picture")),
            ("fifteen.pdf", Bytes::from_static(b"%PDF-1.7\nnot one either")),
            ("sixteen.bin", Bytes::from(vec![16; 300_000])),
        ];
        let file = |(name, bytes): (&str, Bytes)| File {
            name: name.to_owned(),
            hash: Hash::of(&bytes),
            is_image: mana_media::image::sniff(&bytes).is_image(),
            bytes,
        };
        contents.into_iter().map(file).collect()
    })
}

pub(super) async fn open(orders: &Orders, db: Db) -> Media {
    let location = match &orders.place {
        Place::Disk(folder) => Location::Disk(folder.clone()),
        Place::S3(endpoint) => Location::S3(Box::new(S3 {
            bucket: "photos".to_owned(),
            prefix: "mana/test".to_owned(),
            endpoint: Some(endpoint.clone()),
            region: None,
            key_id: Some("mana".to_owned()),
            secret: Secret::new("a secret key"),
        })),
    };
    let options = Options { grace: GRACE, decodes: 2, cache_bytes: 300_000, ..Options::new(location, &orders.work) };
    Media::open(options, db, Arc::new(SystemRandom)).await.expect("opens")
}

struct Worker {
    media: Media,
    user: UserId,
    book: Book,
    paper: std::fs::File,
    chance: SeededRandom,
    quota: usize,
}

#[test]
#[ignore = "a process that the tests beside it start and kill"]
fn works() {
    let mut orders = String::new();
    std::io::stdin().read_to_string(&mut orders).expect("orders");
    if orders.trim().is_empty() {
        return; // started by hand
    }
    let orders: Orders = serde_json::from_str(&orders).expect("orders");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(work(orders));
}

async fn work(orders: Orders) {
    let db = Db::open(&DbOptions::new(orders.database.clone()), Arc::new(SystemClock::default())).await.expect("opens");
    let media = open(&orders, db).await;
    let stop = CancellationToken::new();
    let jobs = tokio::spawn({
        let (media, stop) = (media.clone(), stop.clone());
        async move { media.run_jobs(stop).await }
    });
    let mut workers = tokio::task::JoinSet::new();
    for (number, user) in orders.workers {
        let path = Book::path(&orders.books, number);
        let book = Book::read(&orders.books, number);
        let paper = std::fs::File::options().create(true).append(true).open(path).expect("opens");
        let chance = SeededRandom::new(orders.seed.wrapping_add(number as u64));
        let mut worker = Worker { media: media.clone(), user, book, paper, chance, quota: orders.quota };
        workers.spawn(async move { worker.run().await });
    }
    while let Some(ended) = workers.join_next().await {
        ended.expect("a worker does not fail");
    }
    stop.cancel();
    jobs.await.expect("the jobs end");
}

impl Worker {
    fn write(&mut self, line: &str) {
        self.paper.write_all(format!("{line}\n").as_bytes()).expect("written");
        self.book.note(line);
    }

    fn below(&self, end: usize) -> usize {
        usize::try_from(self.chance.next_u64() % end as u64).expect("small")
    }

    async fn run(&mut self) {
        let found = self.book.check(&self.media, self.user).await;
        if self.book.open.is_some() {
            let mut lines = vec!["again".to_owned()];
            lines.extend(found.into_iter().map(|((app, file), id)| format!("holds {app} {file} {id}")));
            // In one piece: half of it would be another truth.
            self.paper.write_all(format!("{}\n", lines.join("\n")).as_bytes()).expect("written");
            for line in &lines {
                self.book.note(line);
            }
        }
        while self.book.done < self.quota {
            let dice = self.below(100);
            let held: Vec<(Slot, MediaId)> = self.book.held.iter().map(|(slot, id)| (*slot, *id)).collect();
            let one = (!held.is_empty()).then(|| held[self.below(held.len())]);
            match (dice, one) {
                (0..33, Some((slot, id))) => self.delete(slot, id).await,
                (33..50, Some(((_, file), id))) => self.transform(file, id).await,
                (50..64, Some(((_, file), id))) => self.variant(file, id).await,
                (64..66, _) => {
                    let now = SystemClock::default().now();
                    self.media.collect(now).await.expect("collected");
                }
                (66, _) => {
                    let report = self.media.fsck(FsckOptions::default(), |_| ()).await.expect("checked");
                    assert!(report.missing.is_empty() && report.wrong_size.is_empty(), "{report:?}");
                    assert_eq!(report.dangling, 0, "{report:?}");
                }
                _ => self.upload().await,
            }
        }
    }

    async fn upload(&mut self) {
        // A few files at a time, and soon others, for all workers: so files lose their last reference, go, and come back.
        let turn = SystemClock::default().now().as_millis() / 250;
        let file = (usize::try_from(turn).expect("a time") + self.below(5)) % files().len();
        let app = APPS[self.below(APPS.len())];
        self.write(&format!("upload {app} {file}"));
        let (name, bytes) = (files()[file].name.clone(), files()[file].bytes.clone());
        let skip_processing = self.below(4) == 0;
        let upload = Upload { user: self.user, app: Some(app.into()), name, declared: None, skip_processing };
        let record = match self.below(3) {
            0 => {
                let parts: Vec<_> = bytes.chunks(10_000).map(Bytes::copy_from_slice).map(Ok::<_, Error>).collect();
                self.media.upload(upload, futures::stream::iter(parts)).await
            }
            _ => self.media.put(upload, bytes).await,
        };
        let record = record.expect("taken in");
        assert_eq!(record.hash, files()[file].hash);
        let known = self.book.held.iter().find(|((_, number), _)| *number == file);
        assert!(known.is_none_or(|(_, id)| *id == record.id), "a file that is held became another");
        self.write(&format!("uploaded {app} {file} {}", record.id));
    }

    async fn delete(&mut self, (app, file): Slot, id: MediaId) {
        let app = if self.below(3) == 0 { '*' } else { app };
        self.write(&format!("delete {app} {file}"));
        let of = Some(app.to_string()).filter(|app| app != "*");
        self.media.delete(id, self.user, of.as_deref()).await.expect("deleted");
        self.write(&format!("deleted {app} {file}"));
        if !self.book.held.contains_key(&('a', file)) && !self.book.held.contains_key(&('b', file)) {
            let found = self.media.get(id, Viewer::User(self.user)).await.expect("an answer");
            assert_eq!(found, None, "deleted and still there");
        }
    }

    async fn transform(&mut self, file: usize, id: MediaId) {
        let width = [24, 48, 96, 150][self.below(4)];
        let format = [Format::Webp, Format::Jpeg, Format::Png][self.below(3)];
        let wanted = Transform::new(Some(width), None, Fit::Inside, format, None).expect("right");
        match self.media.transform(id, &wanted).await {
            Ok(blob) => {
                let bytes = blob.bytes().await.expect("read");
                assert_eq!(Hash::of(&bytes), expected(file, &wanted), "{} {}", files()[file].name, wanted.canonical());
            }
            Err(Error::NotAnImage) => assert!(!files()[file].is_image),
            Err(error) => panic!("{}: {error}", files()[file].name),
        }
        self.write("looked");
    }

    async fn variant(&mut self, file: usize, id: MediaId) {
        let variant = Variant::ALL[self.below(3)];
        match self.media.open_variant(id, variant).await.expect("an answer") {
            VariantAnswer::Ready(blob) => {
                assert!(files()[file].is_image);
                match blob.rehash().await {
                    Ok(hash) => assert_eq!(hash.to_string(), blob.etag),
                    Err(error) => panic!("{} {variant}: {error}", files()[file].name),
                }
            }
            VariantAnswer::Absent => assert!(variant != Variant::Thumb || !files()[file].is_image),
            VariantAnswer::NotReady | VariantAnswer::Failed(_) => {} // its processes died too often
        }
        self.write("looked");
    }
}

/// What a transform of a file has to be, whoever made it when.
fn expected(file: usize, wanted: &Transform) -> Hash {
    static MADE: OnceLock<Mutex<HashMap<(usize, String), Hash>>> = OnceLock::new();
    let mut made = MADE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    *made.entry((file, wanted.canonical())).or_insert_with(|| {
        let encoded = transform(&files()[file].bytes, &Limits::default(), wanted).expect("can be made");
        Hash::of(&encoded.bytes)
    })
}
