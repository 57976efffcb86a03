//! Files of every kind, made here.

use ::image::codecs::{bmp::BmpEncoder, gif::GifEncoder, png::PngEncoder, tiff::TiffEncoder};
use ::image::{ExtendedColorType, ImageEncoder};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::support::photo;

/// A small picture with everything in it: 160 by 120.
pub(super) const SIZE: (u32, u32) = (160, 120);

pub(super) fn small() -> Vec<u8> {
    photo(SIZE.0, SIZE.1, 6.0, 1)
}

/// How to write a JPEG.
#[derive(Clone, Default)]
pub(super) struct Jpeg<'a> {
    pub(super) progressive: bool,
    pub(super) full_chroma: bool,
    pub(super) exif: Option<&'a [u8]>,
    pub(super) icc: Option<&'a [u8]>,
}

impl Jpeg<'_> {
    pub(super) fn of(&self, rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 92);
        encoder.set_sampling_factor(if self.full_chroma { SamplingFactor::F_1_1 } else { SamplingFactor::F_2_2 });
        encoder.set_progressive(self.progressive);
        if let Some(exif) = self.exif {
            encoder.add_exif_metadata(exif).unwrap();
        }
        if let Some(icc) = self.icc {
            encoder.add_icc_profile(icc).unwrap();
        }
        encoder.encode(rgb, width as u16, height as u16, ColorType::Rgb).unwrap();
        bytes
    }
}

pub(super) fn jpeg(rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
    Jpeg::default().of(rgb, width, height)
}

pub(super) fn png(data: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(data, width, height, colour).unwrap();
    bytes
}

pub(super) fn gif(rgb: &[u8], width: u32, height: u32, frames: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for _ in 0..frames {
        encoder.encode(rgb, width, height, ExtendedColorType::Rgb8).unwrap();
    }
    drop(encoder);
    bytes
}

pub(super) fn bmp(rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    BmpEncoder::new(&mut bytes).encode(rgb, width, height, ExtendedColorType::Rgb8).unwrap();
    bytes
}

pub(super) fn tiff(rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    TiffEncoder::new(&mut bytes).write_image(rgb, width, height, ExtendedColorType::Rgb8).unwrap();
    bytes.into_inner()
}

pub(super) fn webp(rgb: &[u8], width: u32, height: u32) -> Vec<u8> {
    let rgba: Vec<u8> = rgb.as_chunks::<3>().0.iter().flat_map(|[r, g, b]| [*r, *g, *b, 255]).collect();
    let options = mana_codecs::webp::Options { quality: 92.0, method: 2, deadline: None };
    mana_codecs::webp::encode_rgba(&rgba, width, height, &options).unwrap()
}

