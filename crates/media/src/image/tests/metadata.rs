//! What cameras write, and what liars write.

use std::time::{Duration, Instant};

use super::super::{ImageError, Limits, Recipe, Transform, exif, inspect, reference, transform, variants};
use super::make::{self, Jpeg, Value};

#[test]
fn what_a_phone_writes_is_read_from_every_container() {
    let rgb = make::small();
    let (w, h) = make::SIZE;
    let block = make::phone();
    let mut png = make::png(&rgb, w, h, ::image::ExtendedColorType::Rgb8);
    let end = png.len() - 12;
    png.splice(end..end, make::png_chunk(*b"eXIf", &block));
    let files = [
        Jpeg { exif: Some(&block), ..Jpeg::default() }.of(&rgb, w, h),
        make::webp_with(&make::webp(&rgb, w, h), w, h, *b"EXIF", &block),
        make::webp_with(&make::webp(&rgb, w, h), w, h, *b"EXIF", &[b"Exif\0\0", block.as_slice()].concat()),
        png,
        make::heic(&block),
    ];
    for (index, file) in files.iter().enumerate() {
        let found = exif(file).unwrap_or_else(|| panic!("file {index}"));
        assert_eq!(found.make.as_deref(), Some("Mana"));
        assert_eq!(found.model.as_deref(), Some("Phone 1"));
        assert_eq!(found.lens.as_deref(), Some("Back Camera 5.7mm f/1.8"));
        assert_eq!((found.exposure_time, found.f_number, found.iso), (Some(1.0 / 125.0), Some(1.8), Some(64)));
        assert_eq!((found.focal_length, found.altitude), (Some(5.7), Some(58.0)));
        let taken = found.taken.unwrap();
        assert_eq!(taken.local.to_string(), "2024-05-01T12:34:56");
        assert_eq!(taken.offset_minutes, Some(600));
        assert_eq!(taken.timestamp().to_string(), "2024-05-01T02:34:56.000Z");
        let (latitude, longitude) = (found.latitude.unwrap(), found.longitude.unwrap());
        assert!((latitude + 33.8567).abs() < 1e-6 && (longitude - 151.2093).abs() < 1e-6, "{latitude} {longitude}");
    }
    let avif = exif(include_bytes!("../../../tests/fixtures/exif.avif")).unwrap();
    assert_eq!(avif.model.as_deref(), Some("Fixture"));
    assert_eq!(avif.taken.unwrap().offset_minutes, None);
}

#[test]
fn it_goes_through_json_and_back() {
    let found = exif(&make::heic(&make::phone())).unwrap();
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json["taken"]["local"], "2024-05-01T12:34:56");
    assert_eq!(json["taken"]["offsetMinutes"], 600);
    assert_eq!(json["fNumber"], 1.8);
    assert_eq!(serde_json::from_value::<super::super::Exif>(json).unwrap(), found);
}

#[test]
fn lies_are_left_out_one_by_one() {
    let block = make::exif(
        &[(0x010f, Value::Ascii("Honest")), (0x0112, Value::Short(77))],
        &[
            (0x829a, Value::Rational(&[(1, 0)])),
            (0x829d, Value::Ascii("wide open")),
            (0x9003, Value::Ascii("2024:13:45 25:61:61")),
            (0x9004, Value::Ascii("2023:02:03 04:05:06")),
            (0x9012, Value::Ascii("+99:00")),
            (0x920a, Value::Rational(&[(u32::MAX, 1)])),
        ],
        &[
            (1, Value::Ascii("N")),
            (2, Value::Rational(&[(91, 1), (0, 1), (0, 1)])),
            (3, Value::Ascii("E")),
            (4, Value::Rational(&[(10, 1), (0, 0), (0, 1)])),
        ],
    );
    let (w, h) = make::SIZE;
    let file = Jpeg { exif: Some(&block), ..Jpeg::default() }.of(&make::small(), w, h);
    let found = exif(&file).unwrap();
    assert_eq!(found.make.as_deref(), Some("Honest"));
    assert_eq!((found.exposure_time, found.f_number, found.focal_length), (None, None, None));
    assert_eq!((found.latitude, found.longitude), (None, None));
    let taken = found.taken.unwrap();
    assert_eq!((taken.local.to_string().as_str(), taken.offset_minutes), ("2023-02-03T04:05:06", None));
    assert_eq!(inspect(&file, &Limits::default()).unwrap().orientation, 1);
}

