//! `mana media`: a folder of mixed files becomes a gallery, and damage is found.

mod pictures;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mana_store::{Db, DbOptions};
use mana_types::SystemClock;
use serde_json::{Value, json};

use crate::support::{Home, Server};
use pictures::{Folder, Picture};

async fn home_with_admin(home: Home) -> Home {
    let ended = home.run(&["user", "add", "boss@b.example", "--admin"]).await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    home
}

/// Runs `mana media …  --json`: its code and what it printed.
async fn media(home: &Home, arguments: &[&str]) -> (i32, Value) {
    let ended = home.run(&[&["media"], arguments, &["--json"]].concat()).await;
    let value = serde_json::from_str(&ended.out);
    (ended.code, value.unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{}\n{}", ended.out, ended.err)))
}

async fn db(home: &Home) -> Db {
    let address = home.database.clone().unwrap_or_else(|| format!("sqlite:{}", home.data().join("mana.db").display()));
    Db::open(&DbOptions::new(address), Arc::new(SystemClock::default())).await.expect("opens")
}

/// A client that asks as the administrator.
struct Asker<'a> {
    server: &'a Server,
    token: String,
}

impl Asker<'_> {
    async fn get(&self, path: &str) -> Value {
        self.answer(reqwest::Client::new().get(format!("{}{path}", self.server.url))).await
    }

    async fn tool(&self, name: &str, input: Value) -> Value {
        let url = format!("{}/api/v1/tools/{name}", self.server.url);
        self.answer(reqwest::Client::new().post(url).json(&input)).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.bearer_auth(&self.token).send().await.expect("answers");
        let status = answer.status();
        let body = answer.text().await.expect("a body");
        assert!(status.is_success(), "{status}: {body}");
        if body.is_empty() { Value::Null } else { serde_json::from_str(&body).expect("JSON") }
    }

    /// Names of the files of `list/all`, and how many it says there are.
    async fn names(&self, query: &str) -> (Vec<String>, usize) {
        let found = self.get(&format!("/api/v1/media/list/all?limit=500&{query}")).await;
        let items = found["items"].as_array().expect("a list");
        let names = items.iter().map(|item| item["originalName"].as_str().expect("a name").to_owned()).collect();
        (names, usize::try_from(found["total"].as_u64().expect("a number")).expect("small"))
    }
}

fn names<'a>(pictures: impl IntoIterator<Item = &'a Picture>) -> BTreeSet<String> {
    pictures.into_iter().map(Picture::stored_name).collect()
}

async fn a_folder_becomes_a_gallery(home: Home) {
    let home = home_with_admin(home).await;
    let folder = Folder::make(&home.path().join("Meine Fotos"), 200);
    let path = folder.root.to_str().expect("UTF-8");
    let unreadable = if cfg!(target_os = "linux") { vec!["/proc/self/mem"] } else { vec![] };
    let paths = [&[path, "nowhere"][..], &unreadable].concat();

    let (code, first) = media(&home, &[&["import"], &paths[..]].concat()).await;
    assert_eq!(code, 1, "some failed: {first}");
    let bytes: usize = folder.pictures.iter().map(|picture| picture.size).sum();
    assert_eq!(first["new"], folder.pictures.len());
    assert_eq!((&first["bytes"], &first["known"]), (&json!(bytes), &json!(folder.duplicates)));
    assert_eq!(first["notImages"], folder.others.len());
    let failed: BTreeMap<String, String> = serde_json::from_value(first["failed"].clone()).expect("texts");
    let expected: BTreeSet<String> = folder
        .damaged
        .iter()
        .map(|path| path.display().to_string())
        .chain(["nowhere"].into_iter().chain(unreadable.iter().copied()).map(str::to_owned))
        .collect();
    assert_eq!(failed.keys().cloned().collect::<BTreeSet<_>>(), expected);
    assert!(folder.damaged.iter().all(|path| failed[&path.display().to_string()].starts_with("kept without variants")));

    // Again: everything is known, and that is no failure.
    let (code, again) = media(&home, &["import", path]).await;
    let known = folder.pictures.len() + folder.duplicates + folder.damaged.len();
    assert_eq!(code, 0, "{again}");
    assert_eq!(again, json!({"new": 0, "bytes": 0, "known": known, "notImages": folder.others.len(), "failed": {}}));
    let text = home.run(&["media", "import", path]).await;
    assert_eq!(
        text.out,
        format!(
            "0 new files (0 B) for boss@b.example, {known} known already, {} no images, 0 failed\n",
            folder.others.len()
        )
    );

    // What is no image comes only if it is asked for; what is empty never does.
    let (code, all) = media(&home, &["import", path, "--all", "--app", "papers"]).await;
    assert_eq!(code, 1);
    assert_eq!(all["notImages"], 0);
    // For another app the rest is new, and what is damaged still is.
    assert_eq!(all["new"], folder.pictures.len() + folder.others.len() - 1);
    let failed: BTreeSet<&String> = all["failed"].as_object().expect("an object").keys().collect();
    let expected: BTreeSet<String> =
        folder.damaged.iter().chain([&folder.empty]).map(|path| path.display().to_string()).collect();
    assert_eq!(failed, expected.iter().collect());

    count(&home, &folder).await;
}

