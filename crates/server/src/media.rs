//! Files and pictures for modules: the service of this process, or that of another behind HTTP.

use std::fmt::Display;
use std::sync::Arc;

use mana_media::client::{self, AllParams, Auth, Client, ClientError};
use mana_media::image::Exif;
use mana_media::picture::{Order, PictureError, Pictures};
use mana_media::{
    Addresses, AllQuery, DoorOptions, Error, Media, Record, RecordBody, SortBy, Stats, Upload, Variant, Viewer,
};
use mana_registry::{
    MadePictures, MediaFault, MediaFile, MediaList, MediaQuery, MediaStats, MediaStore, MediaUrls, NewFile,
    NewPictures, Pending, Shot, UploadUrl,
};
use mana_types::{Clock, MediaId, Secret, UserId};
use mana_web::causes;

/// The service of this process.
#[derive(Debug)]
struct Here {
    media: Media,
    pictures: Pictures,
    addresses: Addresses,
    clock: Arc<dyn Clock>,
}

/// The service of another process, reached with a service key.
#[derive(Debug)]
struct Elsewhere {
    client: Client,
    /// Makes addresses that users can reach, which may differ from the one that this process uses.
    addresses: Addresses,
    clock: Arc<dyn Clock>,
}

/// The service of this process, as modules get it.
pub(crate) fn here(
    media: Media,
    pictures: Pictures,
    doors: &DoorOptions,
    clock: Arc<dyn Clock>,
) -> Arc<dyn MediaStore> {
    Arc::new(Here { media, pictures, addresses: Addresses::new(doors), clock })
}

