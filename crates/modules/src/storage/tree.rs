//! The tree of folders: who lies where, under which name, and the way into the trash and back.

use mana_registry::prelude::*;

use super::Entry;

/// How deep folders may lie in each other.
pub(super) const ROOT_DEPTH: usize = 64;
/// How much goes into the trash with a folder.
const MOST: usize = 2_000;

/// A folder or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Folder,
    File,
}

/// What lies in a folder.
pub(super) fn within(parent: Option<RecordId>) -> Filter<Entry> {
    let all = Filter::new(Order::Recent);
    match parent {
        Some(parent) => all.is("parentId", parent.to_string()),
        None => all.absent("parentId"),
    }
}

/// Waits for its turn to change the tree of this space: the running number is locked until the call ends, so what is
/// looked up from here on stays true.
pub(super) async fn take_turn(cx: &Cx) -> Result<()> {
    cx.next_number("storage.tree").await.map(drop)
}

/// A name that is part of a path.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.contains(['/', '\\']) || name == "." || name == ".." {
        return Err(ToolError::field("name", "a name holds no `/` or `\\` and is not `.` or `..`"));
    }
    Ok(())
}

/// A folder that is not in the trash.
pub(super) async fn folder(cx: &Cx, id: RecordId) -> Result<Stored<Entry>> {
    let found = cx.records::<Entry>().find(id).await?;
    found
        .filter(|entry| entry.data.kind == Kind::Folder && entry.archived_at.is_none())
        .ok_or_else(|| ToolError::field("parentId", format!("there is no folder `{id}` here")))
}

/// Refuses a place that is no folder, that lies too deep, or that lies within what is moved there.
pub(super) async fn check_parent(cx: &Cx, parent: Option<RecordId>, moved: Option<RecordId>) -> Result<()> {
    let mut above = parent;
    for _ in 0..ROOT_DEPTH {
        let Some(id) = above else { return Ok(()) };
        if Some(id) == moved {
            return Err(ToolError::field("parentId", "a folder cannot lie within itself"));
        }
        above = folder(cx, id).await?.data.parent_id;
    }
    Err(ToolError::field("parentId", format!("folders lie at most {ROOT_DEPTH} deep")))
}

/// Refuses a name that is taken in this folder.
pub(super) async fn check_free(cx: &Cx, parent: Option<RecordId>, name: &str, own: Option<RecordId>) -> Result<()> {
    let same = within(parent).is("nameKey", name.to_lowercase()).page(2, None);
    match cx.records::<Entry>().list(same).await?.items.into_iter().find(|other| Some(other.id) != own) {
        None => Ok(()),
        Some(other) => {
            let taken = format!("`{}` is there already, as `{}`", other.data.name, other.id);
            let hint = match other.data.kind {
                Kind::File => "choose another name, or name it in `entryId` to add a version",
                Kind::Folder => "choose another name",
            };
            Err(ToolError::rule("name-taken", taken).hint(hint))
        }
    }
}

/// Adds a file or folder, in its turn.
pub(super) async fn insert(cx: &Cx, entry: Entry) -> Result<Stored<Entry>> {
    take_turn(cx).await?;
    check_parent(cx, entry.parent_id, None).await?;
    check_free(cx, entry.parent_id, &entry.name, None).await?;
    cx.records().add(entry).await
}

/// Puts something into the trash, with everything in it.
pub(super) async fn trash(cx: &Cx, id: RecordId) -> Result<Stored<Entry>> {
    take_turn(cx).await?;
    let records = cx.records::<Entry>();
    let root = records.get(id).await?;
    if root.archived_at.is_some() {
        return Ok(root);
    }
    let mut below = Vec::new();
    let mut folders = vec![root.id];
    while let Some(folder) = folders.pop() {
        for entry in records.all(within(Some(folder))).await? {
            folders.extend((entry.data.kind == Kind::Folder).then_some(entry.id));
            below.push(entry.id);
        }
        if below.len() > MOST {
            let rule = ToolError::rule("too-many", format!("more than {MOST} files and folders lie in this folder"));
            return Err(rule.hint("put the folders in it into the trash one by one"));
        }
    }
    for entry in below {
        let set = |entry: &mut Entry| {
            entry.trashed_with = Some(id);
            Ok(())
        };
        records.update(entry, None, set).await?;
        records.archive(entry).await?;
    }
    records.archive(id).await
}

/// Brings something back, with everything that went into the trash with it; to the top where its folder is gone.
pub(super) async fn restore(cx: &Cx, id: RecordId, name: Option<Line<255>>) -> Result<Stored<Entry>> {
    take_turn(cx).await?;
    let records = cx.records::<Entry>();
    let root = records.get(id).await?;
    if root.archived_at.is_none() {
        return Ok(root);
    }
    if let Some(folder) = root.data.trashed_with {
        let rule = ToolError::rule("trashed-with-folder", "this went into the trash with its folder");
        return Err(rule.hint(format!("restore the folder `{folder}`")));
    }
    let parent_id = match root.data.parent_id {
        Some(parent) if folder(cx, parent).await.is_ok() => Some(parent),
        _ => None,
    };
    let name = name.unwrap_or_else(|| root.data.name.clone());
    check_free(cx, parent_id, &name, Some(id)).await.map_err(|error| error.hint("send another `name`"))?;
    let went = Filter::new(Order::Recent).archived(true).is("trashedWith", id.to_string());
    for entry in records.all(went).await? {
        let set = |entry: &mut Entry| {
            entry.trashed_with = None;
            Ok(())
        };
        records.update(entry.id, None, set).await?;
        records.restore(entry.id).await?;
    }
    let set = |entry: &mut Entry| {
        entry.name = name.clone();
        entry.name_key = name.to_lowercase();
        entry.parent_id = parent_id;
        Ok(())
    };
    records.update(id, None, set).await?;
    records.restore(id).await
}
