//! Boards: pictures and where they lie.

use mana_registry::prelude::*;

use super::{Image, Shown, shown};

/// The most pictures on a board.
const MOST: usize = 200;

/// A board.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Board {
    /// What it is called.
    name: Line<200>,
    /// What it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Text<0, 2_000>>,
    /// What lies on it, the lowest first.
    #[serde(default)]
    items: Vec<Item>,
}

impl Record for Board {
    const KIND: &'static str = "picture.board";

    fn words(&self) -> String {
        format!("{} {}", self.name, self.description.as_deref().unwrap_or_default())
    }
}

/// A picture on a board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    /// The generated picture, by id.
    image_id: RecordId,
    /// From the left.
    x: Whole<-100_000, 100_000>,
    /// From the top.
    y: Whole<-100_000, 100_000>,
    /// How wide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    width: Option<Whole<1, 20_000>>,
}

/// A new board.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NewBoard {
    /// What it is called.
    name: Line<200>,
    /// What it is about.
    description: Option<Text<0, 2_000>>,
}

pub(super) async fn create(cx: Cx, new: NewBoard) -> Result<Stored<Board>> {
    cx.records().add(Board { name: new.name, description: new.description, items: Vec::new() }).await
}

/// Which boards to list.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Which {
    /// List the archived boards instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

/// A board in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    /// What it is called.
    name: Line<200>,
    /// What it is about.
    description: Option<Text<0, 2_000>>,
    /// How many pictures lie on it.
    count: usize,
}

pub(super) async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Listed>>> {
    let filter = Filter::new(Order::Recent).archived(which.archived);
    let page = cx.records::<Board>().list(which.paging.of(filter)?).await?;
    let listed = |board: Board| Listed { name: board.name, description: board.description, count: board.items.len() };
    Ok(Page { items: page.items.into_iter().map(|board| board.map(listed)).collect(), next_cursor: page.next_cursor })
}

/// One board.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OneBoard {
    /// The board's id.
    board_id: RecordId,
}

/// A board with its pictures.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Full {
    #[serde(flatten)]
    board: Board,
    /// The pictures on it, the lowest first.
    images: Vec<Stored<Shown>>,
}

pub(super) async fn get(cx: Cx, one: OneBoard) -> Result<Stored<Full>> {
    let board = cx.records::<Board>().get(one.board_id).await?;
    let mut images = Vec::new();
    for item in &board.data.items {
        if let Some(image) = cx.records::<Image>().find(item.image_id).await? {
            images.push(shown(&cx, image)?);
        }
    }
    Ok(board.map(|board| Full { board, images }))
}

/// Changes to a board.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    /// The board's id.
    board_id: RecordId,
    /// Only if the board is at this revision.
    expected_rev: Option<i64>,
    /// What it is called.
    name: Option<Line<200>>,
    /// What it is about.
    description: Option<Text<0, 2_000>>,
    /// Pictures to lay on it or to move; they come to lie on top.
    #[serde(default)]
    #[schemars(length(max = 50))]
    place: Vec<Item>,
    /// Pictures to take off, by id.
    #[serde(default)]
    #[schemars(length(max = 200))]
    remove_image_ids: Vec<RecordId>,
    /// Fields to empty.
    #[serde(default)]
    clear: Vec<Clearable>,
}

/// A field that can be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Clearable {
    Description,
}

pub(super) async fn update(cx: Cx, change: Change) -> Result<Stored<Board>> {
    for (at, item) in change.place.iter().enumerate() {
        cx.records::<Image>().check(&format!("place[{at}].imageId"), item.image_id).await?;
    }
    let set = |board: &mut Board| {
        if change.clear.contains(&Clearable::Description) {
            board.description = None;
        }
        put(&mut board.name, change.name.as_ref());
        board.description = change.description.clone().or_else(|| board.description.take());
        let is_placed = |id: RecordId| change.place.iter().any(|item| item.image_id == id);
        board.items.retain(|item| !change.remove_image_ids.contains(&item.image_id) && !is_placed(item.image_id));
        board.items.extend(change.place.iter().cloned());
        if board.items.len() > MOST {
            return Err(ToolError::field("place", format!("at most {MOST} pictures lie on a board")));
        }
        Ok(())
    };
    cx.records().update(change.board_id, change.expected_rev, set).await
}

pub(super) async fn archive(cx: Cx, one: OneBoard) -> Result<Stored<Board>> {
    cx.records().archive(one.board_id).await
}
