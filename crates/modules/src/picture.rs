//! Pictures made by a model, out of words or after pictures of the user's, and boards to arrange them on.

mod boards;

use std::time::Duration;

use mana_registry::NewPictures;
use mana_registry::prelude::*;

/// How long a model may take to paint.
const PATIENCE: Duration = Duration::from_secs(150);

/// A picture that was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Image {
    /// What it should show.
    prompt: Text<1, 4_000>,
    /// By which model it was made.
    model: String,
    /// The picture.
    media_id: MediaId,
    /// The pictures that it was made after.
    #[serde(default)]
    references: Vec<MediaId>,
    /// How good it is, 1 to 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<Whole<1, 5>>,
    /// Whether it is a favourite.
    #[serde(default)]
    is_favorite: bool,
}

impl Record for Image {
    const KIND: &'static str = "picture.image";

    fn words(&self) -> String {
        self.prompt.to_string()
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("picture", "Have pictures made by a model, keep them, and arrange them on boards.")
        .labels("Pictures", "Bilder")
        .tool(
            write(
                "picture_generate",
                "Generate pictures from a prompt; after pictures of yourself with `referenceMediaIds` \
             (see `me_list`). Costs credits.",
                generate,
            )
            .patient(PATIENCE),
        )
        .tool(read(
            "picture_list",
            "List generated pictures, the last changed first. Narrow by words or favourites.",
            list,
        ))
        .tool(write("picture_update", "Rate a generated picture or make it a favourite.", update))
        .tool(
            write("picture_archive", "Put a generated picture out of sight; it can be restored.", archive).idempotent(),
        )
        .tool(write("picture_restore", "Bring an archived picture back.", restore).idempotent())
        .tool(read("picture_credits", "How many credits are left to have pictures made.", credits))
        .tool(write("picture_board_create", "Create a board to arrange pictures on.", boards::create))
        .tool(read("picture_board_list", "List boards, the last changed first.", boards::list))
        .tool(read("picture_board_get", "Read one board with its pictures and where they lie.", boards::get))
        .tool(write("picture_board_update", "Rename a board; place, move or remove pictures on it.", boards::update))
        .tool(
            write("picture_board_archive", "Put a board out of sight; its pictures stay.", boards::archive)
                .idempotent(),
        )
}

/// A wish for pictures.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Wish {
    /// What they should show.
    prompt: Text<1, 4_000>,
    /// Pictures of yours to make them after, from `me_list`.
    #[serde(default)]
    #[schemars(length(max = 8))]
    reference_media_ids: Vec<MediaId>,
    /// By which model; the usual one if left out.
    model: Option<Line<100>>,
    /// How well, such as `low`, `medium`, `high`.
    quality: Option<Line<30>>,
    /// How large, such as `1024x1024` or `1536x1024`.
    size: Option<Line<20>>,
    /// How many; 1 if left out.
    n: Option<Whole<1, 4>>,
}

/// A picture and where it is to be fetched.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(flatten)]
    image: Image,
    /// Where it is.
    image_url: String,
    /// Where its smallest image is.
    thumbnail_url: String,
}

fn shown(cx: &Cx, image: Stored<Image>) -> Result<Stored<Shown>> {
    let urls = cx.media()?.urls(image.data.media_id);
    Ok(image.map(|image| Shown { image, image_url: urls.original, thumbnail_url: urls.thumbnail }))
}

/// What was made.
#[derive(Debug, Serialize, JsonSchema)]
struct Made {
    /// The pictures.
    images: Vec<Stored<Shown>>,
    /// For how many credits.
    credits: i64,
}

async fn generate(cx: Cx, wish: Wish) -> Result<Made> {
    let wanted = NewPictures {
        prompt: wish.prompt.to_string(),
        references: wish.reference_media_ids.clone(),
        model: wish.model.as_ref().map(ToString::to_string),
        quality: wish.quality.as_ref().map(ToString::to_string),
        size: wish.size.as_ref().map(ToString::to_string),
        count: wish.n.and_then(|n| u8::try_from(n.get()).ok()).unwrap_or(1),
        key: None,
    };
    let made = cx.media()?.generate(wanted).await?;
    let mut images = Vec::new();
    for media_id in made.images {
        let image = Image {
            prompt: wish.prompt.clone(),
            model: made.model.clone(),
            media_id,
            references: wish.reference_media_ids.clone(),
            rating: None,
            is_favorite: false,
        };
        images.push(shown(&cx, cx.records().add(image).await?)?);
    }
    Ok(Made { images, credits: made.credits })
}

/// Which pictures to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Which {
    /// Words of the prompt.
    query: Option<Line<200>>,
    /// Only favourites.
    #[serde(default)]
    favorites: bool,
    /// List the archived pictures instead.
    #[serde(default)]
    archived: bool,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Shown>>> {
    let mut filter = Filter::new(Order::Recent).archived(which.archived);
    if let Some(query) = &which.query {
        filter = filter.words(query);
    }
    if which.favorites {
        filter = filter.flag("isFavorite", true);
    }
    let page = cx.records::<Image>().list(which.paging.of(filter)?).await?;
    let items = page.items.into_iter().map(|image| shown(&cx, image)).collect::<Result<_>>()?;
    Ok(Page { items, next_cursor: page.next_cursor })
}

/// What one thinks of a picture.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Change {
    /// The generated picture's id.
    image_id: RecordId,
    /// Only if it is at this revision.
    expected_rev: Option<i64>,
    /// How good it is, 1 to 5.
    rating: Option<Whole<1, 5>>,
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
    Rating,
}

async fn update(cx: Cx, change: Change) -> Result<Stored<Image>> {
    let set = |image: &mut Image| {
        if change.clear.contains(&Clearable::Rating) {
            image.rating = None;
        }
        image.rating = change.rating.or(image.rating);
        put(&mut image.is_favorite, change.is_favorite.as_ref());
        Ok(())
    };
    cx.records().update(change.image_id, change.expected_rev, set).await
}

/// One picture.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The generated picture's id.
    image_id: RecordId,
}

async fn archive(cx: Cx, one: One) -> Result<Stored<Image>> {
    cx.records().archive(one.image_id).await
}

async fn restore(cx: Cx, one: One) -> Result<Stored<Image>> {
    cx.records().restore(one.image_id).await
}

/// What is left.
#[derive(Debug, Serialize, JsonSchema)]
struct Credits {
    /// Credits.
    credits: i64,
}

async fn credits(cx: Cx, _: Nothing) -> Result<Credits> {
    Ok(Credits { credits: cx.media()?.credits().await? })
}