/// What the gallery says, against the list of what was made.
async fn count(home: &Home, folder: &Folder) {
    let stats = home.json(&["media", "stats"]).await;
    let kept = folder.pictures.len() + folder.damaged.len();
    assert_eq!(stats["byApp"]["photos"]["count"], kept);
    assert_eq!(stats["totalCount"], kept + folder.others.len() - 1);
    let mut years: BTreeMap<&str, usize> = BTreeMap::new();
    for picture in folder.pictures.iter().filter_map(|picture| picture.taken.as_deref()) {
        *years.entry(&picture[..4]).or_default() += 1;
    }
    assert!(years.len() > 5);
    for (year, count) in &years {
        assert_eq!(stats["byYear"][year]["count"], *count, "{year}: {stats}");
    }
    let table = home.run(&["media", "stats"]).await;
    assert!(table.out.lines().any(|line| line.trim_start().starts_with("all ")), "{}", table.out);

    let mut server = Server::start(home.mana(&["up", "--no-initial-tick", "--listen", "127.0.0.1:0"])).await;
    let host = server.url.strip_prefix("http://").expect("a scheme").to_owned();
    let token = home.run(&["token", "--listen", &host]).await;
    let asker = Asker { server: &server, token: token.out.trim().to_owned() };

    // The timeline: by the moment of taking, the latest first. What has none counts by its upload, which is today.
    let (timeline, total) = asker.names("apps=photos&sortBy=dateTaken").await;
    assert_eq!((timeline.len(), total), (kept, kept));
    let mut dated: Vec<&Picture> = folder.pictures.iter().filter(|picture| picture.utc.is_some()).collect();
    dated.sort_by_key(|picture| std::cmp::Reverse(picture.utc));
    let expected: Vec<String> = dated.iter().map(|picture| picture.stored_name()).collect();
    assert_eq!(timeline[kept - expected.len()..], expected);

    let with = |fits: &dyn Fn(&Picture) -> bool| names(folder.pictures.iter().filter(|picture| fits(picture)));
    let in_2019 = |picture: &Picture| picture.utc.is_some_and(|utc| utc.to_string().starts_with("2019"));
    for (query, expected) in [
        ("hasLocation=true", with(&|picture| picture.place.is_some())),
        ("mimeType=image/png", with(&|picture| picture.mime == "image/png")),
        ("mimeType=image/gif", with(&|picture| picture.mime == "image/gif")),
        ("dateFrom=2019-01-01&dateTo=2019-12-31", with(&in_2019)),
        (
            "dateTo=2018-06-30&hasLocation=true&mimeType=image/jpeg",
            with(&|picture| {
                picture.place.is_some() && picture.utc.is_some_and(|utc| utc.to_string().as_str() < "2018-07")
            }),
        ),
    ] {
        let (found, total) = asker.names(&format!("apps=photos&{query}")).await;
        assert!(!expected.is_empty() && total == expected.len(), "{query}: {total} instead of {}", expected.len());
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "{query}");
    }

    // The module over it, page by page.
    let mut listed = Vec::new();
    let mut input = json!({"limit": 60, "camera": "Testa"});
    loop {
        let page = asker.tool("photos_list", input.clone()).await;
        let items = page["items"].as_array().expect("a list");
        listed.extend(items.iter().map(|item| item["name"].as_str().expect("a name").to_owned()));
        match page.get("nextCursor").filter(|cursor| !cursor.is_null()) {
            Some(cursor) => input["cursor"] = cursor.clone(),
            None => break,
        }
    }
    let expected: Vec<String> =
        dated.iter().filter(|picture| picture.camera == Some("Testa")).map(|picture| picture.stored_name()).collect();
    assert_eq!(listed, expected);
    let explored = asker.tool("photos_explore", json!({"by": "camera"})).await;
    let groups = explored["groups"].as_array().expect("groups");
    for camera in ["Testa", "Probica"] {
        let count = folder.pictures.iter().filter(|picture| picture.camera == Some(camera)).count();
        let group = groups.iter().find(|group| group["name"].as_str().is_some_and(|name| name.contains(camera)));
        assert_eq!(group.expect("a camera")["count"], count, "{explored}");
    }
    assert_eq!(server.terminate().await, 0);
}

