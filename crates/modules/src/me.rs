//! Me: pictures of the user's own face and figure, for pictures that are made after them.

use mana_registry::prelude::*;

use crate::shared::files;

/// A picture of the user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Image {
    /// What it shows.
    kind: Kind,
    /// The picture.
    media_id: MediaId,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<Line<200>>,
}

impl Record for Image {
    const KIND: &'static str = "me.image";

    fn words(&self) -> String {
        self.label.as_ref().map(ToString::to_string).unwrap_or_default()
    }
}

/// What a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Face,
    Fullbody,
    Halfbody,
    Hands,
    Reference,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Face => "face",
            Self::Fullbody => "fullbody",
            Self::Halfbody => "halfbody",
            Self::Hands => "hands",
            Self::Reference => "reference",
        }
    }
}

/// The module.
pub(crate) fn module() -> Module {
    Module::new("me", "Keep pictures of yourself that other pictures are made after.")
        .labels("Me", "Ich")
        .tool(read("me_list", "List reference images of yourself, the last added first.", list))
        .tool(
            write(
                "me_add",
                "Add a reference image of yourself, so that `picture_generate` may use it. Upload it \
                 first, for example with `storage_upload`.",
                add,
            )
            .idempotent(),
        )
        .tool(
            write("me_remove", "Remove a reference image; it is no longer used for generated pictures.", remove)
                .idempotent(),
        )
}

/// A picture and where it is to be fetched.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    #[serde(flatten)]
    image: Image,
    /// Where its smallest image is.
    thumbnail: String,
}

fn shown(cx: &Cx, image: Stored<Image>) -> Result<Stored<Shown>> {
    let thumbnail = cx.media()?.urls(image.data.media_id).thumbnail;
    Ok(image.map(|image| Shown { image, thumbnail }))
}

/// Which pictures to list.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Only those that show this.
    kind: Option<Kind>,
    #[serde(flatten)]
    paging: Paging,
}

async fn list(cx: Cx, which: Which) -> Result<Page<Stored<Shown>>> {
    let mut filter = Filter::new(Order::Recent);
    if let Some(kind) = which.kind {
        filter = filter.is("kind", kind.word());
    }
    let page = cx.records::<Image>().list(which.paging.of(filter)?).await?;
    let items = page.items.into_iter().map(|image| shown(&cx, image)).collect::<Result<_>>()?;
    Ok(Page { items, next_cursor: page.next_cursor })
}

/// A picture to add.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct New {
    /// What it shows.
    kind: Kind,
    /// An image of yours, by id.
    media_id: MediaId,
    /// More about it.
    label: Option<Line<200>>,
}

async fn add(cx: Cx, new: New) -> Result<Stored<Shown>> {
    let media = cx.media()?;
    let file = media.check_image("mediaId", new.media_id).await?;
    files::hold(&media, &file, "me").await?;
    let records = cx.records::<Image>();
    let same = Filter::new(Order::Recent).is("mediaId", new.media_id.to_string()).is("kind", new.kind.word());
    let image = match records.first(same).await? {
        Some(known) if new.label.is_none() || new.label == known.data.label => known,
        Some(known) => {
            let set = |image: &mut Image| {
                image.label.clone_from(&new.label);
                Ok(())
            };
            records.update(known.id, None, set).await?
        }
        None => records.add(Image { kind: new.kind, media_id: new.media_id, label: new.label }).await?,
    };
    shown(&cx, image)
}

/// One picture.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct One {
    /// The reference image's id.
    image_id: RecordId,
}

async fn remove(cx: Cx, one: One) -> Result<Stored<Image>> {
    let records = cx.records::<Image>();
    let image = records.get(one.image_id).await?;
    if image.archived_at.is_some() {
        return Ok(image);
    }
    let same = Filter::new(Order::Recent).is("mediaId", image.data.media_id.to_string());
    // The file is let go of with the last record that names it. Files come before records: should the record fail, the
    // same call again finds it still there.
    if records.count(same).await? <= 1 {
        cx.media()?.forget(image.data.media_id, "me").await?;
    }
    records.archive(one.image_id).await
}
