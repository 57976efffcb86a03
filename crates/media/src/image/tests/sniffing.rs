//! What a file is.

use super::super::{Kind, sniff};
use super::make;

#[test]
fn every_kind_is_known_by_its_bytes() {
    let rgb = make::small();
    let (w, h) = make::SIZE;
    let brand = |major: &[u8; 4], compatible: &[&[u8; 4]]| {
        let mut bytes = (16 + 4 * compatible.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(b"ftyp");
        bytes.extend_from_slice(major);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend(compatible.iter().copied().flatten());
        bytes.extend_from_slice(b"....meta");
        bytes
    };
    let utf16: Vec<u8> = "\u{feff}<html><script>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let cases: Vec<(Vec<u8>, Kind)> = vec![
        (make::jpeg(&rgb, w, h), Kind::Jpeg),
        (make::png(&rgb, w, h, ::image::ExtendedColorType::Rgb8), Kind::Png),
        (make::gif(&rgb, w, h, 1), Kind::Gif),
        (make::webp(&rgb, w, h), Kind::Webp),
        (make::bmp(&rgb, w, h), Kind::Bmp),
        (make::tiff(&rgb, w, h), Kind::Tiff),
        (make::heic(&make::phone()), Kind::Heif),
        (include_bytes!("../../../tests/fixtures/exif.avif").to_vec(), Kind::Avif),
        (brand(b"mif1", &[b"mif1", b"avif"]), Kind::Avif),
        (brand(b"mif1", &[b"heic"]), Kind::Heif),
        (brand(b"heix", &[]), Kind::Heif),
        (brand(b"msf1", &[b"hevc"]), Kind::Heif),
        (brand(b"isom", &[b"iso2", b"mp41"]), Kind::Other),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec(), Kind::Svg),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made <b>by</b> hand -->\n<SVG width='1'>".to_vec(), Kind::Svg),
        (b"<!DOCTYPE svg PUBLIC '-//W3C//DTD SVG 1.1//EN' 'x'><svg>".to_vec(), Kind::Svg),
        (b"<?xml version='1.0'?><s:svg xmlns:s='http://www.w3.org/2000/svg'>".to_vec(), Kind::Svg),
        (b"  \n<!doctype HTML><p>".to_vec(), Kind::Html),
        (b"<!-- x --><IFRAME src='//example.com'>".to_vec(), Kind::Html),
        (format!("<!--{}--><html>", "x".repeat(9000)).into_bytes(), Kind::Other),
        (utf16, Kind::Html),
        (b"<script>alert(1)</script>".to_vec(), Kind::Script),
        (b"#!/bin/sh\nrm".to_vec(), Kind::Script),
        (b"<?php echo 1;".to_vec(), Kind::Script),
        (b"BM is how this text begins, no picture".to_vec(), Kind::Other),
        (b"<svgx>".to_vec(), Kind::Other),
        (b"%PDF-1.7".to_vec(), Kind::Other),
        (b"".to_vec(), Kind::Other),
    ];
    for (bytes, kind) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        assert_eq!(sniff(&bytes[..bytes.len().min(4096)]), kind, "{shown}");
    }
    assert!(Kind::Jpeg.is_image() && Kind::Heif.is_image() && !Kind::Heif.is_decodable());
    assert!(!Kind::Svg.is_image() && !Kind::Html.is_image() && !Kind::Script.is_image());
}

proptest::proptest! {
    #[test]
    fn nothing_makes_it_panic(start in 0_usize..12, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        const STARTS: [&[u8]; 12] = [
            b"", b"<", b"<?xml", b"<!--", b"<!doctype ", b"<svg", b"\0\0\0\x20ftyp", b"\xff\xff\xff\xffftyp", b"BM",
            b"\xff\xfe", b"\xfe\xff", b"RIFF",
        ];
        sniff(&[STARTS[start], &bytes].concat());
    }
}