/// The service at this address, as modules get it.
pub(crate) fn elsewhere(
    url: &str,
    key: Secret,
    doors: &DoorOptions,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn MediaStore>, ClientError> {
    let client = Client::new(url, Auth::ServiceKey(key))?;
    Ok(Arc::new(Elsewhere { client, addresses: Addresses::new(doors), clock }))
}

fn urls(addresses: &Addresses, clock: &dyn Clock, id: MediaId) -> MediaUrls {
    let now = clock.now();
    let of = |variant| addresses.of(id, variant, now);
    MediaUrls {
        original: of(None),
        thumbnail: of(Some(Variant::Thumb)),
        medium: of(Some(Variant::Medium)),
        large: of(Some(Variant::Large)),
    }
}

fn shot(exif: Exif) -> Shot {
    // `Canon` and `Canon EOS R6` are told as one.
    let camera = match (exif.make, exif.model) {
        (Some(make), Some(model)) if !model.to_lowercase().starts_with(&make.to_lowercase()) => {
            Some(format!("{make} {model}"))
        }
        (make, model) => model.or(make),
    };
    Shot {
        camera,
        lens: exif.lens,
        exposure_time: exif.exposure_time,
        f_number: exif.f_number,
        iso: exif.iso,
        focal_length: exif.focal_length,
        latitude: exif.latitude,
        longitude: exif.longitude,
        altitude: exif.altitude,
        offset_minutes: exif.taken.and_then(|taken| taken.offset_minutes),
    }
}

fn file(record: Record) -> MediaFile {
    MediaFile {
        id: record.id,
        name: record.original_name,
        app: record.app,
        mime_type: record.mime_type,
        size: record.size,
        status: record.status.to_string(),
        pixels: record.metadata.map(|metadata| (metadata.width, metadata.height)),
        taken_at: record.taken_at,
        created_at: record.created_at,
        shot: record.exif.map(shot),
    }
}

fn file_of_body(body: RecordBody) -> MediaFile {
    MediaFile {
        id: body.id,
        name: body.original_name,
        app: body.app,
        mime_type: body.mime_type,
        size: body.size,
        status: body.status.to_string(),
        pixels: body.metadata.width.zip(body.metadata.height),
        taken_at: body.taken_at,
        created_at: body.created_at,
        shot: body.exif.map(shot),
    }
}

fn stats(stats: Stats) -> MediaStats {
    MediaStats {
        count: stats.total_count,
        size: stats.total_size,
        by_app: stats.by_app.into_iter().map(|(app, share)| (app, (share.count, share.size))).collect(),
        by_year: stats.by_year.into_iter().map(|(year, share)| (year, (share.count, share.size))).collect(),
    }
}

fn too_large(most: u64) -> MediaFault {
    let message = format!("the file has more than {most} bytes");
    MediaFault::Refused { code: "too-large", message, hint: Some("fetch it from its address".into()) }
}

fn order(wanted: &NewPictures) -> Order {
    Order {
        prompt: wanted.prompt.clone(),
        references: wanted.references.iter().map(ToString::to_string).collect(),
        needs_reference: !wanted.references.is_empty(),
        model: wanted.model.clone(),
        quality: wanted.quality.clone(),
        size: wanted.size.clone(),
        count: i64::from(wanted.count),
    }
}

fn refused(code: &'static str, message: &dyn Display, hint: Option<&str>) -> MediaFault {
    MediaFault::Refused { code, message: message.to_string(), hint: hint.map(str::to_owned) }
}

fn fault(error: Error) -> MediaFault {
    match error {
        Error::UnknownMedia => MediaFault::Missing,
        error if error.is_transient() => {
            tracing::warn!(error = %causes(&error), "server.media.unavailable");
            MediaFault::Unavailable("files cannot be reached at the moment".into())
        }
        Error::TooLarge { .. } => refused("too-large", &error, None),
        Error::Empty | Error::NotAllowed(_) | Error::NotAnImage | Error::Image(_) => {
            refused("file-refused", &error, Some("send another file"))
        }
        error => MediaFault::Failed(Box::new(error)),
    }
}

const ME: &str = "name pictures that `me_list` shows; `me_add` adds one";

fn picture_fault(error: PictureError) -> MediaFault {
    match error {
        PictureError::NoProvider => refused("no-provider", &error, None),
        PictureError::Credits { .. } => refused("credits-exhausted", &error, Some("make fewer, or at a lower quality")),
        PictureError::Missing(ref missing) => {
            let message = format!("{error}: {}", missing.join(", "));
            refused("reference-missing", &message, Some(ME))
        }
        PictureError::Unreadable { .. } => refused("reference-unreadable", &error, Some("use another picture")),
        PictureError::Provider(_) => refused("provider-failed", &error, Some("try again, or change the prompt")),
        PictureError::Underway => MediaFault::Unavailable(error.to_string()),
        PictureError::KeyReused => refused("idempotency-key-reused", &error, Some("use a new key for a new wish")),
        PictureError::Prompt(_)
        | PictureError::NoReference
        | PictureError::TooManyReferences { .. }
        | PictureError::UnknownModel { .. }
        | PictureError::Setting { .. }
        | PictureError::InvalidKey => refused("wish-refused", &error, None),
        PictureError::Media(error) => fault(error),
        PictureError::Store(error) => fault(error.into()),
        PictureError::UnknownUser | PictureError::Task(_) => MediaFault::Failed(Box::new(error)),
    }
}

fn client_fault(error: ClientError) -> MediaFault {
    match error {
        error if error.is_not_found() => MediaFault::Missing,
        error if error.is_transient() => {
            tracing::warn!(error = %causes(&error), "server.media.unavailable");
            MediaFault::Unavailable("files cannot be reached at the moment".into())
        }
        ClientError::TooLarge { limit } => too_large(limit),
        ClientError::Refused { status: 413 | 415 | 422, detail, .. } => {
            refused("file-refused", &detail, Some("send another file"))
        }
        error => MediaFault::Failed(Box::new(error)),
    }
}

/// A refusal of the routes for pictures, by its code.
fn made_fault(error: ClientError) -> MediaFault {
    match error {
        ClientError::Refused { status, code, detail } => match (status, &*code) {
            (400, _) => refused("wish-refused", &detail, None),
            (402, _) => refused("credits-exhausted", &detail, Some("make fewer, or at a lower quality")),
            (404, _) => refused("reference-missing", &detail, Some(ME)),
            (409, _) => MediaFault::Unavailable(detail),
            (422, _) => refused("idempotency-key-reused", &detail, Some("use a new key for a new wish")),
            (502, "PROVIDER_FAILED") => refused("provider-failed", &detail, Some("try again, or change the prompt")),
            (502, "REFERENCE_UNREADABLE") => refused("reference-unreadable", &detail, Some("use another picture")),
            (503, "NO_PROVIDER") => refused("no-provider", &detail, None),
            _ => client_fault(ClientError::Refused { status, code, detail }),
        },
        error => client_fault(error),
    }
}

impl MediaStore for Here {
    fn put(&self, user: UserId, new: NewFile) -> Pending<'_, MediaFile> {
        Box::pin(async move {
            let app = Some(new.app.to_owned());
            let upload = Upload { user, app, name: new.name, declared: new.declared, skip_processing: false };
            self.media.put(upload, new.bytes.into()).await.map(file).map_err(fault)
        })
    }

    fn bytes(&self, user: UserId, id: MediaId, most: u64) -> Pending<'_, Vec<u8>> {
        Box::pin(async move {
            let record = self.media.get(id, Viewer::User(user)).await.map_err(fault)?.ok_or(MediaFault::Missing)?;
            if record.size > most {
                return Err(too_large(most));
            }
            Ok(self.media.bytes(id, user).await.map_err(fault)?.into())
        })
    }

    fn find(&self, user: UserId, id: MediaId) -> Pending<'_, Option<MediaFile>> {
        Box::pin(async move { Ok(self.media.get(id, Viewer::User(user)).await.map_err(fault)?.map(file)) })
    }

    fn list(&self, user: UserId, query: MediaQuery) -> Pending<'_, MediaList> {
        Box::pin(async move {
            let query = AllQuery {
                apps: query.apps,
                mime_type: query.mime_type,
                date_from: query.from,
                date_to: query.to,
                has_location: query.has_location,
                limit: i64::from(query.limit),
                offset: i64::try_from(query.offset).unwrap_or(i64::MAX),
                sort_by: SortBy::DateTaken,
                ..AllQuery::of(Viewer::User(user))
            };
            let all = self.media.list_all(&query).await.map_err(fault)?;
            Ok(MediaList { items: all.items.into_iter().map(file).collect(), total: all.total, has_more: all.has_more })
        })
    }

    fn stats(&self, user: UserId) -> Pending<'_, MediaStats> {
        Box::pin(async move { Ok(stats(self.media.stats(Viewer::User(user)).await.map_err(fault)?)) })
    }

    fn missing(&self, user: UserId, ids: Vec<MediaId>, apps: &'static [&'static str]) -> Pending<'_, Vec<MediaId>> {
        Box::pin(async move { self.media.verify_ownership(user, &ids, apps).await.map_err(fault) })
    }

    fn forget(&self, user: UserId, id: MediaId, app: &'static str) -> Pending<'_, ()> {
        Box::pin(async move { self.media.delete(id, user, Some(app)).await.map_err(fault) })
    }

    fn urls(&self, id: MediaId) -> MediaUrls {
        urls(&self.addresses, &*self.clock, id)
    }

    fn upload_url(&self, user: UserId, app: &'static str, name: String) -> Pending<'_, UploadUrl> {
        Box::pin(async move {
            let made = self.media.upload_url(user, Some(app), Some(&name)).await.map_err(fault)?;
            let url = self.addresses.whole(&made.path);
            Ok(UploadUrl { url, expires_at: made.expires_at, max_bytes: made.max_bytes })
        })
    }

    fn generate(&self, user: UserId, wanted: NewPictures) -> Pending<'_, MadePictures> {
        Box::pin(async move {
            let made = self.pictures.make(user, order(&wanted), wanted.key).await.map_err(picture_fault)?;
            Ok(MadePictures { images: made.images, model: made.model, credits: made.credits })
        })
    }

    fn credits(&self, user: UserId) -> Pending<'_, i64> {
        Box::pin(async move { self.pictures.credits(user).await.map_err(picture_fault) })
    }
}

