//! Files in memory, for stories about modules.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use mana_registry::{
    MadePictures, MediaFault, MediaFile, MediaList, MediaQuery, MediaStats, MediaStore, MediaUrls, NewFile,
    NewPictures, Pending, Shot, UploadUrl,
};
use mana_testkit::TestDb;
use mana_types::{Clock, MediaId, Timestamp, UserId};

/// One file that somebody has for an app.
#[derive(Debug, Clone)]
struct Held {
    user: UserId,
    app: String,
    content: u64,
    bytes: Vec<u8>,
    file: MediaFile,
}

/// A service of files in memory.
#[derive(Debug)]
pub(crate) struct MemoryMedia {
    test: TestDb,
    held: Mutex<Vec<Held>>,
    wishes: Mutex<Vec<NewPictures>>,
}

/// What a photo is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snap {
    pub(crate) name: &'static str,
    pub(crate) app: &'static str,
    pub(crate) mime: &'static str,
    pub(crate) taken: Option<&'static str>,
    pub(crate) offset_minutes: Option<i16>,
    pub(crate) place: Option<(f64, f64)>,
    pub(crate) camera: Option<&'static str>,
}

fn done<T: Send + 'static>(value: Result<T, MediaFault>) -> Pending<'static, T> {
    Box::pin(std::future::ready(value))
}

impl MemoryMedia {
    pub(crate) fn new(test: TestDb) -> Self {
        Self { test, held: Mutex::default(), wishes: Mutex::default() }
    }

    /// What was asked of the model.
    pub(crate) fn wishes(&self) -> Vec<NewPictures> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The apps for which a user has a file.
    pub(crate) fn apps(&self, user: UserId, id: &str) -> Vec<String> {
        self.all(user).into_iter().filter(|held| held.file.id.to_string() == id).map(|held| held.app).collect()
    }

    /// A photo of somebody's.
    pub(crate) fn snap(&self, user: UserId, snap: &Snap) -> MediaId {
        let mime = if snap.mime.is_empty() { "image/jpeg" } else { snap.mime };
        let new = NewFile {
            app: if snap.app.is_empty() { "photos" } else { snap.app },
            name: snap.name.into(),
            declared: Some(mime.into()),
            bytes: snap.name.as_bytes().to_vec(),
        };
        let id = self.keep(user, new).id;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = held.iter_mut().find(|held| held.file.id == id).expect("just added");
        held.file.taken_at = snap.taken.map(|text| text.parse::<Timestamp>().expect("a time"));
        held.file.shot = Some(Shot {
            camera: snap.camera.map(str::to_owned),
            latitude: snap.place.map(|(latitude, _)| latitude),
            longitude: snap.place.map(|(_, longitude)| longitude),
            offset_minutes: snap.offset_minutes,
            ..Shot::default()
        });
        id
    }

    fn keep(&self, user: UserId, new: NewFile) -> MediaFile {
        let mut hasher = DefaultHasher::new();
        new.bytes.hash(&mut hasher);
        let content = hasher.finish();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let same = held.iter().find(|held| held.content == content).map(|held| held.file.id);
        let id = same.unwrap_or_else(|| MediaId::unguessable(&*self.test.random));
        let file = MediaFile {
            id,
            name: new.name,
            app: Some(new.app.into()),
            mime_type: new.declared.unwrap_or_else(|| "application/octet-stream".into()),
            size: new.bytes.len() as u64,
            status: "ready".into(),
            pixels: None,
            taken_at: None,
            created_at: self.test.clock.now(),
            shot: None,
        };
        if !held.iter().any(|held| held.file.id == id && held.user == user && held.app == new.app) {
            held.push(Held { user, app: new.app.into(), content, bytes: new.bytes, file: file.clone() });
        }
        file
    }

    /// The user's references.
    fn all(&self, user: UserId) -> Vec<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().filter(|held| held.user == user).cloned().collect()
    }

    /// The user's files, each once.
    fn files(&self, user: UserId) -> Vec<Held> {
        let mut files: Vec<Held> = Vec::new();
        for held in self.all(user) {
            if !files.iter().any(|known| known.file.id == held.file.id) {
                files.push(held);
            }
        }
        files
    }
}

