//! Files that lie, break off, or want too much.

use std::time::{Duration, Instant};

use super::super::{ImageError, Limits, Recipe, Transform, inspect, reference, transform, variants};
use super::make::{self, Jpeg};

fn refused(bytes: &[u8]) -> ImageError {
    let limits = Limits::default();
    let error = variants(bytes, &limits, &Recipe::default()).unwrap_err();
    let wanted = Transform::parse(Some("50"), None, None, None, None).unwrap();
    assert!(transform(bytes, &limits, &wanted).is_err());
    assert!(reference(bytes, &limits).is_err());
    error
}

fn all_kinds() -> Vec<(&'static str, Vec<u8>)> {
    let rgb = make::small();
    let (w, h) = make::SIZE;
    vec![
        ("jpeg", make::jpeg(&rgb, w, h)),
        ("progressive", Jpeg { progressive: true, ..Jpeg::default() }.of(&rgb, w, h)),
        ("png", make::png(&rgb, w, h, ::image::ExtendedColorType::Rgb8)),
        ("gif", make::gif(&rgb, w, h, 2)),
        ("webp", make::webp(&rgb, w, h)),
        ("bmp", make::bmp(&rgb, w, h)),
        ("tiff", make::tiff(&rgb, w, h)),
    ]
}

#[test]
fn what_is_no_picture_is_unsupported() {
    for bytes in [
        b"".as_slice(),
        b"<html><body>",
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
        b"#!/bin/sh",
        b"%PDF-1.7 and so on",
        include_bytes!("../../../tests/fixtures/exif.avif"),
    ] {
        assert!(matches!(refused(bytes), ImageError::Unsupported(_)));
    }
}

#[test]
fn what_breaks_off_is_damaged_wherever_it_breaks_off() {
    for (name, bytes) in all_kinds() {
        // Right up to the end: a reader of pictures forgives the last bytes of most formats, and this one does not.
        let last = if name == "png" || name == "tiff" { 30 } else { 2 };
        for end in (4..bytes.len()).step_by(bytes.len() / 40).chain([bytes.len() - last]) {
            let error = refused(&bytes[..end]);
            let expected = matches!(error, ImageError::Damaged(_) | ImageError::Unsupported(_));
            assert!(expected, "{name} cut at {end} of {}: {error:?}", bytes.len());
        }
    }
}

#[test]
fn damage_never_panics_and_never_gives_another_size() {
    let limits = Limits { cpu: Duration::from_secs(5), ..Limits::default() };
    for (name, bytes) in all_kinds() {
        let (mut refused, mut read) = (0, 0);
        for round in 0..150_usize {
            let mut damaged = bytes.clone();
            for hit in 0..=round % 5 {
                let at = (round * 7919 + hit * 104_729) % (bytes.len() - 4) + 4;
                damaged[at] ^= 1 << ((round + hit) % 8);
            }
            match (inspect(&damaged, &limits), variants(&damaged, &limits, &Recipe::default())) {
                (Ok(info), Ok(made)) => {
                    read += 1;
                    assert_eq!(
                        (made.thumb.width, made.thumb.height),
                        (info.width.min(200), info.height.min(200)),
                        "{name}"
                    );
                }
                (Err(_), Ok(_)) => panic!("{name}: read although its header is refused"),
                (_, Err(error)) => {
                    refused += 1;
                    assert_ne!(error, ImageError::TooSlow, "{name}");
                }
            }
        }
        assert_eq!(refused + read, 150);
        if name == "png" {
            assert!(read <= 15, "a PNG has checksums: {read} of 150 were read");
        }
    }
}

