//! Photos: every image that a user has, whichever app it came through, by the time it was taken; albums, favourites and
//! tags over them.
//!
//! The pictures themselves and what the camera noted are media, of the user who calls. What is said about them (albums,
//! marks) are records of the space.

mod albums;
mod gallery;

use std::collections::{BTreeMap, HashMap};

use mana_registry::prelude::*;
use mana_registry::{MediaFile, MediaQuery, Shot};

use self::albums::{Album, Item};
use self::gallery::{Wanted, local_date};

/// What is said about a picture.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Mark {
    /// The picture.
    media_id: MediaId,
    /// Whether it is a favourite.
    #[serde(default)]
    is_favorite: bool,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<30>,
}

impl Record for Mark {
    const KIND: &'static str = "photos.mark";

    fn words(&self) -> String {
        self.tags.marked()
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("photos", "See all pictures by time, place and camera, in albums and by tag.")
        .labels("Photos", "Fotos")
        .tool(read(
            "photos_list",
            "List photos, the latest taken first: all images of yours, whichever app they came from. \
             Narrow by time, place, camera, album, tag.",
            list,
        ))
        .tool(read("photos_get", "Read one photo: camera data, addresses of its sizes, tags, albums.", get))
        .tool(
            write(
                "photos_mark",
                "Make photos favourites or not, add tags to them or take tags \
             away.",
                mark,
            )
            .idempotent(),
        )
        .tool(read(
            "photos_explore",
            "Count photos by place (about a kilometre), camera, tag or year, the most first.",
            explore,
        ))
        .tool(read("photos_on_this_day", "Photos taken on this day in earlier years, the latest first.", on_this_day))
        .tool(read("photos_stats", "Numbers of photos, favourites and albums; files and bytes by app and year.", stats))
        .tool(write(
            "photos_album_create",
            "Create a photo album, of chosen photos or, with a `rule`, of all that fit it.",
            albums::create,
        ))
        .tool(read("photos_album_list", "List photo albums, the last changed first.", albums::list))
        .tool(write(
            "photos_album_update",
            "Change an album: name, description, cover, add or remove photos.",
            albums::update,
        ))
        .tool(
            write("photos_album_archive", "Put an album out of sight; its photos stay.", albums::archive).idempotent(),
        )
        .tool(write("photos_album_restore", "Bring an archived album back.", albums::restore).idempotent())
}

/// What is said about pictures in this space.
#[derive(Debug, Default)]
struct Marks(HashMap<MediaId, (bool, Vec<String>)>);

impl Marks {
    async fn read(cx: &Cx) -> Result<Self> {
        let mut marks: HashMap<MediaId, (bool, Vec<String>)> = HashMap::new();
        for mark in cx.records::<Mark>().all(Filter::new(Order::Recent)).await? {
            let known = marks.entry(mark.data.media_id).or_default();
            known.0 |= mark.data.is_favorite;
            known.1.extend(mark.data.tags.as_slice().iter().map(ToString::to_string));
        }
        Ok(Self(marks))
    }

    fn is_favorite(&self, id: MediaId) -> bool {
        self.0.get(&id).is_some_and(|(favorite, _)| *favorite)
    }

    fn tags(&self, id: MediaId) -> &[String] {
        self.0.get(&id).map_or(&[], |(_, tags)| tags)
    }

    fn has_tag(&self, id: MediaId, tag: &str) -> bool {
        self.tags(id).iter().any(|known| known.to_lowercase() == tag.to_lowercase())
    }
}

/// A photo in a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Photo {
    /// The picture.
    media_id: MediaId,
    /// What it is called.
    name: String,
    /// When it was taken, else when it was uploaded.
    at: Timestamp,
    /// The app that it came through.
    app: Option<String>,
    /// Pixels across.
    width: Option<u32>,
    /// Pixels down.
    height: Option<u32>,
    /// Degrees north.
    latitude: Option<f64>,
    /// Degrees east.
    longitude: Option<f64>,
    /// The camera.
    camera: Option<String>,
    /// Whether it is a favourite.
    is_favorite: bool,
    /// Its tags.
    tags: Vec<String>,
    /// Where its smallest image is.
    thumbnail: String,
}

