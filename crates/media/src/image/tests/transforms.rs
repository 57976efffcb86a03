//! Pictures of any size.

use super::super::{Fit, Format, ImageError, Limits, Transform, reference, transform};
use super::make::{self, Jpeg};
use super::support::{luma, photo, ssim};

fn parse(w: &str, h: &str, fit: &str, format: &str, q: &str) -> Result<Transform, ImageError> {
    let given = |text: &'static str| (!text.is_empty()).then_some(text);
    let leak = |text: &str| given(Box::leak(text.to_owned().into_boxed_str()));
    Transform::parse(leak(w), leak(h), leak(fit), leak(format), leak(q))
}

#[test]
fn parameters_are_checked_and_the_message_says_which() {
    for (wanted, named) in [
        (parse("0", "", "", "", ""), "`w`"),
        (parse("4097", "", "", "", ""), "`w`"),
        (parse("-1", "", "", "", ""), "`w`"),
        (parse("99999999999", "", "", "", ""), "`w`"),
        (parse("", "nine", "", "", ""), "`h`"),
        (parse("10", "10", "crop", "", ""), "`fit`"),
        (parse("10", "", "", "tiff", ""), "`format`"),
        (parse("10", "", "", "avif", ""), "`avif`"),
        (parse("10", "", "", "", "0"), "`q`"),
        (parse("10", "", "", "", "101"), "`q`"),
        (parse("10", "", "", "", "356"), "`q`"),
    ] {
        let Err(ImageError::Parameter(message)) = wanted else { panic!("{named} was taken: {wanted:?}") };
        assert!(message.contains(named), "{message}");
    }
    for (w, h) in [("1", "4096"), ("", ""), ("", "5")] {
        assert!(parse(w, h, "fill", "png", "100").is_ok());
    }
}

#[test]
fn what_is_the_same_has_the_same_name() {
    let name = |w, h, fit, format, q| parse(w, h, fit, format, q).unwrap().canonical();
    assert_eq!(name("100", "50", "", "", ""), "w100-h50-cover-q80.webp");
    assert_eq!(name("100", "50", "cover", "webp", "80"), name("0100", "50", "", "", ""));
    assert_eq!(name("100", "", "cover", "", ""), name("100", "", "outside", "", ""));
    assert_eq!(name("9", "9", "", "png", "1"), name("9", "9", "", "png", "99"));
    assert_eq!(name("9", "9", "", "jpg", ""), name("9", "9", "", "jpeg", ""));
    assert_ne!(name("9", "9", "fill", "", ""), name("9", "9", "", "", ""));
}

#[test]
fn every_fit_has_the_size_that_users_of_sharp_expect() {
    let limits = Limits::default();
    let (w, h) = (400, 200);
    let file = make::jpeg(&photo(w, h, 6.0, 4), w, h);
    for (wanted, size) in [
        (parse("100", "100", "cover", "", ""), (100, 100)),
        (parse("100", "100", "contain", "", ""), (100, 100)),
        (parse("100", "100", "inside", "", ""), (100, 50)),
        (parse("100", "100", "outside", "", ""), (200, 100)),
        (parse("100", "100", "fill", "", ""), (100, 100)),
        (parse("100", "", "", "", ""), (100, 50)),
        (parse("", "50", "", "", ""), (100, 50)),
        (parse("", "", "", "", ""), (400, 200)),
        // Not enlarged, whatever is asked for.
        (parse("1000", "", "", "", ""), (400, 200)),
        (parse("1000", "1000", "inside", "", ""), (400, 200)),
        (parse("1000", "1000", "outside", "", ""), (400, 200)),
        (parse("1000", "1000", "cover", "", ""), (400, 200)),
        (parse("300", "300", "cover", "", ""), (300, 200)),
        // But for what is stretched or framed.
        (parse("500", "600", "fill", "", ""), (500, 600)),
        (parse("500", "600", "contain", "", ""), (500, 600)),
    ] {
        let wanted = wanted.unwrap();
        let made = transform(&file, &limits, &wanted).unwrap();
        assert_eq!((made.width, made.height), size, "{}", wanted.canonical());
        let decoded = mana_codecs::webp::features(&made.bytes).unwrap();
        assert_eq!((decoded.width, decoded.height), size);
    }
}

