//! What goes in comes out, and what does not fit is refused before C sees it.
#![expect(clippy::cast_possible_truncation, reason = "the numbers are small")]

use std::time::{Duration, Instant};

use super::*;

const OPTIONS: Options = Options { quality: 90.0, method: 2, deadline: None };

fn planes(width: u32, height: u32) -> Yuv420 {
    let (cw, ch) = (chroma(width), chroma(height));
    let ramp = |w: u32, h: u32, k: u32| (0..w * h).map(|i| (60 + (i % w + i / w * k) % 120) as u8).collect::<Vec<_>>();
    Yuv420 { width, height, y: ramp(width, height, 1), u: ramp(cw, ch, 2), v: ramp(cw, ch, 3) }
}

#[test]
fn planes_survive_the_way_there_and_back() {
    for (width, height) in [(1, 1), (2, 3), (33, 17), (64, 48)] {
        let given = planes(width, height);
        let encoded = encode_yuv420(&given, &OPTIONS).unwrap();
        let found = features(&encoded).unwrap();
        assert_eq!(found, Features { width, height, alpha: false, animated: false, lossy: true });
        let decoded = decode_yuv420(&encoded).unwrap();
        let error: u64 = given.y.iter().zip(&decoded.y).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(error <= given.y.len() as u64 * 6, "{width}x{height}: {error}");
    }
}

#[test]
fn alpha_is_kept_exactly() {
    let pixels: Vec<u8> = (0..32 * 32_u32).flat_map(|i| [200, 100, 50, (i % 256) as u8]).collect();
    let encoded = encode_rgba(&pixels, 32, 32, &OPTIONS).unwrap();
    assert!(features(&encoded).unwrap().alpha);
    let decoded = decode_rgba(&encoded).unwrap();
    let alpha = |bytes: &[u8]| bytes.iter().skip(3).step_by(4).copied().collect::<Vec<_>>();
    assert_eq!(alpha(&decoded.pixels), alpha(&pixels));
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut short = planes(64, 48);
    short.v.pop();
    assert_eq!(encode_yuv420(&short, &OPTIONS), Err(Error::Samples));
    assert_eq!(encode_rgba(&[0; 15], 2, 2, &OPTIONS), Err(Error::Samples));
    assert_eq!(encode_rgba(&[], 0, 2, &OPTIONS), Err(Error::Dimensions(0, 2)));
    assert_eq!(encode_rgba(&[], 16_384, 2, &OPTIONS), Err(Error::Dimensions(16_384, 2)));
    let options = Options { quality: 101.0, ..OPTIONS };
    assert_eq!(encode_yuv420(&planes(4, 4), &options), Err(Error::Options));
    let options = Options { method: 7, ..OPTIONS };
    assert_eq!(encode_yuv420(&planes(4, 4), &options), Err(Error::Options));
}

#[test]
fn the_deadline_ends_the_work() {
    let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
    let options = Options { deadline: Some(past), ..OPTIONS };
    assert_eq!(encode_yuv420(&planes(640, 480), &options), Err(Error::TooSlow));
    let options = Options { deadline: Some(Instant::now() + Duration::from_mins(1)), ..OPTIONS };
    assert!(encode_yuv420(&planes(640, 480), &options).is_ok());
}

#[test]
fn damaged_bytes_are_refused() {
    let encoded = encode_yuv420(&planes(64, 48), &OPTIONS).unwrap();
    for end in [0, 1, 12, 20, 29, encoded.len() / 2, encoded.len() - 8] {
        assert!(decode_rgba(&encoded[..end]).is_err(), "{end}");
        assert!(decode_yuv420(&encoded[..end]).is_err(), "{end}");
    }
    assert!(features(b"GIF89a").is_err());
}
