//! What uploads cost beyond the disk, whether memory grows with them, and what a transform costs that was made before.
//!
//! `cargo bench -p mana-media --bench uploads`. What the disk allows is measured in the same run, in the same folder, in turn:
//! the same number of bytes written to files of their own and synced, as many at once. An upload also hashes, syncs the
//! folder of its name, and commits to the database.
#![expect(clippy::print_stdout, reason = "a benchmark speaks to a terminal")]
#![expect(clippy::cast_precision_loss, reason = "sizes of files, as megabytes")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use mana_media::image::{Fit, Format, Transform};
use mana_media::{Location, Media, Options, Upload};
use mana_store::{Db, DbOptions};
use mana_types::{Clock, SystemClock, SystemRandom, UserId};

#[expect(dead_code, reason = "the other benchmark compares pictures")]
mod support;

// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a file.
const SIZE: usize = 3_000_000;
/// How many are on their way at once.
const AT_ONCE: usize = 8;
/// Files of a round.
const FILES: usize = 48;
const ROUNDS: usize = 5;
/// How many ask for the same transform at once.
const ASKERS: usize = 64;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on a real disk");
    let (media, user) = open(folder.path()).await;
    memory(&media, user).await; // first: later on, everything larger has been there already

    let mut ratios = Vec::new();
    println!("{FILES} files of {} MB, {AT_ONCE} at once, synced; files a second", SIZE / 1_000_000);
    for round in 0..ROUNDS {
        let plain = plain(&folder.path().join(format!("plain-{round}")), round).await;
        let uploads = FILES as f64 / uploaded(&media, user, FILES, SIZE, round).await;
        println!("  disk {plain:6.1}   uploads {uploads:6.1}   share {:.2}", uploads / plain);
        ratios.push(uploads / plain);
    }
    ratios.sort_by(f64::total_cmp);
    println!("share of what the disk allows, median: {:.2}", ratios[ROUNDS / 2]);

    transforms(&media, user).await;
}

async fn open(folder: &Path) -> (Media, UserId) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let address = format!("sqlite:{}", folder.join("mana.db").display());
    let db = Db::open(&DbOptions::new(address), Arc::clone(&clock)).await.expect("opens");
    let user = UserId::new(&*clock, &SystemRandom);
    let mut tx = db.begin().await.expect("begins");
    tx.query(
        "INSERT INTO account (id, email, email_key, name, password_hash, role, kind, tier, email_verified, locale, timezone,
            created, updated)
         VALUES ($1, 'anna', 'anna', 'Anna', '', 'user', 'human', 'free', TRUE, 'en', 'UTC', 0, 0)",
    )
    .bind(user)
    .execute()
    .await
    .expect("added");
    tx.commit().await.expect("kept");
    let store = folder.join("store");
    std::fs::create_dir(&store).expect("a folder");
    let options = Options::new(Location::Disk(store), folder.join("work"));
    (Media::open(options, db, Arc::new(SystemRandom)).await.expect("opens"), user)
}