impl MediaStore for Elsewhere {
    fn put(&self, user: UserId, new: NewFile) -> Pending<'_, MediaFile> {
        Box::pin(async move {
            let app = Some(new.app.to_owned());
            let upload = client::NewFile { name: new.name, mime_type: new.declared, app, skip_processing: false };
            let body = self.client.for_user(user).upload(&upload, new.bytes.into()).await;
            body.map(file_of_body).map_err(client_fault)
        })
    }

    fn bytes(&self, user: UserId, id: MediaId, most: u64) -> Pending<'_, Vec<u8>> {
        Box::pin(async move {
            // The bytes are open to whoever knows the id; whether they are this user's is asked first.
            let client = self.client.for_user(user).with_max_bytes(most);
            let record = client.get(id).await.map_err(client_fault)?.ok_or(MediaFault::Missing)?;
            if record.size > most {
                return Err(too_large(most));
            }
            Ok(client.get_buffer(id).await.map_err(client_fault)?.into())
        })
    }

    fn find(&self, user: UserId, id: MediaId) -> Pending<'_, Option<MediaFile>> {
        Box::pin(async move {
            let found = self.client.for_user(user).get(id).await.map_err(client_fault)?;
            Ok(found.map(file_of_body))
        })
    }

    fn list(&self, user: UserId, query: MediaQuery) -> Pending<'_, MediaList> {
        Box::pin(async move {
            let params = AllParams {
                apps: query.apps,
                mime_type: query.mime_type,
                date_from: query.from,
                date_to: query.to,
                has_location: query.has_location,
                limit: Some(query.limit.clamp(1, 500)),
                offset: Some(query.offset),
                sort_by: Some("dateTaken".into()),
                ascending: false,
            };
            let all = self.client.for_user(user).list_all(&params).await.map_err(client_fault)?;
            let items = all.items.into_iter().map(file_of_body).collect();
            Ok(MediaList { items, total: all.total, has_more: all.has_more })
        })
    }

    fn stats(&self, user: UserId) -> Pending<'_, MediaStats> {
        Box::pin(async move { Ok(stats(self.client.for_user(user).stats().await.map_err(client_fault)?)) })
    }

    fn missing(&self, user: UserId, ids: Vec<MediaId>, apps: &'static [&'static str]) -> Pending<'_, Vec<MediaId>> {
        Box::pin(async move { self.client.verify_ownership(user, &ids, apps).await.map_err(client_fault) })
    }

    fn forget(&self, user: UserId, id: MediaId, app: &'static str) -> Pending<'_, ()> {
        Box::pin(async move { self.client.for_user(user).delete(id, Some(app)).await.map_err(client_fault) })
    }

    fn urls(&self, id: MediaId) -> MediaUrls {
        urls(&self.addresses, &*self.clock, id)
    }

    fn upload_url(&self, user: UserId, app: &'static str, name: String) -> Pending<'_, UploadUrl> {
        Box::pin(async move {
            let made = self.client.for_user(user).upload_url(Some(app), Some(&name)).await.map_err(client_fault)?;
            let url = if made.url.starts_with('/') { self.addresses.whole(&made.url) } else { made.url };
            Ok(UploadUrl { url, expires_at: made.expires_at, max_bytes: made.max_bytes })
        })
    }

    fn generate(&self, user: UserId, wanted: NewPictures) -> Pending<'_, MadePictures> {
        Box::pin(async move {
            let made = self.client.for_user(user).make_pictures(&order(&wanted), wanted.key.as_deref()).await;
            let made = made.map_err(made_fault)?;
            let images = made.images.iter().map(|image| image.media_id).collect();
            Ok(MadePictures { images, model: made.model, credits: made.credits })
        })
    }

    fn credits(&self, user: UserId) -> Pending<'_, i64> {
        Box::pin(async move { self.client.for_user(user).picture_credits().await.map_err(made_fault) })
    }
}

