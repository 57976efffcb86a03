//! From bytes to samples.

use ::image::codecs::{bmp::BmpDecoder, gif::GifDecoder, png::PngDecoder, tiff::TiffDecoder};
use ::image::{ColorType, ImageDecoder, ImageResult};
use mana_codecs::jpeg::Plane;

use super::colour::Profile;
use super::error::ImageError;
use super::inspect::Info;
use super::limits::{Deadline, Limits, Watched, at_most};
use super::pixels::{Layout, Picture, Pixels};
use super::sniff::Kind;
use super::{jpeg, webp};

/// What the samples are needed for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Want {
    /// Planes for WebP: what is stored as luma and chroma stays so.
    Planes {
        /// How many times smaller than the picture the largest is that will be made of it: a JPEG is then not decoded in full.
        shrink: f64,
    },
    /// RGB, RGBA or grey.
    Rgb,
}

/// A decoded picture as it is stored: not upright, in its own colours.
pub(crate) struct Source {
    pub(crate) samples: Samples,
    /// Set if its colours are not sRGB.
    pub(crate) profile: Option<Profile>,
}

/// Decoded samples.
pub(crate) enum Samples {
    /// Pixels, or the planes of a WebP.
    Picture(Picture),
    /// The planes of a JPEG, in the full range, each of its own size, perhaps only a half of the picture or less.
    Jpeg([Plane; 3]),
}

impl Samples {
    /// How many there are, which may be fewer than the picture has.
    pub(crate) const fn size(&self) -> (u32, u32) {
        match self {
            Self::Picture(picture) => picture.size(),
            Self::Jpeg([luma, ..]) => (luma.width, luma.height),
        }
    }
}

/// Decodes the picture, or its first frame.
pub(crate) fn decode(
    bytes: &[u8],
    info: &Info,
    limits: &Limits,
    want: Want,
    deadline: Deadline,
) -> Result<Source, ImageError> {
    deadline.check()?;
    let source = match info.format {
        Kind::Jpeg => jpeg::decode(bytes, limits, want, deadline),
        Kind::Webp => webp::decode(bytes, limits, want, deadline),
        Kind::Png => PngDecoder::with_limits(Watched::new(bytes, deadline), allocations(limits))
            .map_err(|error| refused(&error, deadline))
            .and_then(|decoder| generic(decoder, limits, deadline)),
        Kind::Gif => generic_of(GifDecoder::new(Watched::new(bytes, deadline)), limits, deadline),
        Kind::Bmp => generic_of(BmpDecoder::new(Watched::new(bytes, deadline)), limits, deadline),
        Kind::Tiff => generic_of(TiffDecoder::new(Watched::new(bytes, deadline)), limits, deadline),
        Kind::Heif | Kind::Avif | Kind::Svg | Kind::Html | Kind::Script | Kind::Other => {
            Err(ImageError::Unsupported(info.format.name()))
        }
    }?;
    match &source.samples {
        Samples::Picture(picture) if picture.size() != info.stored() => {
            Err(ImageError::Damaged("the decoder gave another size than the header".to_owned()))
        }
        Samples::Picture(_) | Samples::Jpeg(_) => Ok(source),
    }
}

/// What a decoder may allocate beside the pixels themselves.
fn allocations(limits: &Limits) -> ::image::Limits {
    let mut allocations = ::image::Limits::no_limits();
    allocations.max_image_width = Some(limits.side);
    allocations.max_image_height = Some(limits.side);
    allocations.max_alloc = Some(limits.bytes().saturating_mul(2));
    allocations
}

fn refused(error: &::image::ImageError, deadline: Deadline) -> ImageError {
    if let Err(slow) = deadline.check() {
        return slow;
    }
    match error {
        ::image::ImageError::Unsupported(_) => ImageError::Unsupported("an image of this rare kind"),
        other => ImageError::damaged(other),
    }
}

fn generic_of<D: ImageDecoder>(
    decoder: ImageResult<D>,
    limits: &Limits,
    deadline: Deadline,
) -> Result<Source, ImageError> {
    let mut decoder = decoder.map_err(|error| refused(&error, deadline))?;
    decoder.set_limits(allocations(limits)).map_err(|error| refused(&error, deadline))?;
    generic(decoder, limits, deadline)
}

fn generic(mut decoder: impl ImageDecoder, limits: &Limits, deadline: Deadline) -> Result<Source, ImageError> {
    let (width, height) = decoder.dimensions();
    limits.check(width, height)?;
    let bytes = decoder.total_bytes();
    at_most("bytes of pixels", bytes, limits.bytes())?;
    let colour = decoder.color_type();
    let (layout, wide) = match colour {
        ColorType::L8 => (Layout::Luma, false),
        ColorType::L16 => (Layout::Luma, true),
        ColorType::Rgb8 => (Layout::Rgb, false),
        ColorType::Rgb16 => (Layout::Rgb, true),
        ColorType::La8 | ColorType::Rgba8 => (Layout::Rgba, false),
        ColorType::La16 | ColorType::Rgba16 => (Layout::Rgba, true),
        _ => return Err(ImageError::Unsupported("an image of floating-point numbers")),
    };
    let profile = decoder.icc_profile().ok().flatten().and_then(|profile| Profile::parse(&profile));
    let len = usize::try_from(bytes).map_err(ImageError::damaged)?;
    let mut data = vec![0; len];
    decoder.read_image(&mut data).map_err(|error| refused(&error, deadline))?;
    if wide {
        // 16 bits in the order of this machine. The upper eight are what an eye sees.
        let high = usize::from(cfg!(target_endian = "little"));
        for at in 0..len / 2 {
            data[at] = data[at * 2 + high];
        }
        data.truncate(len / 2);
    }
    if matches!(colour, ColorType::La8 | ColorType::La16) {
        data = data.as_chunks::<2>().0.iter().flat_map(|[grey, alpha]| [*grey, *grey, *grey, *alpha]).collect();
    }
    deadline.check()?;
    let picture = Picture::Pixels(Pixels::new(width, height, layout, data)?);
    Ok(Source { samples: Samples::Picture(picture), profile })
}
