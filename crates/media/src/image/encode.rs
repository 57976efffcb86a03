//! From samples to bytes. Nothing but pixels is written: no profile, no date, no place.

use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ColorType, SamplingFactor};
use mana_codecs::webp::Options;

use super::error::ImageError;
use super::limits::Deadline;
use super::pixels::{Layout, Picture, Pixels};

/// A picture, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The file.
    pub bytes: Vec<u8>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Its media type.
    pub mime: &'static str,
}

impl Encoded {
    fn new(bytes: Vec<u8>, picture: &Picture, mime: &'static str) -> Self {
        let (width, height) = picture.size();
        Self { bytes, width, height, mime }
    }
}

/// WebP, of planes or RGBA.
pub(crate) fn webp(picture: &Picture, quality: u8, method: u8, deadline: Deadline) -> Result<Encoded, ImageError> {
    let options = Options { quality: quality.into(), method, deadline: Some(deadline.instant()) };
    let bytes = match picture {
        Picture::Planes(planes) => mana_codecs::webp::encode_yuv420(planes, &options),
        Picture::Pixels(pixels) => match pixels.layout {
            Layout::Rgba => mana_codecs::webp::encode_rgba(&pixels.data, pixels.width, pixels.height, &options),
            Layout::Luma | Layout::Rgb => mana_codecs::webp::encode_yuv420(&super::colour::planes(pixels), &options),
        },
    };
    let bytes = bytes.map_err(|error| match error {
        mana_codecs::webp::Error::TooSlow => ImageError::TooSlow,
        other => ImageError::Encode(other.to_string()),
    })?;
    Ok(Encoded::new(bytes, picture, "image/webp"))
}

/// JPEG, of opaque pixels.
pub(crate) fn jpeg(pixels: Pixels, quality: u8) -> Result<Encoded, ImageError> {
    let failed = |error: &dyn std::fmt::Display| ImageError::Encode(error.to_string());
    let side = |side: u32| u16::try_from(side).map_err(|error| failed(&error));
    let (width, height) = (side(pixels.width)?, side(pixels.height)?);
    let colour = match pixels.layout {
        Layout::Luma => ColorType::Luma,
        Layout::Rgb => ColorType::Rgb,
        Layout::Rgba => ColorType::Rgba,
    };
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.set_optimized_huffman_tables(true);
    encoder.encode(&pixels.data, width, height, colour).map_err(|error| failed(&error))?;
    Ok(Encoded::new(bytes, &Picture::Pixels(pixels), "image/jpeg"))
}

/// PNG, of RGB, RGBA or grey.
pub(crate) fn png(pixels: Pixels) -> Result<Encoded, ImageError> {
    let colour = match pixels.layout {
        Layout::Luma => ExtendedColorType::L8,
        Layout::Rgb => ExtendedColorType::Rgb8,
        Layout::Rgba => ExtendedColorType::Rgba8,
    };
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&pixels.data, pixels.width, pixels.height, colour)
        .map_err(|error| ImageError::Encode(error.to_string()))?;
    Ok(Encoded::new(bytes, &Picture::Pixels(pixels), "image/png"))
}