#[cfg(test)]
mod tests {
    use mana_media::picture::PictureOptions;
    use mana_media::{Location, Options};
    use mana_testkit::TestDb;
    use mana_token::{FetchKeys, Jwks, Verifier};
    use mana_types::Random;
    use mana_web::ServiceKeys;

    use super::*;

    async fn account(test: &TestDb) -> UserId {
        let id = UserId::new(&*test.clock, &*test.random);
        let mut tx = test.db.begin().await.expect("begins");
        tx.query(
            "INSERT INTO account (id, email, email_key, name, password_hash, role, kind, tier, email_verified, locale, timezone,
                created, updated)
             VALUES ($1, $2, $2, $2, '', 'user', 'human', 'free', TRUE, 'en', 'UTC', 0, 0)",
        )
        .bind(id)
        .bind(id.to_string())
        .execute()
        .await
        .expect("added");
        tx.commit().await.expect("kept");
        id
    }

    /// What holds for either way to the service.
    #[expect(clippy::similar_names, reason = "`test` and `text` are what they are")]
    async fn story(store: &dyn MediaStore, test: &TestDb, text: &str) {
        let (anna, ben) = (account(test).await, account(test).await);
        let new = |app| NewFile { app, name: "a.txt".into(), declared: Some("text/plain".into()), bytes: text.into() };
        let kept = store.put(anna, new("storage")).await.expect("kept");
        assert_eq!((&*kept.name, kept.app.as_deref(), kept.size), ("a.txt", Some("storage"), text.len() as u64));
        assert_eq!(store.put(anna, new("me")).await.expect("kept").id, kept.id);
        let id = kept.id;
        assert_eq!(store.bytes(anna, id, 100).await.expect("hers"), text.as_bytes());
        assert!(matches!(store.bytes(anna, id, 3).await, Err(MediaFault::Refused { code: "too-large", .. })));
        assert!(matches!(store.bytes(ben, id, 100).await, Err(MediaFault::Missing)));
        assert_eq!(store.find(anna, id).await.expect("answers").map(|file| file.id), Some(id));
        assert_eq!(store.find(ben, id).await.expect("answers"), None);
        let query = |apps: &[&str]| MediaQuery {
            apps: apps.iter().map(|app| (*app).to_owned()).collect(),
            mime_type: Some("text/*".into()),
            to: Some(test.clock.now().plus_millis(1_000)),
            limit: 5,
            ..MediaQuery::default()
        };
        let list = store.list(anna, query(&["storage"])).await.expect("a list");
        assert_eq!((list.items.len(), list.total, list.has_more), (1, 1, false));
        assert_eq!(store.list(anna, query(&["photos"])).await.expect("a list").total, 0);
        assert_eq!(store.list(ben, query(&[])).await.expect("a list").total, 0);
        let stats = store.stats(anna).await.expect("figures");
        assert_eq!((stats.count, stats.by_app.len()), (1, 2));
        assert!(store.missing(anna, vec![id], &["me"]).await.expect("an answer").is_empty());
        assert_eq!(store.missing(ben, vec![id], &[]).await.expect("an answer"), [id]);
        store.forget(anna, id, "me").await.expect("let go");
        assert!(matches!(store.forget(anna, id, "me").await, Err(MediaFault::Missing)));
        assert_eq!(store.missing(anna, vec![id], &["me"]).await.expect("an answer"), [id]);
        assert_eq!(store.urls(id).thumbnail, format!("https://mana.example/api/v1/media/{id}/file/thumb"));
        let url = store.upload_url(anna, "storage", "b.txt".into()).await.expect("an address");
        assert!(url.url.starts_with("https://mana.example/api/v1/media/upload-urls/"), "{url:?}");
        assert_eq!(store.credits(anna).await.expect("a number"), 100);
        let wish = NewPictures { prompt: "x".into(), references: vec![id], count: 1, ..NewPictures::default() };
        let refused = store.generate(anna, wish).await;
        assert!(matches!(refused, Err(MediaFault::Refused { code: "no-provider", .. })), "{refused:?}");
        let empty = store.put(anna, NewFile { bytes: Vec::new(), ..new("storage") }).await;
        assert!(empty.is_err(), "{empty:?}");
    }

    #[tokio::test]
    async fn both_ways_to_the_service_are_one_to_modules() {
        let test = mana_testkit::sqlite().await;
        let folder = tempfile::tempdir().expect("a folder");
        let random = Arc::clone(&test.random) as Arc<dyn Random>;
        let clock = Arc::clone(&test.clock) as Arc<dyn Clock>;
        let options = Options::new(Location::Memory, folder.path());
        let media = Media::open(options, test.db.clone(), Arc::clone(&random)).await.expect("opens");
        let pictures = Pictures::new(media.clone(), test.db.clone(), random, PictureOptions::default()).expect("opens");
        let doors = DoorOptions { public_url: Some("https://mana.example".into()), ..DoorOptions::default() };
        story(&*here(media.clone(), pictures.clone(), &doors, Arc::clone(&clock)), &test, "in this process").await;

        let fetch: FetchKeys = Arc::new(|| Box::pin(async { Ok(Jwks { keys: Vec::new() }) }));
        let verifier = Arc::new(Verifier::new("http://mana.test", Arc::clone(&clock), fetch));
        let keys = ServiceKeys::new([Secret::new("between us")]);
        let router = mana_media::picture::router(pictures, Arc::clone(&verifier), keys.clone(), &doors)
            .merge(mana_media::router(media, verifier, keys, doors.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let store = elsewhere(&url, Secret::new("between us"), &doors, clock).expect("an address");
        story(&*store, &test, "over the wire").await;
    }
}
