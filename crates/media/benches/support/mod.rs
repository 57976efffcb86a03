//! Pictures made by arithmetic, and how alike two pictures are. Shared by the benchmark and the tests of pictures.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "arithmetic on samples, in the letters of its formulas"
)]

/// Something like a photograph, RGB: soft slopes, texture at every scale, hard edges, and the grain of a sensor: 6 by daylight,
/// 20 in the evening.
pub(crate) fn photo(width: u32, height: u32, grain: f32, seed: u32) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
    let scale = width.max(height) as f32 / 4000.0;
    for row in 0..height {
        for column in 0..width {
            let (x, y) = (column as f32 / scale, row as f32 / scale);
            let (mut light, mut strength, mut frequency) = (0.0, 0.5, 1.0 / 512.0);
            for octave in 0..7 {
                light += strength * noise(x * frequency, y * frequency, seed ^ octave);
                strength *= 0.55;
                frequency *= 2.0;
            }
            let disc = if (x - 1500.0).hypot(y - 1200.0) < 700.0 { 0.25 } else { 0.0 };
            let tiles = if ((x / 170.0) as u32 + (y / 130.0) as u32).is_multiple_of(5) { 0.12 } else { 0.0 };
            let light = (light * 0.7 + disc + tiles) * 255.0 + (hash(column, row, seed ^ 0x21) - 0.5) * grain;
            let warm = (noise(x / 300.0, y / 300.0, seed ^ 0x14) - 0.5) * 120.0;
            let cold = (noise(x / 200.0, y / 200.0, seed ^ 0x15) - 0.5) * 120.0;
            pixels.extend([light + warm, light, light + cold].map(|value| value.clamp(0.0, 255.0) as u8));
        }
    }
    pixels
}

/// Value noise: random numbers on a grid, and smooth slopes between them.
fn noise(x: f32, y: f32, seed: u32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let smooth = |t: f32| t * t * (3.0 - 2.0 * t);
    let (across, down) = (smooth(x - left), smooth(y - top));
    let at = |dx: u32, dy: u32| hash(left as u32 + dx, top as u32 + dy, seed);
    let upper = at(0, 0) * (1.0 - across) + at(1, 0) * across;
    let lower = at(0, 1) * (1.0 - across) + at(1, 1) * across;
    upper * (1.0 - down) + lower * down
}

/// A number between 0 and 1 that belongs to a place.
fn hash(x: u32, y: u32, seed: u32) -> f32 {
    let mut bits = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77) ^ seed.wrapping_mul(0xc2b2_ae3d);
    bits = (bits ^ bits >> 15).wrapping_mul(0x2c1b_3c6d);
    bits = (bits ^ bits >> 12).wrapping_mul(0x297a_2d39);
    (bits ^ bits >> 15 & 0xffff) as f32 / 4_294_967_295.0
}

/// The luma of pixels of three or four channels.
pub(crate) fn luma(pixels: &[u8], channels: usize) -> Vec<f32> {
    let weigh = |pixel: &[u8]| 0.299 * f32::from(pixel[0]) + 0.587 * f32::from(pixel[1]) + 0.114 * f32::from(pixel[2]);
    pixels.chunks_exact(channels).map(weigh).collect()
}

/// Structural similarity of two lumas of the same width: the mean over windows of 8 by 8, every 4 pixels. 1 is equal.
///
/// Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural similarity", 2004.
pub(crate) fn ssim(a: &[f32], b: &[f32], width: usize) -> f64 {
    const SIDE: usize = 8;
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    assert_eq!(a.len(), b.len(), "pictures of different sizes");
    let height = a.len() / width;
    let (mut sum, mut windows) = (0.0, 0_u32);
    for top in (0..=height.saturating_sub(SIDE)).step_by(4) {
        for left in (0..=width.saturating_sub(SIDE)).step_by(4) {
            let [mut ma, mut mb, mut aa, mut bb, mut ab] = [0.0; 5];
            for y in top..(top + SIDE).min(height) {
                for x in left..(left + SIDE).min(width) {
                    let (p, q) = (f64::from(a[y * width + x]), f64::from(b[y * width + x]));
                    ma += p;
                    mb += q;
                    aa += p * p;
                    bb += q * q;
                    ab += p * q;
                }
            }
            let n = (SIDE.min(height) * SIDE.min(width)) as f64;
            let (ma, mb) = (ma / n, mb / n);
            let (va, vb, cov) = (aa / n - ma * ma, bb / n - mb * mb, ab / n - ma * mb);
            sum += (2.0 * ma * mb + C1) * (2.0 * cov + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2));
            windows += 1;
        }
    }
    sum / f64::from(windows.max(1))
}