impl Photo {
    fn of(file: MediaFile, marks: &Marks, thumbnail: String) -> Self {
        Self {
            media_id: file.id,
            at: file.time(),
            width: file.pixels.map(|(width, _)| width),
            height: file.pixels.map(|(_, height)| height),
            latitude: file.place().map(|(latitude, _)| latitude),
            longitude: file.place().map(|(_, longitude)| longitude),
            is_favorite: marks.is_favorite(file.id),
            tags: marks.tags(file.id).to_vec(),
            name: file.name,
            app: file.app,
            camera: file.shot.and_then(|shot| shot.camera),
            thumbnail,
        }
    }
}

/// Which photos to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    #[serde(flatten)]
    wanted: Wanted,
    /// Only photos of this album, by id.
    album_id: Option<RecordId>,
    #[serde(flatten)]
    paging: Paging<30, 100>,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Photo>> {
    which.wanted.check("")?;
    let media = cx.media()?;
    let marks = Marks::read(&cx).await?;
    let mut wishes = vec![which.wanted];
    let mut items = None;
    if let Some(album) = which.album_id {
        let album = cx.records::<Album>().get(album).await?;
        match album.data.rule {
            Some(rule) => wishes.push(rule),
            None => items = Some(albums::items(&cx, album.id).await?),
        }
    }
    let fits = |file: &MediaFile| {
        wishes.iter().all(|wanted| wanted.fits(file, &marks))
            && items.as_ref().is_none_or(|items| items.contains(&file.id))
    };
    let (files, next_cursor) =
        gallery::scan(&media, gallery::query(&wishes), which.paging.cursor()?, which.paging.limit(), fits).await?;
    let shown = |file: MediaFile| {
        let thumbnail = media.urls(file.id).thumbnail;
        Photo::of(file, &marks, thumbnail)
    };
    Ok(Page { items: files.into_iter().map(shown).collect(), next_cursor })
}

/// One photo.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The photo's id.
    media_id: MediaId,
}

/// All that is known of a photo.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Full {
    #[serde(flatten)]
    photo: Photo,
    /// What it is.
    mime_type: String,
    /// How many bytes.
    size: u64,
    /// `processing`, `ready` or `failed`.
    status: String,
    /// What the camera noted.
    exif: Option<Shot>,
    /// Where its sizes are.
    urls: MediaUrls,
    /// The albums that it was put into, by name.
    albums: Vec<String>,
}

async fn get(cx: Cx, one: One) -> Result<Full> {
    let media = cx.media()?;
    let missing = || ToolError::NotFound { what: "photo", id: one.media_id.to_string() };
    let file = media.find(one.media_id).await?.filter(MediaFile::is_image).ok_or_else(missing)?;
    let marks = Marks::read(&cx).await?;
    let mut albums = Vec::new();
    let within = Filter::new(Order::Recent).is("mediaId", one.media_id.to_string()).page(50, None);
    for item in cx.records::<Item>().list(within).await?.items {
        if let Some(album) = cx.records::<Album>().find(item.data.album_id).await?
            && album.archived_at.is_none()
        {
            albums.push(album.data.name.to_string());
        }
    }
    albums.sort();
    albums.dedup();
    let urls = media.urls(file.id);
    Ok(Full {
        mime_type: file.mime_type.clone(),
        size: file.size,
        status: file.status.clone(),
        exif: file.shot.clone(),
        photo: Photo::of(file, &marks, urls.thumbnail.clone()),
        urls,
        albums,
    })
}

/// What to say about photos.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewMark {
    /// The photos' ids.
    #[schemars(length(min = 1, max = 100))]
    media_ids: Vec<MediaId>,
    /// Whether they are favourites.
    favorite: Option<bool>,
    /// Tags to add.
    #[serde(default)]
    add_tags: Tags<30>,
    /// Tags to take away.
    #[serde(default)]
    remove_tags: Tags<30>,
}

