//! Planes have the sizes they should, pixels the values, and damage is an error.
#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]

use std::time::Duration;

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::*;

/// Slopes in all three colours.
fn rgb(width: u32, height: u32) -> Vec<u8> {
    let pixel = |at: u32| [(60 + at % width) as u8, (60 + at / width) as u8, 128];
    (0..width * height).flat_map(pixel).collect()
}

fn encoded(width: u32, height: u32, factor: SamplingFactor, progressive: bool, optimized: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, 95);
    encoder.set_sampling_factor(factor);
    encoder.set_progressive(progressive);
    encoder.set_optimized_huffman_tables(optimized);
    encoder.encode(&rgb(width, height), width as u16, height as u16, ColorType::Rgb).unwrap();
    bytes
}

#[test]
fn every_way_to_store_chroma_gives_the_same_picture() {
    let factors = [
        SamplingFactor::F_1_1,
        SamplingFactor::F_2_1,
        SamplingFactor::F_1_2,
        SamplingFactor::F_2_2,
        SamplingFactor::F_4_1,
    ];
    for (width, height) in [(64, 48), (61, 43), (17, 9), (1, 1)] {
        for factor in factors {
            // The last of these is stored component by component, each in a scan of its own.
            for (progressive, optimized) in [(false, false), (true, true), (false, true)] {
                let bytes = encoded(width, height, factor, progressive, optimized);
                let open = || Decoder::new(&bytes, None).unwrap();
                assert_eq!((open().size(), open().colour()), ((width, height), Colour::Ycc));
                let [y, u, v] = open().planes(8).unwrap();
                assert_eq!((y.width, y.height), (width, height));
                assert_eq!((u.width, u.height), (v.width, v.height));
                assert!(u.width == width || u.width == width.div_ceil(2) || u.width == width.div_ceil(4));
                let pixels = open().pixels().unwrap();
                assert_eq!((pixels.width, pixels.height, pixels.colour), (width, height, Colour::Rgb));
                for (found, expected) in pixels.data.chunks_exact(3).zip(rgb(width, height).chunks_exact(3)) {
                    let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) < 24);
                    assert!(near, "{width}x{height} {factor:?}: {found:?} instead of {expected:?}");
                }
                // The planes hold what the pixels were made of.
                let luma =
                    |rgb: &[u8]| (299 * u32::from(rgb[0]) + 587 * u32::from(rgb[1]) + 114 * u32::from(rgb[2])) / 1000;
                for (luma_found, pixel) in y.data.iter().zip(pixels.data.chunks_exact(3)) {
                    assert!(u32::from(*luma_found).abs_diff(luma(pixel)) < 8);
                }
            }
        }
    }
}

#[test]
fn a_half_a_quarter_and_an_eighth_are_smaller_pictures() {
    let bytes = encoded(130, 99, SamplingFactor::F_2_2, false, false);
    let full = Decoder::new(&bytes, None).unwrap().planes(8).unwrap();
    for (eighths, size) in [(4, (65, 50)), (2, (33, 25)), (1, (17, 13))] {
        let [y, u, v] = Decoder::new(&bytes, None).unwrap().planes(eighths).unwrap();
        assert_eq!((y.width, y.height), size);
        assert_eq!(
            (u.width, u.height, v.width, v.height),
            (size.0, size.1, size.0, size.1),
            "chroma is scaled down less"
        );
        let scale = 8 / u32::from(eighths);
        let at = (size.1 / 2 * size.0 + size.0 / 2) as usize;
        let same = (size.1 / 2 * scale * full[0].width + size.0 / 2 * scale) as usize;
        assert!(y.data[at].abs_diff(full[0].data[same]) < 12);
    }
}

#[test]
fn damage_is_an_error_and_nothing_unwinds_further() {
    for (progressive, optimized) in [(false, false), (true, true)] {
        let bytes = encoded(160, 120, SamplingFactor::F_2_2, progressive, optimized);
        for end in (0..bytes.len() - 2).step_by(37) {
            let opened = Decoder::new(&bytes[..end], None);
            assert!(opened.and_then(|decoder| decoder.planes(8)).is_err(), "{end}");
            let opened = Decoder::new(&bytes[..end], None);
            assert!(opened.and_then(Decoder::pixels).is_err(), "{end}");
        }
        for round in 0..400_usize {
            let mut damaged = bytes.clone();
            let at = round * 7919 % bytes.len();
            damaged[at] ^= 1 << (round % 8);
            // Whatever it says, it says it without a panic and without another size.
            if let Ok(decoder) = Decoder::new(&damaged, None) {
                let size = decoder.size();
                if size.0 <= 1000
                    && size.1 <= 1000
                    && let Ok([y, ..]) = decoder.planes(8)
                {
                    assert_eq!((y.width, y.height), size);
                }
            }
        }
    }
    assert!(Decoder::new(b"", None).is_err());
    assert!(Decoder::new(b"GIF89a", None).is_err());
}

#[test]
fn the_deadline_ends_the_work() {
    for progressive in [false, true] {
        let bytes = encoded(640, 480, SamplingFactor::F_2_2, progressive, progressive);
        let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        let open = |deadline| Decoder::new(&bytes, Some(deadline));
        assert_eq!(open(past).and_then(|decoder| decoder.planes(8)).err(), Some(Error::TooSlow));
        assert_eq!(open(past).and_then(Decoder::pixels).err(), Some(Error::TooSlow));
        assert!(open(Instant::now() + Duration::from_mins(1)).and_then(|decoder| decoder.planes(8)).is_ok());
    }
}