impl MediaStore for MemoryMedia {
    fn put(&self, user: UserId, file: NewFile) -> Pending<'_, MediaFile> {
        done(Ok(self.keep(user, file)))
    }

    fn bytes(&self, user: UserId, id: MediaId, most: u64) -> Pending<'_, Vec<u8>> {
        let found = self.files(user).into_iter().find(|held| held.file.id == id);
        done(found.filter(|held| held.file.size <= most).map(|held| held.bytes).ok_or(MediaFault::Missing))
    }

    fn find(&self, user: UserId, id: MediaId) -> Pending<'_, Option<MediaFile>> {
        done(Ok(self.files(user).into_iter().map(|held| held.file).find(|file| file.id == id)))
    }

    fn list(&self, user: UserId, query: MediaQuery) -> Pending<'_, MediaList> {
        let prefix = query.mime_type.as_deref().unwrap_or_default().trim_end_matches('*').to_owned();
        let mut files: Vec<MediaFile> = self
            .files(user)
            .into_iter()
            .filter(|held| query.apps.is_empty() || query.apps.contains(&held.app))
            .map(|held| held.file)
            .filter(|file| file.mime_type.starts_with(&prefix))
            .filter(|file| query.from.is_none_or(|from| file.time() >= from))
            .filter(|file| query.to.is_none_or(|to| file.time() <= to))
            .filter(|file| query.has_location.is_none_or(|has| file.place().is_some() == has))
            .collect();
        files.sort_by_key(|file| std::cmp::Reverse((file.time(), file.id)));
        let total = files.len() as u64;
        // Small parts, so that stories walk over their seams.
        let limit = query.limit.min(3) as usize;
        let items: Vec<MediaFile> =
            files.into_iter().skip(usize::try_from(query.offset).expect("small")).take(limit).collect();
        let has_more = query.offset + (items.len() as u64) < total;
        done(Ok(MediaList { items, total, has_more }))
    }

    fn stats(&self, user: UserId) -> Pending<'_, MediaStats> {
        let mut stats = MediaStats::default();
        let (mut by_app, mut by_year) = (BTreeMap::<String, (u64, u64)>::new(), BTreeMap::<i64, (u64, u64)>::new());
        for held in self.files(user) {
            stats.count += 1;
            stats.size += held.file.size;
            let year = i64::from(held.file.time().date_in(&jiff::tz::TimeZone::UTC).0.year());
            for share in [by_app.entry(held.app).or_default(), by_year.entry(year).or_default()] {
                share.0 += 1;
                share.1 += held.file.size;
            }
        }
        done(Ok(MediaStats { by_app, by_year, ..stats }))
    }

    fn missing(&self, user: UserId, ids: Vec<MediaId>, apps: &'static [&'static str]) -> Pending<'_, Vec<MediaId>> {
        let all = self.all(user);
        let has = |id: &MediaId| {
            all.iter().any(|held| held.file.id == *id && (apps.is_empty() || apps.contains(&held.app.as_str())))
        };
        done(Ok(ids.into_iter().filter(|id| !has(id)).collect()))
    }

    fn forget(&self, user: UserId, id: MediaId, app: &'static str) -> Pending<'_, ()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.len();
        held.retain(|held| !(held.user == user && held.file.id == id && held.app == app));
        done(if held.len() < before { Ok(()) } else { Err(MediaFault::Missing) })
    }

    fn urls(&self, id: MediaId) -> MediaUrls {
        let of = |size: &str| format!("https://mana.test/{id}/{size}");
        MediaUrls { original: of("file"), thumbnail: of("thumb"), medium: of("medium"), large: of("large") }
    }

    fn upload_url(&self, _: UserId, app: &'static str, name: String) -> Pending<'_, UploadUrl> {
        let expires_at = self.test.clock.now().plus_millis(900_000);
        done(Ok(UploadUrl {
            url: format!("https://mana.test/upload/{app}/{name}"),
            expires_at,
            max_bytes: 100_000_000,
        }))
    }

    fn generate(&self, user: UserId, wanted: NewPictures) -> Pending<'_, MadePictures> {
        let all = self.all(user);
        let foreign =
            wanted.references.iter().any(|id| !all.iter().any(|held| held.file.id == *id && held.app == "me"));
        if foreign {
            let message = "some of the pictures are not yours".to_owned();
            return done(Err(MediaFault::Refused { code: "reference-missing", message, hint: None }));
        }
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        wishes.push(wanted.clone());
        let made = (0..wanted.count).map(|n| {
            let bytes = format!("{} {n} {}", wanted.prompt, wishes.len()).into_bytes();
            let (name, declared) = ("picture.png".into(), Some("image/png".into()));
            self.keep(user, NewFile { app: "picture", name, declared, bytes }).id
        });
        let images = made.collect();
        done(Ok(MadePictures { images, model: "test-model".into(), credits: i64::from(wanted.count) * 5 }))
    }

    fn credits(&self, _: UserId) -> Pending<'_, i64> {
        let spent: i64 = self.wishes().iter().map(|wish| i64::from(wish.count) * 5).sum();
        done(Ok(100 - spent))
    }
}

/// The same service behind the trait.
pub(crate) fn shared(media: &Arc<MemoryMedia>) -> Arc<dyn MediaStore> {
    Arc::clone(media) as Arc<dyn MediaStore>
}
