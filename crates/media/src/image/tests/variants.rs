//! The three smaller pictures.

use ::image::ExtendedColorType as Colour;

use super::super::{Encoded, Info, Kind, Limits, Recipe, Variants, inspect, variants};
use super::make::{self, Jpeg};
use super::support::{luma, photo, ssim};

fn made(bytes: &[u8]) -> Variants {
    variants(bytes, &Limits::default(), &Recipe::default()).unwrap()
}

fn pixels(encoded: &Encoded) -> Vec<u8> {
    let decoded = mana_codecs::webp::decode_rgba(&encoded.bytes).unwrap();
    assert_eq!((decoded.width, decoded.height), (encoded.width, encoded.height));
    assert_eq!(encoded.mime, "image/webp");
    decoded.pixels
}

/// The mean colour of a square, given in hundredths of the picture.
fn colour(encoded: &Encoded, x: u32, y: u32) -> [i32; 4] {
    let pixels = pixels(encoded);
    let (x, y) = (x * encoded.width / 100, y * encoded.height / 100);
    let at = ((y * encoded.width + x) * 4) as usize;
    [0, 1, 2, 3].map(|channel| i32::from(pixels[at + channel]))
}

#[track_caller]
fn close(found: [i32; 4], expected: [i32; 4], by: i32) {
    let near = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= by);
    assert!(near, "{found:?} instead of {expected:?}");
}