#[tokio::test]
async fn a_folder_of_mixed_files_becomes_a_gallery() {
    a_folder_becomes_a_gallery(Home::sqlite()).await;
}

#[tokio::test]
async fn a_folder_of_mixed_files_becomes_a_gallery_on_postgresql() {
    match Home::postgres().await {
        Some(home) => a_folder_becomes_a_gallery(home).await,
        None => eprintln!("not run: there is no PostgreSQL on this machine"),
    }
}

#[tokio::test]
async fn files_need_an_owner() {
    let home = Home::sqlite();
    let folder = Folder::make(&home.path().join("in"), 8);
    let path = folder.root.to_str().expect("UTF-8");
    let nobody = home.run(&["media", "import", path]).await;
    assert_eq!(nobody.code, 3, "{nobody:?}");
    assert!(nobody.err.contains("mana user add"), "{}", nobody.err);
    let home = home_with_admin(home).await;
    let stranger = home.run(&["media", "import", path, "--user", "nobody@b.example"]).await;
    assert_eq!(stranger.code, 3, "{stranger:?}");
    assert_eq!(home.run(&["media", "import"]).await.code, 2);
    let empty = home.run(&["media", "stats"]).await;
    assert_eq!((empty.code, empty.out.as_str()), (0, ""));
    assert!(empty.err.contains("mana media import"), "{}", empty.err);
    let missing = home.run(&["media", "import", "nowhere"]).await;
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.err.contains("nowhere: "), "{}", missing.err);
    assert_eq!(media(&home, &["import", path, "--user", "boss@b.example"]).await.1["new"], 8);
}