/// Bytes that no other numbers give and that nothing can shorten.
fn content(round: usize, number: usize, size: usize) -> Bytes {
    let mut state = (round as u64 + 1) << 32 | number as u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend((state ^ state >> 29).to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

/// Files a second, each written and synced and nothing else.
async fn plain(folder: &Path, round: usize) -> f64 {
    std::fs::create_dir(folder).expect("a folder");
    let contents: Vec<Bytes> = (0..FILES).map(|number| content(1_000 + round, number, SIZE)).collect();
    let contents = Arc::new(contents);
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let writers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (contents, next, folder) = (Arc::clone(&contents), Arc::clone(&next), folder.to_owned());
            tokio::task::spawn_blocking(move || {
                while let Some((number, bytes)) = taken(&next, &contents) {
                    let mut file = File::create_new(folder.join(number.to_string())).expect("created");
                    file.write_all(&bytes).and_then(|()| file.sync_all()).expect("written");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("wrote");
    }
    let speed = FILES as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_dir_all(folder).expect("removed");
    speed
}

fn taken(next: &AtomicUsize, contents: &[Bytes]) -> Option<(usize, Bytes)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    contents.get(number).map(|bytes| (number, bytes.clone()))
}

/// Seconds for so many uploads, in parts as the network brings them.
async fn uploaded(media: &Media, user: UserId, count: usize, size: usize, round: usize) -> f64 {
    let contents: Arc<Vec<Bytes>> = Arc::new((0..count).map(|number| content(round, number, size)).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut uploaders = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (media, contents, next) = (media.clone(), Arc::clone(&contents), Arc::clone(&next));
        uploaders.spawn(async move {
            while let Some((number, bytes)) = taken(&next, &contents) {
                let parts = (0..bytes.len()).step_by(64 << 10);
                let parts =
                    parts.map(move |at| Ok::<_, std::io::Error>(bytes.slice(at..bytes.len().min(at + (64 << 10)))));
                let upload = new(user, &format!("{number}.bin"));
                media.upload(upload, futures::stream::iter(parts)).await.expect("taken in");
            }
        });
    }
    while let Some(ended) = uploaders.join_next().await {
        ended.expect("uploaded");
    }
    began.elapsed().as_secs_f64()
}

fn new(user: UserId, name: &str) -> Upload {
    Upload { user, app: None, name: name.to_owned(), declared: None, skip_processing: true }
}

/// The same transform, asked for by many at once and then again and again.
async fn transforms(media: &Media, user: UserId) {
    let (width, height) = (4000, 3000);
    let mut jpeg = Vec::new();
    jpeg_encoder::Encoder::new(&mut jpeg, 90)
        .encode(&support::photo(width.into(), height.into(), 6.0, 1), width, height, jpeg_encoder::ColorType::Rgb)
        .expect("encoded");
    let id = media.put(new(user, "photo.jpg"), jpeg.into()).await.expect("taken in").id;
    let wanted = |w| Transform::new(Some(w), None, Fit::Inside, Format::Webp, None).expect("right");

    let began = cpu();
    media.transform(id, &wanted(640)).await.expect("made");
    let one = cpu() - began;
    let began = cpu();
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..ASKERS {
        let (media, wanted) = (media.clone(), wanted(641));
        askers.spawn(async move { media.transform(id, &wanted).await.expect("made").etag });
    }
    while let Some(asked) = askers.join_next().await {
        asked.expect("answered");
    }
    let many = cpu() - began;
    println!("a transform of 12 MP: {:.0} ms of CPU; {ASKERS} at once for the same: {:.0} ms", one * 1e3, many * 1e3);

    let mut times = Vec::new();
    for _ in 0..500 {
        let began = Instant::now();
        let blob = media.transform(id, &wanted(640)).await.expect("there");
        assert!(!blob.bytes().await.expect("read").is_empty());
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!("again, from the cache: p50 {:.2} ms, p99 {:.2} ms", times[250], times[495]);
}

/// Resident memory after 50 and after 1,000 pictures that were processed.
async fn memory(media: &Media, user: UserId) {
    let mut after = Vec::new();
    let mut pixels = support::photo(1_000, 750, 6.0, 1);
    for number in 0..1_000_u32 {
        pixels[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b1).to_le_bytes());
        let mut jpeg = Vec::new();
        jpeg_encoder::Encoder::new(&mut jpeg, 85)
            .encode(&pixels, 1_000, 750, jpeg_encoder::ColorType::Rgb)
            .expect("encoded");
        let upload = Upload { skip_processing: false, ..new(user, &format!("{number}.jpg")) };
        media.put(upload, jpeg.into()).await.expect("taken in");
        media.run_pending_jobs_once().await.expect("worked");
        if matches!(number + 1, 50 | 1_000) {
            after.push(resident());
        }
    }
    println!(
        "resident: {:.1} MiB after 50 uploads, {:.1} MiB after 1,000: {:.2}x",
        after[0],
        after[1],
        after[1] / after[0]
    );
}

fn status(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a line");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

/// MiB.
fn resident() -> f64 {
    status("VmRSS:") / 1024.0
}

/// Seconds of processor time of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    ticks / 100.0 // USER_HZ of Linux
}
