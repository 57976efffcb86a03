//! Shrinking, and the arithmetic of sizes.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3, U8x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use mana_codecs::jpeg::Plane;
use mana_codecs::webp::{Yuv420, chroma};

use super::colour;
use super::decode::Samples;
use super::error::ImageError;
use super::pixels::{Layout, Picture, Pixels};

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Crop {
    pub(crate) left: f64,
    pub(crate) top: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Crop {
    /// All of it.
    pub(crate) fn whole((width, height): (u32, u32)) -> Self {
        Self { left: 0.0, top: 0.0, width: width.into(), height: height.into() }
    }

    /// The same part of another size of the same picture.
    pub(crate) fn of(self, from: (u32, u32), to: (u32, u32)) -> Self {
        let (x, y) = (f64::from(to.0) / f64::from(from.0), f64::from(to.1) / f64::from(from.1));
        Self { left: self.left * x, top: self.top * y, width: self.width * x, height: self.height * y }
    }

    /// The largest part in the middle that has the proportions of the other size.
    pub(crate) fn middle((width, height): (u32, u32), (to_width, to_height): (u32, u32)) -> Self {
        let (width, height) = (f64::from(width), f64::from(height));
        let ratio = f64::from(to_width) / f64::from(to_height);
        let (part_width, part_height) =
            if width / height > ratio { (height * ratio, height) } else { (width, width / ratio) };
        Self {
            left: (width - part_width) / 2.0,
            top: (height - part_height) / 2.0,
            width: part_width,
            height: part_height,
        }
    }
}

/// The size with the same proportions whose sides are at most these. Never larger than the picture.
pub(crate) fn inside(size: (u32, u32), most: (u32, u32)) -> (u32, u32) {
    let scale = (f64::from(most.0) / f64::from(size.0)).min(f64::from(most.1) / f64::from(size.1)).min(1.0);
    scaled(size, scale)
}

/// The size times a factor, each side rounded and at least one pixel.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sides are small positive numbers")]
pub(crate) fn scaled((width, height): (u32, u32), scale: f64) -> (u32, u32) {
    let side = |side: u32| (f64::from(side) * scale).round().max(1.0) as u32;
    (side(width), side(height))
}

impl Picture {
    /// A part of the picture, resampled to a size with Lanczos' filter.
    pub(crate) fn resized(&self, crop: Crop, to: (u32, u32)) -> Result<Self, ImageError> {
        Ok(match self {
            Self::Pixels(pixels) => {
                let size = (pixels.width, pixels.height);
                let data = match pixels.layout {
                    Layout::Luma => resample::<U8>(&pixels.data, size, crop, to),
                    Layout::Rgb => resample::<U8x3>(&pixels.data, size, crop, to),
                    Layout::Rgba => resample::<U8x4>(&pixels.data, size, crop, to),
                }?;
                Self::Pixels(Pixels { width: to.0, height: to.1, layout: pixels.layout, data })
            }
            Self::Planes(planes) => {
                let size = (planes.width, planes.height);
                let half = (chroma(size.0), chroma(size.1));
                let part = crop.of(size, half);
                let to_half = (chroma(to.0), chroma(to.1));
                Self::Planes(Yuv420 {
                    width: to.0,
                    height: to.1,
                    y: resample::<U8>(&planes.y, size, crop, to)?,
                    u: resample::<U8>(&planes.u, half, part, to_half)?,
                    v: resample::<U8>(&planes.v, half, part, to_half)?,
                })
            }
        })
    }
}

impl Samples {
    /// A part, given in the samples that there are, resampled to a size.
    pub(crate) fn resized(&self, crop: Crop, to: (u32, u32)) -> Result<Picture, ImageError> {
        let planes = match self {
            Self::Picture(picture) => return picture.resized(crop, to),
            Self::Jpeg(planes) => planes,
        };
        let to_half = (chroma(to.0), chroma(to.1));
        let [y, u, v] = planes;
        let plane = |plane: &Plane, to| {
            let size = (plane.width, plane.height);
            resample::<U8>(&plane.data, size, crop.of((y.width, y.height), size), to)
        };
        let (y, u, v) = (plane(y, to)?, plane(u, to_half)?, plane(v, to_half)?);
        let mut planes = Yuv420 { width: to.0, height: to.1, y, u, v };
        colour::limited(&mut planes);
        Ok(Picture::Planes(planes))
    }
}

/// Resamples band by band, because the resampler holds all rows of an image between its two passes: a quarter of the
/// memory of a picture instead of half of it. A band sees the rows above and below that the filter reaches, so there is no seam.
///
/// The kind of pixel is known when this is compiled: only three of the resampler's thirteen end in the binary.
fn resample<P: PixelTrait>(
    data: &[u8],
    (width, height): (u32, u32),
    crop: Crop,
    to: (u32, u32),
) -> Result<Vec<u8>, ImageError> {
    const BAND: u32 = 384;
    /// How far Lanczos reaches, in pixels of the smaller picture.
    const REACH: f64 = 3.0;
    let failed = |error: &dyn std::fmt::Display| ImageError::Encode(error.to_string());
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    let (stride, to_stride) = (width as usize * P::size(), to.0 as usize * P::size());
    let scale = crop.height / f64::from(to.1);
    let reach = REACH * scale.max(1.0) + 2.0;
    let mut resizer = Resizer::new();
    let mut resampled = vec![0; to_stride * to.1 as usize];
    for first in (0..to.1).step_by(BAND as usize) {
        let end = (first + BAND).min(to.1);
        let (top, bottom) = (crop.top + f64::from(first) * scale, crop.top + f64::from(end) * scale);
        let (above, below) = rows(top - reach, bottom + reach, height);
        let part_top = top - f64::from(above);
        let part_height = (bottom - top).min(f64::from(below - above) - part_top);
        let part_width = crop.width.min(f64::from(width) - crop.left);
        let source = &data[above as usize * stride..below as usize * stride];
        let source = TypedImageRef::<P>::from_buffer(width, below - above, source).map_err(|error| failed(&error))?;
        let target = &mut resampled[first as usize * to_stride..end as usize * to_stride];
        let mut target = TypedImage::<P>::from_buffer(to.0, end - first, target).map_err(|error| failed(&error))?;
        let options = options.crop(crop.left, part_top, part_width, part_height);
        resizer.resize_typed(&source, &mut target, &options).map_err(|error| failed(&error))?;
    }
    Ok(resampled)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the rows of the picture")]
fn rows(top: f64, bottom: f64, height: u32) -> (u32, u32) {
    let most = f64::from(height);
    (top.floor().clamp(0.0, most) as u32, bottom.ceil().clamp(0.0, most) as u32)
}