/// The objects of a store on disk, the originals or the variants.
fn objects(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn damage_is_found_and_mended() {
    let home = home_with_admin(Home::sqlite()).await;
    let folder = Folder::make(&home.path().join("in"), 8);
    let path = folder.root.to_str().expect("UTF-8");
    assert_eq!(media(&home, &["import", path]).await.1["new"], 8);
    let store = home.data().join("media/store");
    let originals = objects(&store.join("sha256"));
    let (code, clean) = media(&home, &["fsck", "--deep"]).await;
    assert_eq!((code, &clean["media"]), (0, &json!(originals.len())), "{clean}");
    let text = home.run(&["media", "fsck"]).await;
    assert!(text.code == 0 && text.out.starts_with(&format!("{} files", originals.len())), "{text:?}");

    // The same number of other bytes: only whoever reads them sees it.
    let right = std::fs::read(&originals[0]).expect("read");
    let mut wrong = right.clone();
    wrong[right.len() / 2] ^= 1;
    std::fs::write(&originals[0], &wrong).expect("written");
    assert_eq!(media(&home, &["fsck"]).await.0, 0);
    let (code, deep) = media(&home, &["fsck", "--deep"]).await;
    assert_eq!((code, deep["wrongHash"].as_array().map(Vec::len)), (8, Some(1)), "{deep}");
    let text = home.run(&["media", "fsck", "--deep"]).await;
    assert!(text.code == 8 && text.err.contains("1 with other bytes than they should have: "), "{text:?}");

    // One is cut short, one is gone: bringing the same files again brings them back.
    std::fs::write(&originals[0], &right[..right.len() / 2]).expect("written");
    std::fs::remove_file(&originals[1]).expect("removed");
    let (code, found) = media(&home, &["fsck"]).await;
    assert_eq!(code, 8);
    for fault in ["wrongSize", "missing"] {
        assert_eq!(found[fault].as_array().map(Vec::len), Some(1), "{found}");
    }
    assert_eq!(media(&home, &["import", path]).await.0, 0);
    let (code, found) = media(&home, &["fsck", "--deep"]).await;
    assert_eq!(code, 0, "{found}");

    // A variant is made anew, and litter is swept once it is old.
    std::fs::remove_file(&objects(&store.join("variants"))[0]).expect("removed");
    let litter = store.join("sha256/00/00").join("0".repeat(64));
    std::fs::create_dir_all(litter.parent().expect("a folder")).expect("a folder");
    std::fs::write(&litter, "litter").expect("written");
    let (code, found) = media(&home, &["fsck"]).await;
    assert_eq!((code, &found["young"], found["badVariants"].as_array().map(Vec::len)), (8, &json!(1), Some(1)));
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_hours(24);
    std::fs::File::options().write(true).open(&litter).and_then(|file| file.set_modified(long_ago)).expect("set");
    let (code, mended) = media(&home, &["fsck", "--repair"]).await;
    assert_eq!((code, &mended["repaired"]), (8, &json!(2)), "{mended}");
    let (code, found) = media(&home, &["fsck", "--deep"]).await;
    assert_eq!((code, litter.exists()), (0, false), "{found}");
}

#[tokio::test]
async fn what_nobody_needs_goes_after_its_time_of_grace() {
    let home = home_with_admin(Home::sqlite()).await;
    let folder = Folder::make(&home.path().join("in"), 8);
    assert_eq!(media(&home, &["import", folder.root.to_str().expect("UTF-8")]).await.1["new"], 8);
    let before = home.json(&["media", "stats"]).await;
    let db = db(&home).await;
    let mut tx = db.begin().await.expect("begins");
    tx.query("DELETE FROM media_reference").execute().await.expect("deleted");
    tx.commit().await.expect("kept");
    let none = json!({"media": 0, "bytes": 0, "orphans": 0, "temporary": 0, "cached": 0});
    assert_eq!(home.json(&["media", "gc"]).await, none, "the time of grace has just begun");
    let mut tx = db.begin().await.expect("begins");
    let moved = tx.query("UPDATE media SET condemned = condemned - 3600000").execute().await.expect("moved");
    tx.commit().await.expect("kept");
    assert_eq!(before["totalCount"], moved);
    let text = home.run(&["media", "gc"]).await;
    assert!(text.code == 0 && text.out.starts_with(&format!("removed {moved} files (")), "{text:?}");
    assert_eq!(home.json(&["media", "gc"]).await, none);
    for root in ["sha256", "variants"] {
        assert_eq!(objects(&home.data().join("media/store").join(root)), Vec::<PathBuf>::new());
    }
    assert_eq!(media(&home, &["fsck", "--deep"]).await.0, 0);
}