/// What is said about them now.
#[derive(Debug, Serialize, JsonSchema)]
struct Marked {
    /// One for each photo, in the order given.
    photos: Vec<Stored<Mark>>,
}

async fn mark(cx: Cx, new: NewMark) -> Result<Marked> {
    let mut ids: Vec<MediaId> = Vec::new();
    for id in &new.media_ids {
        if !ids.contains(id) {
            ids.push(*id);
        }
    }
    cx.media()?.owns("mediaIds", ids.clone()).await?;
    let records = cx.records::<Mark>();
    let mut photos = Vec::new();
    for media_id in ids {
        let known = records.first(Filter::new(Order::Recent).is("mediaId", media_id.to_string())).await?;
        let before = known.as_ref().map(|mark| (mark.data.is_favorite, mark.data.tags.clone())).unwrap_or_default();
        let is_favorite = new.favorite.unwrap_or(before.0);
        let tags = changed(&before.1, &new.add_tags, &new.remove_tags)?;
        let photo = match known {
            Some(known) if (is_favorite, &tags) == (before.0, &before.1) => known,
            Some(known) => {
                let set = |mark: &mut Mark| {
                    mark.is_favorite = is_favorite;
                    mark.tags.clone_from(&tags);
                    Ok(())
                };
                records.update(known.id, None, set).await?
            }
            None => records.add(Mark { media_id, is_favorite, tags }).await?,
        };
        photos.push(photo);
    }
    Ok(Marked { photos })
}

fn changed(before: &Tags<30>, add: &Tags<30>, remove: &Tags<30>) -> Result<Tags<30>> {
    let gone = |tag: &&Tag| !remove.as_slice().iter().any(|other| other.to_lowercase() == tag.to_lowercase());
    let words: Vec<&str> =
        before.as_slice().iter().filter(gone).chain(add.as_slice()).map(mana_registry::Tag::as_str).collect();
    serde_json::from_value(serde_json::json!(words)).map_err(|error| ToolError::field("addTags", error.to_string()))
}

/// By what photos are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum By {
    Place,
    Camera,
    Tag,
    Year,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Explore {
    /// By what to count.
    by: By,
}

/// Photos that have something in common.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Group {
    /// The camera, tag or year; the coordinates of a place.
    name: String,
    /// How many.
    count: usize,
    /// The middle of a place: degrees north.
    latitude: Option<f64>,
    /// Degrees east.
    longitude: Option<f64>,
    /// When the latest was taken.
    latest: Timestamp,
    /// The latest of them.
    media_id: MediaId,
}

/// Photos counted.
#[derive(Debug, Serialize, JsonSchema)]
struct Explored {
    /// By what.
    by: By,
    /// The largest first, at most 100.
    groups: Vec<Group>,
    /// How many photos were looked at: the latest 10,000.
    photos: usize,
}

async fn explore(cx: Cx, explore: Explore) -> Result<Explored> {
    let media = cx.media()?;
    let marks = Marks::read(&cx).await?;
    let has_location = (explore.by == By::Place).then_some(true);
    let files = gallery::all(&media, MediaQuery { has_location, ..gallery::images() }).await?;
    let zone = cx.zone();
    let mut groups: BTreeMap<String, Vec<&MediaFile>> = BTreeMap::new();
    for file in &files {
        let names = match explore.by {
            By::Place => file.place().map(gallery::place_name).into_iter().collect(),
            By::Camera => file.shot.as_ref().and_then(|shot| shot.camera.clone()).into_iter().collect(),
            By::Tag => marks.tags(file.id).to_vec(),
            By::Year => vec![local_date(file, &zone).0.year().to_string()],
        };
        for name in names {
            groups.entry(name).or_default().push(file);
        }
    }
    let group = |(name, files): (String, Vec<&MediaFile>)| {
        let latest = files.first()?; // lists come with the latest first
        let middle = (explore.by == By::Place).then(|| gallery::middle(&files)).flatten();
        Some(Group {
            name,
            count: files.len(),
            latitude: middle.map(|(latitude, _)| latitude),
            longitude: middle.map(|(_, longitude)| longitude),
            latest: latest.time(),
            media_id: latest.id,
        })
    };
    let mut groups: Vec<Group> = groups.into_iter().filter_map(group).collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| b.name.cmp(&a.name)));
    groups.truncate(100);
    Ok(Explored { by: explore.by, groups, photos: files.len() })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Day {
    /// The day; today if left out. Its year does not count.
    date: Option<Date>,
}

