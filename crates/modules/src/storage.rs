//! Storage: a drive with folders, files and their versions, a search, and a trash.
//!
//! The bytes are media of the user who brought them; folders, names and versions are records of the space. Names are
//! unique within a folder, whatever their case, and a folder never lies within itself: whatever changes the tree takes
//! its turn, so that this holds for two calls at once as well.

mod contents;
mod tree;

use mana_registry::prelude::*;

use self::tree::{Kind, ROOT_DEPTH};

/// The most versions of a file.
const VERSIONS: usize = 100;

/// A folder or a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    kind: Kind,
    name: Line<255>,
    /// The name in lower case: what it must not share with another in its folder.
    name_key: String,
    /// The folder that it lies in; none for the topmost.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<RecordId>,
    #[serde(default)]
    tags: Tags<20>,
    #[serde(default)]
    is_favorite: bool,
    /// Every version of a file, the first first.
    #[serde(default)]
    versions: Vec<Version>,
    /// The folder that it went into the trash with.
    #[serde(skip_serializing_if = "Option::is_none")]
    trashed_with: Option<RecordId>,
}

/// One state of a file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "`version` is the field's name in every answer")]
struct Version {
    /// Its number, from 1.
    version: u32,
    /// Its bytes.
    media_id: MediaId,
    /// What it is.
    mime_type: String,
    /// How many bytes.
    size: u64,
    /// Since when it is there.
    at: Timestamp,
}

impl Record for Entry {
    const KIND: &'static str = "storage.entry";

    fn words(&self) -> String {
        format!("{} {}", self.name, self.tags.joined())
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("storage", "Keep files in folders, with versions and a trash.")
        .labels("Storage", "Ablage")
        .tool(read(
            "storage_list",
            "List files and folders of a folder (the top one if none is named), the last changed \
             first; or favourites, or the trash.",
            list,
        ))
        .tool(read("storage_search", "Search files and folders by name and tags, the last changed first.", search))
        .tool(read("storage_get", "Read about one file or folder: path, versions, addresses to download.", get))
        .tool(read(
            "storage_read",
            "Read the content of a file of at most 256 KB, as text or base64.",
            contents::read_content,
        ))
        .tool(write("storage_folder_create", "Create a folder.", create_folder))
        .tool(write(
            "storage_upload",
            "Upload a file of at most 256 KB as base64 or text; as a new version where `entryId` is \
             named. Larger ones: `storage_upload_url`.",
            contents::upload,
        ))
        .tool(write(
            "storage_upload_url",
            "Get a one-time address for a file of any size: send it the bytes with PUT, then call \
             `storage_add` with the `id` it answers.",
            contents::upload_url,
        ))
        .tool(write(
            "storage_add",
            "Put an uploaded file into a folder; as a new version where `entryId` is named. An old \
             version's mediaId brings that back.",
            contents::add,
        ))
        .tool(write("storage_update", "Rename, move, tag or favour a file or folder.", update))
        .tool(write("storage_trash", "Put a file, or a folder with all in it, into the trash.", trash).idempotent())
        .tool(
            write(
                "storage_restore",
                "Bring a file or folder back from the trash, with all that went with it.",
                restore,
            )
            .idempotent(),
        )
}

/// A file or folder as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Shown {
    /// `folder` or `file`.
    kind: Kind,
    /// What it is called.
    name: Line<255>,
    /// The folder that it lies in.
    parent_id: Option<RecordId>,
    /// Its tags.
    tags: Tags<20>,
    /// Whether it is a favourite.
    is_favorite: bool,
    /// The current version of a file.
    version: Option<u32>,
    /// Its bytes.
    media_id: Option<MediaId>,
    /// What it is.
    mime_type: Option<String>,
    /// How many bytes.
    size: Option<u64>,
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Self {
        let last = entry.versions.last();
        Self {
            kind: entry.kind,
            version: last.map(|version| version.version),
            media_id: last.map(|version| version.media_id),
            mime_type: last.map(|version| version.mime_type.clone()),
            size: last.map(|version| version.size),
            name: entry.name,
            parent_id: entry.parent_id,
            tags: entry.tags,
            is_favorite: entry.is_favorite,
        }
    }
}

fn shown(entry: Stored<Entry>) -> Stored<Shown> {
    entry.map(Shown::from)
}

fn page(page: Page<Stored<Entry>>) -> Page<Stored<Shown>> {
    Page { items: page.items.into_iter().map(shown).collect(), next_cursor: page.next_cursor }
}

