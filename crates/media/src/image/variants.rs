//! The three smaller pictures of every picture.

use super::colour;
use super::decode::{Source, Want, decode};
use super::encode::{self, Encoded};
use super::error::ImageError;
use super::guarded;
use super::inspect::inspect;
use super::limits::{Deadline, Limits};
use super::pixels::{Layout, Picture};
use super::resize::{Crop, inside};

/// How variants are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// How hard the WebP encoder tries, 0 (fast) to 6 (small). 2 takes half the time of libwebp's own 4 and a few per cent more bytes.
    pub method: u8,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { method: 2 }
    }
}

/// A variant: the longest sides, and the quality.
struct Size {
    side: u32,
    quality: u8,
}

const LARGE: Size = Size { side: 1920, quality: 90 };
const MEDIUM: Size = Size { side: 800, quality: 85 };
const THUMB: Size = Size { side: 200, quality: 80 };

/// The smaller pictures: WebP, upright, sRGB, without metadata, never larger than the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants {
    /// The middle, 200 by 200, or what there is of it.
    pub thumb: Encoded,
    /// At most 800 a side; only if the original is larger.
    pub medium: Option<Encoded>,
    /// At most 1920 a side; only if the original is larger.
    pub large: Option<Encoded>,
}

/// Makes all variants: decodes once, shrinks to the largest, and each further one from the one before.
pub fn variants(bytes: &[u8], limits: &Limits, recipe: &Recipe) -> Result<Variants, ImageError> {
    guarded(|| {
        let deadline = Deadline::after(limits.cpu);
        let info = inspect(bytes, limits)?;
        let size = info.stored();
        let method = recipe.method.min(6);
        let larger = |wanted: &Size| size.0.max(size.1) > wanted.side;
        let (has_large, has_medium) = (larger(&LARGE), larger(&MEDIUM));
        // A strip loses too much of its short side on the way down: its thumbnail comes from the original.
        let last = inside(size, (MEDIUM.side, MEDIUM.side));
        let strip = last.0.min(last.1) < size.0.min(size.1).min(THUMB.side);
        let first =
            [(has_large, &LARGE), (has_medium, &MEDIUM)].into_iter().find_map(|(has, wanted)| has.then_some(wanted));
        let shrink = match first {
            // Of a strip, nothing is left out that the thumbnail might need.
            Some(_) if strip => 1.0,
            Some(wanted) => f64::from(size.0.max(size.1)) / f64::from(wanted.side),
            None => f64::from(size.0.min(size.1)) / f64::from(THUMB.side),
        };
        let source = decode(bytes, &info, limits, Want::Planes { shrink }, deadline)?;
        let whole = Crop::whole(source.samples.size());

        let thumb_of_original = if strip || !has_medium {
            let to = thumb_size(size);
            Some(ready(&source, Crop::middle(size, to).of(size, source.samples.size()), to, info.orientation)?)
        } else {
            None
        };
        let first = match first {
            Some(wanted) => Some(ready(&source, whole, inside(size, (wanted.side, wanted.side)), info.orientation)?),
            None => None,
        };
        // From here on, nothing needs the original: the encoder works beside a few megabytes only.
        drop(source);
        deadline.check()?;

        let (mut large, mut medium, mut thumb) = (None, None, thumb_of_original);
        let mut current = first;
        if has_large && let Some(picture) = &current {
            large = Some(encode::webp(picture, LARGE.quality, method, deadline)?);
            let to = inside(picture.size(), (MEDIUM.side, MEDIUM.side));
            current = Some(picture.resized(Crop::whole(picture.size()), to)?);
        }
        if let Some(picture) = &current {
            medium = Some(encode::webp(picture, MEDIUM.quality, method, deadline)?);
            if thumb.is_none() {
                let to = thumb_size(picture.size());
                thumb = Some(picture.resized(Crop::middle(picture.size(), to), to)?);
            }
        }
        drop(current);
        let thumb = thumb.ok_or_else(|| ImageError::Damaged("it has no pixels".to_owned()))?;
        Ok(Variants { thumb: encode::webp(&thumb, THUMB.quality, method, deadline)?, medium, large })
    })
}

fn thumb_size(size: (u32, u32)) -> (u32, u32) {
    (size.0.min(THUMB.side), size.1.min(THUMB.side))
}

/// A part of the original at a size, in sRGB, upright, and in the form that the encoder wants: planes, unless it has alpha.
fn ready(source: &Source, crop: Crop, to: (u32, u32), orientation: u8) -> Result<Picture, ImageError> {
    let picture = match source.samples.resized(crop, to)? {
        Picture::Pixels(mut pixels) => {
            if let Some(profile) = &source.profile {
                profile.apply(&mut pixels)?;
            }
            if pixels.layout == Layout::Rgba {
                Picture::Pixels(pixels)
            } else {
                Picture::Planes(colour::planes(&pixels))
            }
        }
        planes @ Picture::Planes(_) => planes,
    };
    Ok(picture.upright(orientation))
}
