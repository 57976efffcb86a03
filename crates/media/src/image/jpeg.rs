//! JPEG: the walk over its markers, and decoding.

use mana_codecs::jpeg::{Colour, Decoder, Error};

use super::colour;
use super::decode::{Samples, Source, Want};
use super::error::ImageError;
use super::inspect::Header;
use super::limits::{Deadline, Limits, at_most};
use super::pixels::{Layout, Picture, Pixels};

/// Walks over all markers up to the end of the picture: finds its dimensions, counts its scans, and sees whether it breaks off.
///
/// Entropy-coded data is skipped by looking for `0xFF`, which is as fast as memory.
pub(crate) fn header(bytes: &[u8], limits: &Limits) -> Result<Header, ImageError> {
    walk(bytes, limits).map(|walk| walk.header)
}

/// What the markers say.
struct Walk<'a> {
    header: Header,
    /// The parts of the colour profile, each with its number.
    profile: Vec<(u8, &'a [u8])>,
    /// Adobe's marker: inks are stored inverted.
    adobe: bool,
}

fn walk<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Walk<'a>, ImageError> {
    let broken = || ImageError::Damaged("the JPEG breaks off".to_owned());
    let (mut at, mut size, mut scans) = (2, None, 0_u32);
    let (mut profile, mut adobe) = (Vec::new(), false);
    loop {
        at += memchr::memchr(0xff, bytes.get(at..).unwrap_or_default()).ok_or_else(broken)?;
        let marker = *bytes.get(at + 1).ok_or_else(broken)?;
        match marker {
            // A fill byte: the marker may begin at the next one.
            0xff => at += 1,
            // A stuffed byte, a restart marker, or one without a length.
            0x00 | 0x01 | 0xd0..=0xd8 => at += 2,
            0xd9 => break,
            _ => {
                let length = bytes.get(at + 2..at + 4).ok_or_else(broken)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let segment = bytes.get(at + 4..at + 2 + length).ok_or_else(broken)?;
                match marker {
                    0xc0..=0xc2 => {
                        if segment.len() < 6 {
                            return Err(broken());
                        }
                        if segment[0] != 8 {
                            return Err(ImageError::Unsupported("a JPEG of more than 8 bits"));
                        }
                        let height = u32::from(u16::from_be_bytes([segment[1], segment[2]]));
                        let width = u32::from(u16::from_be_bytes([segment[3], segment[4]]));
                        limits.check(width, height)?;
                        if size.replace((width, height)).is_some() {
                            return Err(ImageError::Damaged("the JPEG has two headers".to_owned()));
                        }
                    }
                    0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                        return Err(ImageError::Unsupported("a lossless or arithmetic JPEG"));
                    }
                    0xda => {
                        scans += 1;
                        at_most("scans", scans.into(), limits.scans.into())?;
                    }
                    0xe2 => {
                        if let Some([number, _, data @ ..]) = segment.strip_prefix(b"ICC_PROFILE\0") {
                            profile.push((*number, data));
                        }
                    }
                    0xee => adobe |= segment.starts_with(b"Adobe"),
                    _ => {}
                }
                at += 2 + length;
            }
        }
    }
    let (width, height) = size.ok_or_else(|| ImageError::Damaged("the JPEG has no header".to_owned()))?;
    if scans == 0 {
        return Err(ImageError::Damaged("the JPEG has no picture".to_owned()));
    }
    profile.sort_by_key(|(number, _)| *number);
    Ok(Walk { header: Header { width, height, has_alpha: false, frames: 1 }, profile, adobe })
}

fn refused(error: Error) -> ImageError {
    match error {
        Error::TooSlow => ImageError::TooSlow,
        Error::Components => ImageError::Unsupported("a JPEG of unknown colours"),
        Error::Damaged(why) => ImageError::Damaged(why),
    }
}

/// Decodes; to luma and chroma where that is what the file has, is wanted, and no profile stands in the way.
///
/// Strict: a file whose data ends early or contradicts itself is damaged, not grey in its lower half.
pub(crate) fn decode(bytes: &[u8], limits: &Limits, want: Want, deadline: Deadline) -> Result<Source, ImageError> {
    let Walk { header, profile, adobe } = walk(bytes, limits)?;
    let profile = profile.into_iter().flat_map(|(_, data)| data).copied().collect::<Vec<u8>>();
    let profile = if profile.is_empty() { None } else { colour::Profile::parse(&profile) };
    let decoder = Decoder::new(bytes, Some(deadline.instant())).map_err(refused)?;
    if decoder.size() != (header.width, header.height) {
        return Err(ImageError::Damaged("the JPEG has two headers".to_owned()));
    }
    if let (Colour::Ycc, Want::Planes { shrink }, None) = (decoder.colour(), want, &profile) {
        let planes = decoder.planes(eighths(shrink)).map_err(refused)?;
        return Ok(Source { samples: Samples::Jpeg(planes), profile: None });
    }
    let pixels = decoder.pixels().map_err(refused)?;
    let (layout, data, profile) = match pixels.colour {
        Colour::Grey => (Layout::Luma, pixels.data, None),
        // A profile of inks does not fit the RGB that is made of them here.
        Colour::Cmyk => (Layout::Rgb, light(&pixels.data, adobe), None),
        Colour::Rgb | Colour::Ycc | Colour::Other => (Layout::Rgb, pixels.data, profile),
    };
    let pixels = Pixels::new(pixels.width, pixels.height, layout, data)?;
    Ok(Source { samples: Samples::Picture(Picture::Pixels(pixels)), profile })
}

/// How much of the picture is decoded, in eighths: as little as leaves half as many pixels again a side as are wanted, because
/// the decoder's way of shrinking is cheap and coarse, and the last step is to be the fine one.
fn eighths(shrink: f64) -> u8 {
    [1, 2, 4].into_iter().find(|eighths| shrink * f64::from(*eighths) / 8.0 >= 1.5).unwrap_or(8)
}

/// Inks to light, as a printer's profile would not do it but everybody does who has none.
fn light(inks: &[u8], inverted: bool) -> Vec<u8> {
    let free = |ink: u8| u16::from(if inverted { ink } else { 255 - ink });
    let pixel = |[c, m, y, k]: &[u8; 4]| {
        [c, m, y].map(|ink| u8::try_from((free(*ink) * free(*k) + 127) / 255).unwrap_or(u8::MAX))
    };
    inks.as_chunks::<4>().0.iter().flat_map(pixel).collect()
}