#[test]
fn blocks_that_loop_overflow_or_are_huge_are_survived() {
    let looping =
        b"MM\0\x2a\0\0\0\x08\0\x02\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\x88\x25\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08"
            .to_vec();
    let mut greedy = b"II\x2a\0\x08\0\0\0\xff\xff".to_vec();
    for tag in 0..5000_u16 {
        greedy.extend(tag.to_le_bytes());
        greedy.extend([5, 0, 255, 255, 255, 255, 8, 0, 0, 0]);
    }
    let mut huge = make::exif(&[(0x010f, Value::Ascii(&"M".repeat(60_000)))], &[], &[]);
    huge.resize(65_000, b'x');
    let rgb = make::small();
    let (w, h) = make::SIZE;
    for block in [looping, greedy, huge, vec![], b"MM".to_vec(), b"II\x2a\0\xff\xff\xff\xff".to_vec()] {
        let file = Jpeg { exif: Some(&block), ..Jpeg::default() }.of(&rgb, w, h);
        let started = Instant::now();
        if let Some(found) = exif(&file) {
            assert!(found.make.is_none_or(|make| make.len() <= 100));
        }
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(variants(&file, &Limits::default(), &Recipe::default()).is_ok(), "the picture is there all the same");
        // Ten megabytes of it, where a container allows as much.
        let webp =
            make::webp_with(&make::webp(&rgb, w, h), w, h, *b"EXIF", &block.repeat(10_000_000 / block.len().max(1)));
        let started = Instant::now();
        let _ = exif(&webp);
        assert!(started.elapsed() < Duration::from_secs(1));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn nothing_in_a_block_makes_it_panic(at in proptest::collection::vec((0_usize..600, proptest::num::u8::ANY), 1..20)) {
        let mut block = make::phone();
        for (at, byte) in at {
            let at = at % block.len();
            block[at] = byte;
        }
        if let Some(found) = exif(&make::heic(&block)) {
            proptest::prop_assert!(found.latitude.is_none_or(|degrees| degrees.abs() <= 90.0));
            proptest::prop_assert!(found.longitude.is_none_or(|degrees| degrees.abs() <= 180.0));
        }
    }
}

#[test]
fn nothing_of_it_is_in_what_comes_out() {
    let rgb = super::support::photo(2100, 1400, 6.0, 3);
    let icc = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let block = make::phone();
    let mut file = Jpeg { exif: Some(&block), icc: Some(&icc), ..Jpeg::default() }.of(&rgb, 2100, 1400);
    // XMP with a place, as editors write it.
    let xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta exif:GPSLatitude='33,51.4S'/>";
    let mut segment = vec![0xff, 0xe1];
    segment.extend((xmp.len() as u16 + 2).to_be_bytes());
    segment.extend_from_slice(xmp);
    file.splice(2..2, segment);

    let limits = Limits::default();
    let made = variants(&file, &limits, &Recipe::default()).unwrap();
    let mut outputs = vec![made.thumb.bytes, made.medium.unwrap().bytes, made.large.unwrap().bytes];
    for format in ["webp", "jpeg", "png"] {
        let wanted = Transform::parse(Some("300"), None, None, Some(format), None).unwrap();
        outputs.push(transform(&file, &limits, &wanted).unwrap().bytes);
    }
    outputs.push(reference(&file, &limits).unwrap());
    for output in outputs {
        assert_eq!(exif(&output), None);
        for trace in [
            b"Exif".as_slice(),
            b"EXIF",
            b"eXIf",
            b"XMP ",
            b"xmpmeta",
            b"GPS",
            b"ICCP",
            b"iCCP",
            b"ICC_PROFILE",
            b"Mana",
        ] {
            assert!(!output.windows(trace.len()).any(|window| window == trace), "{}", String::from_utf8_lossy(trace));
        }
    }
}

#[test]
fn heic_cannot_be_decoded_and_says_so() {
    let file = make::heic(&make::phone());
    assert_eq!(inspect(&file, &Limits::default()), Err(ImageError::Unsupported("HEIC")));
    assert_eq!(variants(&file, &Limits::default(), &Recipe::default()), Err(ImageError::Unsupported("HEIC")));
    assert!(exif(&file).unwrap().taken.is_some(), "but what the camera wrote is kept");
}