/// Shrunk straight from the pixels, by another implementation and without WebP in between.
fn straight(rgb: &[u8], (width, height): (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let picture = ::image::RgbImage::from_raw(width, height, rgb.to_vec()).unwrap();
    ::image::imageops::resize(&picture, to.0, to.1, ::image::imageops::FilterType::Lanczos3).into_raw()
}

#[test]
fn a_large_photo_gets_all_three_and_they_look_like_it() {
    let size = (2400, 1600);
    let rgb = photo(size.0, size.1, 6.0, 7);
    let baseline = make::jpeg(&rgb, size.0, size.1);
    let files = [
        ("4:2:0", baseline.clone()),
        (
            "progressive 4:4:4",
            Jpeg { progressive: true, full_chroma: true, ..Jpeg::default() }.of(&rgb, size.0, size.1),
        ),
        ("png", make::png(&rgb, size.0, size.1, ::image::ExtendedColorType::Rgb8)),
        ("webp", make::webp(&rgb, size.0, size.1)),
    ];
    for (name, file) in files {
        let made = made(&file);
        let (medium, large) = (made.medium.unwrap(), made.large.unwrap());
        assert_eq!((large.width, large.height), (1920, 1280), "{name}");
        assert_eq!((medium.width, medium.height), (800, 533), "{name}");
        assert_eq!((made.thumb.width, made.thumb.height), (200, 200), "{name}");
        for (variant, least) in [(&large, 0.95), (&medium, 0.97)] {
            let reference = straight(&rgb, size, (variant.width, variant.height));
            let alike = ssim(&luma(&pixels(variant), 4), &luma(&reference, 3), variant.width as usize);
            assert!(alike >= least, "{name}, {} wide: {alike}", variant.width);
        }
    }
}

#[test]
fn the_cascade_loses_nothing_against_shrinking_from_the_original() {
    let size = (2400, 1600);
    let rgb = photo(size.0, size.1, 6.0, 8);
    let made = variants(&make::jpeg(&rgb, size.0, size.1), &Limits::default(), &Recipe { method: 4 }).unwrap();
    let medium = made.medium.unwrap();
    let reference = straight(&rgb, size, (800, 533));
    let alike = ssim(&luma(&pixels(&medium), 4), &luma(&reference, 3), 800);
    assert!(alike >= 0.97, "{alike}");
    // The thumbnail is the middle of it.
    let middle = ::image::RgbImage::from_raw(size.0, size.1, rgb).unwrap();
    let middle = ::image::imageops::crop_imm(&middle, 400, 0, 1600, 1600).to_image();
    let reference = straight(middle.as_raw(), (1600, 1600), (200, 200));
    let alike = ssim(&luma(&pixels(&made.thumb), 4), &luma(&reference, 3), 200);
    assert!(alike >= 0.97, "{alike}");
}

#[test]
fn nothing_is_enlarged() {
    for (width, height, medium, large, thumb) in [
        (150, 100, None, None, (150, 100)),
        (1, 1, None, None, (1, 1)),
        (300, 90, None, None, (200, 90)),
        (800, 600, None, None, (200, 200)),
        (801, 600, Some((800, 599)), None, (200, 200)),
        (900, 1900, Some((379, 800)), None, (200, 200)),
        (3000, 60, Some((800, 16)), Some((1920, 38)), (200, 60)),
        (64, 2500, Some((20, 800)), Some((49, 1920)), (64, 200)),
    ] {
        let found = made(&make::jpeg(&photo(width, height, 6.0, 2), width, height));
        let size = |encoded: Option<&Encoded>| encoded.map(|encoded| (encoded.width, encoded.height));
        assert_eq!(size(found.medium.as_ref()), medium, "{width}x{height}");
        assert_eq!(size(found.large.as_ref()), large, "{width}x{height}");
        assert_eq!(size(Some(&found.thumb)), Some(thumb), "{width}x{height}");
        pixels(&found.thumb);
    }
}

#[test]
fn all_eight_orientations_come_out_as_the_same_upright_picture() {
    // The picture as it should be seen, and how a camera stores it that is held in each of the eight ways.
    let (w, h) = (960_u32, 640_u32);
    let upright = photo(w, h, 6.0, 11);
    let at = |x: u32, y: u32| {
        let at = ((y * w + x) * 3) as usize;
        [upright[at], upright[at + 1], upright[at + 2]]
    };
    let expected = made(&make::jpeg(&upright, w, h));
    for orientation in 1..=8_u16 {
        let (sw, sh) = if orientation >= 5 { (h, w) } else { (w, h) };
        let stored: Vec<u8> = (0..sh)
            .flat_map(|y| (0..sw).map(move |x| (x, y)))
            .flat_map(|(x, y)| match orientation {
                1 => at(x, y),
                2 => at(w - 1 - x, y),
                3 => at(w - 1 - x, h - 1 - y),
                4 => at(x, h - 1 - y),
                5 => at(y, x),
                6 => at(w - 1 - y, x),
                7 => at(w - 1 - y, h - 1 - x),
                _ => at(y, h - 1 - x),
            })
            .collect();
        let block = make::turned(orientation);
        let mut png = make::png(&stored, sw, sh, ::image::ExtendedColorType::Rgb8);
        png.splice(33..33, make::png_chunk(*b"eXIf", &block));
        for (name, file) in [
            ("jpeg", Jpeg { exif: Some(&block), ..Jpeg::default() }.of(&stored, sw, sh)),
            ("webp", make::webp_with(&make::webp(&stored, sw, sh), sw, sh, *b"EXIF", &block)),
            ("png", png),
        ] {
            let info = inspect(&file, &Limits::default()).unwrap();
            assert_eq!((info.width, info.height, u16::from(info.orientation)), (w, h, orientation), "{name}");
            let found = made(&file);
            for (a, b) in
                [(&found.thumb, &expected.thumb), (found.medium.as_ref().unwrap(), expected.medium.as_ref().unwrap())]
            {
                assert_eq!((a.width, a.height), (b.width, b.height), "{name} {orientation}");
                let alike = ssim(&luma(&pixels(a), 4), &luma(&pixels(b), 4), a.width as usize);
                assert!(alike > 0.95, "{name}, orientation {orientation}: {alike}");
            }
        }
    }
}

#[test]
fn alpha_is_kept_and_its_hidden_colours_do_not_bleed() {
    // A red disc on nothing; where there is nothing, the pixels are green, and nobody may see that.
    let (w, h) = (900_u32, 900_u32);
    let rgba: Vec<u8> = (0..w * h)
        .flat_map(|at| {
            let (x, y) = ((at % w) as f32 - 450.0, (at / w) as f32 - 450.0);
            if x.hypot(y) < 300.0 { [220, 20, 30, 255] } else { [0, 255, 0, 0] }
        })
        .collect();
    let png = make::png(&rgba, w, h, ::image::ExtendedColorType::Rgba8);
    assert!(inspect(&png, &Limits::default()).unwrap().has_alpha);
    let found = made(&png);
    let medium = found.medium.as_ref().unwrap();
    close(colour(medium, 50, 50), [220, 20, 30, 255], 6);
    assert_eq!(colour(medium, 5, 5)[3], 0);
    assert_eq!(colour(&found.thumb, 2, 2)[3], 0);
    for pixel in pixels(&found.thumb).chunks_exact(4).filter(|pixel| pixel[3] > 128) {
        assert!(pixel[1] < 70, "green shines through: {pixel:?}");
    }
}

#[test]
fn colours_of_every_kind_of_file_arrive() {
    let (w, h) = (64_u32, 48_u32);
    let flat = |colour: &[u8]| colour.repeat((w * h) as usize);
    let rgb = flat(&[200, 100, 50]);
    let wide: Vec<u8> =
        flat(&[200, 100, 50]).iter().flat_map(|value| u16::from(*value).wrapping_mul(257).to_ne_bytes()).collect();
    for (name, file, expected) in [
        ("jpeg", make::jpeg(&rgb, w, h), [200, 100, 50, 255]),
        ("png", make::png(&rgb, w, h, Colour::Rgb8), [200, 100, 50, 255]),
        ("png of 16 bits", make::png(&wide, w, h, Colour::Rgb16), [200, 100, 50, 255]),
        ("grey png", make::png(&flat(&[90]), w, h, Colour::L8), [90, 90, 90, 255]),
        ("grey png with alpha", make::png(&flat(&[90, 128]), w, h, Colour::La8), [90, 90, 90, 128]),
        ("gif", make::gif(&rgb, w, h, 3), [200, 100, 50, 255]),
        ("bmp", make::bmp(&rgb, w, h), [200, 100, 50, 255]),
        ("tiff", make::tiff(&rgb, w, h), [200, 100, 50, 255]),
        ("webp", make::webp(&rgb, w, h), [200, 100, 50, 255]),
    ] {
        close(colour(&made(&file).thumb, 50, 50), expected, 5);
        assert_eq!(
            inspect(&file, &Limits::default()).unwrap().format.name(),
            name.split(' ').find(|word| { ["jpeg", "png", "gif", "bmp", "tiff", "webp"].contains(word) }).unwrap()
        );
    }
}

#[test]
fn rare_files_are_read_too() {
    let info = |bytes: &[u8]| inspect(bytes, &Limits::default()).unwrap();
    // Ink instead of light: the red square of the fixture stays red.
    let inks = include_bytes!("../../../tests/fixtures/cmyk.jpg");
    let [r, g, b, _] = colour(&made(inks).thumb, 25, 33);
    assert!(r > 180 && g < 90 && b < 90, "{r} {g} {b}");
    // The first frame of an animation, smaller than its canvas and half transparent.
    let webp = include_bytes!("../../../tests/fixtures/animated.webp");
    assert_eq!(
        info(webp),
        Info { width: 64, height: 48, format: Kind::Webp, has_alpha: true, orientation: 1, frames: 3 }
    );
    let first = made(webp).thumb;
    close(colour(&first, 34, 41), [255, 0, 0, 200], 12);
    assert_eq!(colour(&first, 95, 95)[3], 0);
    let png = include_bytes!("../../../tests/fixtures/animated.png");
    assert_eq!(info(png).frames, 3);
    close(colour(&made(png).thumb, 34, 41), [255, 0, 0, 200], 12);
    let palette = include_bytes!("../../../tests/fixtures/palette.png");
    assert!(info(palette).has_alpha);
    made(palette);
    made(include_bytes!("../../../tests/fixtures/interlaced.gif"));
}

#[test]
fn colours_of_another_profile_are_converted() {
    // The reddest red of a phone's screen lies outside of sRGB; a mid one does not, and has other numbers in it.
    let profile = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let srgb = moxcms::ColorProfile::new_srgb().encode().unwrap();
    let rgb = [180, 80, 70].repeat(900 * 900);
    let with = |icc: &[u8]| Jpeg { icc: Some(icc), full_chroma: true, ..Jpeg::default() }.of(&rgb, 900, 900);
    let found = made(&with(&profile)).medium.unwrap();
    // Display P3 (180, 80, 70) is sRGB (192, 74, 64), by the matrices of both.
    close(colour(&found, 50, 50), [194, 73, 64, 255], 5);
    let found = made(&with(&srgb)).medium.unwrap();
    close(colour(&found, 50, 50), [180, 80, 70, 255], 4);
    // A profile that is none changes nothing.
    let found = made(&with(b"this is no profile at all, but 64 bytes of something else entirely")).medium.unwrap();
    close(colour(&found, 50, 50), [180, 80, 70, 255], 4);
}