#[test]
fn cover_takes_the_middle_and_contain_puts_black_around() {
    // Left third red, middle green, right third blue.
    let rgb: Vec<u8> = (0..300 * 100)
        .flat_map(|at| match at % 300 / 100 {
            0 => [255, 0, 0],
            1 => [0, 255, 0],
            _ => [0, 0, 255],
        })
        .collect();
    let file = make::png(&rgb, 300, 100, ::image::ExtendedColorType::Rgb8);
    let decode = |wanted: Transform| {
        let made = transform(&file, &Limits::default(), &wanted).unwrap();
        assert_eq!(made.mime, "image/png");
        ::image::load_from_memory(&made.bytes).unwrap().into_rgb8()
    };
    let cover = decode(parse("50", "50", "cover", "png", "").unwrap());
    assert!(cover.pixels().all(|pixel| pixel.0[1] > 200), "only the middle");
    let contain = decode(parse("60", "60", "contain", "png", "").unwrap());
    assert_eq!(contain.get_pixel(30, 3).0, [0, 0, 0]);
    assert!(contain.get_pixel(30, 30).0[1] > 240 && contain.get_pixel(5, 30).0[0] > 240);
}

#[test]
fn every_format_holds_the_picture_upright() {
    let (w, h) = (480, 320);
    let rgb = photo(w, h, 6.0, 6);
    let block = make::turned(6);
    // Stored lying: a quarter turn clockwise makes it upright, 320 wide.
    let file = Jpeg { exif: Some(&block), ..Jpeg::default() }.of(&rgb, w, h);
    let upright = ::image::imageops::rotate90(&::image::RgbImage::from_raw(w, h, rgb).unwrap());
    let reference_luma = luma(upright.as_raw(), 3);
    for format in ["webp", "jpeg", "png"] {
        let wanted = parse("", "", "", format, "95").unwrap();
        let made = transform(&file, &Limits::default(), &wanted).unwrap();
        assert_eq!((made.mime, made.width, made.height), (wanted.mime(), 320, 480));
        let decoded = match format {
            "webp" => luma(&mana_codecs::webp::decode_rgba(&made.bytes).unwrap().pixels, 4),
            "jpeg" => luma(&mana_codecs::jpeg::Decoder::new(&made.bytes, None).unwrap().pixels().unwrap().data, 3),
            _ => luma(::image::load_from_memory(&made.bytes).unwrap().into_rgb8().as_raw(), 3),
        };
        let alike = ssim(&decoded, &reference_luma, 320);
        assert!(alike > 0.93, "{format}: {alike}");
    }
    let cover = Transform::new(Some(100), Some(50), Fit::Cover, Format::Png, None).unwrap();
    let made = transform(&file, &Limits::default(), &cover).unwrap();
    assert_eq!((made.width, made.height), (100, 50));
}

#[test]
fn a_reference_is_a_png_of_rgb_at_most_1024_a_side() {
    let limits = Limits::default();
    let rgba = [10, 20, 30, 0].repeat(1500 * 500);
    for (file, size) in [
        (make::jpeg(&photo(2048, 1024, 6.0, 9), 2048, 1024), (1024, 512)),
        (make::png(&rgba, 1500, 500, ::image::ExtendedColorType::Rgba8), (1024, 341)),
        (make::png(&[9].repeat(30 * 20), 30, 20, ::image::ExtendedColorType::L8), (30, 20)),
    ] {
        let made = reference(&file, &limits).unwrap();
        assert_eq!(&made[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!((made[24], made[25]), (8, 2), "eight bits, RGB");
        let decoded = ::image::load_from_memory(&made).unwrap();
        assert_eq!((decoded.width(), decoded.height()), size);
    }
    let clear = reference(&make::png(&rgba, 1500, 500, ::image::ExtendedColorType::Rgba8), &limits).unwrap();
    assert_eq!(::image::load_from_memory(&clear).unwrap().into_rgb8().get_pixel(5, 5).0, [255; 3], "on white");
}
