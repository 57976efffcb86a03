//! `mana media`: files in, and whether all of them are there.

use std::collections::{BTreeMap, HashSet};
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mana_identity::Account;
use mana_media::{FsckOptions, Media as Service, Record, Status, Upload, Viewer, image};
use mana_web::{CancellationToken, causes};
use serde_json::{Value, json};

use crate::app::App;
use crate::cli::{Media, Role};
use crate::failure::{Failure, Result};
use crate::local::first_admin;
use crate::print;
use crate::settings::Settings;

/// How much of a file tells what it is.
const HEAD: u64 = 4_096;

/// How many faults are named one by one.
const NAMED: usize = 20;

pub(super) async fn run(settings: &Settings, command: Media, as_json: bool) -> Result {
    let app = App::open(settings, &[Role::Identity, Role::Media], settings.listen, false).await?;
    let media = app.media.clone().ok_or_else(|| Failure::Failed("this process has no media role".into()))?;
    let done = match command {
        Media::Import { paths, user, app: name, all } => {
            import(&app, &media, Import { paths, user, name, all }, as_json).await
        }
        Media::Fsck { deep, repair } => fsck(&media, FsckOptions { deep, repair }, as_json).await,
        Media::Gc => collect(&app, &media, as_json).await,
        Media::Stats => stats(&media, as_json).await,
    };
    app.close().await?;
    done
}

fn failed(error: &mana_media::Error) -> Failure {
    Failure::Failed(causes(error))
}

/// The time that decides about files: the database's own.
async fn now(app: &App) -> Result<mana_types::Timestamp> {
    let db = app.db.as_ref().ok_or_else(|| Failure::Failed("this process has no database".into()))?;
    Ok(db.now().await?)
}

struct Import {
    paths: Vec<PathBuf>,
    user: Option<String>,
    name: String,
    all: bool,
}

/// What came of an import.
#[derive(Default)]
struct Imported {
    new: Vec<(PathBuf, Record)>,
    known: u64,
    /// Files that are no images.
    passed_over: u64,
    failed: Vec<(PathBuf, String)>,
}

async fn import(app: &App, media: &Service, wanted: Import, as_json: bool) -> Result {
    let owner = owner(app, wanted.user.as_deref()).await?;
    let paths = wanted.paths;
    let (files, mut done) = tokio::task::spawn_blocking(move || find(&paths, wanted.all))
        .await
        .map_err(|error| Failure::Failed(error.to_string()))?;
    // By the clock that dates references.
    let began = now(app).await?;
    let mut seen = HashSet::new();
    let stop = CancellationToken::new();
    let worker = tokio::spawn({
        let (media, stop) = (media.clone(), stop.clone());
        async move { media.run_jobs(stop).await }
    });

    let bar = bar(files.len(), "read");
    for path in &files {
        let upload = Upload {
            user: owner.id,
            app: Some(wanted.name.clone()),
            name: path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            declared: None,
            skip_processing: false,
        };
        match media.put_file(upload, path).await {
            // The same bytes under a second name are new only once.
            Ok(record) if record.created_at >= began && seen.insert(record.id) => done.new.push((path.clone(), record)),
            Ok(_) => done.known += 1,
            Err(error) => done.failed.push((path.clone(), causes(&error))),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    wait_until_ready(media, owner.id, &mut done).await?;
    stop.cancel();
    worker.await.map_err(|error| Failure::Failed(error.to_string()))?;
    tell(&done, &owner, as_json)
}

async fn owner(app: &App, email: Option<&str>) -> Result<Account> {
    let identity = app.identity.as_ref().ok_or_else(|| Failure::Failed("there is no identity role".into()))?;
    match email {
        Some(email) => identity
            .user_by_email(email)
            .await
            .map_err(|error| Failure::Other(error.into()))?
            .ok_or_else(|| Failure::NotFound(format!("there is no account `{email}`"))),
        None => first_admin(identity).await?.ok_or_else(|| {
            Failure::NotFound("there is no administrator yet: `mana user add EMAIL --admin` makes one".into())
        }),
    }
}

/// The files to bring in, in the order of their paths, and what is wrong with others. Hidden files and links are left out.
fn find(paths: &[PathBuf], all: bool) -> (Vec<PathBuf>, Imported) {
    let mut found = Vec::new();
    let mut done = Imported::default();
    let mut folders: Vec<PathBuf> = Vec::new();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(what) if what.is_dir() => folders.push(path.clone()),
            Ok(what) if what.is_file() => found.push(path.clone()),
            // A pipe or a device may never come to an end.
            Ok(_) => done.failed.push((path.clone(), "it is neither a file nor a folder".to_owned())),
            Err(error) => done.failed.push((path.clone(), error.to_string())),
        }
    }
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                done.failed.push((folder, error.to_string()));
                continue;
            }
        };
        for entry in entries {
            match entry.and_then(|entry| Ok((entry.file_type()?, entry))) {
                Ok((_, entry)) if entry.file_name().to_string_lossy().starts_with('.') => {}
                Ok((kind, entry)) if kind.is_dir() => folders.push(entry.path()),
                Ok((kind, entry)) if kind.is_file() => found.push(entry.path()),
                Ok(_) => {}
                Err(error) => done.failed.push((folder.clone(), error.to_string())),
            }
        }
    }
    found.sort();
    found.dedup();
    found.retain(|path| match all.then_some(true).map_or_else(|| is_image(path), Ok) {
        Ok(true) => true,
        Ok(false) => {
            done.passed_over += 1;
            false
        }
        Err(error) => {
            done.failed.push((path.clone(), error.to_string()));
            false
        }
    });
    (found, done)
}

