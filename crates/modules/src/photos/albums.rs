//! Albums: chosen photos, or all that fit a rule.

use std::collections::HashSet;

use mana_registry::prelude::*;

use super::gallery::Wanted;

/// An album.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Album {
    /// What it is called.
    pub(super) name: Line<200>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Text<0, 2_000>>,
    /// The photo that stands for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cover_media_id: Option<MediaId>,
    /// Which photos are in it by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<Wanted>,
}

impl Record for Album {
    const KIND: &'static str = "photos.album";

    fn words(&self) -> String {
        format!("{} {}", self.name, self.description.as_deref().unwrap_or_default())
    }
}

/// A photo in an album.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    /// The album.
    pub(super) album_id: RecordId,
    /// The photo.
    pub(super) media_id: MediaId,
}

impl Record for Item {
    const KIND: &'static str = "photos.album_item";
}

fn within(album: RecordId) -> Filter<Item> {
    Filter::new(Order::Recent).is("albumId", album.to_string())
}

/// The photos that were put into an album.
pub(super) async fn items(cx: &Cx, album: RecordId) -> Result<HashSet<MediaId>> {
    Ok(cx.records().all(within(album)).await?.into_iter().map(|item| item.data.media_id).collect())
}

/// What a new album is made of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewAlbum {
    /// What it is called.
    name: Line<200>,
    /// What it is about.
    description: Option<Text<0, 2_000>>,
    /// Photos to put into it.
    #[serde(default)]
    #[schemars(length(max = 500))]
    media_ids: Vec<MediaId>,
    /// Fills itself with photos that fit; not with `mediaIds`.
    rule: Option<Wanted>,
}

/// An album and how many photos were put into it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counted {
    #[serde(flatten)]
    album: Album,
    /// How many photos were put into it; albums with a rule fill themselves.
    count: i64,
}

async fn counted(cx: &Cx, album: Stored<Album>) -> Result<Stored<Counted>> {
    let count = cx.records().count(within(album.id)).await?;
    Ok(album.map(|album| Counted { album, count }))
}

pub(super) async fn create(cx: Cx, new: NewAlbum) -> Result<Stored<Counted>> {
    if let Some(rule) = &new.rule {
        rule.check("rule.")?;
        if !new.media_ids.is_empty() {
            return Err(ToolError::field("mediaIds", "an album with a rule fills itself"));
        }
    }
    cx.media()?.owns("mediaIds", new.media_ids.clone()).await?;
    let cover_media_id = new.media_ids.first().copied();
    let album = cx
        .records()
        .add(Album { name: new.name, description: new.description, cover_media_id, rule: new.rule })
        .await?;
    add(&cx, album.id, &new.media_ids).await?;
    counted(&cx, album).await
}

async fn add(cx: &Cx, album: RecordId, photos: &[MediaId]) -> Result<()> {
    let mut known = items(cx, album).await?;
    for photo in photos {
        if known.insert(*photo) {
            cx.records().add(Item { album_id: album, media_id: *photo }).await?;
        }
    }
    Ok(())
}

/// Which albums to list.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Which {
    /// Words in name and description.
    query: Option<Line<200>>,
    /// List the archived albums instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

pub(super) async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Counted>>> {
    let mut filter = Filter::new(Order::Recent).archived(which.archived);
    if let Some(query) = &which.query {
        filter = filter.words(query);
    }
    let page = cx.records::<Album>().list(which.paging.of(filter)?).await?;
    let mut items = Vec::new();
    for album in page.items {
        items.push(counted(&cx, album).await?);
    }
    Ok(Page { items, next_cursor: page.next_cursor })
}

/// Changes to an album.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// The album's id.
    album_id: RecordId,
    /// Only if the album is at this revision.
    expected_rev: Option<i64>,
    /// What it is called.
    name: Option<Line<200>>,
    /// What it is about.
    description: Option<Text<0, 2_000>>,
    /// The photo that stands for it.
    cover_media_id: Option<MediaId>,
    /// Photos to put into it.
    #[serde(default)]
    #[schemars(length(max = 500))]
    add_media_ids: Vec<MediaId>,
    /// Photos to take out; they stay in the gallery.
    #[serde(default)]
    #[schemars(length(max = 500))]
    remove_media_ids: Vec<MediaId>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Description,
    CoverMediaId,
}

pub(super) async fn update(cx: Cx, change: Change) -> Result<Stored<Counted>> {
    let before = cx.records::<Album>().get(change.album_id).await?;
    if before.data.rule.is_some() && !(change.add_media_ids.is_empty() && change.remove_media_ids.is_empty()) {
        return Err(
            ToolError::rule("album-has-rule", "this album fills itself by its rule").hint("create another album")
        );
    }
    let media = cx.media()?;
    media.owns("addMediaIds", change.add_media_ids.clone()).await?;
    media.owns("coverMediaId", change.cover_media_id.into_iter().collect()).await?;
    let set = |album: &mut Album| {
        for field in &change.clear {
            match field {
                Clearable::Description => album.description = None,
                Clearable::CoverMediaId => album.cover_media_id = None,
            }
        }
        put(&mut album.name, change.name.as_ref());
        album.description = change.description.clone().or_else(|| album.description.take());
        album.cover_media_id = change.cover_media_id.or(album.cover_media_id);
        Ok(())
    };
    let album = cx.records::<Album>().update(change.album_id, change.expected_rev, set).await?;
    if !change.remove_media_ids.is_empty() {
        for item in cx.records::<Item>().all(within(album.id)).await? {
            if change.remove_media_ids.contains(&item.data.media_id) {
                cx.records::<Item>().archive(item.id).await?;
            }
        }
    }
    if !change.add_media_ids.is_empty() {
        add(&cx, album.id, &change.add_media_ids).await?;
    }
    counted(&cx, album).await
}

/// One album.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneAlbum {
    /// The album's id.
    album_id: RecordId,
}

pub(super) async fn archive(cx: Cx, one: OneAlbum) -> Result<Stored<Album>> {
    cx.records().archive(one.album_id).await
}

pub(super) async fn restore(cx: Cx, one: OneAlbum) -> Result<Stored<Album>> {
    cx.records().restore(one.album_id).await
}
