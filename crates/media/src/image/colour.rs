//! Colour: profiles to sRGB, and RGB and JPEG's YCbCr to the planes that WebP stores.

use std::sync::Arc;

use mana_codecs::webp::{Yuv420, chroma};
use moxcms::{ColorProfile, DataColorSpace, Layout as Order, Transform8BitExecutor, TransformOptions};

use super::error::ImageError;
use super::pixels::{Layout, Pixels};

/// The way from a picture's own RGB to sRGB.
#[derive(Clone)]
pub(crate) struct Profile(ColorProfile);

impl Profile {
    /// No real profile is larger; those of printers, which are, speak of inks.
    const MOST: usize = 4 << 20;

    /// The profile, unless it is sRGB in all but name, not one of RGB, or unreadable.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > Self::MOST {
            return None;
        }
        let profile = Self(ColorProfile::new_from_slice(bytes).ok()?);
        if profile.0.color_space != DataColorSpace::Rgb {
            return None;
        }
        let convert = profile.to_srgb(Order::Rgb)?;
        // What it does to a few colours says more than what it is called.
        let step = |at: u8| [0, 32, 96, 160, 224, 255][usize::from(at)];
        let colours: Vec<u8> = (0..216).flat_map(|at| [step(at / 36), step(at / 6 % 6), step(at % 6)]).collect();
        let mut converted = vec![0; colours.len()];
        convert.transform(&colours, &mut converted).ok()?;
        let differs = colours.iter().zip(&converted).any(|(from, to)| from.abs_diff(*to) > 3);
        differs.then_some(profile)
    }

    fn to_srgb(&self, order: Order) -> Option<Arc<Transform8BitExecutor>> {
        self.0.create_transform_8bit(order, &ColorProfile::new_srgb(), order, TransformOptions::default()).ok()
    }

    /// Converts in place. Grey needs none.
    pub(crate) fn apply(&self, pixels: &mut Pixels) -> Result<(), ImageError> {
        let order = match pixels.layout {
            Layout::Rgb => Order::Rgb,
            Layout::Rgba => Order::Rgba,
            Layout::Luma => return Ok(()),
        };
        let failed = || ImageError::Damaged("its colour profile cannot be applied".to_owned());
        let convert = self.to_srgb(order).ok_or_else(failed)?;
        let mut converted = vec![0; pixels.width as usize * order.channels()];
        for row in pixels.data.chunks_exact_mut(converted.len()) {
            convert.transform(row, &mut converted).map_err(|_| failed())?;
            row.copy_from_slice(&converted);
        }
        Ok(())
    }
}

/// Opaque pixels as planes.
pub(crate) fn planes(pixels: &Pixels) -> Yuv420 {
    let (width, height) = (pixels.width, pixels.height);
    match pixels.layout {
        Layout::Luma => {
            let half = vec![128; chroma(width) as usize * chroma(height) as usize];
            let y = pixels.data.iter().map(|luma| LUMA[usize::from(*luma)]).collect();
            Yuv420 { width, height, y, u: half.clone(), v: half }
        }
        Layout::Rgb => subsampled::<3>(pixels, luma_of, chroma_of),
        Layout::Rgba => subsampled::<4>(pixels, |[r, g, b, _]| luma_of([r, g, b]), |[r, g, b, _]| chroma_of([r, g, b])),
    }
}

/// A JPEG's full range to the limited one of WebP, in place.
pub(crate) fn limited(planes: &mut Yuv420) {
    planes.y.iter_mut().for_each(|luma| *luma = LUMA[usize::from(*luma)]);
    for chroma in planes.u.iter_mut().chain(&mut planes.v) {
        *chroma = CHROMA[usize::from(*chroma)];
    }
}

const LUMA: [u8; 256] = ranged(16, 219);
const CHROMA: [u8; 256] = ranged(16, 224);

#[expect(clippy::cast_possible_truncation, reason = "the index and the result are below 256")]
const fn ranged(from: u32, span: u32) -> [u8; 256] {
    let (mut table, mut at) = ([0; 256], 0);
    while at < 256 {
        table[at] = (from + (at as u32 * span + 127) / 255) as u8;
        at += 1;
    }
    table
}

/// BT.601 in the limited range, in 16-bit fixed point.
#[expect(clippy::cast_possible_truncation, reason = "the weights keep it within 16..=235")]
fn luma_of([r, g, b]: [u8; 3]) -> u8 {
    ((16_829 * u32::from(r) + 33_039 * u32::from(g) + 6_416 * u32::from(b) + (16 << 16) + (1 << 15)) >> 16) as u8
}

/// The two differences, likewise.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the weights keep it within 16..=240")]
fn chroma_of(rgb: [u8; 3]) -> (u8, u8) {
    let [r, g, b] = rgb.map(i32::from);
    let half = (128 << 16) + (1 << 15);
    let blue = (-9_714 * r - 19_070 * g + 28_784 * b + half) >> 16;
    let red = (28_784 * r - 24_103 * g - 4_681 * b + half) >> 16;
    (blue as u8, red as u8)
}

/// Luma of every pixel, chroma of the mean of every two by two.
fn subsampled<const N: usize>(
    pixels: &Pixels,
    luma: impl Fn([u8; N]) -> u8,
    difference: impl Fn([u8; N]) -> (u8, u8),
) -> Yuv420 {
    let (width, height) = (pixels.width, pixels.height);
    let across = width as usize;
    let samples = pixels.data.as_chunks::<N>().0;
    let y = samples.iter().map(|pixel| luma(*pixel)).collect();
    let half = chroma(width) as usize * chroma(height) as usize;
    let (mut u, mut v) = (Vec::with_capacity(half), Vec::with_capacity(half));
    for rows in samples.chunks(across * 2) {
        let (upper, lower) = rows.split_at(across);
        // The last row and column of an odd number stand for the missing ones.
        let lower = if lower.is_empty() { upper } else { lower };
        for (a, b) in upper.chunks(2).zip(lower.chunks(2)) {
            let (first, last) = (0, a.len() - 1);
            let mean = std::array::from_fn(|channel| {
                let at = |row: &[[u8; N]], x: usize| u16::from(row[x][channel]);
                let sum = at(a, first) + at(a, last) + at(b, first) + at(b, last);
                u8::try_from((sum + 2) / 4).unwrap_or(u8::MAX)
            });
            let (blue, red) = difference(mean);
            u.push(blue);
            v.push(red);
        }
    }
    Yuv420 { width, height, y, u, v }
}
