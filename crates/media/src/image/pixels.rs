//! Samples in memory, and turning them upright.

use mana_codecs::webp::{Yuv420, chroma};

use super::error::ImageError;

/// What the samples of a pixel are, 8 bits each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Grey.
    Luma,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, straight alpha.
    Rgba,
}

impl Layout {
    pub(crate) const fn channels(self) -> usize {
        match self {
            Self::Luma => 1,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// Samples of a picture, row by row, the samples of a pixel together.
#[derive(Debug, Clone)]
pub(crate) struct Pixels {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) layout: Layout,
    pub(crate) data: Vec<u8>,
}

impl Pixels {
    /// Samples that fill their dimensions. Alpha that hides nothing is left out.
    pub(crate) fn new(width: u32, height: u32, layout: Layout, mut data: Vec<u8>) -> Result<Self, ImageError> {
        if data.len() != width as usize * height as usize * layout.channels() {
            return Err(ImageError::Damaged("the decoder gave another size than the header".to_owned()));
        }
        if layout == Layout::Rgba && data.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 255) {
            let pixels = data.len() / 4;
            for pixel in 1..pixels {
                data.copy_within(pixel * 4..pixel * 4 + 3, pixel * 3);
            }
            data.truncate(pixels * 3);
            return Ok(Self { width, height, layout: Layout::Rgb, data });
        }
        Ok(Self { width, height, layout, data })
    }
}

/// A picture in one of the two forms in which it goes through the house.
#[derive(Debug, Clone)]
pub(crate) enum Picture {
    /// As decoded.
    Pixels(Pixels),
    /// As WebP stores it: no alpha, chroma at half the size, limited range.
    Planes(Yuv420),
}

impl Picture {
    pub(crate) const fn size(&self) -> (u32, u32) {
        match self {
            Self::Pixels(pixels) => (pixels.width, pixels.height),
            Self::Planes(planes) => (planes.width, planes.height),
        }
    }

    /// Turned upright.
    pub(crate) fn upright(self, orientation: u8) -> Self {
        if !(2..=8).contains(&orientation) {
            return self;
        }
        let swap = |width, height| if orientation >= 5 { (height, width) } else { (width, height) };
        match self {
            Self::Pixels(Pixels { width, height, layout, data }) => {
                let data = match layout {
                    Layout::Luma => turned::<1>(&data, width, height, orientation),
                    Layout::Rgb => turned::<3>(&data, width, height, orientation),
                    Layout::Rgba => turned::<4>(&data, width, height, orientation),
                };
                let (width, height) = swap(width, height);
                Self::Pixels(Pixels { width, height, layout, data })
            }
            Self::Planes(Yuv420 { width, height, y, u, v }) => {
                let half = |plane: &[u8]| turned::<1>(plane, chroma(width), chroma(height), orientation);
                let (u, v) = (half(&u), half(&v));
                let y = turned::<1>(&y, width, height, orientation);
                let (width, height) = swap(width, height);
                Self::Planes(Yuv420 { width, height, y, u, v })
            }
        }
    }
}

/// The samples turned and mirrored as EXIF's orientation says, 2..=8.
fn turned<const N: usize>(data: &[u8], width: u32, height: u32, orientation: u8) -> Vec<u8> {
    // Small squares, so that what is read across and written down stays in the cache.
    const TILE: usize = 32;
    let source = data.as_chunks::<N>().0;
    let (width, height) = (width as usize, height as usize);
    let (across, down) = if orientation >= 5 { (height, width) } else { (width, height) };
    let mut turned = vec![0; data.len()];
    let target = turned.as_chunks_mut::<N>().0;
    let (right, bottom) = (width - 1, height - 1);
    for top in (0..down).step_by(TILE) {
        for left in (0..across).step_by(TILE) {
            for y in top..(top + TILE).min(down) {
                let columns = left..(left + TILE).min(across);
                let row = &mut target[y * across + columns.start..y * across + columns.end];
                for (pixel, x) in row.iter_mut().zip(columns) {
                    let (from_x, from_y) = match orientation {
                        2 => (right - x, y),
                        3 => (right - x, bottom - y),
                        4 => (x, bottom - y),
                        5 => (y, x),
                        6 => (y, bottom - x),
                        7 => (right - y, bottom - x),
                        8 => (right - y, x),
                        _ => (x, y),
                    };
                    *pixel = source[from_y * width + from_x];
                }
            }
        }
    }
    turned
}