/// A WebP with a chunk of metadata behind the picture, as most writers put it.
pub(super) fn webp_with(still: &[u8], width: u32, height: u32, name: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut extended = vec![0x08 | 0x04, 0, 0, 0];
    extended.extend(&(width - 1).to_le_bytes()[..3]);
    extended.extend(&(height - 1).to_le_bytes()[..3]);
    let mut body = b"WEBP".to_vec();
    for (name, payload) in [(*b"VP8X", extended.as_slice()), (name, payload)] {
        if name != *b"VP8X" {
            body.extend_from_slice(&still[12..]);
        }
        body.extend(name);
        body.extend((payload.len() as u32).to_le_bytes());
        body.extend_from_slice(payload);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    let mut file = b"RIFF".to_vec();
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(body);
    file
}

/// A value of an EXIF field.
pub(super) enum Value<'a> {
    Ascii(&'a str),
    Short(u16),
    Byte(u8),
    Rational(&'a [(u32, u32)]),
}

/// An EXIF block: fields of the picture, of the exposure, of the place.
pub(super) fn exif(picture: &[(u16, Value)], exposure: &[(u16, Value)], place: &[(u16, Value)]) -> Vec<u8> {
    let mut block = b"MM\0\x2a\0\0\0\x08".to_vec();
    let pointers = [(0x8769_u16, exposure), (0x8825, place)];
    let children: Vec<_> = pointers.into_iter().filter(|(_, fields)| !fields.is_empty()).collect();
    let at = block.len();
    directory(&mut block, picture, children.len());
    for (index, (tag, fields)) in children.into_iter().enumerate() {
        let start = block.len() as u32;
        let entry = at + 2 + (picture.len() + index) * 12;
        block[entry..entry + 2].copy_from_slice(&tag.to_be_bytes());
        block[entry + 2..entry + 8].copy_from_slice(&[0, 4, 0, 0, 0, 1]);
        block[entry + 8..entry + 12].copy_from_slice(&start.to_be_bytes());
        directory(&mut block, fields, 0);
    }
    block
}

fn directory(block: &mut Vec<u8>, fields: &[(u16, Value)], more: usize) {
    let at = block.len();
    let count = fields.len() + more;
    block.extend((count as u16).to_be_bytes());
    block.resize(at + 2 + count * 12 + 4, 0);
    for (index, (tag, value)) in fields.iter().enumerate() {
        let (kind, count, data): (u16, u32, Vec<u8>) = match value {
            Value::Ascii(text) => (2, text.len() as u32 + 1, text.bytes().chain([0]).collect()),
            Value::Short(number) => (3, 1, number.to_be_bytes().to_vec()),
            Value::Byte(number) => (1, 1, vec![*number]),
            Value::Rational(values) => {
                let bytes = values.iter().flat_map(|(a, b)| [a.to_be_bytes(), b.to_be_bytes()].concat());
                (5, values.len() as u32, bytes.collect())
            }
        };
        let place = if data.len() <= 4 {
            let mut inline = data;
            inline.resize(4, 0);
            inline
        } else {
            let place = (block.len() as u32).to_be_bytes().to_vec();
            block.extend(data);
            block.resize(block.len().next_multiple_of(2), 0);
            place
        };
        let entry = at + 2 + index * 12;
        block[entry..entry + 2].copy_from_slice(&tag.to_be_bytes());
        block[entry + 2..entry + 4].copy_from_slice(&kind.to_be_bytes());
        block[entry + 4..entry + 8].copy_from_slice(&count.to_be_bytes());
        block[entry + 8..entry + 12].copy_from_slice(&place);
    }
}

/// The orientation alone.
pub(super) fn turned(orientation: u16) -> Vec<u8> {
    exif(&[(0x0112, Value::Short(orientation))], &[], &[])
}

/// What a phone writes: in Sydney, at noon, holding it upright.
pub(super) fn phone() -> Vec<u8> {
    exif(
        &[(0x010f, Value::Ascii("Mana  ")), (0x0110, Value::Ascii("Phone\u{7} 1")), (0x0112, Value::Short(6))],
        &[
            (0x829a, Value::Rational(&[(1, 125)])),
            (0x829d, Value::Rational(&[(18, 10)])),
            (0x8827, Value::Short(64)),
            (0x9003, Value::Ascii("2024:05:01 12:34:56")),
            (0x9011, Value::Ascii("+10:00")),
            (0x920a, Value::Rational(&[(57, 10)])),
            (0xa434, Value::Ascii("Back Camera 5.7mm f/1.8")),
        ],
        &[
            (1, Value::Ascii("S")),
            (2, Value::Rational(&[(33, 1), (51, 1), (2412, 100)])),
            (3, Value::Ascii("E")),
            (4, Value::Rational(&[(151, 1), (12, 1), (3348, 100)])),
            (5, Value::Byte(0)),
            (6, Value::Rational(&[(58, 1)])),
        ],
    )
}

/// A HEIC with an EXIF block and no picture that could be decoded.
pub(super) fn heic(exif: &[u8]) -> Vec<u8> {
    fn part(name: [u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
        bytes.extend(name);
        bytes.extend_from_slice(body);
        bytes
    }
    let file_type = part(*b"ftyp", b"heic\0\0\0\0mif1heic");
    let entry = part(*b"infe", b"\x02\0\0\0\0\x01\0\0Exif\0");
    let info = part(*b"iinf", &[b"\0\0\0\0\0\x01".as_slice(), &entry].concat());
    // One item, one extent, offsets of four bytes; where it lies is known once the size of what is before it is.
    let location = |at: u32| {
        let mut body = b"\0\0\0\0\x44\0\0\x01\0\x01\0\0\0\x01".to_vec();
        body.extend(at.to_be_bytes());
        body.extend((exif.len() as u32 + 4).to_be_bytes());
        part(*b"iloc", &body)
    };
    let meta = |at: u32| part(*b"meta", &[b"\0\0\0\0".as_slice(), &info, &location(at)].concat());
    let at = (file_type.len() + meta(0).len() + 8) as u32;
    [file_type, meta(at), part(*b"mdat", &[b"\0\0\0\0".as_slice(), exif].concat())].concat()
}

/// A chunk of a PNG, with its checksum.
pub(super) fn png_chunk(name: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
    chunk.extend(name);
    chunk.extend_from_slice(data);
    let mut crc = u32::MAX;
    for byte in name.iter().chain(data) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    chunk.extend((!crc).to_be_bytes());
    chunk
}
