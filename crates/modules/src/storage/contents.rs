//! Files come in, get new versions, and are read.

use mana_registry::prelude::*;
use mana_registry::{MediaFile, NewFile, UploadUrl};

use super::tree::{self, Kind};
use super::{Entry, Shown, VERSIONS, Version, shown};
use crate::shared::files;

/// Where a file goes, and what it is called there.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Place {
    /// The folder to put it into; the top one if left out.
    parent_id: Option<RecordId>,
    /// Words to find it by.
    #[serde(default)]
    tags: Tags<20>,
    /// The file that it is a new version of.
    entry_id: Option<RecordId>,
}

/// Looks before bytes are kept whether they could go there; the file that gets a version, if one does.
async fn look(cx: &Cx, name: Option<&Line<255>>, place: &Place) -> Result<Option<Stored<Entry>>> {
    if let Some(name) = name {
        tree::check_name(name)?;
    }
    let Some(entry) = place.entry_id else {
        if let Some(parent) = place.parent_id {
            tree::folder(cx, parent).await?;
        }
        if let Some(name) = name {
            tree::check_free(cx, place.parent_id, name, None).await?;
        }
        return Ok(None);
    };
    let file = cx.records::<Entry>().check("entryId", entry).await?;
    if file.data.kind == Kind::Folder {
        return Err(ToolError::field("entryId", "only files have versions, this is a folder"));
    }
    if file.data.versions.len() >= VERSIONS {
        return Err(ToolError::rule("too-many-versions", format!("a file has at most {VERSIONS} versions")));
    }
    Ok(Some(file))
}

/// Puts bytes that are kept already where they belong.
async fn settle(
    cx: &Cx,
    file: &MediaFile,
    name: Option<Line<255>>,
    place: Place,
    known: Option<Stored<Entry>>,
) -> Result<Stored<Shown>> {
    let now = cx.now();
    let version = |number| Version {
        version: number,
        media_id: file.id,
        mime_type: file.mime_type.clone(),
        size: file.size,
        at: now,
    };
    if let Some(known) = known {
        let set = |entry: &mut Entry| {
            let last = entry.versions.last();
            if last.is_none_or(|last| last.media_id != file.id) {
                let number = last.map_or(1, |last| last.version + 1);
                entry.versions.push(version(number));
            }
            Ok(())
        };
        return Ok(shown(cx.records::<Entry>().update(known.id, None, set).await?));
    }
    let name = match name {
        Some(name) => name,
        None => Line::parse(&file.name).map_err(|why| ToolError::field("name", why))?,
    };
    let entry = Entry {
        kind: Kind::File,
        name_key: name.to_lowercase(),
        name,
        parent_id: place.parent_id,
        tags: place.tags,
        is_favorite: false,
        versions: vec![version(1)],
        trashed_with: None,
    };
    Ok(shown(tree::insert(cx, entry).await?))
}

/// A small file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Upload {
    /// What it is called, with its extension.
    name: Line<255>,
    /// Its bytes in base64; or send `text`.
    #[schemars(length(max = 360_000))]
    content: Option<String>,
    /// Its content as text.
    text: Option<Text<1, 262_144>>,
    #[serde(flatten)]
    place: Place,
}

pub(super) async fn upload(cx: Cx, upload: Upload) -> Result<Stored<Shown>> {
    let (bytes, declared) = match (&upload.content, &upload.text) {
        (Some(content), None) => (files::from_base64("content", content)?, None),
        (None, Some(text)) if text.len() <= files::IN_A_CALL => (text.as_bytes().to_vec(), Some("text/plain")),
        (None, Some(_)) => {
            return Err(ToolError::field("text", format!("expected at most {} bytes in a call", files::IN_A_CALL)));
        }
        _ => return Err(ToolError::field("content", "send either `content` or `text`")),
    };
    let known = look(&cx, Some(&upload.name), &upload.place).await?;
    let new = NewFile { app: "storage", name: upload.name.to_string(), declared: declared.map(str::to_owned), bytes };
    let file = cx.media()?.put(new).await?;
    settle(&cx, &file, Some(upload.name), upload.place, known).await
}

/// A file to come.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NewUrl {
    /// What it will be called, with its extension.
    name: Line<255>,
}

pub(super) async fn upload_url(cx: Cx, new: NewUrl) -> Result<UploadUrl> {
    tree::check_name(&new.name)?;
    cx.media()?.upload_url("storage", &new.name).await
}

/// A file that was uploaded.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Added {
    /// A file of yours, by id.
    media_id: MediaId,
    /// What it is called here; as it was uploaded if left out.
    name: Option<Line<255>>,
    #[serde(flatten)]
    place: Place,
}

pub(super) async fn add(cx: Cx, added: Added) -> Result<Stored<Shown>> {
    let known = look(&cx, added.name.as_ref(), &added.place).await?;
    let media = cx.media()?;
    let file = media.check("mediaId", added.media_id).await?;
    files::hold(&media, &file, "storage").await?;
    settle(&cx, &file, added.name, added.place, known).await
}

/// What to read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wanted {
    /// The file's id.
    entry_id: RecordId,
    /// Which version; the current one if left out.
    version: Option<Whole<1, 100_000>>,
}

/// The content of a file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Content {
    /// What it is called.
    name: Line<255>,
    /// Which version.
    version: u32,
    /// What it is.
    mime_type: String,
    /// How many bytes.
    size: u64,
    /// Its text, where it is one.
    text: Option<String>,
    /// Its bytes in base64 otherwise.
    base64: Option<String>,
}

pub(super) async fn read_content(cx: Cx, wanted: Wanted) -> Result<Content> {
    let entry = cx.records::<Entry>().get(wanted.entry_id).await?;
    let Some(last) = entry.data.versions.last() else {
        return Err(ToolError::field("entryId", "this is a folder, it has no content"));
    };
    let version = match wanted.version {
        None => last,
        Some(number) => {
            let found = entry.data.versions.iter().find(|version| i64::from(version.version) == number.get());
            found.ok_or_else(|| ToolError::field("version", format!("there are versions 1 to {}", last.version)))?
        }
    };
    if version.size > files::IN_A_CALL as u64 {
        let rule = ToolError::rule("too-large", format!("this file has {} bytes, too many for a call", version.size));
        return Err(rule.hint("fetch it from `urls.original` of `storage_get`"));
    }
    let bytes = cx.media()?.bytes(version.media_id, files::IN_A_CALL as u64).await?;
    let text = String::from_utf8(bytes);
    let (text, base64) = match text {
        Ok(text) if !text.contains('\0') => (Some(text), None),
        Ok(text) => (None, Some(files::to_base64(text.as_bytes()))),
        Err(error) => (None, Some(files::to_base64(error.as_bytes()))),
    };
    Ok(Content {
        name: entry.data.name.clone(),
        version: version.version,
        mime_type: version.mime_type.clone(),
        size: version.size,
        text,
        base64,
    })
}