#[test]
fn a_header_that_asks_for_too_much_is_refused_at_once() {
    let header = |width: u32, height: u32| {
        let mut data = [width.to_be_bytes(), height.to_be_bytes()].concat();
        data.extend([8, 6, 0, 0, 0]);
        let pixels = make::png_chunk(*b"IDAT", &[0x78, 0x9c]);
        [b"\x89PNG\r\n\x1a\n".to_vec(), make::png_chunk(*b"IHDR", &data), pixels].concat()
    };
    let mut jpeg = make::jpeg(&make::small(), 160, 120);
    let at = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
    jpeg[at..at + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
    let mut gif = make::gif(&make::small(), 160, 120, 1);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    let (mut bmp, mut tiff) = (make::bmp(&make::small(), 160, 120), make::tiff(&make::small(), 160, 120));
    bmp[18..26].copy_from_slice(&[0, 0x4e, 0, 0, 0, 0x4e, 0, 0]);
    for tag in [[0, 1], [1, 1]] {
        // The width and the height are fields of the first directory, wherever that is.
        let directory = u32::from_le_bytes(tiff[4..8].try_into().unwrap()) as usize;
        let entry = tiff[directory..].windows(2).position(|pair| pair == tag).unwrap() + directory;
        tiff[entry + 2..entry + 12].copy_from_slice(&[4, 0, 1, 0, 0, 0, 0x20, 0x4e, 0, 0]);
    }
    for (name, bytes) in [
        ("20,000 x 20,000", header(20_000, 20_000)),
        ("a thin one", header(1, 31_000)),
        ("the largest", header(u32::MAX >> 1, u32::MAX >> 1)),
        ("jpeg", jpeg),
        ("gif", gif),
        ("bmp", bmp),
        ("tiff", tiff),
    ] {
        let started = Instant::now();
        let error = refused(&bytes);
        // The directory of a TIFF contradicts itself when one of its numbers is changed.
        let contradicts = name == "tiff" && matches!(error, ImageError::Damaged(_));
        assert!(contradicts || matches!(error, ImageError::TooLarge { .. }), "{name}: {error:?}");
        assert!(started.elapsed() < Duration::from_millis(150), "{name}: three times at most 50 ms");
    }
    assert!(matches!(refused(&header(0, 10)), ImageError::Damaged(_)));
}

#[test]
fn bombs_of_scans_and_frames_are_refused_at_once() {
    let progressive = Jpeg { progressive: true, ..Jpeg::default() }.of(&make::small(), 160, 120);
    let scan = progressive.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let end = progressive.len() - 2;
    let mut scans = progressive[..end].to_vec();
    for _ in 0..100_000 {
        scans.extend_from_slice(&progressive[scan..scan + 10]);
    }
    scans.extend_from_slice(&[0xff, 0xd9]);

    let gif = make::gif(&make::small()[..12], 2, 2, 3000);

    let mut apng = make::png(&make::small(), 160, 120, ::image::ExtendedColorType::Rgb8);
    apng.splice(33..33, make::png_chunk(*b"acTL", &[0, 0xff, 0xff, 0xff, 0, 0, 0, 0]));

    let still = include_bytes!("../../../tests/fixtures/animated.webp");
    let frame = still.windows(4).position(|name| name == b"ANMF").unwrap();
    let length = u32::from_le_bytes(still[frame + 4..frame + 8].try_into().unwrap()) as usize + 8;
    let mut webp = still[..frame].to_vec();
    (0..3000).for_each(|_| webp.extend_from_slice(&still[frame..frame + length]));
    let riff = (webp.len() as u32 - 8).to_le_bytes();
    webp[4..8].copy_from_slice(&riff);

    for (name, bytes) in [("scans", scans), ("gif", gif), ("apng", apng), ("webp", webp)] {
        let started = Instant::now();
        let error = refused(&bytes);
        assert!(matches!(error, ImageError::TooLarge { .. }), "{name}: {error:?}");
        assert!(started.elapsed() < Duration::from_millis(150), "{name}: three times at most 50 ms");
    }
}

#[test]
fn pixels_that_swell_are_refused_before_they_do() {
    // 64-bit pixels: eight bytes each, of which the limit allows four per pixel.
    let (w, h) = (1000, 600);
    let wide = make::png(&vec![0; w * h * 8], w as u32, h as u32, ::image::ExtendedColorType::Rgba16);
    let limits = Limits { pixels: w as u64 * h as u64, ..Limits::default() };
    let error = variants(&wide, &limits, &Recipe::default()).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { what: "bytes of pixels", .. }), "{error:?}");
}

#[test]
fn time_that_is_over_ends_the_work() {
    let rgb = super::support::photo(1200, 900, 6.0, 5);
    let limits = Limits { cpu: Duration::from_millis(1), ..Limits::default() };
    for (name, bytes) in [
        ("jpeg", make::jpeg(&rgb, 1200, 900)),
        ("png", make::png(&rgb, 1200, 900, ::image::ExtendedColorType::Rgb8)),
        ("webp", make::webp(&rgb, 1200, 900)),
    ] {
        let error = variants(&bytes, &limits, &Recipe::default()).unwrap_err();
        assert_eq!(error, ImageError::TooSlow, "{name}");
    }
}