/// What to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// The folder, by id; the top one if left out.
    parent_id: Option<RecordId>,
    /// List favourites of all folders instead.
    #[serde(default)]
    favorites: bool,
    /// List the trash instead.
    #[serde(default)]
    trashed: bool,
    #[serde(flatten)]
    paging: Paging<50, 100>,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Shown>>> {
    let all = Filter::new(Order::Recent);
    let filter = if which.trashed {
        all.archived(true).absent("trashedWith")
    } else if which.favorites {
        all.flag("isFavorite", true)
    } else {
        if let Some(folder) = which.parent_id {
            tree::folder(&cx, folder).await?;
        }
        tree::within(which.parent_id)
    };
    Ok(page(cx.records().list(which.paging.of(filter)?).await?))
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Search {
    /// Words that occur in name or tags, whatever their case.
    query: Line<200>,
    #[serde(flatten)]
    paging: Paging,
}

async fn search(cx: Cx, search: Search) -> Result<Page<Stored<Shown>>> {
    let filter = Filter::new(Order::Recent).words(&search.query);
    Ok(page(cx.records().list(search.paging.of(filter)?).await?))
}

/// One file or folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The file's or folder's id.
    entry_id: RecordId,
}

/// All that is known of a file or folder.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Full {
    #[serde(flatten)]
    entry: Shown,
    /// The names from the top to it.
    path: String,
    /// Every version of a file, the first first.
    versions: Vec<Version>,
    /// Where the current one is to be fetched.
    urls: Option<MediaUrls>,
}

async fn get(cx: Cx, one: One) -> Result<Stored<Full>> {
    let entry = cx.records::<Entry>().get(one.entry_id).await?;
    let mut path = vec![entry.data.name.to_string()];
    let mut above = entry.data.parent_id;
    for _ in 0..ROOT_DEPTH {
        let Some(folder) = above else { break };
        let Some(folder) = cx.records::<Entry>().find(folder).await? else { break };
        path.push(folder.data.name.to_string());
        above = folder.data.parent_id;
    }
    path.reverse();
    let urls = match entry.data.versions.last() {
        Some(version) => Some(cx.media()?.urls(version.media_id)),
        None => None,
    };
    let versions = entry.data.versions.clone();
    Ok(entry.map(|entry| Full { entry: entry.into(), path: path.join("/"), versions, urls }))
}

/// A new folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewFolder {
    /// What it is called.
    name: Line<255>,
    /// The folder to put it into; the top one if left out.
    parent_id: Option<RecordId>,
}

async fn create_folder(cx: Cx, new: NewFolder) -> Result<Stored<Shown>> {
    tree::check_name(&new.name)?;
    let name_key = new.name.to_lowercase();
    let folder = Entry {
        kind: Kind::Folder,
        name: new.name,
        name_key,
        parent_id: new.parent_id,
        tags: Tags::default(),
        is_favorite: false,
        versions: Vec::new(),
        trashed_with: None,
    };
    Ok(shown(tree::insert(&cx, folder).await?))
}

/// Changes to a file or folder.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The file's or folder's id.
    entry_id: RecordId,
    /// Only if it is at this revision.
    expected_rev: Option<i64>,
    /// What it is called.
    name: Option<Line<255>>,
    /// The folder to move it into; clear it for the top one.
    parent_id: Option<RecordId>,
    /// All tags; replaces those there are.
    tags: Option<Tags<20>>,
    /// Whether it is a favourite.
    is_favorite: Option<bool>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    ParentId,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Shown>> {
    if let Some(name) = &change.name {
        tree::check_name(name)?;
    }
    tree::take_turn(&cx).await?;
    let records = cx.records::<Entry>();
    let before = records.get(change.entry_id).await?;
    if before.archived_at.is_some() {
        return Err(ToolError::rule("in-trash", "this lies in the trash").hint("restore it first"));
    }
    let name = change.name.clone().unwrap_or_else(|| before.data.name.clone());
    let cleared = change.clear.contains(&Clearable::ParentId).then_some(None);
    let parent_id = change.parent_id.map(Some).or(cleared).unwrap_or(before.data.parent_id);
    if parent_id != before.data.parent_id {
        tree::check_parent(&cx, parent_id, Some(before.id)).await?;
    }
    if parent_id != before.data.parent_id || name != before.data.name {
        tree::check_free(&cx, parent_id, &name, Some(before.id)).await?;
    }
    let set = |entry: &mut Entry| {
        entry.name = name.clone();
        entry.name_key = name.to_lowercase();
        entry.parent_id = parent_id;
        put(&mut entry.tags, change.tags.as_ref());
        put(&mut entry.is_favorite, change.is_favorite.as_ref());
        Ok(())
    };
    Ok(shown(records.update(change.entry_id, change.expected_rev, set).await?))
}

async fn trash(cx: Cx, one: One) -> Result<Stored<Shown>> {
    Ok(shown(tree::trash(&cx, one.entry_id).await?))
}

/// What to bring back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Back {
    /// The file's or folder's id.
    entry_id: RecordId,
    /// A new name, where the old one is taken by now.
    name: Option<Line<255>>,
}

async fn restore(cx: Cx, back: Back) -> Result<Stored<Shown>> {
    if let Some(name) = &back.name {
        tree::check_name(name)?;
    }
    Ok(shown(tree::restore(&cx, back.entry_id, back.name).await?))
}