/// Photos of earlier years.
#[derive(Debug, Serialize, JsonSchema)]
struct OnThisDay {
    /// The day.
    date: Date,
    /// Its photos, the latest first, at most 100.
    photos: Vec<Photo>,
}

async fn on_this_day(cx: Cx, day: Day) -> Result<OnThisDay> {
    let media = cx.media()?;
    let marks = Marks::read(&cx).await?;
    let (zone, today) = (cx.zone(), cx.today());
    let date = day.date.unwrap_or(today);
    let mut photos = Vec::new();
    let years = media.stats().await?.by_year;
    for year in years.keys().rev().filter_map(|year| i16::try_from(*year).ok()).filter(|year| *year < today.0.year()) {
        // 29 February has no counterpart in most years.
        let Ok(that_day) = jiff::civil::Date::new(year, date.0.month(), date.0.day()) else { continue };
        let that_day = Date(that_day);
        // Clocks differ by less than a day from UTC.
        let query = MediaQuery {
            from: Some(that_day.plus_days(-1).start_utc()),
            to: Some(that_day.plus_days(2).start_utc()),
            ..gallery::images()
        };
        for file in gallery::all(&media, query).await? {
            if local_date(&file, &zone) == that_day && photos.len() < 100 {
                let thumbnail = media.urls(file.id).thumbnail;
                photos.push(Photo::of(file, &marks, thumbnail));
            }
        }
    }
    Ok(OnThisDay { date, photos })
}

/// A share of all files.
#[derive(Debug, Serialize, JsonSchema)]
struct Share {
    /// The app or year.
    name: String,
    /// Files.
    count: u64,
    /// Bytes.
    bytes: u64,
}

/// Numbers.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Stats {
    /// Photos.
    photos: u64,
    /// Photos with a place.
    with_place: u64,
    /// Favourites.
    favorites: i64,
    /// Albums.
    albums: i64,
    /// All files, photos or not.
    files: u64,
    /// Their bytes.
    bytes: u64,
    /// Files by app.
    by_app: Vec<Share>,
    /// Files by year, the latest first.
    by_year: Vec<Share>,
}

async fn stats(cx: Cx, _: Nothing) -> Result<Stats> {
    let media = cx.media()?;
    let count = |has_location| MediaQuery { has_location, limit: 1, ..gallery::images() };
    let (images, with_place) = (media.list(count(None)).await?.total, media.list(count(Some(true))).await?.total);
    // Drawings are programs that draw, and not in the gallery.
    let drawings = MediaQuery { mime_type: Some("image/svg+xml".into()), ..count(None) };
    let photos = images - media.list(drawings).await?.total.min(images);
    let all = media.stats().await?;
    let share = |name: String, (count, bytes): (u64, u64)| Share { name, count, bytes };
    Ok(Stats {
        photos,
        with_place,
        favorites: cx.records::<Mark>().count(Filter::new(Order::Recent).flag("isFavorite", true)).await?,
        albums: cx.records::<Album>().count(Filter::new(Order::Recent)).await?,
        files: all.count,
        bytes: all.size,
        by_app: all.by_app.into_iter().map(|(name, sizes)| share(name, sizes)).collect(),
        by_year: all.by_year.into_iter().rev().map(|(year, sizes)| share(year.to_string(), sizes)).collect(),
    })
}