fn is_image(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::new();
    std::fs::File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(image::sniff(&head).is_image())
}

/// Waits until the variants of everything new are made, and takes those out that cannot be.
async fn wait_until_ready(media: &Service, user: mana_types::UserId, done: &mut Imported) -> Result {
    let bar = bar(done.new.len(), "made ready");
    let mut waiting = std::mem::take(&mut done.new);
    while !waiting.is_empty() {
        let mut still = Vec::new();
        for (path, record) in waiting {
            let Some(now) = media.get(record.id, Viewer::User(user)).await.map_err(|error| failed(&error))? else {
                continue;
            };
            match now.status {
                Status::Processing => still.push((path, now)),
                Status::Ready => {
                    bar.inc(1);
                    done.new.push((path, now));
                }
                Status::Failed => {
                    bar.inc(1);
                    let reason = now.reason.clone().unwrap_or_else(|| "it could not be processed".into());
                    done.failed.push((path, format!("kept without variants: {reason}")));
                }
            }
        }
        waiting = still;
        if !waiting.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn tell(done: &Imported, owner: &Account, as_json: bool) -> Result {
    let bytes: u64 = done.new.iter().map(|(_, record)| record.size).sum();
    if as_json {
        let failed: BTreeMap<String, &str> =
            done.failed.iter().map(|(path, why)| (path.display().to_string(), why.as_str())).collect();
        print::json(&json!({
            "new": done.new.len(), "bytes": bytes, "known": done.known, "notImages": done.passed_over, "failed": failed,
        }))?;
    } else {
        for (path, why) in done.failed.iter().take(NAMED) {
            print::say(&format!("{}: {why}", path.display()));
        }
        print::out(&format!(
            "{} new files ({}) for {}, {} known already, {} no images, {} failed",
            done.new.len(),
            size(bytes),
            owner.email,
            done.known,
            done.passed_over,
            done.failed.len()
        ))?;
    }
    if done.failed.is_empty() { Ok(()) } else { Err(Failure::Failed(format!("{} files failed", done.failed.len()))) }
}

async fn fsck(media: &Service, options: FsckOptions, as_json: bool) -> Result {
    let bar = bar(0, "checked");
    let found = media
        .fsck(options, |progress| {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        })
        .await
        .map_err(|error| failed(&error))?;
    bar.finish_and_clear();
    if options.repair {
        media.run_pending_jobs_once().await.map_err(|error| failed(&error))?; // no server has to run for it
    }
    let value = serde_json::to_value(&found).unwrap_or(Value::Null);
    if as_json {
        print::json(&value)?;
    } else {
        print::out(&format!(
            "{} files ({}), {} variants, {} objects; {} younger than the time of grace",
            found.media,
            size(found.bytes),
            found.variants,
            found.objects,
            found.young
        ))?;
        for (member, what) in [
            ("missing", "without bytes"),
            ("wrongSize", "with the wrong size"),
            ("wrongHash", "with other bytes than they should have"),
            ("badVariants", "damaged variants"),
            ("orphans", "objects that nothing names"),
        ] {
            let all = value[member].as_array().map_or(&[][..], Vec::as_slice);
            if !all.is_empty() {
                let named: Vec<String> = all.iter().take(NAMED).map(|id| id.to_string().replace('"', "")).collect();
                print::say(&format!("{} {what}: {}", all.len(), named.join(", ")));
            }
        }
        if found.dangling > 0 {
            print::say(&format!("{} references to files that do not exist", found.dangling));
        }
        if found.repaired > 0 {
            print::say(&format!("{} repaired", found.repaired));
        }
    }
    if found.is_clean() { Ok(()) } else { Err(Failure::Problems("not everything is in order".into())) }
}

async fn collect(app: &App, media: &Service, as_json: bool) -> Result {
    let found = media.collect(now(app).await?).await.map_err(|error| failed(&error))?;
    if as_json {
        return print::json(&json!({
            "media": found.media, "bytes": found.bytes, "orphans": found.orphans, "temporary": found.temporary,
            "cached": found.cached,
        }));
    }
    print::out(&format!(
        "removed {} files ({}), {} objects that nothing named, {} unfinished uploads, {} cached transforms",
        found.media,
        size(found.bytes),
        found.orphans,
        found.temporary,
        found.cached
    ))
}

async fn stats(media: &Service, as_json: bool) -> Result {
    let found = media.stats(Viewer::Service).await.map_err(|error| failed(&error))?;
    if as_json {
        return print::json(&serde_json::to_value(&found).unwrap_or(Value::Null));
    }
    if found.total_count == 0 {
        print::say("no files yet: `mana media import DIR` brings a folder in");
        return Ok(());
    }
    let row = |name: String, share: mana_media::Share| vec![name, share.count.to_string(), size(share.size)];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (app, share) in &found.by_app {
        rows.push(row(if app.is_empty() { "(no app)".into() } else { app.clone() }, *share));
    }
    for (year, share) in &found.by_year {
        rows.push(row(year.to_string(), *share));
    }
    rows.push(vec!["all".into(), found.total_count.to_string(), size(found.total_size)]);
    print::out(&print::table(&["of", "files", "size"], rows))
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// A bar on a terminal, nothing elsewhere.
fn bar(count: usize, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(count).unwrap_or(u64::MAX)).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len}  {eta}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
